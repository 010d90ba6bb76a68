"""Differentiable augmentation: what a discriminator sees is recoloured, moved and partly covered at random.

Of few images a discriminator soon knows each by heart. Changed alike, real and generated ones keep it busy, and as
every change is differentiable the generator still learns through it, without learning to make changed images
(Zhao et al. 2020, https://arxiv.org/abs/2006.10738, whose strengths these are).
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentation = Literal["colour", "translation", "cutout"]

DRAWS = 7
"""Random numbers for an image: three for its colour, two for its place, two for the place of the hole."""
LARGEST_SHIFT = 1 / 8
"""Of the side."""
HOLE = 1 / 2
"""Its side, of the image's."""


def augment(image: Tensor, kinds: Sequence[Augmentation], draws: Tensor) -> Tensor:
    """N×C×H×W in [-1, 1] → the same shape, changed in the ways of `kinds`, in their order.

    draws: N×DRAWS on the CPU, uniform in [0, 1). Two images with the same draws are changed alike, whatever their
        channels; 0.5 leaves colour and place as they are.
    """
    for kind in kinds:
        match kind:
            case "colour":
                image = recolour(image, draws[:, :3])
            case "translation":
                image = translate(image, draws[:, 3:5])
            case "cutout":
                image = cut_out(image, draws[:, 5:7])
    return image


def recolour(image: Tensor, draws: Tensor) -> Tensor:
    """Brightness by up to ± 0.5, then saturation by a factor of 0 to 2, then contrast by one of 0.5 to 1.5.

    A pixel's grey is the mean of its channels, contrast is about the image's mean. Values may leave [-1, 1].
    """
    brightness, saturation, contrast = draws.to(image.device).view(-1, 3, 1, 1, 1).unbind(dim=1)
    image = image + (brightness - 0.5)
    grey = image.mean(dim=1, keepdim=True)
    image = grey + (image - grey) * (2 * saturation)
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (image - mean) * (0.5 + contrast)


def translate(image: Tensor, draws: Tensor) -> Tensor:
    """Each image by whole pixels, up to LARGEST_SHIFT either way; what comes in is 0, the middle grey."""
    height, width = image.shape[-2:]
    down, right = int(height * LARGEST_SHIFT + 0.5), int(width * LARGEST_SHIFT + 0.5)
    padded = F.pad(image, (right, right, down, down))
    moved = []
    for one, (y, x) in zip(padded, draws.tolist(), strict=True):
        top, left = int(y * (2 * down + 1)), int(x * (2 * right + 1))
        moved.append(one[:, top : top + height, left : left + width])
    return torch.stack(moved)


def cut_out(image: Tensor, draws: Tensor) -> Tensor:
    """A hole of 0 in each image; it may reach over the border."""
    height, width = image.shape[-2:]
    kept = torch.ones(len(image), 1, height, width)
    for one, (y, x) in zip(kept, draws.tolist(), strict=True):
        one[:, mask(y, height), mask(x, width)] = 0
    return image * kept.to(image)


def mask(draw: float, side: int) -> slice:
    """Its rows or columns: the centre is anywhere along the side."""
    size = int(side * HOLE + 0.5)
    start = int(draw * (side + 1 - size % 2)) - size // 2
    return slice(max(0, start), start + size)
