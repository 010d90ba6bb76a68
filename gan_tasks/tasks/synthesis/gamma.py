"""The weight γ of R1 and R2, chosen from the size of the images and of the batch.

The right γ differs by a factor of thousands between 32² and 1024², and users cannot guess it.
"""

from __future__ import annotations

import math
from itertools import pairwise

from gan_tasks.losses.functional import AdversarialConfig

STYLEGAN2 = 0.0002
"""γ · batch size / number of pixels in StyleGAN2-ADA's automatic configuration, https://arxiv.org/abs/2006.06676"""
R3GAN = ((32.0, 0.05), (64.0, 2.0), (256.0, 150.0))
"""Side in pixels and γ of R3GAN, https://arxiv.org/abs/2501.05441: for CIFAR-10, FFHQ-64 and FFHQ-256."""
LAST_FACTOR = 0.1
"""Factor on γ after the burn-in, in all trainings of R3GAN."""


def chosen_gamma(config: AdversarialConfig, size: tuple[int, int], batch_size: int) -> float:
    """Return γ for images of (height, width) pixels and a batch of so many images on all devices together.

    It is StyleGAN2's for all losses but the relativistic ones, which R3GAN has.
    """
    if not config.is_relativistic:
        return STYLEGAN2 * math.prod(size) / batch_size
    return interpolated(R3GAN, math.sqrt(math.prod(size)))


def interpolated(table: tuple[tuple[float, float], ...], position: float) -> float:
    """Interpolate a table of (position, value) linearly between the logarithms, also beyond its ends."""
    x = math.log(position)
    points = [(math.log(each), math.log(value)) for each, value in table]
    segments = list(pairwise(points))
    (x0, y0), (x1, y1) = next((each for each in segments if x <= each[1][0]), segments[-1])
    return math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0))


def burn_in(images: int, burn_in_images: int) -> float:
    """Return the factor on γ after so many training images: half a cosine from 1 to LAST_FACTOR; 1 without one."""
    if not burn_in_images:
        return 1.0
    progress = min(1.0, images / burn_in_images)
    return LAST_FACTOR + (1 - LAST_FACTOR) * (1 + math.cos(math.pi * progress)) / 2
