"""Read 16-bit colour images with Pillow, which decodes them but has no 16-bit colour mode.

Pillow's decoders pass rows of raw bytes to an unpacker, chosen by name, which keeps the high byte of each 16-bit
value. Therefore a file is decoded twice, the second time with the unpacker for the other byte order, which keeps the
low byte. Pillow's documentation ("Writing your own image plugin") explains modes and unpackers; its file Unpack.c
lists them.
"""

import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

_PNG_COLOUR_TYPE_AT, _PNG_GRAY_WITH_ALPHA = 25, b"\x04"


def read_png(file: BinaryIO, image: ImageFile) -> NDArray[np.uint16]:
    """Read a PNG with 16 bits per channel as H×W×C; a transparent colour becomes alpha.

    image: the file as opened by Pillow, which yields the high bytes.
    Raises the exceptions of Pillow's decoders.
    """
    file.seek(_PNG_COLOUR_TYPE_AT)
    if file.read(1) == _PNG_GRAY_WITH_ALPHA:  # 4 bytes per pixel, the same as 8-bit RGBA
        big_endian = _unpacked(PngImageFile, file, "RGBA", "RGBA").view(">u2")
        return np.asarray(big_endian, np.uint16)
    if image.mode == "I;16":
        pixels = np.asarray(image)[..., None]
    else:
        pixels = _joined(np.asarray(image), _unpacked(PngImageFile, file, image.mode, f"{image.mode};16L"))
    transparent = image.info.get("transparency")
    if transparent is None:
        return pixels
    alpha = np.where((pixels == transparent).all(axis=2, keepdims=True), np.uint16(0), np.uint16(65535))
    return np.concatenate([pixels, alpha], axis=2)


def read_tiff(file: BinaryIO, mode: str) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Read an interleaved TIFF that libtiff decompresses as H×W×C, with the orientation applied.

    mode: "I;16" (gray), "RGB" or "RGBA" for unsigned 16-bit values, "F" for gray float32. The fourth channel is
        returned as stored, whatever its meaning.
    Raises the exceptions of Pillow's decoders.
    """
    if mode in ("I;16", "F"):
        return _unpacked(TiffImageFile, file, mode, {"I;16": "I;16N", "F": "F;32NF"}[mode])[..., None]
    # libtiff returns the native byte order (N); the unpacker for this order keeps the high byte.
    other_order = "16B" if sys.byteorder == "little" else "16L"
    high, low = (_unpacked(TiffImageFile, file, mode, f"{mode};{order}") for order in ("16N", other_order))
    return _joined(high, low)


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    pixels = high.astype(np.uint16)
    pixels <<= 8
    pixels |= low
    return pixels


def _unpacked(kind: Callable[[BinaryIO], ImageFile], file: BinaryIO, mode: str, unpacker: str) -> NDArray[Any]:
    file.seek(0)
    image = kind(file)
    (tile,) = image.tile
    more = tile.args[1:] if isinstance(tile.args, tuple) else None  # TIFF: compression, …; PNG: no more
    image._mode = mode
    image.tile = [tile._replace(args=unpacker if more is None else (unpacker, *more))]
    return np.asarray(image)
