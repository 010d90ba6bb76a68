"""Small ONNX files that somebody made to harm the program which opens them; `ATTACKS` lists them by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gan_tasks.export.onnx.metadata import MAX_BYTES_PER_PIXEL, OnnxMetadata
from gan_tasks.export.onnx.test_vectors import TestVector, blocks, test_vectors_to_metadata, to_feeds
from gan_tasks.spec import InputSpec, ModelSpec

Node = onnx.NodeProto
Weights = Mapping[str, NDArray[Any]]
SPEC = ModelSpec("pix2pix", "translate", (InputSpec("image", "image", 3, "any"),), 3, receptive_field=3)
TWO = ModelSpec("pix2pix", "translate", (*SPEC.inputs, InputSpec("other", "mask", optional=True)), 3)
FREE = ("n", 3, "h", "w")


def node(operator: str, inputs: str, outputs: str = "output", **attributes: Any) -> Node:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def model(
    nodes: Sequence[Node],
    weights: Weights | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    output: tuple[int, Any] = (TensorProto.FLOAT, FREE),
    opset: int = 18,
    ir: int = 10,
    spec: ModelSpec | str = SPEC,
    change: Callable[[onnx.ModelProto], None] = lambda proto: None,
    **metadata: Any,
) -> bytes:
    """Make a file with valid metadata and a valid hash.

    spec: or the text in its place. change: changes the proto before it is hashed.
    """
    given = {"image": (TensorProto.FLOAT, FREE)} if inputs is None else inputs
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info(name, *kind) for name, kind in given.items()],
        [helper.make_tensor_value_info("output", *output)],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    change(proto)
    entries = OnnxMetadata(
        model_name="hostile",
        licence="",
        training_data="",
        gan_tasks="0.1.0",
        spec=SPEC if isinstance(spec, str) else spec,
        bytes_per_pixel=100,
        weights="float32",
        graph_sha256=hashlib.sha256(proto.graph.SerializeToString()).hexdigest(),
        max_error=0.0,
    ).to_metadata() | {key: str(value) for key, value in metadata.items()}
    if isinstance(spec, str):
        entries["spec"] = spec
    vector = blocks(SPEC, 16, 24)
    made = TestVector.of(vector, to_feeds(vector)["image"])
    helper.set_model_props(proto, entries | test_vectors_to_metadata([made]))
    data: bytes = proto.SerializeToString()
    return data


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def chain(operator: str, count: int, *first: Node, start: str = "image") -> list[Node]:
    """Apply an operator `count` times to `start`, and add the maximum of the result to the image."""
    names = [start, *(f"c{number}" for number in range(count))]
    nodes = [node(operator, names[number], names[number + 1]) for number in range(count)]
    return [*first, *nodes, node("ReduceMax", names[-1], "most", keepdims=0), node("Add", "image most")]


def large(shape: tuple[int, ...], *more: Node, last: str = "large") -> list[Node]:
    """Make a large tensor from the image's values, run `more` on it, and add the maximum of the last one."""
    return [
        node("ReduceMean", "image", "mean", keepdims=0),
        node("Constant", "", "shape", value_ints=shape),
        node("Expand", "mean shape", "large"),
        *more,
        node("ReduceMax", last, "most", keepdims=0),
        node("Add", "image most"),
    ]


def subgraph(*inputs: str) -> onnx.GraphProto:
    boolean, number = TensorProto.BOOL, TensorProto.INT64
    values = [
        helper.make_tensor_value_info(name, kind, []) for name, kind in zip(inputs, (number, boolean), strict=False)
    ]
    outputs = [helper.make_tensor_value_info("go", boolean, [])]
    return helper.make_graph([node("Identity", "on", "go")], "body", values, outputs)


def loop() -> bytes:
    weights = {"count": ints(2**62), "on": np.array(True)}
    return model(
        [helper.make_node("Loop", ["count", "on"], [], body=subgraph("i", "on")), node("Identity", "image")], weights
    )


