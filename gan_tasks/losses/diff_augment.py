"""Differentiable augmentation: random changes of colours, position and form of the discriminator input.

With few training images a discriminator soon memorizes them. Augmentation of both the real and the generated images
prevents this. It is differentiable, so the generator still gets gradients through it, and the generator does not
learn to produce augmented images. Zhao et al. 2020, https://arxiv.org/abs/2006.10738: colour, translation and cutout,
with the ranges of the paper. Karras et al. 2020, https://arxiv.org/abs/2006.06676: flip and geometry. A generator may
learn to produce these, unless they are applied to some of the images only.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentation = Literal["colour", "translation", "cutout", "flip", "geometry"]

DRAWS = 11
"""Number of random numbers per image: three for the colour, two for the translation, two for the cutout, one for the
flip, three for the geometry."""
LARGEST_SHIFT = 1 / 8
"""Largest translation, as a fraction of the image's side."""
CUTOUT_SIZE = 1 / 2
"""Side of the cutout, as a fraction of the image's side."""
SCALE_DEVIATION = 0.2
"""Standard deviation of the binary logarithm of the scale and of the aspect ratio."""


def augment(image: Tensor, kinds: Sequence[Augmentation], draws: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Apply the augmentations of `kinds` in their order, N×C×H×W in [-1, 1] → the same shape.

    draws: N×DRAWS random numbers on the CPU, uniform in [0, 1). The same draws give the same augmentation, whatever
        the number of channels. Draws of 0.5 leave everything but the cutout unchanged.
    chosen: N×len(kinds), on the image's device: whether each augmentation is applied to each image. By default all
        are.
    """
    for place, kind in enumerate(kinds):
        changed = AUGMENTATIONS[kind](image, draws)
        image = changed if chosen is None else torch.where(chosen[:, place, None, None, None], changed, image)
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


def flip(image: Tensor, draws: Tensor) -> Tensor:
    """Mirror each image of N×C×H×W from left to right if its draw, N×1, is above 0.5."""
    is_flipped = draws.to(image.device, non_blocking=True) > 0.5
    return torch.where(is_flipped[..., None, None], image.flip(-1), image)


def transform(image: Tensor, draws: Tensor) -> Tensor:
    """Rotate each image of N×C×H×W about its centre by any angle, and scale its height and width.

    draws: N×3, for the angle, the scale and the aspect ratio. The pixels around the image are its reflection.
    """
    height, width = image.shape[-2:]
    angle, *normal = draws.to(image.device, non_blocking=True).view(-1, 3, 1, 1).unbind(dim=1)
    angle = 2 * math.pi * (angle - 0.5)
    scale, aspect = (2 ** (SCALE_DEVIATION * torch.special.ndtri(each.clamp(1e-4, 1 - 1e-4))) for each in normal)
    y, x = (torch.arange(side, device=image.device) - (side - 1) / 2 for side in (height, width))
    y, x = y[:, None], x[None, :]
    from_y = (torch.cos(angle) * y - torch.sin(angle) * x) / (scale / aspect) + (height - 1) / 2
    from_x = (torch.sin(angle) * y + torch.cos(angle) * x) / (scale * aspect) + (width - 1) / 2
    return sample(image, from_y, from_x)


def sample(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Interpolate N×C×H×W bilinearly at the rows y and columns x, N×H×W each; around the image is its reflection.

    Unlike grid_sample it can be differentiated twice, which the R1 penalty needs.
    """
    height, width = image.shape[-2:]
    y, x = reflected(y, height), reflected(x, width)
    pixels, top, left = image.flatten(2), y.floor(), x.floor()
    total = torch.zeros_like(image)
    for row, in_row in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, in_column in ((left, 1 - (x - left)), (left + 1, x - left)):
            # The pixel beyond the last one has the weight 0.
            index = (row.clamp(max=height - 1) * width + column.clamp(max=width - 1)).long().flatten(1)[:, None]
            found = pixels.gather(2, index.expand(-1, image.shape[1], -1)).view_as(image)
            total = total + (in_row * in_column)[:, None] * found
    return total


def reflected(position: Tensor, count: int) -> Tensor:
    """Map positions outside of 0 to count − 1 to those of their mirror images, without repeating the border."""
    last = max(count - 1, 1)
    return (last - (position.remainder(2 * last) - last).abs()).clamp(max=count - 1)


AUGMENTATIONS: Mapping[Augmentation, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "colour": lambda image, draws: recolour(image, draws[:, :3]),
        "translation": lambda image, draws: translate(image, draws[:, 3:5]),
        "cutout": lambda image, draws: cut_out(image, draws[:, 5:7]),
        "flip": lambda image, draws: flip(image, draws[:, 7:8]),
        "geometry": lambda image, draws: transform(image, draws[:, 8:11]),
    }
)
