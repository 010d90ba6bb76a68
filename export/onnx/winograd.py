"""Rewrite the 3×3 convolutions of an exported ResNet with a quarter of the multiplications, for CPUs.

The method is Winograd's minimal filtering F(4×4, 3×3) (Lavin and Gray 2016, https://arxiv.org/abs/1509.09308): tiles
of 6×6 pixels, 4 apart, are transformed; at each of their 36 positions one matrix product mixes the channels; the
results are transformed into 4×4 pixels. On CPUs without AVX-512 neither ONNX Runtime nor OpenVINO has such a
convolution. The rewritten graph uses operators that both run fast: Gather and MatMul. It accepts any size, as before.

The file is not changed: the graph is rewritten when a session is started, with the package onnx. The weights take
four times the memory. GPU libraries have such convolutions, so a rewritten graph would not be faster there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.onnx.file import OnnxFile

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

MIN_CHANNELS, MAX_CHANNELS = 64, 512
"""Limits of input and output channels. With fewer, moving tiles takes more time than is saved; with more, the weights
grow large."""

# For the points 0, 1, −1, 2, −2 and infinity: y = OUT · ((WEIGHT · g) ⊙ (IN · d)), along each side.
IN = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
WEIGHT = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
OUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def with_winograd(file: OnnxFile) -> bytes:
    """Return the rewritten model of a file. Raises UserError if it has no suitable convolution."""
    import onnx

    proto = onnx.load_model_from_string(file.data)
    if not use_winograd(proto):
        raise UserError(f"{file.name} has no convolution that suits Winograd's filtering: choose another provider")
    data: bytes = proto.SerializeToString()
    return data


def use_winograd(proto: ModelProto) -> int:
    """Rewrite each suitable convolution in place: 3×3, with many channels, after reflection padding of one pixel.

    Returns the number of rewritten convolutions.
    """
    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    sizes = {value.name: value.type.tensor_type.shape.dim[2:] for value in graph.value_info}
    builder = Builder()
    tilings: dict[str, Tiling] = {}
    count = 0
    for node in graph.node:
        pad = makers.get(node.input[0]) if node.op_type == "Conv" else None
        kernel = suited_kernel(node, tensors, makers) if pad is not None else None
        if pad is None or kernel is None or not is_reflection_of_one(pad, tensors):
            builder.nodes.append(node)
            continue
        source = pad.input[0]
        size = str(sizes.get(source, source))  # convolutions at one resolution share a tiling
        if size not in tilings:
            tilings[size] = add_tiling(builder, source)
        add_convolution(builder, node, source, kernel, tilings[size])
        count += 1
    if count:
        replace_nodes(graph, builder)
    return count


def is_reflection_of_one(node: NodeProto, tensors: Mapping[str, TensorProto]) -> bool:
    """Return whether a node pads one pixel on each side by reflection."""
    from onnx import numpy_helper

    mode = next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"")
    if node.op_type != "Pad" or mode != b"reflect" or len(node.input) > 2 or node.input[1] not in tensors:
        return False
    return bool((numpy_helper.to_array(tensors[node.input[1]]) == [0, 0, 1, 1, 0, 0, 1, 1]).all())


def suited_kernel(
    node: NodeProto, tensors: Mapping[str, TensorProto], makers: Mapping[str, NodeProto]
) -> NDArray[Any] | None:
    """Return the kernel of a suitable convolution, K×C×3×3, else None. A float16 kernel is behind a Cast."""
    from onnx import numpy_helper

    plain = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]}
    found = {a.name: list(a.ints) or a.i for a in node.attribute if a.name in plain}
    maker = makers.get(node.input[1])
    tensor = tensors.get(maker.input[0] if maker is not None and maker.op_type == "Cast" else node.input[1])
    if tensor is None or list(tensor.dims[2:]) != [3, 3] or plain | found != plain:
        return None
    if not MIN_CHANNELS <= min(tensor.dims[:2]) <= max(tensor.dims[:2]) <= MAX_CHANNELS:
        return None
    kernel: NDArray[Any] = numpy_helper.to_array(tensor)
    return kernel


class Builder:
    """Builder of a graph: nodes in order, and constants without duplicates."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, value: NDArray[Any]) -> str:
        name = self.names.setdefault((value.dtype.str, value.shape, value.tobytes()), f"winograd_c{len(self.names)}")
        self.constants[name] = value
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"winograd_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"node_{output}", **attributes))
        return output