def functions(proto: onnx.ModelProto) -> None:
    """A function that calls the one before ten times, forty times."""
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for level in range(40):
        called = [
            helper.make_node(f"f{level - 1}" if level else "Erf", ["x"], ["x"], domain="own" if level else "")
        ] * 10
        proto.functions.append(helper.make_function("own", f"f{level}", ["x"], ["y"], called, opset))
    proto.opset_import.append(helper.make_opsetid("own", 1))


def external(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[4])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def declared(*dims: int, kind: int = TensorProto.FLOAT) -> Callable[[onnx.ModelProto], None]:
    """Declare weights of a size that the file does not hold, and add them to the output."""

    def change(proto: onnx.ModelProto) -> None:
        proto.graph.initializer.add(name="w", data_type=kind, dims=dims, raw_data=b"0000")

    return change


def sparse(proto: onnx.ModelProto) -> None:
    values, indices = numpy_helper.from_array(np.ones(1, np.float32), "w"), numpy_helper.from_array(ints(0), "i")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**40]))


def many_nodes() -> bytes:
    return model([node("Identity", "image", f"x{number}") for number in range(10**6)] + [node("Identity", "image")])


COPY = [node("Identity", "image")]
PLUS = [node("Add", "image w")]
SQUARE = (30_000, 30_000)
NUMBERS = {"zero": np.zeros((), np.float32), "one": np.ones((), np.float32), "many": np.array(1e10, np.float32)}
TEXT = numpy_helper.from_array(np.array(["x"], object), "w")

