"""The losses of AdaIN, and its encoder with the weights of a VGG.

Huang and Belongie 2017, https://arxiv.org/abs/1703.06868
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.perceptual import IMAGENET_MEAN, IMAGENET_STD, vgg_convolutions, vgg_weights
from gan_tasks.networks.stylization import ENCODER_CONVS, LEVELS, VGG, VGG_WIDTHS, Encoder, Statistics, statistics
from gan_tasks.pretrained.files.download import OnProgress
from gan_tasks.pretrained.stylization import adain


def content_loss(features: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference of features N×C×h×w, a scalar."""
    return functional.mse_loss(features.float(), wanted.float())


def style_loss(features: Mapping[str, Tensor], wanted: Sequence[Statistics]) -> Tensor:
    """Return the mean squared differences of means and deviations of features, summed over the levels, a scalar.

    features: see `LEVELS`. wanted: the statistics of each level.
    """
    pairs = zip((statistics(features[level]) for level in LEVELS), wanted, strict=True)
    return torch.stack([functional.mse_loss(a, b) for of, by in pairs for a, b in zip(of, by, strict=True)]).sum()


def load_encoder(network: VGG, path: Path | None, on_progress: OnProgress | None = None) -> Encoder:
    """Return an encoder for images in [-1, 1] with the weights of a VGG.

    path: a file with torchvision's keys, or pytorch-AdaIN's `vgg_normalised.pth`, a VGG19 whose features have a mean
        of 1; None downloads torchvision's file once.

    Raises UserError if the weights cannot be downloaded or read, or belong to another network.
    """
    weights = vgg_weights(network, path, option="--encoder-weights", on_progress=on_progress)
    if adain.is_encoder(weights):
        return normalised_encoder(network, weights)
    encoder = Encoder(convs=ENCODER_CONVS[network])
    colours, *convs = adain.convolutions(encoder)
    std = torch.tensor(IMAGENET_STD)
    fill(colours, torch.diag(1 / std)[..., None, None], -torch.tensor(IMAGENET_MEAN) / std)
    for conv, (weight, bias) in zip(convs, vgg_convolutions(network, weights, LEVELS[-1]), strict=True):
        fill(conv, weight, bias)
    return normalise(for_our_range(encoder))


@torch.no_grad()
def normalise(encoder: Encoder) -> Encoder:
    """Scale the weights so that the features of each level have a mean of 1, as those of `vgg_normalised.pth`.

    Torchvision's have means from 5 to 18, the largest in the finest level, which would outweigh the others in the
    losses. The means are taken from 1/f noise, where they are up to 1.6 times those of photographs.
    """
    means = [float(features.mean()) or 1.0 for features in encoder(noise_images()).values()]
    scale = 1.0
    for part, mean in zip((encoder.stem, *encoder.downs), means, strict=True):
        *inner, last = adain.convolutions(part)
        for conv in inner:
            scale_up(conv, 1.0, scale)
        scale_up(last, 1 / (mean * scale), 1 / mean)
        scale = 1 / mean
    return encoder


def noise_images(count: int = 4, side: int = 64) -> Tensor:
    """Return images of 1/f noise in [-1, 1], whose spectrum is that of photographs, always the same."""
    white = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    squares = torch.fft.fftfreq(side)[:, None].square() + torch.fft.rfftfreq(side).square()
    squares[0, 0] = squares[0, 1]
    waves = torch.fft.irfft2(torch.fft.rfft2(white) / squares.sqrt(), s=(side, side))
    waves = (waves - waves.mean(dim=(2, 3), keepdim=True)) / waves.std(dim=(2, 3), keepdim=True)
    # The three waves are brightness and two weaker differences of colours.
    colours = torch.tensor([[1.0, 1.0, 1.0], [0.25, -0.08, -0.17], [0.05, -0.12, 0.07]])
    images = torch.einsum("nchw,cd->ndhw", waves, colours)
    return (images / images.std() / 2).clamp(-1, 1)


def normalised_encoder(network: VGG, weights: Mapping[str, Tensor]) -> Encoder:
    encoder = adain.build_encoder(weights)
    widths = tuple(adain.convolutions(encoder)[place].out_channels for place in (1, 3, 5, 9))
    if network != "vgg19" or widths != VGG_WIDTHS:
        raise UserError(
            f"the encoder's weights are those of a VGG19 with {', '.join(map(str, widths))} channels: expected "
            f"{', '.join(map(str, VGG_WIDTHS))} channels, and --encoder vgg19"
        )
    return for_our_range(encoder)


def for_our_range(encoder: Encoder) -> Encoder:
    """Change the encoder from images in [0, 1] to images in [-1, 1]."""
    adain.take_our_range(adain.convolutions(encoder)[0])
    return encoder


@torch.no_grad()
def fill(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    assert conv.bias is not None
    conv.weight.copy_(weight)
    conv.bias.copy_(bias)


def scale_up(conv: nn.Conv2d, weight: float, bias: float) -> None:
    assert conv.bias is not None
    conv.weight.mul_(weight)
    conv.bias.mul_(bias)
