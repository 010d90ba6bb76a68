"""Pictures that the decoding process sends to the server."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from typing import IO

import numpy as np

from gan_tasks.datasets.images import Coding, ImageError, Picture
from gan_tasks.export.onnx.apart.messages import BrokenPipe, read_into, receive_header, send

_DTYPES = ("uint8", "uint16", "float32")


def send_picture(pipe: IO[bytes], picture: Picture) -> None:
    coding, profile = picture.coding, picture.icc_profile
    header = {
        "shape": picture.pixels.shape,
        "dtype": str(picture.pixels.dtype),
        "profile": None if profile is None else b64encode(profile).decode(),
        "subsampling": coding.subsampling,
        "is_lossless_webp": coding.is_lossless_webp,
        "png_chunks": [[b64encode(each).decode() for each in chunk] for chunk in coding.png_chunks],
        "notes": picture.notes,
    }
    send(pipe, header, picture.pixels.data.cast("B"))


def receive_picture(pipe: IO[bytes], max_values: int) -> Picture:
    """Read a picture of at most so many values. Raises ImageError where the other process refused the file."""
    header = receive_header(pipe)
    if header is None:
        raise BrokenPipe
    if "error" in header:
        raise ImageError(str(header["error"]))
    try:
        shape, dtype = tuple(int(side) for side in header["shape"]), header["dtype"]
        if len(shape) != 3 or min(shape) < 1 or math.prod(shape) > max_values or dtype not in _DTYPES:
            raise BrokenPipe
        profile, sampling = header["profile"], header["subsampling"]
        coding = Coding(
            None if sampling is None else (int(sampling[0]), int(sampling[1])),
            bool(header["is_lossless_webp"]),
            tuple((b64decode(kind), b64decode(body)) for kind, body in header["png_chunks"]),
        )
        notes = tuple(str(note) for note in header["notes"])
        icc = None if profile is None else b64decode(profile)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BrokenPipe from error
    pixels = np.empty(shape, dtype)
    read_into(pipe, pixels)
    return Picture(pixels, icc, coding, notes)
