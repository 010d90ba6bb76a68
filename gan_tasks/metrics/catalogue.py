"""The catalogue of metrics: key, heading, unit, direction and convention of each. It imports nothing of ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric, and how to show it."""

    key: str
    """Its name in the journal, in JSON and in CSV."""
    heading: str
    """Its name in tables and charts."""
    unit: str
    """Label of a chart's axis."""
    lower_is_better: bool
    convention: str
    """What exactly is computed, as part of a sentence."""
    digits: int = 3
    """Digits after the decimal point in a table."""
    scale: float = 1
    """Factor on the value before it is shown."""


_RGB = "on RGB, or on the channels of the model's output"
_Y = "on Y, studio-range BT.601, unrounded"
_WINDOW = "Gaussian window of 11 px, σ 1.5, without padding"

L1 = Metric("l1", "L1", "mean absolute error", True, f"mean absolute difference of values in [0, 1], {_RGB}", 4)
PSNR = Metric("psnr", "PSNR", "dB", False, f"in dB, mean over the images, {_RGB}", 2)
SSIM = Metric("ssim", "SSIM", "1 = identical", False, f"{_WINDOW}; mean over channels, {_RGB}")
MS_SSIM = Metric("ms_ssim", "MS-SSIM", "1 = identical", False, f"five scales, {_WINDOW}, {_RGB}")
PSNR_Y = Metric("psnr_y", "PSNR of Y", "dB", False, f"in dB, mean over the images, {_Y}", 2)
SSIM_Y = Metric("ssim_y", "SSIM of Y", "1 = identical", False, f"{_WINDOW}, {_Y}")
MS_SSIM_Y = Metric("ms_ssim_y", "MS-SSIM of Y", "1 = identical", False, f"five scales, {_WINDOW}, {_Y}")
LPIPS = Metric("lpips", "LPIPS", "0 = identical", True, "version 0.1, published weights")
_MASKED = "over the masked pixels only, after the unmasked ones are put back; images without a mask are left out"
L1_MASKED = Metric("l1_masked", "L1 in the mask", "mean absolute error", True, f"as L1, {_MASKED}", 4)
PSNR_MASKED = Metric("psnr_masked", "PSNR in the mask", "dB", False, f"as PSNR, {_MASKED}", 2)
SSIM_MASKED = Metric(
    "ssim_masked", "SSIM in the mask", "1 = identical", False, f"as SSIM, over windows centred in the mask; {_MASKED}"
)
NIQE = Metric(
    "niqe_own_fit",
    "NIQE (own fit)",
    "lower = more natural",
    True,
    "distance of local image statistics from those of photographs, without a reference; fitted by this project, so "
    "not comparable with published NIQE; it rewards fine texture of any kind, so compare it with the value of the "
    "real images",
    2,
)
TO_REAL = Metric(
    "to_real", "Distance to the nearest real image", "of features", True, "Euclidean, in the named features", 2
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
"""The metrics of a single image, in the order of tables."""

KERNEL_DISTANCE = Metric(
    "kernel_distance", "Kernel distance ×10³", "×10³", True, "squared maximum mean discrepancy, unbiased", 1, 1e3
)
"""A metric of a whole set of images."""


def metric_named(key: str) -> Metric:
    """Return the metric with this key. Raises StopIteration if there is none."""
    return next(metric for metric in (*PER_IMAGE, KERNEL_DISTANCE) if metric.key == key)
