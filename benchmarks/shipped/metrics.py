"""The metrics of single images and of sets, of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gan_tasks.datasets.images import Pixels, to_float
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.evaluation.result import Figure
from gan_tasks.metrics.distribution import compare_kernel_distances, kernel_distance
from gan_tasks.metrics.masked_region import masked_metrics
from gan_tasks.metrics.reference import crop_border, luma, psnr, ssim
from shipped.data import Features
from shipped.results import Column, Goal

ROUNDING = 1e-9
"""Largest kernel distance ×10³ between equal images."""


def tensor(pixels: Pixels) -> torch.Tensor:
    """Return 1×C×H×W in [-1, 1]."""
    return torch.from_numpy(to_float(pixels))[None]


def psnr_of(image: Pixels, target: Pixels) -> float:
    """Return the PSNR in dB over all channels; inf for equal images."""
    return float(psnr(tensor(image), tensor(target)))


def psnr_ssim_y(image: Pixels, target: Pixels, border_px: int) -> tuple[float, float]:
    """Return PSNR in dB and SSIM on Y, without pixels at the border, as papers on super-resolution report them."""
    a, b = (luma(crop_border(tensor(pixels), border_px)) for pixels in (image, target))
    return float(psnr(a, b)), float(ssim(a, b))


def psnr_in(mask: Mask, image: Pixels, target: Pixels) -> float:
    """Return the PSNR in dB over the pixels of an H×W mask; nan for an empty mask."""
    values = masked_metrics(tensor(image), tensor(target), torch.from_numpy(np.ascontiguousarray(mask))[None, None])
    return float(values["psnr_masked"])


def distance(real: Features, made: Features) -> Figure:
    """Return the kernel distance ×10³."""
    found = kernel_distance(real, made)
    return Figure(1e3 * found.value, 1e3 * found.low, 1e3 * found.high)


def chance(real: Features) -> Figure:
    """Return the kernel distance ×10³ between random halves of the real images, with its 95 % range."""
    found = kernel_distance(real, real).real_vs_real
    return Figure(1e3 * found.value, 1e3 * found.low, 1e3 * found.high)


@dataclass(frozen=True)
class Nearer:
    """By how much one set of images is nearer to the real ones than another, by the kernel distance ×10³."""

    first: Figure
    second: Figure
    difference: Figure
    """First − second."""

    @property
    def is_clear(self) -> bool:
        """Whether the whole interval is below 0, by more than rounding."""
        return self.difference.high < -ROUNDING

    def goal(self, aim: str, largest_ratio: float = 1.0) -> Goal:
        """Return the goal that the first is at most so large a share of the second, and the difference clear."""
        difference = Column("", 1, is_gain=True).text(self.difference)
        found = f"{self.first.mean:.1f} against {self.second.mean:.1f}, a difference of {difference}"
        is_met = self.is_clear and self.first.mean <= largest_ratio * self.second.mean
        return Goal(aim, found.replace("-", "−"), is_met)


def nearer(real: Features, first: Features, second: Features) -> Nearer:
    """Compare two sets of outputs for the same inputs."""
    found = compare_kernel_distances(real, first, second)
    difference = Figure(1e3 * found.difference, 1e3 * found.low, 1e3 * found.high)
    return Nearer(distance(real, first), distance(real, second), difference)
