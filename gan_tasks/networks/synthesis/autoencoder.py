"""Discriminators that are autoencoders: those of EBGAN and BEGAN. `losses/energy.py` has their objectives."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.blocks import Norm, init_weights, needs_bias, norm_layer

Energy = Literal["squared", "absolute"]


class AutoencoderDiscriminator(nn.Module):
    """An autoencoder whose error of reconstruction tells real images from generated ones.

    Args:
        encoder: images N×(C + classes)×H×W → code.
        decoder: code → reconstruction N×C×H×W.
        energy: the mean over an image of the squared (EBGAN) or absolute error (BEGAN).
        classes: number of classes. The label is repeated at each pixel, beside the channels of the image.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, energy: Energy, classes: int = 0) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.energy, self.classes = energy, classes

    def forward(self, image: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        """Map images N×C×H×W and labels N×classes to one scale: code, reconstruction, −energy as logit N×1×1×1."""
        x = image
        if label is not None:
            height, width = image.shape[-2:]
            x = torch.cat([image, label.to(image.dtype)[:, :, None, None].expand(-1, -1, height, width)], dim=1)
        code = self.encoder(x)
        reconstruction = self.decoder(code)
        # A mean of squares in half precision would lose the small errors.
        error = reconstruction.to(torch.promote_types(reconstruction.dtype, torch.float32)) - image
        error = error.square() if self.energy == "squared" else error.abs()
        return [[code, reconstruction, -error.mean(dim=(1, 2, 3), keepdim=True)]]


def ebgan_discriminator(
    size: tuple[int, int],
    *,
    channels: int = 3,
    width: int = 64,
    levels: int = 3,
    norm: Norm = "batch",
    classes: int = 0,
) -> AutoencoderDiscriminator:
    """Return EBGAN's discriminator (Zhao et al. 2017, https://arxiv.org/abs/1609.03126), with squared error.

    The encoder halves the size `levels` times by 4×4 convolutions of stride 2, and the decoder is its mirror image.
    All convolutions but the first and the last have a norm. The code is N×(width·2^(levels − 1))×h×w.

    size: (height, width) of the images. Raises UserError if they cannot be halved `levels` times.
    """
    if size[0] % 2**levels or size[1] % 2**levels:
        raise UserError(
            f"the discriminator of EBGAN halves images {levels} times, and {size[0]}×{size[1]} pixels cannot be "
            f"halved as often: give multiples of {2**levels}"
        )
    widths = [width * 2**level for level in range(levels)]
    bias = needs_bias(norm)
    encoder: list[nn.Module] = [nn.Conv2d(channels + classes, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for inputs, outputs in pairwise(widths):
        encoder += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=bias), norm_layer(norm, outputs)]
        encoder += [nn.LeakyReLU(0.2)]
    decoder: list[nn.Module] = []
    for inputs, outputs in pairwise(reversed(widths)):
        decoder += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias), norm_layer(norm, outputs)]
        decoder += [nn.ReLU()]
    decoder += [nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1), nn.Tanh()]
    network = AutoencoderDiscriminator(
        nn.Sequential(*encoder), nn.Sequential(*decoder), energy="squared", classes=classes
    )
    init_weights(network)
    return network


def began_discriminator(
    size: tuple[int, int], *, channels: int = 3, width: int = 64, code: int = 64, classes: int = 0
) -> AutoencoderDiscriminator:
    """Return BEGAN's discriminator (Berthelot et al. 2017, https://arxiv.org/abs/1703.10717), with absolute error.

    Two 3×3 convolutions with ELU at each size. The encoder halves the size down to 8 pixels, or as often as it can be
    halved, and its channels grow by `width` each time. Linear layers lead to a code N×code, and from it to the
    smallest features of the decoder, which doubles the size by repetition.

    size: (height, width) of the images.
    """
    halvings = 0
    while min(size) >> halvings > 8 and all(side % 2 ** (halvings + 1) == 0 for side in size):
        halvings += 1
    height, length = (side >> halvings for side in size)
    encoder: list[nn.Module] = [nn.Conv2d(channels + classes, width, 3, padding=1), nn.ELU()]
    for level in range(1, halvings + 2):
        features = width * level
        encoder += two_convs(features, features)
        if level <= halvings:
            encoder += [nn.Conv2d(features, features + width, 3, stride=2, padding=1), nn.ELU()]
    encoder += [nn.Flatten(), nn.Linear(width * (halvings + 1) * height * length, code)]
    decoder: list[nn.Module] = [nn.Linear(code, width * height * length), nn.Unflatten(1, (width, height, length))]
    for level in range(halvings + 1):
        decoder += [*([nn.Upsample(scale_factor=2)] if level else []), *two_convs(width, width)]
    decoder.append(nn.Conv2d(width, channels, 3, padding=1))
    return AutoencoderDiscriminator(
        nn.Sequential(*encoder), nn.Sequential(*decoder), energy="absolute", classes=classes
    )


def two_convs(inputs: int, outputs: int) -> list[nn.Module]:
    """Return two 3×3 convolutions with ELU."""
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return [first, nn.ELU(), second, nn.ELU()]
