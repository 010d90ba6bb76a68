"""Read image files into arrays and write arrays to image files; no other package of the project does this.

Reading is in `decode.py`, writing in `encode.py`, pixel arithmetic in `pixels.py`, and the conversion of colours in
`icc.py`; other packages import all of it from here. This package does not import torch, and it imports a codec only
when a file needs it.
"""

from gan_tasks.datasets.images.decode import IMAGE_SUFFIXES, Reduction, from_pil, read
from gan_tasks.datasets.images.encode import kinds_with_profile, write
from gan_tasks.datasets.images.icc import COLOUR_KINDS, ColourKind, colour_kind, to_srgb
from gan_tasks.datasets.images.limits.sizes import MAX_PIXELS
from gan_tasks.datasets.images.pixels import (
    Coding,
    ImageError,
    Picture,
    Pixels,
    centred,
    channels_fit,
    fit_channels,
    to_float,
    to_planes,
    to_uint8,
)

__all__ = [
    "COLOUR_KINDS",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Coding",
    "ColourKind",
    "ImageError",
    "Picture",
    "Pixels",
    "Reduction",
    "centred",
    "channels_fit",
    "colour_kind",
    "fit_channels",
    "from_pil",
    "kinds_with_profile",
    "read",
    "to_float",
    "to_planes",
    "to_srgb",
    "to_uint8",
    "write",
]
