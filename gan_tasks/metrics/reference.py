"""Full-reference metrics: L1, PSNR, SSIM and MS-SSIM between an output and its target.

Each function takes two float tensors N×C×H×W in [-1, 1] and returns N float32 values, computed over all channels.
They are computed in full precision, also within autocast. All raise ValueError if the shapes differ.

Papers on super-resolution report the values of `luma` after `crop_border`:

    psnr(luma(crop_border(image, 4)), luma(crop_border(target, 4)))
"""

import torch
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, from the full size to a sixteenth."""
MS_SSIM_LEAST_PX = SSIM_WINDOW_PX * 2 ** (len(MS_SSIM_WEIGHTS) - 1)
"""Smallest height and width of MS-SSIM, 176 px: the fifth scale then still contains one window."""


def luma(images: Tensor) -> Tensor:
    """Convert RGB N×3×H×W in [-1, 1] to Y, N×1×H×W: studio-range BT.601 (16 to 235 of 255), unrounded.

    It is the Y of MATLAB's `rgb2ycbcr`, scaled from 0…255 to [-1, 1]. Gray images N×1×H×W are returned unchanged, as
    is usual. Raises ValueError for other numbers of channels.
    """
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise ValueError(f"cannot take the luma of {images.shape[1]} channels: expected RGB or gray")
    weights = torch.tensor([65.481, 128.553, 24.966], device=images.device).view(1, 3, 1, 1)
    levels = 16 + ((images.float() + 1) / 2 * weights).sum(dim=1, keepdim=True)
    return levels / 127.5 - 1


def crop_border(images: Tensor, border_px: int) -> Tensor:
    """Crop `border_px` pixels on each side of N×C×H×W; for super-resolution papers crop `scale` pixels.

    Raises ValueError if nothing would be left, or `border_px` is negative.
    """
    height, width = images.shape[-2:]
    if border_px < 0 or 2 * border_px >= min(height, width):
        raise ValueError(f"cannot crop {border_px} px on each side of {height}×{width} px")
    return images[..., border_px : height - border_px, border_px : width - border_px]


@torch.no_grad()
def full_reference(image: Tensor, target: Tensor, *, border_px: int = 0) -> dict[str, Tensor]:
    """Return all metrics of this module, N values each, by name.

    The names are "l1_rgb", "psnr_rgb", "ssim_rgb", "ms_ssim_rgb", "psnr_y", "ssim_y" and "ms_ssim_y". `border_px`
    pixels on each side are left out. A value is nan if the images are too small for the metric. If the images are
    neither RGB nor gray, the metrics on Y are left out.
    """
    image, target = _comparable(crop_border(image, border_px), crop_border(target, border_px))
    values = {"l1_rgb": l1(image, target)}
    for name, convert in (("rgb", lambda images: images), ("y", luma)):
        if name == "y" and image.shape[1] not in (1, 3):
            continue
        a, b = convert(image), convert(target)
        values[f"psnr_{name}"], values[f"ssim_{name}"] = psnr(a, b), ssim(a, b)
        large = min(a.shape[-2:]) >= MS_SSIM_LEAST_PX
        values[f"ms_ssim_{name}"] = ms_ssim(a, b) if large else torch.full((len(a),), torch.nan, device=a.device)
    return values


@torch.no_grad()
def l1(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of values scaled to [0, 1], N values."""
    image, target = _comparable(image, target)
    return (image - target).abs().flatten(1).mean(dim=1) / 2


@torch.no_grad()
def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, N values; the peak is the whole value range. Equal images give
    inf.

    The average of these values is the mean PSNR of the images. It is not the PSNR of their pooled error.
    """
    image, target = _comparable(image, target)
    squared_error = (image - target).square().flatten(1).mean(dim=1)
    return 10 * torch.log10(2**2 / squared_error)


@torch.no_grad()
def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity, N values; equal images give 1.

    It uses an 11×11 Gaussian window with σ 1.5 px and no padding, and is the mean over windows and channels. The
    values are nan if the images are smaller than one window. Wang et al. 2004,
    https://doi.org/10.1109/TIP.2003.819861
    """
    image, target = _comparable(image, target)
    if min(image.shape[-2:]) < SSIM_WINDOW_PX:
        return torch.full((len(image),), torch.nan, device=image.device)
    return _similarities(image, target)[0].mean(dim=1).float()


