"""JPEG compression artifacts computed on tensors, without moving the images to the CPU.

The steps are those of baseline JPEG in libjpeg (ITU-T T.81), without the entropy coding, which is lossless.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Quantisation tables: T.81, tables K.1 and K.2.
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)
# JFIF: R, G and B to Y, Cb and Cr, without the offset of 128 of Cb and Cr.
_TO_YCBCR = torch.tensor(
    (
        (0.299, 0.587, 0.114),
        (-0.168735892, -0.331264108, 0.5),
        (0.5, -0.418687589, -0.081312411),
    )
)
_TO_RGB = torch.linalg.inv(_TO_YCBCR)  # on the CPU: a GPU would wait for the check that it is regular


def compress(images: Tensor, quality: int) -> Tensor:
    """Compress and decompress N×3×H×W RGB in [0, 1] as JPEG with 4:2:0 subsampling; the result has 8-bit steps.

    quality: 1 to 100, on libjpeg's scale. The result has the shape of the input.
    """
    height, width = images.shape[-2:]
    pixels = (images.clamp(0, 1) * 255).round()
    to_ycbcr, to_rgb = (each.to(images.device, non_blocking=True) for each in (_TO_YCBCR, _TO_RGB))
    ycbcr = torch.einsum("dc,nchw->ndhw", to_ycbcr, pixels).round()
    luma = _lossy(ycbcr[:, :1] - 128, _table(_LUMA_TABLE, quality, images.device))
    chroma = _lossy(_halved(ycbcr[:, 1:]), _table(_CHROMA_TABLE, quality, images.device))
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear").round()[..., :height, :width]
    ycbcr = torch.cat([luma + 128, chroma], dim=1)
    rgb = torch.einsum("cd,ndhw->nchw", to_rgb, ycbcr)
    return rgb.round().clamp(0, 255) / 255


def _halved(planes: Tensor) -> Tensor:
    """Average 2×2 pixels. Like libjpeg, round .5 down and up in alternating columns, to keep the mean."""
    means = F.avg_pool2d(_extended(planes, 2), 2)
    is_odd = torch.arange(means.shape[-1], device=planes.device) % 2
    return (means + 0.25 + 0.25 * is_odd).floor()


def _lossy(planes: Tensor, table: Tensor) -> Tensor:
    """Quantise the cosine transform of each 8×8 block of N×C×H×W signed 8-bit values; return the same shape."""
    height, width = planes.shape[-2:]
    blocks = _extended(planes, 8).unfold(2, 8, 8).unfold(3, 8, 8)
    dct = _dct(planes.device)
    coefficients = (dct @ blocks @ dct.mT / table).round() * table
    blocks = (dct.mT @ coefficients @ dct).round().clamp(-128, 127)
    rows, columns = blocks.shape[2:4]
    whole = blocks.permute(0, 1, 2, 4, 3, 5).reshape(*planes.shape[:2], rows * 8, columns * 8)
    return whole[..., :height, :width]


def _extended(planes: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of `multiple`."""
    height, width = planes.shape[-2:]
    return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _table(table: tuple[tuple[int, ...], ...], quality: int, device: torch.device) -> Tensor:
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = [[float(min(max((step * percent + 50) // 100, 1), 255)) for step in row] for row in table]
    return torch.tensor(steps).to(device, non_blocking=True)


def _dct(device: torch.device) -> Tensor:
    """Return the orthonormal 8×8 DCT-II matrix: row k is a cosine of k/2 periods."""
    k, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    basis = torch.cos((2 * x + 1) * k * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis.to(device, non_blocking=True)
