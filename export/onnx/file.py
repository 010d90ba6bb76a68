"""Read and check the bytes of an ONNX file before a runtime opens it. Needs no ONNX package.

An ONNX file may refer to other files with its weights, and a runtime opens them: it would also read a path such as
`../../secret`. Our models are single files, so a file that refers to another one anywhere in its graph is refused.

The format is protobuf (https://protobuf.dev/programming-guides/encoding); field numbers are those of onnx.proto.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gan_tasks.datasets.errors import UserError

MAX_BYTES = 2**31 - 1
"""Largest length of a protobuf message."""
MAX_DEPTH = 64
"""Largest depth of nested messages. Subgraphs, such as those of `If` and `Loop`, make them deep."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# Message → field number → message: every path from a model to its tensors.
CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION = 13, 14
MODEL_IR_VERSION, MODEL_GRAPH, MODEL_METADATA = 1, 7, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2


class OnnxFileError(UserError):
    """A file is not an ONNX file, is damaged, or is not safe to open."""


@dataclass(frozen=True)
class OnnxFile:
    """A checked file that refers to no other file: its name for messages, its bytes, and its `metadata_props`."""

    name: str
    data: bytes
    metadata: dict[str, str]


def read_onnx(path: Path) -> OnnxFile:
    """Read and check a file. Raises OnnxFileError if it is not safe to open with a runtime."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise OnnxFileError(f"{path} {what}: expected an .onnx file, as `gan-tasks export` writes it")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise OnnxFileError(f"{path} has {size:,} bytes: an ONNX file has at most {MAX_BYTES:,}")
    return parse_onnx(path.read_bytes(), str(path))


def parse_onnx(data: bytes, name: str) -> OnnxFile:
    """Check the bytes of a file, as `read_onnx` does; `name` is its name in messages."""
    view = memoryview(data)
    try:
        top = list(fields(view))
        if not {MODEL_IR_VERSION, MODEL_GRAPH} <= {number for number, _ in top}:
            raise MalformedError("it has no graph")
        if refers_to_files(view, "model"):
            raise OnnxFileError(
                f"{name} has weights in another file: expected a model of one file. "
                "Save it as one (onnx.save with save_as_external_data=False), or export it again"
            )
        metadata = dict(read_entry(value) for number, value in top if number == MODEL_METADATA)
    except (MalformedError, UnicodeDecodeError) as error:
        raise OnnxFileError(
            f"{name} is not an ONNX file, or is cut short or damaged: {error}. Give one that `gan-tasks export` wrote"
        ) from error
    return OnnxFile(name, data, metadata)


def graph_sha256(file: OnnxFile) -> str:
    """Return the SHA-256 of the graph with its weights, without the metadata."""
    digest = hashlib.sha256()
    for number, value in fields(memoryview(file.data)):
        if number == MODEL_GRAPH:
            digest.update(as_message(value))
    return digest.hexdigest()


def refers_to_files(message: memoryview, kind: str, depth: int = MAX_DEPTH) -> bool:
    """Return whether any tensor in the message, or in a nested one, has its data in another file."""
    if depth == 0:
        raise MalformedError(f"it is nested more than {MAX_DEPTH} messages deep")
    for number, value in fields(message):
        if kind == "tensor" and (number == TENSOR_EXTERNAL_DATA or (number == TENSOR_DATA_LOCATION and value != 0)):
            return True
        if (child := CHILDREN[kind].get(number)) and refers_to_files(as_message(value), child, depth - 1):
            return True
    return False


def read_entry(value: memoryview | int) -> tuple[str, str]:
    """Read a key and its text."""
    entry = {number: str(as_message(part), "utf-8") for number, part in fields(as_message(value))}
    return entry.get(ENTRY_KEY, ""), entry.get(ENTRY_VALUE, "")


# The protobuf encoding.


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
    if isinstance(value, int):
        raise MalformedError("a number is where a message should be")
    return value