ATTACKS: Mapping[str, Callable[[], bytes]] = {
    # A graph within the graph, functions, other files, other operators.
    "endless Loop": loop,
    "If": lambda: model(
        [helper.make_node("If", ["on"], ["x"], then_branch=subgraph(), else_branch=subgraph()), *COPY],
        {"on": np.array(True)},
    ),
    "Scan": lambda: model([helper.make_node("Scan", ["image"], ["x"], body=subgraph(), num_scan_inputs=1), *COPY]),
    "nested functions": lambda: model(
        [helper.make_node("f39", ["image"], ["output"], domain="own")], change=functions
    ),
    "weights in /etc/passwd": lambda: model(PLUS, change=external("/etc/passwd")),
    "weights in ../..": lambda: model(PLUS, change=external("../../../../etc/passwd")),
    "sparse weights": lambda: model(COPY, change=sparse),
    "operator of another domain": lambda: model(
        [helper.make_node("Inverse", ["image"], ["output"], domain="com.microsoft")]
    ),
    "unknown operator": lambda: model([node("DropTable", "image")]),
    "10^6 nodes": many_nodes,
    # Sizes that the file only declares.
    "weights of 2^40 declared": lambda: model(PLUS, change=declared(2**40)),
    "weights of 2^62 x 4 declared": lambda: model(PLUS, change=declared(2**62, 4)),
    "weights of negative size": lambda: model(PLUS, change=declared(-1, 4)),
    "weights of no size": lambda: model(PLUS, {"w": np.zeros((0, 3), np.float32)}),
    "weights of an unknown type": lambda: model(PLUS, change=declared(1, kind=77)),
    "weights of texts": lambda: model(PLUS, change=lambda proto: proto.graph.initializer.append(TEXT)),
    # Sizes and types of inputs and outputs.
    "no input": lambda: model([node("Constant", "", value_floats=[0.0])], inputs={}),
    "two inputs": lambda: model(
        [node("Add", "image other")],
        inputs={"image": (TensorProto.FLOAT, FREE), "other": (TensorProto.FLOAT, FREE)},
    ),
    "input of fixed size": lambda: model(COPY, inputs={"image": (TensorProto.FLOAT, (1, 3, 7, 7))}),
    "input of size 0": lambda: model(COPY, inputs={"image": (TensorProto.FLOAT, (0, 3, 0, 0))}),
    "input of negative size": lambda: model(COPY, inputs={"image": (TensorProto.FLOAT, (-1, 3, -5, -5))}),
    "input of 2^62 pixels": lambda: model(COPY, inputs={"image": (TensorProto.FLOAT, (1, 3, 2**31, 2**31))}),
    "input of doubles": lambda: model(
        [node("Cast", "image", to=TensorProto.FLOAT)], inputs={"image": (TensorProto.DOUBLE, FREE)}
    ),
    "input of texts": lambda: model(
        [node("Cast", "image", to=TensorProto.FLOAT)], inputs={"image": (TensorProto.STRING, FREE)}
    ),
    "output of doubles": lambda: model(
        [node("Cast", "image", to=TensorProto.DOUBLE)], output=(TensorProto.DOUBLE, FREE)
    ),
    "output of texts": lambda: model(
        [node("Cast", "image", to=TensorProto.STRING)], output=(TensorProto.STRING, FREE)
    ),
    "output of another rank": lambda: model(
        [node("ReduceMean", "image", keepdims=0)], output=(TensorProto.FLOAT, ("n", 3, "h", "w"))
    ),
    "output too small": lambda: model([node("AveragePool", "image", kernel_shape=[2, 2], strides=[2, 2])]),
    "output too large": lambda: model(
        [helper.make_node("Resize", ["image", "", "scales"], ["output"])],
        {"scales": np.array([1, 1, 64, 64], np.float32)},
    ),
    "output of a sequence": lambda: model([node("SequenceConstruct", "image")]),
    "NaN": lambda: model([node("Sub", "image image", "z"), node("Div", "z z")]),
    "infinity": lambda: model([node("Sub", "image image", "z"), node("Log", "z")]),
    "Reshape that fails": lambda: model([node("Reshape", "image shape")], {"shape": ints(1, 3, 7, 7)}),
    # Versions, and metadata that lie.
    "opset 1": lambda: model(COPY, opset=1),
    "opset 99": lambda: model(COPY, opset=99),
    "IR 1": lambda: model(COPY, ir=1),
    "IR 99": lambda: model(COPY, ir=99),
    "wrong scale": lambda: model(COPY, spec=ModelSpec("super-resolution", "upscale", SPEC.inputs, 3, scale=4)),
    "wrong channels": lambda: model(COPY, spec=ModelSpec("pix2pix", "translate", SPEC.inputs, 1)),
    "huge multiple": lambda: model(COPY, spec=ModelSpec("pix2pix", "translate", SPEC.inputs, 3, size_multiple=4096)),
    "huge bytes a pixel": lambda: model(COPY, bytes_per_pixel=2**62),
    "many bytes a pixel, not in tiles": lambda: model(
        [
            *large((1, 1, 3000, 3000), node("Conv", "large large", "p", pads=[2999] * 4), last="p")[:-1],
            node("Sum", "image other most"),
        ],
        inputs={"image": (TensorProto.FLOAT, FREE), "other": (TensorProto.FLOAT, ("n", 1, "h", "w"))},
        spec=TWO,
        bytes_per_pixel=MAX_BYTES_PER_PIXEL,
    ),
    "deep JSON": lambda: model(COPY, spec="[" * 10**6),
    # Little data, endless work.
    "cycle of nodes": lambda: model([node("Add", "image b", "a"), node("Add", "image a", "b"), node("Add", "a b")]),
    "chain of 15,000": lambda: model(chain("Erf", 15_000)),
    "chain of constants": lambda: model(
        [*large((50_000_000,), node("ConstantOfShape", "shape", "k")), *chain("Erf", 1000, start="k")[:-2]]
    ),
    "each node doubles": lambda: model(
        [
            *(node("Concat", f"{'image' if not i else f'd{i - 1}'} " * 2, f"d{i}", axis=2) for i in range(60)),
            node("ReduceMax", "d59", "most", keepdims=0),
            node("Add", "image most"),
        ]
    ),
    "MatMul of minutes": lambda: model(
        large(
            (1, 4000, 4000),
            *(node("MatMul", f"{f'm{i - 1}' if i else 'large'} large", f"m{i}") for i in range(99)),
            last="m98",
        )
    ),
    "one endless MaxPool": lambda: model(
        large((1, 1, 5000, 5000), node("MaxPool", "large", "p", kernel_shape=[4001, 4001], pads=[2000] * 4), last="p")
    ),
    "one endless Conv": lambda: model(
        large((1, 1, 3000, 3000), node("Conv", "large large", "p", pads=[2999] * 4), last="p")
    ),
    # Little data, endless memory.
    "Expand to 3.6 GB": lambda: model(large(SQUARE)),
    "Expand to 2^60": lambda: model(large((2**20, 2**20, 2**20))),
    "ConstantOfShape": lambda: model(
        [node("ConstantOfShape", "s", "k"), node("ReduceMax", "k", "m", keepdims=0), node("Add", "image m")],
        {"s": ints(10**11)},
    ),
    "Tile": lambda: model(
        [node("Tile", "image s", "k"), node("ReduceMax", "k", "m", keepdims=0), node("Add", "image m")],
        {"s": ints(1, 1, 5000, 5000)},
    ),
    "Range": lambda: model(
        [node("Range", "zero many one", "k"), node("ReduceMax", "k", "m", keepdims=0), node("Add", "image m")],
        NUMBERS,
    ),
    "Pad": lambda: model(
        [node("Pad", "image s", "k"), node("ReduceMax", "k", "m", keepdims=0), node("Add", "image m")],
        {"s": ints(0, 0, 99_999, 99_999, 0, 0, 0, 0)},
    ),
    "RandomNormal": lambda: model(
        [
            node("RandomNormal", "", "k", shape=[100_000, 100_000]),
            node("ReduceMax", "k", "m", keepdims=0),
            node("Add", "image m"),
        ]
    ),
    "OneHot": lambda: model(
        [
            node("OneHot", "i depth values", "k"),
            node("ReduceMax", "k", "m", keepdims=0),
            node("Add", "image m"),
        ],
        {"i": ints(*range(1000)), "depth": ints(10**9), "values": np.array([0, 1], np.float32)},
    ),
    "Einsum": lambda: model(
        large((3000,), node("Einsum", "large large large", "k", equation="i,j,k->ijk"), last="k")
    ),
    "Where": lambda: model(
        large(
            (60_000, 1),
            node("Transpose", "large", "t"),
            node("Greater", "large t", "g"),
            node("Where", "g large t", "k"),
            last="k",
        )
    ),
    "CumSum": lambda: model(large(SQUARE, node("CumSum", "large zero", "k"), last="k"), {"zero": ints(0)[0]}),
    "NonZero": lambda: model(
        [
            *large((2**26,), node("NonZero", "large", "z"))[:-2],
            node("Shape", "z", "s"),
            node("Cast", "s", "f", to=TensorProto.FLOAT),
            node("ReduceMax", "f", "most", keepdims=0),
            node("Add", "image most"),
        ]
    ),
    "NonMaxSuppression": lambda: model(
        [
            *large(
                (1, 40_000, 4), node("Reshape", "large r", "scores"), node("NonMaxSuppression", "large scores n", "k")
            )[:-2],
            node("Cast", "k", "f", to=TensorProto.FLOAT),
            node("ReduceMax", "f", "most", keepdims=0),
            node("Add", "image most"),
        ],
        {"r": ints(1, 4, 40_000), "n": ints(2**40)},
    ),
}

HARMLESS = {
    "input of negative size",
    "weights of no size",
    "opset 1",
    "IR 1",
    "huge multiple",
    "chain of 15,000",
    "NonMaxSuppression",  # a quick machine does it in time
}
"""Files of which a runtime may accept some and give a right result."""
