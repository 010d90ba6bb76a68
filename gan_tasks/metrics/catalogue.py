"""The measures of a single image, by name: how each is called, which way is better, by what convention. No imports.

A key is what the journal, JSON and CSV call it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    key: str
    heading: str
    unit: str
    """For a chart's axis."""
    lower_is_better: bool
    convention: str
    """What exactly is computed, in a sentence part."""
    digits: int = 3
    """After the point, in a table."""
    scale: float = 1
    """What a value is multiplied by before it is shown."""


_RGB = "on RGB, or whatever channels the model makes"
_Y = "on Y, studio-range BT.601, unrounded"
_WINDOW = "Gaussian window of 11 px, σ 1.5, where it fits whole"

L1 = Metric("l1", "L1", "mean absolute error", True, f"mean absolute difference of values in [0, 1], {_RGB}", 4)
PSNR = Metric("psnr", "PSNR", "dB", False, f"in dB, a mean of the images' own, {_RGB}", 2)
SSIM = Metric("ssim", "SSIM", "1 = identical", False, f"{_WINDOW}; mean over channels, {_RGB}")
MS_SSIM = Metric("ms_ssim", "MS-SSIM", "1 = identical", False, f"five scales, {_WINDOW}, {_RGB}")
PSNR_Y = Metric("psnr_y", "PSNR of Y", "dB", False, f"in dB, a mean of the images' own, {_Y}", 2)
SSIM_Y = Metric("ssim_y", "SSIM of Y", "1 = identical", False, f"{_WINDOW}, {_Y}")
MS_SSIM_Y = Metric("ms_ssim_y", "MS-SSIM of Y", "1 = identical", False, f"five scales, {_WINDOW}, {_Y}")
LPIPS = Metric("lpips", "LPIPS", "0 = identical", True, "version 0.1, published weights")
_MASKED = "over the pixels of the hole alone, those given put back before; images without a hole do not count"
L1_MASKED = Metric("l1_masked", "L1 in the hole", "mean absolute error", True, f"as L1, {_MASKED}", 4)
PSNR_MASKED = Metric("psnr_masked", "PSNR in the hole", "dB", False, f"as PSNR, {_MASKED}", 2)
SSIM_MASKED = Metric(
    "ssim_masked", "SSIM in the hole", "1 = identical", False, f"as SSIM, of windows centred in the hole; {_MASKED}"
)
NIQE = Metric(
    "niqe_own_fit",
    "NIQE (own fit)",
    "lower = more natural",
    True,
    "distance of local statistics from those of photographs, no reference; fitted by this project, not to be set "
    "beside published NIQE; it rewards fine texture of any kind: look at what the real images have",
    2,
)
TO_REAL = Metric(
    "to_real", "Distance to the nearest real image", "of features", True, "Euclidean, of the named features", 2
)

PER_IMAGE = (
    L1,
    PSNR,
    SSIM,
    MS_SSIM,
    PSNR_Y,
    SSIM_Y,
    MS_SSIM_Y,
    LPIPS,
    L1_MASKED,
    PSNR_MASKED,
    SSIM_MASKED,
    NIQE,
    TO_REAL,
)
"""In the order of tables."""

KERNEL_DISTANCE = Metric(
    "kernel_distance", "Kernel distance ×10³", "×10³", True, "squared maximum mean discrepancy, unbiased", 1, 1e3
)
"""Of a whole set of images."""


def metric_named(key: str) -> Metric:
    return next(metric for metric in (*PER_IMAGE, KERNEL_DISTANCE) if metric.key == key)