@dataclass(frozen=True)
class Tiling:
    """Names of the values that convolutions of one size share. h×w tiles cover H×W pixels, in row-major order.

    rows: index of the pixel at each position of each tile; 36·h·w numbers below H·W.
    pixels: index of each pixel in the 16·h·w output pixels of the tiles.
    shape: N, -1, H, W.
    """

    rows: str
    pixels: str
    shape: str


def add_tiling(builder: Builder, source: str) -> Tiling:
    """Add the nodes that compute the tiling of an N×C×H×W value."""
    add, integers = builder.add, builder.integers
    zero, one, three, four = (builder.constant(np.array(value, np.int64)) for value in (0, 1, 3, 4))

    def side(axis: int) -> tuple[str, str, str]:
        """Compute along one side: its length, the number of tiles, and the pixels of each, as 6 × tiles."""
        length = add("Squeeze", add("Shape", source, start=axis, end=axis + 1))
        tiles = add("Div", add("Add", length, three), four)
        starts = add("Mul", add("Range", zero, tiles, one), four)
        offsets = builder.constant(np.arange(-1, 5).reshape(6, 1))
        mirrored = add("Abs", add("Add", offsets, starts))
        last = add("Sub", length, one)
        # Past the last pixel the reflection; further on, where a tile overhangs, any valid pixel.
        mirrored = add("Max", add("Sub", last, add("Abs", add("Sub", last, mirrored))), zero)
        return length, tiles, mirrored

    height, down, ys = side(2)
    width, across, xs = side(3)
    ys = add("Unsqueeze", add("Mul", ys, width), integers(1, 3))
    xs = add("Unsqueeze", xs, integers(0, 2))
    rows = add("Reshape", add("Add", ys, xs), integers(-1))
    tiles = add("Mul", down, across)

    def pixel(length: str, place_stride: str, tile_stride: str) -> str:
        at = add("Range", zero, length, one)
        place, tile = add("Mod", at, four), add("Div", at, four)
        return add("Add", add("Mul", place, place_stride), add("Mul", tile, tile_stride))

    of_rows = add("Unsqueeze", pixel(height, add("Mul", tiles, four), across), integers(1))
    pixels = add("Reshape", add("Add", of_rows, pixel(width, tiles, one)), integers(-1))
    batch = add("Shape", source, start=0, end=1)
    sides = add("Shape", source, start=2, end=4)
    return Tiling(rows, pixels, add("Concat", batch, integers(-1), sides, axis=0))


def add_convolution(builder: Builder, node: NodeProto, source: str, kernel: NDArray[Any], tiling: Tiling) -> None:
    """Add the nodes that replace a convolution, N×C×H×W to N×K×H×W."""
    add, integers = builder.add, builder.integers
    out_channels, in_channels = kernel.shape[:2]
    mixing = np.einsum("ai,bj,kcij->abck", WEIGHT, WEIGHT, kernel.astype(np.float64), optimize=True)
    mixing = builder.constant(mixing.reshape(36, in_channels, out_channels).astype(np.float32))
    into, back = (builder.constant(np.kron(matrix, matrix).astype(np.float32)) for matrix in (IN, OUT))

    pixels = add("Transpose", add("Reshape", source, integers(0, 0, -1)), perm=[0, 2, 1])  # N × H·W × C
    tiles = add("Gather", pixels, tiling.rows, axis=1)  # N × 36·tiles × C
    tiles = add("MatMul", into, add("Reshape", tiles, integers(0, 36, -1)))
    mixed = add("MatMul", add("Reshape", tiles, integers(0, 36, -1, in_channels)), mixing)
    tiles = add("MatMul", back, add("Reshape", mixed, integers(0, 36, -1)))  # N × 16 × tiles·K
    pixels = add("Gather", add("Reshape", tiles, integers(0, -1, out_channels)), tiling.pixels, axis=1)
    if len(node.input) > 2:
        pixels = add("Add", pixels, node.input[2])
    add("Reshape", add("Transpose", pixels, perm=[0, 2, 1]), tiling.shape, output=node.output[0])


def replace_nodes(graph: GraphProto, builder: Builder) -> None:
    """Put the builder's nodes and constants into the graph; leave out unused nodes and constants."""
    from onnx import numpy_helper

    used = {value.name for value in graph.output}
    nodes = []
    for node in reversed(builder.nodes):
        if used & set(node.output):
            used |= set(node.input)
            nodes.append(node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]  # the last are shapes of the old values
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(tensors)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in builder.constants.items())
