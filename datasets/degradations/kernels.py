"""Blur kernels of Real-ESRGAN's degradation: isotropic and anisotropic bell shapes, and the sinc filter.

This module needs numpy and scipy only. https://arxiv.org/abs/2107.10833
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Profile = Literal["gaussian", "generalized", "plateau"]
Kernel: TypeAlias = NDArray[np.float32]

LARGEST_KERNEL = 21
"""Height and width of the largest kernel, in pixels."""


@dataclass(frozen=True)
class Bell:
    """A bell-shaped kernel; it is isotropic if both sigmas are equal."""

    profile: Profile
    """gaussian: exp(−q/2), generalized: exp(−q^β/2), plateau: 1/(1 + q^β); q is the squared distance in sigmas."""
    size: int
    """Height and width in pixels, odd."""
    sigmas: tuple[float, float]
    """Standard deviations along the two axes, in pixels."""
    angle: float = 0.0
    """Direction of the first axis, in radians."""
    beta: float = 1.0
    """Exponent β. Below 1 the profile is more peaked, above 1 it is flatter; the gaussian profile has 1."""

    def kernel(self) -> Kernel:
        """Return size×size weights that sum to 1."""
        x, y = _grid(self.size)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        along, across = (x * cos + y * sin) / self.sigmas[0], (y * cos - x * sin) / self.sigmas[1]
        power = (along**2 + across**2) ** self.beta
        return _normalised(1 / (1 + power) if self.profile == "plateau" else np.exp(-power / 2))


@dataclass(frozen=True)
class Sinc:
    """An isotropic sinc low-pass filter. It adds the ringing and overshoot artifacts of bad sharpening."""

    size: int
    """Height and width in pixels, odd."""
    cutoff: float
    """Cutoff frequency in radians per pixel, at most π."""

    def kernel(self) -> Kernel:
        """Return size×size weights that sum to 1: cutoff · J₁(cutoff · r) / (2πr), the transform of a disc."""
        from scipy.special import j1

        r = np.hypot(*_grid(self.size))
        middle = self.size // 2
        r[middle, middle] = 1  # avoids a division by 0; the limit for r → 0 is set below
        kernel = self.cutoff * j1(self.cutoff * r) / (2 * np.pi * r)
        kernel[middle, middle] = self.cutoff**2 / (4 * np.pi)
        return _normalised(kernel)


Blur: TypeAlias = Bell | Sinc


def _grid(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the offsets x and y of each weight from the centre, in pixels."""
    steps = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(steps, steps)
    return x, y


def _normalised(kernel: NDArray[np.float64]) -> Kernel:
    return np.asarray(kernel / kernel.sum(), np.float32)
