"""Blur kernels of Real-ESRGAN's degradation: bell shapes, round or elongated, and the sinc, which rings.

numpy and scipy only. https://arxiv.org/abs/2107.10833
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Profile = Literal["gaussian", "generalized", "plateau"]
Kernel: TypeAlias = NDArray[np.float32]

LARGEST_KERNEL = 21
"""Taps a side."""


@dataclass(frozen=True)
class Bell:
    """A kernel that falls off in every direction; round if both of its sigmas are the same."""

    profile: Profile
    """gaussian: exp(−q/2), generalized: exp(−q^β/2), plateau: 1/(1 + q^β); q is the squared distance in sigmas."""
    size: int
    """Taps a side, odd."""
    sigmas: tuple[float, float]
    """Along its two axes, in pixels."""
    angle: float = 0.0
    """Of the first axis, in radians."""
    beta: float = 1.0
    """Below 1 the profile is more peaked, above 1 flatter; the gaussian one has 1."""

    def kernel(self) -> Kernel:
        """size×size weights that sum to 1."""
        x, y = _grid(self.size)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        along, across = (x * cos + y * sin) / self.sigmas[0], (y * cos - x * sin) / self.sigmas[1]
        power = (along**2 + across**2) ** self.beta
        return _normalised(1 / (1 + power) if self.profile == "plateau" else np.exp(-power / 2))


@dataclass(frozen=True)
class Sinc:
    """A sharp low-pass filter, alike in all directions: it leaves the ringing and overshoot of bad sharpening."""

    size: int
    """Taps a side, odd."""
    cutoff: float
    """The highest frequency that passes, in radians a pixel, up to π."""

    def kernel(self) -> Kernel:
        """size×size weights that sum to 1: cutoff · J₁(cutoff · r) / (2πr), the transform of a disc."""
        from scipy.special import j1

        r = np.hypot(*_grid(self.size))
        middle = self.size // 2
        r[middle, middle] = 1  # any but 0; the limit is put in below
        kernel = self.cutoff * j1(self.cutoff * r) / (2 * np.pi * r)
        kernel[middle, middle] = self.cutoff**2 / (4 * np.pi)
        return _normalised(kernel)


Blur: TypeAlias = Bell | Sinc


def _grid(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The offsets x and y of each tap from the middle, in pixels."""
    steps = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(steps, steps)
    return x, y


def _normalised(kernel: NDArray[np.float64]) -> Kernel:
    return np.asarray(kernel / kernel.sum(), np.float32)
