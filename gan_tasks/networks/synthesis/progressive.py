"""Networks that grow: PGGAN, Karras et al. 2018, https://arxiv.org/abs/1710.10196, and MSG-GAN, Karnewar and Wang
2020, https://arxiv.org/abs/1903.06048, whose discriminator sees the images of all stages at once.

Generator and discriminator use the first `levels` of their stages, of which `fade` says how far the newest is faded
in. Their images are always of the full size: smaller ones are enlarged by repetition, and the discriminator picks one
pixel of each repetition. The gradient of a picked pixel is that of the small image, so a gradient penalty is, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.synthesis.frame import Mapping, Stage, SynthesisGenerator, doublings_for
from gan_tasks.networks.synthesis.layers import EqualisedConv2d, EqualisedLinear, MinibatchDeviation, pixel_norm


def equalised_conv(inputs: int, outputs: int, kernel: int = 3) -> EqualisedConv2d:
    return EqualisedConv2d(inputs, outputs, kernel, padding=kernel // 2, gain=math.sqrt(2), scales_bias=True)


def equalised_linear(inputs: int, outputs: int) -> EqualisedLinear:
    return EqualisedLinear(inputs, outputs, gain=math.sqrt(2), scales_bias=True)


def activated(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2)


class Base(nn.Module):
    """The first features: latents N×inputs, normalised → N×width×4×4."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = equalised_linear(inputs, 16 * width)
        self.conv = equalised_conv(width, width)

    def forward(self, style: Tensor) -> Tensor:
        x = activated(self.linear(pixel_norm(style))).unflatten(1, (-1, 4, 4))
        return pixel_norm(activated(self.conv(pixel_norm(x))))


