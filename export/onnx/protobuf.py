"""The protobuf encoding, as far as ONNX files need it (https://protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class MalformedError(ValueError):
    """The bytes are not a protobuf message."""


def fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield (field number, value) in order; a value is a number, or a view for texts, bytes and messages."""
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        value: memoryview | int
        if wire_type == VARINT:
            value, at = read_varint(message, at)
        elif wire_type in (BYTES, FIXED64, FIXED32):
            length = {FIXED64: 8, FIXED32: 4}.get(wire_type)
            if length is None:
                length, at = read_varint(message, at)
            value, at = message[at : at + length], at + length
            if at > len(message):
                raise MalformedError("it ends too early")
        else:
            raise MalformedError(f"field {number} has the unknown encoding {wire_type}")
        yield number, value


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a number of up to ten bytes, low bytes first; return it and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise MalformedError("it ends too early")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedError("a number in it is longer than ten bytes")


def as_message(value: memoryview | int) -> memoryview:
    """Return a value that is a text, bytes or a message. Raises MalformedError for a number."""
    if isinstance(value, int):
        raise MalformedError("a number is where a message should be")
    return value


def as_text(value: memoryview | int) -> str:
    """Return a value that is a text. Raises MalformedError for any other."""
    try:
        return str(as_message(value), "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("a text in it is not UTF-8") from error
