"""Full-reference measures: an answer beside the truth.

Each takes two float tensors N×C×H×W in [-1, 1] and gives one float32 value an image, of RGB or whatever channels
there are. They are computed in full precision, with or without autocast around them. Shapes that differ raise
ValueError. What the field reports for super-resolution is the same of `luma` after `crop_border`:

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
"""176: the smallest side whose fifth scale still holds a window."""


def luma(images: Tensor) -> Tensor:
    """N×3×H×W RGB in [-1, 1] → N×1×H×W, studio-range BT.601 Y (16 to 235 of 255) on the same scale, unrounded.

    This is the Y of MATLAB's `rgb2ycbcr`. One channel is gray already and comes back as it is, as the field has it.
    Raises ValueError for other numbers of channels.
    """
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise ValueError(f"cannot take the luma of {images.shape[1]} channels: expected RGB or gray")
    weights = torch.tensor([65.481, 128.553, 24.966], device=images.device).view(1, 3, 1, 1)
    levels = 16 + ((images.float() + 1) / 2 * weights).sum(dim=1, keepdim=True)
    return levels / 127.5 - 1


def crop_border(images: Tensor, border_px: int) -> Tensor:
    """Without `border_px` pixels on each side; the field crops as many as the scale of super-resolution.

    Raises ValueError where nothing would be left.
    """
    height, width = images.shape[-2:]
    if border_px < 0 or 2 * border_px >= min(height, width):
        raise ValueError(f"cannot crop {border_px} px on each side of {height}×{width} px")
    return images[..., border_px : height - border_px, border_px : width - border_px]


@torch.no_grad()
def full_reference(image: Tensor, target: Tensor, *, border_px: int = 0) -> dict[str, Tensor]:
    """All measures here: {"l1_rgb", "psnr_rgb", "ssim_rgb", "ms_ssim_rgb", "psnr_y", "ssim_y", "ms_ssim_y"}.

    N values each, of the images without `border_px` pixels on each side. Where an image is too small for a measure
    its value is nan; where the channels are neither RGB nor gray, those on Y are left out.
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
    """Mean absolute difference of pixel values in [0, 1]: half of what it is on [-1, 1]. N values."""
    image, target = _comparable(image, target)
    return (image - target).abs().flatten(1).mean(dim=1) / 2


@torch.no_grad()
def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over the whole range of 2, as 255 is on 8 bits; equal images give inf.

    N values: an average over them is the mean of the images' PSNRs, not the PSNR of their pooled error.
    """
    image, target = _comparable(image, target)
    squared_error = (image - target).square().flatten(1).mean(dim=1)
    return 10 * torch.log10(2**2 / squared_error)


@torch.no_grad()
def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity, 1 for equal images: an 11×11 Gaussian window of σ 1.5 px wherever it fits whole.

    N values, the mean over windows and channels; nan where an image is smaller than one window.
    Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    image, target = _comparable(image, target)
    if min(image.shape[-2:]) < SSIM_WINDOW_PX:
        return torch.full((len(image),), torch.nan, device=image.device)
    return _similarities(image, target)[0].mean(dim=1).float()


@torch.no_grad()
def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """The similarity of each window that `ssim` takes the mean of: N×C×(H - 10)×(W - 10), by the window's centre.

    Raises ValueError where an image is smaller than one window.
    """
    image, target = _comparable(image, target)
    if min(image.shape[-2:]) < SSIM_WINDOW_PX:
        raise ValueError(f"no window of {SSIM_WINDOW_PX} px fits {image.shape[-2]}×{image.shape[-1]} px")
    return _similarity_maps(image, target)[0].float()


@torch.no_grad()
def ms_ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity at five scales, each half the last (means of 2×2 px): 1 for equal images. N values.

    The product over scales of contrast and structure, and of luminance at the last, with the published exponents;
    per channel, then the mean of the channels. A negative mean contrast counts as 0.
    Wang et al. 2003, https://doi.org/10.1109/ACSSC.2003.1292216

    Raises ValueError for images with a side of less than 176 px: with fewer scales it would be another measure.
    """
    return ssim_and_ms_ssim(image, target)[1]


@torch.no_grad()
def ssim_and_ms_ssim(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """What `ssim` and `ms_ssim` give, in the time of the second. Raises as it does."""
    image, target = _comparable(image, target)
    if min(image.shape[-2:]) < MS_SSIM_LEAST_PX:
        raise ValueError(
            f"MS-SSIM needs {MS_SSIM_LEAST_PX} px on each side and the images have "
            f"{image.shape[-2]}×{image.shape[-1]}: use SSIM for small ones"
        )
    product = torch.ones((), device=image.device)
    wholes = []
    for scale, exponent in enumerate(MS_SSIM_WEIGHTS, start=1):
        whole, contrast = _similarities(image, target)
        wholes.append(whole)
        similarity = whole if scale == len(MS_SSIM_WEIGHTS) else contrast
        product = product * similarity.clamp(min=0) ** exponent
        image, target = functional.avg_pool2d(image, 2), functional.avg_pool2d(target, 2)
    return wholes[0].mean(dim=1).float(), product.mean(dim=1).float()


def _comparable(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if image.shape != target.shape:  # broadcasting would hide it
        raise ValueError(f"cannot measure {tuple(image.shape)} against {tuple(target.shape)}: shapes must agree")
    return image.float(), target.float()


def _similarities(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """N×C means over windows of SSIM, and of its contrast and structure alone."""
    whole, contrast = _similarity_maps(image, target)
    return whole.mean(dim=(2, 3)), contrast.mean(dim=(2, 3))


def _similarity_maps(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM of each window, and its contrast and structure alone, with values over [0, 1]."""
    if image.is_cuda:  # TF32 convolutions lose the variances; float64 is out of their reach
        image, target = image.double(), target.double()
    x, y = (image + 1) / 2, (target + 1) / 2
    with torch.autocast(image.device.type, enabled=False):
        mean_x, mean_y, square_x, square_y, product = map(_windowed, (x, y, x * x, y * y, x * y))
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    variances = square_x - mean_x**2 + square_y - mean_y**2
    contrast = (2 * (product - mean_x * mean_y) + 0.03**2) / (variances + 0.03**2)
    return luminance * contrast, contrast


def _windowed(images: Tensor) -> Tensor:
    """Gaussian means wherever the window fits: first over rows, then over columns."""
    offsets = torch.arange(SSIM_WINDOW_PX) - SSIM_WINDOW_PX // 2
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    for axis in (2, 3):
        length = images.shape[axis] - SSIM_WINDOW_PX + 1
        # Sums of shifted images: for one channel a convolution takes several times as long.
        total = torch.zeros_like(images.narrow(axis, 0, length))
        for start, weight in enumerate(window / window.sum()):
            total.add_(images.narrow(axis, start, length), alpha=float(weight))
        images = total
    return images
