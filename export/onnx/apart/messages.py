"""What two processes say to each other over pipes: JSON and bytes, because pickles could run code."""

from __future__ import annotations

import json
import math
import struct
from typing import IO, Any

import numpy as np

from gan_tasks.export.models.base import FloatImages

Header = dict[str, Any]
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


def read_into(pipe: IO[bytes], values: np.ndarray[Any, Any]) -> None:
    """Fill a contiguous array with the bytes that come. Raises BrokenPipe if too few come."""
    place = values.reshape(-1).view(np.uint8).data
    while place:
        count = pipe.readinto(place)  # type: ignore[attr-defined]
        if not count:
            raise BrokenPipe
        place = place[count:]


def as_bytes(values: FloatImages) -> memoryview:
    """Return the bytes of an array of float32 in row-major order."""
    return np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8).data


def receive_floats(pipe: IO[bytes], shape: Any, *, max_values: int) -> FloatImages:
    """Read an array of float32 of this shape. Raises BrokenPipe for a shape that has more than `max_values`."""
    if not isinstance(shape, list) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise BrokenPipe
    if math.prod(shape) > max_values:
        raise BrokenPipe
    values = np.empty(shape, np.float32)
    read_into(pipe, values)
    return values
