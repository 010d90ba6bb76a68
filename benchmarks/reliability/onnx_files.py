"""Change small ONNX files at random, and list those that crash a command, never end, or take too much memory.

    python benchmarks/reliability/onnx_files.py [--seconds 30] [--seed 0] [--keep DIR]

Half of the files have changed bytes. In the others the graph is changed (operators, attributes, sizes, metadata) and
gets a valid hash again, so that the runtime opens it. `inspect`, `verify` and `apply` run on them.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from command_line import prepare
from mutated_files import changed_bytes, parsed, try_files

from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.export.formats.jy import to_jy
from gan_tasks.networks.super_resolution.convolutional import srvgg
from gan_tasks.networks.translation import resnet

NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 7, 64, 4097, 2**16, 2**31 - 1, 2**40, 2**63 - 1)
OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""})


def changed_graph(data: bytes, rng: random.Random) -> bytes:
    """Change one to three parts of the graph or of the metadata, and renew the hash."""
    proto = onnx.load_from_string(data)
    for _ in range(rng.randint(1, 3)):
        rng.choice((change_node, change_attribute, change_tensor, change_order, change_metadata))(proto, rng)
    for entry in proto.metadata_props:
        if entry.key == "graph_sha256":
            entry.value = hashlib.sha256(proto.graph.SerializeToString()).hexdigest()
    changed: bytes = proto.SerializeToString()
    return changed


def change_node(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(proto.graph.node)
    names = [name for other in proto.graph.node for name in (*other.input, *other.output)]
    match rng.randrange(3):
        case 0:
            node.op_type = rng.choice(OPERATORS)
        case 1 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case _:
            node.input.append(rng.choice(names))


def change_attribute(proto: onnx.ModelProto, rng: random.Random) -> None:
    attributes = [each for node in proto.graph.node for each in node.attribute]
    attribute = rng.choice(attributes)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif attribute.s:
        attribute.s = changed_bytes(attribute.s, rng)
    else:
        attribute.i, attribute.f = rng.choice(NUMBERS), rng.choice((0.0, 1e38, float("nan"), float("inf")))


def change_tensor(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(proto.graph.initializer)
    match rng.randrange(4):
        case 0:
            tensor.data_type = rng.randrange(24)
        case 1 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        case 2:
            tensor.raw_data = changed_bytes(tensor.raw_data, rng)
        case _:
            tensor.dims.append(rng.choice(NUMBERS))


def change_order(proto: onnx.ModelProto, rng: random.Random) -> None:
    nodes: list[Any] = list(proto.graph.node)
    number = rng.randrange(len(nodes))
    if rng.random() < 0.5:
        nodes.insert(rng.randrange(len(nodes)), nodes[number])
    else:
        del nodes[number]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes or [onnx.NodeProto(op_type="Identity")])


def change_metadata(proto: onnx.ModelProto, rng: random.Random) -> None:
    entry = rng.choice(proto.metadata_props)
    replaced = changed_bytes(entry.value.encode(), rng).decode(errors="replace")
    entry.value = rng.choice((replaced, "[" * 50_000, str(rng.choice(NUMBERS)), ""))


def make_seeds(folder: Path) -> list[Path]:
    """Export a small model of super-resolution and one of translation, each also with float16 weights."""
    states = {"srvgg": to_basicsr(srvgg(3, 3, scale=2, width=4, convs=1)), "resnet": to_jy(resnet(3, 3, width=2))}
    for name, state in states.items():
        torch.save(state, folder / f"{name}.pth")
        prepare(f"export {folder / name}.pth {folder / name}.onnx")
        prepare(f"export {folder / name}.pth {folder / name}-half.onnx --half")
    return sorted(folder.glob("*.onnx"))


def main() -> int:
    options = parsed(__doc__)
    with TemporaryDirectory() as place:
        seeds = make_seeds(Path(place))
        image = Path(place, "image.png")
        write(image, Picture(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)))
        apply = f"apply {{file}} {image} {{out}} --provider cpu"
        commands = ["inspect {file}", "verify {file}", apply, apply]
        return try_files(seeds, [changed_bytes, changed_graph, changed_graph], commands, options)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked process has no threads of its parent
    torch.set_num_threads(1)
    sys.exit(main())
