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
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    EXTRASAMPLES,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLESPERPIXEL,
    TiffImageFile,
)

from gan_tasks.datasets.images.pixels import Pixels

_PNG_COLOUR_TYPE_AT, _PNG_GRAY_WITH_ALPHA = 25, b"\x04"


def read_png(file: BinaryIO, image: ImageFile) -> NDArray[np.uint16]:
    """Read a PNG with 16 bits per channel as H×W×C.

    image: the file as opened by Pillow, which yields the high bytes.
    Raises the exceptions of Pillow's decoders.
    """
    file.seek(_PNG_COLOUR_TYPE_AT)
    if file.read(1) == _PNG_GRAY_WITH_ALPHA:  # 4 bytes per pixel, the same as 8-bit RGBA
        big_endian = _unpacked(PngImageFile, file, "RGBA", "RGBA").view(">u2")
        return np.asarray(big_endian, np.uint16)
    if image.mode == "I;16":
        return np.asarray(image)[..., None]
    return _joined(np.asarray(image), _unpacked(PngImageFile, file, image.mode, f"{image.mode};16L"))


def read_tiff(file: BinaryIO, mode: str) -> Pixels:
    """Read an interleaved TIFF that libtiff decompresses as H×W×C, with the orientation applied.

    mode: "LA" or "RGBA" for uint8, "I;16", "LA;16", "RGB;16" or "RGBA;16" for uint16, "F" for gray float32. The last
        channel is returned as stored, whatever its meaning.
    Raises the exceptions of Pillow's decoders.
    """
    if mode in ("I;16", "F"):
        return _unpacked(TiffImageFile, file, mode, {"I;16": "I;16N", "F": "F;32NF"}[mode])[..., None]
    # Pillow does not know some of these layouts. libtiff decompresses them by the file's tags.
    if mode in ("LA", "RGBA"):
        return _unpacked(_SomeTiff, file, mode, mode)
    if mode == "LA;16":  # 4 bytes per pixel, the same as 8-bit RGBA
        return np.asarray(_unpacked(_SomeTiff, file, "RGBA", "RGBA").view(np.uint16))
    mode = mode.removesuffix(";16")
    # libtiff returns the native byte order (N); the unpacker for this order keeps the high byte.
    other_order = "16B" if sys.byteorder == "little" else "16L"
    high, low = (_unpacked(_SomeTiff, file, mode, f"{mode};{order}") for order in ("16N", other_order))
    return _joined(high, low)


class _SomeTiff(TiffImageFile):
    """A TIFF that Pillow opens as 8-bit RGBA whatever its channels are; the mode is set afterwards."""

    def _setup(self) -> None:
        self.tag_v2[PHOTOMETRIC_INTERPRETATION] = 2
        self.tag_v2[BITSPERSAMPLE] = (8, 8, 8, 8)
        self.tag_v2[SAMPLESPERPIXEL] = 4
        self.tag_v2[EXTRASAMPLES] = (2,)
        super()._setup()


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
