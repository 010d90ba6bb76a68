"""What the server and its decoding process say to each other: JSON and bytes, as neither is to trust pickles."""

from __future__ import annotations

import json
import math
import struct
from base64 import b64decode, b64encode
from typing import IO, Any

import numpy as np

from gan_tasks.datasets.images import Coding, ImageError, Picture

Header = dict[str, Any]
_DTYPES = ("uint8", "uint16", "float32")
_MAX_HEADER_BYTES = 2**26


class BrokenPipe(Exception):
    """The other process ended, or said what cannot be understood."""


def send(pipe: IO[bytes], header: Header, *bodies: Any) -> None:
    """Write the length of the header, the header, and the bodies, whose sizes it has to tell."""
    encoded = json.dumps(header).encode()
    pipe.write(struct.pack("<I", len(encoded)) + encoded)
    for body in bodies:
        pipe.write(body)
    pipe.flush()


def receive_header(pipe: IO[bytes]) -> Header | None:
    """Read a header; None at the end of the pipe."""
    start = pipe.read(4)
    if not start:
        return None
    (length,) = struct.unpack("<I", start.ljust(4, b"\0"))
    if len(start) < 4 or length > _MAX_HEADER_BYTES:
        raise BrokenPipe
    try:
        header = json.loads(read_exactly(pipe, length))
    except ValueError as error:
        raise BrokenPipe from error
    if not isinstance(header, dict):
        raise BrokenPipe
    return header


def read_exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise BrokenPipe
    return data


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
    place = pixels.data.cast("B")
    while place:
        count = pipe.readinto(place)  # type: ignore[attr-defined]
        if not count:
            raise BrokenPipe
        place = place[count:]
    return Picture(pixels, icc, coding, notes)