class Up(Stage):
    """Doubles the size: nearest-neighbour upsampling, two convolutions; N×inputs×h×w → N×outputs×2h×2w."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = equalised_conv(inputs, outputs)
        self.conv2 = equalised_conv(outputs, outputs)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        x = pixel_norm(activated(self.conv1(repeated(x, 2))))
        return pixel_norm(activated(self.conv2(x)))


class ToRGB(nn.Module):
    """Maps features to an image with a 1×1 convolution."""

    def __init__(self, inputs: int, out_channels: int) -> None:
        super().__init__()
        self.conv = equalised_conv(inputs, out_channels, 1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        image: Tensor = self.conv(x)
        return image


def progressive_generator(
    latent: int = 512,
    *,
    size: tuple[int, int] = (64, 64),
    width: int = 512,
    out_channels: int = 3,
    classes: int = 0,
) -> SynthesisGenerator:
    """Build the generator of PGGAN and MSG-GAN for images of a size (height, width) in pixels.

    latent: length of a latent; a label is concatenated to it, and both are normalised.
    width: channels up to a side of 32 pixels. Each further doubling of the side halves them.
    classes: number of classes; 0 without labels.

    Raises UserError for sizes that no cropped base gives.
    """
    doublings, base_size = doublings_for(size)
    widths = progressive_widths(doublings, width)
    return progressive_of_widths(latent, widths, base_size=base_size, out_channels=out_channels, classes=classes)


def progressive_of_widths(
    latent: int,
    widths: Sequence[int],
    *,
    base_size: tuple[int, int] = (4, 4),
    out_channels: int = 3,
    classes: int = 0,
) -> SynthesisGenerator:
    """Build the generator with these channels, from the features of 4×4 pixels to those of the whole image."""
    mapping, doublings = Mapping(latent, classes), len(widths) - 1
    return SynthesisGenerator(
        mapping=mapping,
        base=Base(mapping.style_length, widths[0]),
        stages=[Up(*pair) for pair in pairwise(widths)],
        to_rgb=[ToRGB(each, out_channels) for each in widths],
        rgb="all",
        output_size=(base_size[0] << doublings, base_size[1] << doublings),
        base_size=None if base_size == (4, 4) else base_size,
        out_channels=out_channels,
    )


def progressive_widths(doublings: int, width: int) -> tuple[int, ...]:
    """Return the channels from 4×4 pixels on: `width` up to 32×32, and then half as many with each doubling."""
    return tuple(max(1, width >> max(0, level - 3)) for level in range(doublings + 1))


class Down(nn.Module):
    """Halves the size: two convolutions, average pooling; N×(inputs + extra)×2h×2w → N×outputs×h×w.

    extra: channels that are concatenated to the input.
    """

    def __init__(self, inputs: int, outputs: int, extra: int = 0) -> None:
        super().__init__()
        self.conv1 = equalised_conv(inputs + extra, inputs)
        self.conv2 = equalised_conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(activated(self.conv2(activated(self.conv1(x)))), 2)


class Head(nn.Module):
    """From the smallest features to logits: N×(width + extra)×h×w → N×outputs×1×1.

    The logit of a label is the inner product of its embedding and the last features (Miyato and Koyama 2018,
    https://arxiv.org/abs/1802.05637).

    Args:
        width: channels of the features.
        base_size: (h, w) of the features.
        extra: channels that are concatenated to the input.
        classes: number of classes; 0 without labels.
        outputs: number of logits.
    """

    def __init__(
        self, width: int, base_size: tuple[int, int], *, extra: int = 0, classes: int = 0, outputs: int = 1
    ) -> None:
        super().__init__()
        self.conv = equalised_conv(width + extra, width)
        self.linear = equalised_linear(width * base_size[0] * base_size[1], width)
        self.last = equalised_linear(width, outputs)
        # Embeddings have values of unit variance, and are divided by √width as those of StyleGAN2.
        gain = math.sqrt(classes / width)
        self.embedding = EqualisedLinear(classes, width, bias=False, gain=gain) if classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> list[Tensor]:
        """Return the features of each layer, and the logits."""
        conv = activated(self.conv(x))
        features = activated(self.linear(conv.flatten(1)))
        logits: Tensor = self.last(features)
        if self.embedding is not None and label is not None:
            logits = logits + (self.embedding(label.to(x.dtype)) * features).sum(1, keepdim=True)
        return [conv, features[..., None, None], logits[..., None, None]]


class ProgressiveDiscriminator(nn.Module):
    """PGGAN's discriminator, which grows with the generator.

    Args:
        widths: channels from the features of `base_size` to those of the whole image, as those of the generator.
        base_size: (height, width) of the smallest features.
        in_channels: channels of the images.
        classes: number of classes; 0 without labels.
        deviation: whether the deviation within the minibatch is one of the smallest features.
        outputs: number of logits.

    Attributes:
        levels: the number of stages in use before the head. Fewer than all take smaller images, see `real_images`.
        fade: how much of the newest stage is used, 1 for all of it. The rest comes from the halved image.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        base_size: tuple[int, int] = (4, 4),
        in_channels: int = 3,
        classes: int = 0,
        deviation: bool = True,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.from_rgb = nn.ModuleList(equalised_conv(in_channels, width, 1) for width in widths)
        self.stages = nn.ModuleList(Down(after, before) for before, after in pairwise(widths))
        self.deviation = MinibatchDeviation(neighbours=True, unbiased=True) if deviation else None
        self.head = Head(widths[0], base_size, extra=int(deviation), classes=classes, outputs=outputs)
        self.levels, self.fade = len(self.stages), 1.0

    def forward(self, image: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        """Map images N×C×H×W and labels N×classes to one scale: the features of each layer, and logits N×1×1×1.

        With fewer levels than all, images are picked from: see `real_images`.
        """
        image = picked(image, 1 << (len(self.stages) - self.levels))
        x, features = activated(self.from_rgb[self.levels](image)), []
        for level in reversed(range(self.levels)):
            x = self.stages[level](x)
            if level == self.levels - 1 and self.fade < 1:
                halved = activated(self.from_rgb[level](functional.avg_pool2d(image, 2)))
                x = torch.lerp(halved, x, self.fade)
            features.append(x)
        return [[*features, *self.head(x if self.deviation is None else self.deviation(x), label)]]


class MultiScaleGradientDiscriminator(nn.Module):
    """MSG-GAN's discriminator: the image of each size is concatenated to the features of that size.

    The deviation within the minibatch is a feature of every stage, as in the paper.

    Args:
        widths, base_size, in_channels, classes: see `ProgressiveDiscriminator`.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        base_size: tuple[int, int] = (4, 4),
        in_channels: int = 3,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.scales = len(widths)
        last = self.scales - 2
        self.from_rgb = equalised_conv(in_channels, widths[-1], 1)
        self.stages = nn.ModuleList(
            Down(after, before, extra=1 if level == last else in_channels + 1)
            for level, (before, after) in enumerate(pairwise(widths))
        )
        self.deviation = MinibatchDeviation(neighbours=True, unbiased=True)
        self.head = Head(widths[0], base_size, extra=in_channels + 1 if self.stages else 1, classes=classes)

    def forward(self, image: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        """Map `packed` images N×(scales·C)×H×W to one scale: the features of each layer, and logits N×1×1×1."""
        *smaller, largest = unpacked(image, self.scales)
        x, features = activated(self.from_rgb(largest)), []
        for stage, smaller_image in zip(reversed(self.stages), reversed(smaller), strict=True):
            x = stage(self.deviation(x))
            features.append(x)
            x = torch.cat([x, smaller_image], dim=1)
        return [[*features, *self.head(self.deviation(x), label)]]


def progressive_discriminator(
    *, size: tuple[int, int] = (64, 64), width: int = 512, in_channels: int = 3, classes: int = 0
) -> ProgressiveDiscriminator:
    """Build PGGAN's discriminator for images of a size (height, width). See `progressive_generator`."""
    doublings, base_size = doublings_for(size)
    widths = progressive_widths(doublings, width)
    return ProgressiveDiscriminator(widths, base_size=base_size, in_channels=in_channels, classes=classes)


def msg_discriminator(
    *, size: tuple[int, int] = (64, 64), width: int = 512, in_channels: int = 3, classes: int = 0
) -> MultiScaleGradientDiscriminator:
    """Build MSG-GAN's discriminator for images of a size (height, width). See `progressive_generator`."""
    doublings, base_size = doublings_for(size)
    widths = progressive_widths(doublings, width)
    return MultiScaleGradientDiscriminator(widths, base_size=base_size, in_channels=in_channels, classes=classes)


def real_images(image: Tensor, missing: int, fade: float = 1.0) -> Tensor:
    """Return real images N×C×H×W as a generator makes images that has `missing` levels less than all.

    They are averaged over squares of 2^missing pixels, and mixed with their average over the next larger squares as
    far as the newest level is not faded in. The size stays.
    """
    size = 1 << missing
    small = functional.avg_pool2d(image, size) if missing else image
    if fade < 1:
        small = torch.lerp(repeated(functional.avg_pool2d(small, 2), 2), small, fade)
    return repeated(small, size)


def pyramid(image: Tensor, scales: int) -> list[Tensor]:
    """Return images N×C×H×W in `scales` sizes from small to large, each averaged from the next larger one."""
    images = [image]
    while len(images) < scales:
        images.insert(0, functional.avg_pool2d(images[0], 2))
    return images


def packed(images: Sequence[Tensor]) -> Tensor:
    """Concatenate images of several sizes, from small to large, to one tensor N×(scales·C)×H×W.

    Each is enlarged to the largest size by repetition. `unpacked` picks one pixel of each repetition.
    """
    largest = images[-1].shape[-1]
    return torch.cat([repeated(image, largest // image.shape[-1]) for image in images], dim=1)


def unpacked(image: Tensor, scales: int) -> list[Tensor]:
    """Take `packed` images apart.

    The gradient of a pixel goes to one place of the packed image. The squared norm of the gradient of a packed image
    is thus the sum of those of its images.
    """
    images = image.chunk(scales, dim=1)
    return [picked(each, 1 << (scales - 1 - scale)) for scale, each in enumerate(images)]


def repeated(image: Tensor, factor: int) -> Tensor:
    """Enlarge N×C×h×w by repeating each pixel factor × factor times."""
    return image if factor == 1 else functional.interpolate(image, scale_factor=float(factor), mode="nearest")


def picked(image: Tensor, step: int) -> Tensor:
    """Take the first pixel of each square of step × step pixels."""
    return image if step == 1 else image[..., ::step, ::step]
