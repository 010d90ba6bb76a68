"""Perceptual path length: how far an image moves for a small step of the latent, by a perceptual distance.

    PPL = E[d(G(p(0)), G(p(ε))) / ε²]

p goes from one random point to another, between latents on a sphere (z), or between styles on a line (w). d is about
quadratic in small steps, so that the quotient does not depend on ε. A small value means smooth changes. Karras et al.
2019, https://arxiv.org/abs/1812.04948; measured at the start of the path, as Karras et al. 2020 do,
https://arxiv.org/abs/1912.04958
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gan_tasks.metrics.colour import colour_channels
from gan_tasks.metrics.features import FeatureNetwork
from gan_tasks.metrics.lpips import Lpips

EPSILON = 1e-4
"""The step, as a share of the path."""
LARGEST_PX = 256
"""Larger images are reduced by means of n×n pixels before they are compared by LPIPS, as in the published code."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""The distances N of two batches of images N×C×H×W in [-1, 1]."""


def path_lengths(
    start: Tensor,
    end: Tensor,
    generate: Callable[[Tensor], Tensor],
    distance: Distance,
    *,
    spherical: bool,
    epsilon: float = EPSILON,
) -> Tensor:
    """Return d(G(p(0)), G(p(ε))) / ε² of N paths.

    start, end: the ends of the paths, N×… of any further axes.
    generate: points → images.
    spherical: whether the paths are arcs (z) or straight lines (w).
    """
    between = slerp if spherical else lerp
    first, second = generate(start), generate(between(start, end, epsilon))
    return distance(first, second) / epsilon**2


def lerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Return the points of straight lines at a share of the way."""
    a, b = start.double(), end.double()  # a step of 1e-4 would lose digits in float32
    return (a + (b - a) * share).to(start.dtype)


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Return the points N×L of arcs about the origin at a share of the way. The length changes linearly."""
    a, b = start.double(), end.double()
    a_length, b_length = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    a, b = a / a_length, b / b_length
    cosine = (a * b).sum(dim=1, keepdim=True).clamp(-1, 1)
    across = functional.normalize(b - cosine * a, dim=1)
    angle = share * cosine.acos()
    length = a_length + (b_length - a_length) * share
    points: Tensor = length * (a * angle.cos() + across * angle.sin())
    return points.to(start.dtype)


def without_outliers(values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return the values from the 1st to the 99th percentile, as the published code does before it takes the mean."""
    low, high = np.percentile(values, 1, method="lower"), np.percentile(values, 99, method="higher")
    kept: NDArray[np.floating[Any]] = values[(low <= values) & (values <= high)]
    return kept


def by_lpips(lpips: Lpips) -> Distance:
    """Return the distance of LPIPS."""

    def distance(first: Tensor, second: Tensor) -> Tensor:
        factor = max(1, max(first.shape[-2:]) // LARGEST_PX)
        distances: Tensor = lpips(*(functional.avg_pool2d(colours(images), factor) for images in (first, second)))
        return distances

    return distance


def by_features(network: FeatureNetwork) -> Distance:
    """Return the squared Euclidean distance of the features, each vector scaled to length 1."""
    # The images are not rounded to 8 bits, as `prepare` expects them: the step changes no level.
    size = network.prepare(np.zeros((8, 8, 3), np.uint8)).shape[-2:]

    def unit(images: Tensor) -> Tensor:
        resized = functional.interpolate(colours(images), size, mode="bicubic", antialias=True)
        return functional.normalize(network.module(resized).double(), dim=1)

    return lambda first, second: (unit(first) - unit(second)).square().sum(dim=1)


def colours(images: Tensor) -> Tensor:
    """Return the colours of N×C×H×W as N×3×H×W, without alpha."""
    return images[:, : colour_channels(images.shape[1])].expand(-1, 3, -1, -1)