@torch.no_grad()
def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity of each window at its centre, N×C×(H - 10)×(W - 10); see `ssim`.

    Raises ValueError if the images are smaller than one window.
    """
    image, target = _comparable(image, target)
    if min(image.shape[-2:]) < SSIM_WINDOW_PX:
        raise ValueError(
            f"SSIM needs {SSIM_WINDOW_PX} px or more along each side, got {image.shape[-2]}×{image.shape[-1]} px"
        )
    return _similarity_maps(image, target)[0].float()


@torch.no_grad()
def ms_ssim(image: Tensor, target: Tensor) -> Tensor:
    """Return the multi-scale structural similarity, N values; equal images give 1.

    There are five scales. Each is half of the one before, by means of 2×2 px. The value is the product of the
    contrast-structure terms of all scales and the luminance term of the last one, with the exponents of the paper. It
    is computed per channel, and then averaged over the channels. A negative mean contrast counts as 0. Wang et al.
    2003, https://doi.org/10.1109/ACSSC.2003.1292216

    Raises ValueError if H or W is less than 176 px, because with fewer scales it would be another metric.
    """
    return ssim_and_ms_ssim(image, target)[1]


@torch.no_grad()
def ssim_and_ms_ssim(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of `ssim` and of `ms_ssim` in one pass. Raises ValueError as `ms_ssim` does."""
    image, target = _comparable(image, target)
    if min(image.shape[-2:]) < MS_SSIM_LEAST_PX:
        raise ValueError(
            f"MS-SSIM needs {MS_SSIM_LEAST_PX} px or more along each side, got "
            f"{image.shape[-2]}×{image.shape[-1]} px: use SSIM for smaller images"
        )
    product = torch.ones((), device=image.device)
    similarities = []
    for scale, exponent in enumerate(MS_SSIM_WEIGHTS, start=1):
        similarity, contrast = _similarities(image, target)
        similarities.append(similarity)
        term = similarity if scale == len(MS_SSIM_WEIGHTS) else contrast
        product = product * term.clamp(min=0) ** exponent
        image, target = functional.avg_pool2d(image, 2), functional.avg_pool2d(target, 2)
    return similarities[0].mean(dim=1).float(), product.mean(dim=1).float()


def _comparable(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Convert both to float32. Raises ValueError if the shapes differ."""
    if image.shape != target.shape:  # otherwise broadcasting would hide the mistake
        raise ValueError(f"cannot compare {tuple(image.shape)} with {tuple(target.shape)}: the shapes must be equal")
    return image.float(), target.float()


def _similarities(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means over the windows, N×C, of SSIM and of its contrast-structure term."""
    similarity, contrast = _similarity_maps(image, target)
    return similarity.mean(dim=(2, 3)), contrast.mean(dim=(2, 3))


def _similarity_maps(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return SSIM and its contrast-structure term for each window, of values scaled to [0, 1]."""
    if image.is_cuda:  # TF32 convolutions are too inexact for variances; float64 does not use TF32
        image, target = image.double(), target.double()
    x, y = (image + 1) / 2, (target + 1) / 2
    with torch.autocast(image.device.type, enabled=False):
        mean_x, mean_y, square_x, square_y, product = map(_windowed, (x, y, x * x, y * y, x * y))
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    variances = square_x - mean_x**2 + square_y - mean_y**2
    contrast = (2 * (product - mean_x * mean_y) + 0.03**2) / (variances + 0.03**2)
    return luminance * contrast, contrast


def _windowed(images: Tensor) -> Tensor:
    """Return the Gaussian-weighted means of all windows, first along the rows' axis, then along the columns' axis."""
    offsets = torch.arange(SSIM_WINDOW_PX) - SSIM_WINDOW_PX // 2
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    for axis in (2, 3):
        length = images.shape[axis] - SSIM_WINDOW_PX + 1
        # A sum of shifted images is several times as fast as a convolution of one channel.
        total = torch.zeros_like(images.narrow(axis, 0, length))
        for start, weight in enumerate(window / window.sum()):
            total.add_(images.narrow(axis, start, length), alpha=float(weight))
        images = total
    return images
