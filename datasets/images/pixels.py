"""Convert the channels and the value range of pixel arrays. This module needs numpy only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError

Pixels = NDArray[Any]
"""H×W×C, uint8 [0, 255], uint16 [0, 65535] or float32 [-1, 1]."""

REC_601 = np.array([0.299, 0.587, 0.114], np.float32)
"""Luma weights of R, G and B (ITU-R BT.601)."""
_PIXELS_AT_ONCE = 2**20


class ImageError(UserError):
    """An image cannot be read, written or used. The message names the file and the reason."""


@dataclass(frozen=True)
class Coding:
    """How the file of an image was encoded, as far as a file of the same format keeps it.

    subsampling: (horizontal, vertical) pixels per chroma value of a colour JPEG; None for other files.
    is_lossless_webp: whether the file was a WebP without loss.
    png_chunks: (type, body) of chunks that define the colour space of a PNG; they stand beside the ICC profile.
    """

    subsampling: tuple[int, int] | None = None
    is_lossless_webp: bool = False
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True)
class Picture:
    """A decoded image, what its values mean as colours, and how its file was encoded.

    pixels: H×W×C, upright (EXIF orientation applied); uint8, uint16, or float32 from a float TIFF or NPY file.
        Channels are gray, gray + alpha, RGB, RGB + alpha, or any others from a TIFF or NPY file. Colours are not
        premultiplied by alpha.
    icc_profile: the ICC profile of the values; None means sRGB.
    notes: remarks for the user on what of the file could not be kept.
    """

    pixels: Pixels
    icc_profile: bytes | None = None
    coding: Coding = Coding()
    notes: tuple[str, ...] = ()


def channels_fit(present: int, channels: int) -> bool:
    """Return whether `fit_channels` can convert `present` channels to `channels`."""
    return present == channels or {present, channels} <= {1, 2, 3, 4}


def fit_channels(pixels: Pixels, channels: int) -> Pixels:
    """Convert H×W×C pixels to the given number of channels.

    Gray is repeated to RGB; RGB becomes gray by Rec. 601 luma (rounded for integers); alpha is dropped, or added as
    opaque. Raises ImageError for any other conversion.
    """
    present = pixels.shape[2]
    if present == channels:
        return pixels
    if not channels_fit(present, channels):
        raise ImageError(
            f"the image has {present} channels and {channels} are expected; only gray and RGB, with or without "
            f"alpha, can be converted: give an image with {channels} channels"
        )
    has_alpha = present in (2, 4)
    colour = pixels[..., :-1] if has_alpha else pixels
    if channels in (1, 2) and colour.shape[2] == 3:
        colour = _luma(colour)
    elif channels in (3, 4) and colour.shape[2] == 1:
        colour = np.repeat(colour, 3, axis=2)
    if channels in (1, 3):
        return np.ascontiguousarray(colour)
    alpha = pixels[..., -1:] if has_alpha else np.full_like(pixels[..., :1], _opaque(pixels.dtype))
    return np.concatenate([colour, alpha], axis=2)


def with_transparent_colour(pixels: Pixels, colour: tuple[int, ...]) -> Pixels:
    """Add alpha to H×W×C integers, which is 0 where all channels equal the colour."""
    is_opaque = (pixels != np.array(colour, pixels.dtype)).any(axis=2, keepdims=True)
    return np.concatenate([pixels, is_opaque * pixels.dtype.type(_opaque(pixels.dtype))], axis=2)


def unassociated(pixels: Pixels) -> Pixels:
    """Divide premultiplied colours by alpha, the last channel; integers are rounded and clipped to their range.

    Pixels with an alpha of 0 have no colour and stay as they are.
    """
    opaque, result = _opaque(pixels.dtype), pixels.copy()
    rows = max(1, _PIXELS_AT_ONCE // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        part = pixels[top : top + rows]
        colour, alpha = part[..., :-1], part[..., -1:]
        visible = alpha > 0
        divided = colour * np.divide(opaque, alpha, where=visible, out=np.ones(visible.shape))
        if pixels.dtype.kind == "u":
            divided = np.minimum(np.rint(divided), opaque)
        result[top : top + rows, :, :-1] = np.where(visible, divided, colour)
    return result


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """Map the full range of H×W×C uint8 or uint16 to C×H×W float32 in [-1, 1]; float32 is clipped to [-1, 1]."""
    return centred(pixels.transpose(2, 0, 1))


def to_planes(pixels: Pixels) -> Pixels:
    """Bring H×W×C to C×H×W: uint8 as it is, others by `to_float`. `centred` makes the same of both."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if pixels.dtype == np.uint8 else to_float(pixels)


def centred(values: Pixels) -> NDArray[np.float32]:
    """Map the full range of uint8 or uint16 of any shape to [-1, 1]; float32 is clipped to [-1, 1]."""
    if values.dtype.kind != "u":
        return np.ascontiguousarray(np.clip(values, -1, 1), np.float32)
    result = values.astype(np.float32, order="C")
    result /= np.float32(np.iinfo(values.dtype).max / 2)
    result -= 1
    return result


def to_uint8(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Clip C×H×W float to [-1, 1], map it to H×W×C uint8, and round: the exact inverse of `to_float` for uint8."""
    levels = np.rint((np.clip(values, -1, 1) + 1) * np.float32(127.5)).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def _luma(colour: Pixels) -> Pixels:
    gray = colour.astype(np.float32) @ REC_601
    if np.issubdtype(colour.dtype, np.integer):
        gray = np.rint(gray)
    return gray.astype(colour.dtype)[..., None]


def _opaque(dtype: np.dtype[Any]) -> float:
    return int(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0
