"""The only place where a file becomes an array and back.

Imports no torch, and the codecs only when they are used. Reading is in `decode.py`, writing in `encode.py`, the
arithmetic on pixels in `pixels.py`; the rest of the project imports it all from here.
"""

from gan_tasks.datasets.images.decode import IMAGE_SUFFIXES, read
from gan_tasks.datasets.images.encode import write
from gan_tasks.datasets.images.pixels import (
    ImageError,
    Picture,
    Pixels,
    channels_fit,
    fit_channels,
    to_float,
    to_uint8,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageError",
    "Picture",
    "Pixels",
    "channels_fit",
    "fit_channels",
    "read",
    "to_float",
    "to_uint8",
    "write",
]
