"""Read and screen the bytes of an ONNX file before a runtime opens it. Needs no ONNX package.

A runtime does what a graph says: it opens the files that hold its weights, it repeats a loop without an end, and it
expands functions of functions until the memory is full. Models that `gan-tasks export` writes have nothing of that:
their weights are in the file, and their graph is a list of standard operators. Any other file is refused.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.onnx.protobuf import MalformedError, as_message, as_text, fields

MAX_BYTES = 2**31 - 1
"""Largest length of a protobuf message."""
MAX_NODES = 20_000
"""Largest number of nodes in a graph. RRDBNet with 23 blocks has about 1,000."""
MAX_FIELDS = 500_000
"""Largest number of fields in all messages. SRVGG-16 has 1,400."""

# Message → field number → message: every path from a model to its tensors.
CHILDREN = {
    "model": {7: "graph", 14: "entry"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
    "tensor": {},
    "entry": {},
}
# Message → field number → what it is, if a file that has it is refused.
REFUSED = {
    "model": {20: "instructions for a training", 25: "functions of its own"},
    "graph": {15: "sparse weights"},
    "attribute": {
        **dict.fromkeys((6, 11), "a graph within its graph, such as a loop or a branch"),
        **dict.fromkeys((22, 23), "sparse weights"),
    },
}
TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION = 13, 14
MODEL_IR_VERSION, MODEL_GRAPH, MODEL_METADATA = 1, 7, 14
GRAPH_NODE, GRAPH_TENSOR, GRAPH_INPUT = 1, 5, 11
TENSOR_NAME, VALUE_NAME = 8, 1
NODE_INPUT, NODE_OUTPUT, NODE_OPERATOR, NODE_DOMAIN = 1, 2, 4, 7
ENTRY_KEY, ENTRY_VALUE = 1, 2
STANDARD_DOMAINS = ("", "ai.onnx")
"""Names of the set of operators that the ONNX standard defines."""


class OnnxFileError(UserError):
    """A file is not an ONNX file, is damaged, or is not safe to open."""


@dataclass(frozen=True)
class OnnxFile:
    """A screened file: its name for messages, its bytes, and its `metadata_props`."""

    name: str
    data: bytes
    metadata: dict[str, str]


def read_onnx(path: Path) -> OnnxFile:
    """Read and screen a file. Raises OnnxFileError if it is not safe to open with a runtime."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise OnnxFileError(f"{path} {what}: expected an .onnx file, as `gan-tasks export` writes it")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise OnnxFileError(f"{path} has {size:,} bytes: an ONNX file has at most {MAX_BYTES:,}")
    return parse_onnx(path.read_bytes(), str(path))


def parse_onnx(data: bytes, name: str) -> OnnxFile:
    """Screen the bytes of a file, as `read_onnx` does; `name` is its name in messages."""
    found: set[int] = set()
    metadata: dict[str, str] = {}
    try:
        for kind, number, value in screened(memoryview(data), name):
            if kind == "model":
                found.add(number)
                if number == MODEL_METADATA:
                    metadata.update([read_entry(value)])
        if not {MODEL_IR_VERSION, MODEL_GRAPH} <= found:
            raise MalformedError("it has no graph")
    except MalformedError as error:
        raise OnnxFileError(
            f"{name} is not an ONNX file, or is cut short or damaged: {error}. Give one that `gan-tasks export` wrote"
        ) from error
    return OnnxFile(name, data, metadata)


def screened(model: memoryview, name: str) -> Iterator[tuple[str, int, memoryview | int]]:
    """Yield (message, field number, value) of all fields down to those of tensors.

    Raises OnnxFileError for a file that is not safe to open, and MalformedError for one that is damaged.
    """
    waiting = [("model", model)]
    field_count = node_count = 0
    while waiting:
        kind, message = waiting.pop()
        node_count += kind == "node"
        for number, value in fields(message):
            field_count += 1
            if field_count > MAX_FIELDS or node_count > MAX_NODES:
                raise OnnxFileError(
                    f"{name} has more than {MAX_NODES:,} nodes or {MAX_FIELDS:,} fields: expected a model that "
                    "`gan-tasks export` wrote"
                )
            if what := unsafe(kind, number, value):
                raise OnnxFileError(f"{name} has {what}")
            if child := CHILDREN[kind].get(number):
                waiting.append((child, as_message(value)))
            yield kind, number, value


def unsafe(kind: str, number: int, value: memoryview | int) -> str:
    """Return what makes a file with this field unsafe, and what to do; empty if nothing does."""
    if kind == "tensor" and (number == TENSOR_EXTERNAL_DATA or (number == TENSOR_DATA_LOCATION and value != 0)):
        return (
            "weights in another file: expected a model of one file. "
            "Save it as one (onnx.save with save_as_external_data=False), or export it again"
        )
    what = REFUSED.get(kind, {}).get(number, "")
    if kind == "node" and number == NODE_DOMAIN and (domain := as_text(value)) not in STANDARD_DOMAINS:
        what = f"an operator of {domain!r}, which is not of the ONNX standard"
    return what and f"{what}: expected a plain list of operators, as `gan-tasks export` writes it"


def graph_sha256(file: OnnxFile) -> str:
    """Return the SHA-256 of the graph with its weights, without the metadata."""
    digest = hashlib.sha256()
    for number, value in fields(memoryview(file.data)):
        if number == MODEL_GRAPH:
            digest.update(as_message(value))
    return digest.hexdigest()


def constant_operators(file: OnnxFile) -> set[str]:
    """Return the operators of nodes that depend on no input, so that a runtime may run them when it opens the file.

    A `Constant` itself is not one of them. Nodes that do not stand in the order of the computation are.
    """
    graphs = [as_message(value) for number, value in fields(memoryview(file.data)) if number == MODEL_GRAPH]
    parts = [part for graph in graphs for part in fields(graph)]
    varying, stored = (
        {name for number, value in parts if number == kind for name in texts(as_message(value), of_name)}
        for kind, of_name in ((GRAPH_INPUT, VALUE_NAME), (GRAPH_TENSOR, TENSOR_NAME))
    )
    varying -= stored  # old files list their weights as inputs too
    operators: set[str] = set()
    for message in (as_message(value) for number, value in parts if number == GRAPH_NODE):
        if varying.isdisjoint(texts(message, NODE_INPUT)):
            operators.update(texts(message, NODE_OPERATOR))
        else:
            varying.update(texts(message, NODE_OUTPUT))
    return operators - {"Constant"}


def texts(message: memoryview, number: int) -> list[str]:
    """Return the texts of one field."""
    return [as_text(value) for found, value in fields(message) if found == number]


def read_entry(value: memoryview | int) -> tuple[str, str]:
    """Read a key and its text."""
    entry = {number: as_text(part) for number, part in fields(as_message(value))}
    return entry.get(ENTRY_KEY, ""), entry.get(ENTRY_VALUE, "")
