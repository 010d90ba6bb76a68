"""Differentiable augmentation: random colour, translation and cutout on the discriminator input.

With few training images a discriminator soon memorizes them. Augmentation of both the real and the generated images
prevents this. It is differentiable, so the generator still gets gradients through it, and the generator does not
learn to produce augmented images. Zhao et al. 2020, https://arxiv.org/abs/2006.10738; the ranges are those of the
paper.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentation = Literal["colour", "translation", "cutout"]

DRAWS = 7
"""Number of random numbers per image: three for the colour, two for the translation, two for the cutout."""
LARGEST_SHIFT = 1 / 8
"""Largest translation, as a fraction of the image's side."""
CUTOUT_SIZE = 1 / 2
"""Side of the cutout, as a fraction of the image's side."""


def augment(image: Tensor, kinds: Sequence[Augmentation], draws: Tensor) -> Tensor:
    """Apply the augmentations of `kinds` in their order, N×C×H×W in [-1, 1] → the same shape.

    draws: N×DRAWS random numbers on the CPU, uniform in [0, 1). The same draws give the same augmentation, whatever
        the number of channels. Draws of 0.5 leave colour and position unchanged.
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
    """Change the brightness by up to ± 0.5, the saturation by a factor of 0 to 2, the contrast by one of 0.5 to 1.5.

    image: N×C×H×W in [-1, 1]; values of the result may be outside this range.
    draws: N×3, for brightness, saturation and contrast.

    Saturation is relative to the mean of a pixel's channels, and contrast to the mean of the image.
    """
    brightness, saturation, contrast = draws.to(image.device, non_blocking=True).view(-1, 3, 1, 1, 1).unbind(dim=1)
    image = image + (brightness - 0.5)
    grey = image.mean(dim=1, keepdim=True)
    image = grey + (image - grey) * (2 * saturation)
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (image - mean) * (0.5 + contrast)


def translate(image: Tensor, draws: Tensor) -> Tensor:
    """Translate each image of N×C×H×W by whole pixels, by up to LARGEST_SHIFT of its side in either direction.

    draws: N×2, vertical and horizontal. Pixels that come from outside the image are 0, which is middle grey.
    """
    height, width = image.shape[-2:]
    down, right = int(height * LARGEST_SHIFT + 0.5), int(width * LARGEST_SHIFT + 0.5)
    padded = F.pad(image, (right, right, down, down))
    translated = []
    for one, (y, x) in zip(padded, draws.tolist(), strict=True):
        top, left = int(y * (2 * down + 1)), int(x * (2 * right + 1))
        translated.append(one[:, top : top + height, left : left + width])
    return torch.stack(translated)


def cut_out(image: Tensor, draws: Tensor) -> Tensor:
    """Set a square of each image of N×C×H×W to 0; part of the square may lie outside the image.

    draws: N×2, the vertical and the horizontal position of its centre.
    """
    height, width = image.shape[-2:]
    kept = torch.ones(len(image), 1, height, width)
    for one, (y, x) in zip(kept, draws.tolist(), strict=True):
        one[:, cutout_slice(y, height), cutout_slice(x, width)] = 0
    return image * kept.to(image, non_blocking=True)


def cutout_slice(draw: float, side: int) -> slice:
    """Return the rows or columns of the cutout. Its centre may be anywhere along the side."""
    size = int(side * CUTOUT_SIZE + 0.5)
    start = int(draw * (side + 1 - size % 2)) - size // 2
    return slice(max(0, start), start + size)
