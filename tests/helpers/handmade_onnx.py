"""Small handwritten ONNX models with the metadata of exported models, for tests that need no trained network.

There are a 3×3 mean filter, a filler that inpaints with one colour, a generator of noise → image, and a stylizer of
image + style → image. `write_...` writes a file, `..._proto` makes a model, and `make_metadata` its metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.test_vectors import TestVector, blocks, test_vectors_to_metadata, to_feeds
from gan_tasks.spec import InputSpec, ModelSpec, Use

USES: Mapping[str, Use] = {"super-resolution": "upscale", "inpainting": "inpaint"}
"""The use of each task; all others are translate."""
SPEC = {
    "task": "pix2pix",
    "out_channels": 3,
    "scale": 1,
    "size_multiple": 4,
    "minimum_size": 8,
    "fixed_size": False,
    "receptive_field": 3,  # tiles overlap by 8 px
    "output_size": None,
    "direction": "",
    "directions": (),
    "trained_with": (),
}
METADATA = {
    "model_name": "Mean <3×3> & more",
    "licence": "CC0",
    "training_data": "none",
    "gan_tasks": "0.1.0",
    "bytes_per_pixel": 100,
    "weights": "float32",
    "graph_sha256": "",
    "max_error": 0.0,
}


def make_metadata(
    *, in_channels: int = 3, use: Use | None = None, inputs: Sequence[InputSpec] = (), **changes: Any
) -> OnnxMetadata:
    """Make metadata. `changes` are fields of `ModelSpec` or of `OnnxMetadata`.

    use: the default is the use of the task.
    inputs: the default is an image of `in_channels`.
    """
    spec = {name: changes.pop(name, default) for name, default in SPEC.items()}
    made = ModelSpec(
        use=use or USES.get(spec["task"], "translate"),
        inputs=tuple(inputs) or (image_input(in_channels),),
        **spec,
    )
    return OnnxMetadata(**{**METADATA, "spec": made, **changes})


def image_input(channels: int = 3) -> InputSpec:
    return InputSpec("image", "image", channels, "any")


def mean_filter(pixels: FloatImages) -> FloatImages:
    """Compute the mean filter of N×C×H×W images in numpy, by shifts instead of a convolution."""
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = pixels.shape[-2:]
    shifted = [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.asarray(np.mean(shifted, axis=0, dtype=np.float32))


def make_proto(
    metadata: OnnxMetadata, *, more_nodes: tuple[onnx.NodeProto, ...] = (), vectors: bool = True
) -> onnx.ModelProto:
    """Make a model that filters each channel and enlarges `scale` times. `more_nodes` map `enlarged` to `output`."""
    spec = metadata.spec
    weights: dict[str, NDArray[Any]] = {
        "kernel": np.full((spec.in_channels, 1, 3, 3), 1 / 9, np.float32),
        "scales": np.array([1, 1, spec.scale, spec.scale], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["filtered"], group=spec.in_channels, pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["filtered", "", "scales"], ["enlarged"], mode="nearest"),
        *(more_nodes or [helper.make_node("Identity", ["enlarged"], ["output"])]),
    ]

    def enlarged(image: FloatImages) -> FloatImages:
        return mean_filter(image).repeat(spec.scale, 2).repeat(spec.scale, 3)

    return to_proto("filter", metadata, nodes, weights, expected=enlarged if vectors else None)


def to_proto(
    name: str,
    metadata: OnnxMetadata,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, NDArray[Any]],
    *,
    expected: Any = None,
) -> onnx.ModelProto:
    """Make a model of these nodes, with the inputs of the metadata's spec and the output `output`.

    expected: a numpy function that computes the same from one array per input. The file gets a test vector of it.
    """
    spec = metadata.spec
    inputs = [
        helper.make_tensor_value_info(
            given.name,
            TensorProto.FLOAT,
            ["n", given.channels, *(([f"{given.name}_h", f"{given.name}_w"]) if given.is_spatial else [])],
        )
        for given in spec.inputs
    ]
    height, width = spec.output_size or ("h", "w")
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", spec.out_channels, height, width])
    tensors = [numpy_helper.from_array(value, key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, name, inputs, [output], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    properties = metadata.to_metadata() | {"graph_sha256": hashlib.sha256(graph.SerializeToString()).hexdigest()}
    if expected is not None:
        vector = blocks(spec, 16, 24)
        feeds = to_feeds(vector)
        made = expected(*(feeds[given.name] for given in spec.inputs))
        properties |= test_vectors_to_metadata([TestVector.of(vector, made)])
    helper.set_model_props(proto, properties)
    return proto


def write_onnx(path: Path, **options: Any) -> Path:
    """Write the mean filter. Options are those of `make_metadata`, and `more_nodes` and `vectors`."""
    graph = {name: options.pop(name) for name in ("more_nodes", "vectors") if name in options}
    path.write_bytes(make_proto(make_metadata(**options), **graph).SerializeToString())
    return path


SLOW_ON_LARGE = (
    *(
        helper.make_node("MatMul", [f"m{number}" if number else "enlarged", "enlarged"], [f"m{number + 1}"])
        for number in range(300)
    ),
    helper.make_node("Add", ["enlarged", "m300"], ["output"]),
)
"""Nodes for `make_proto` that take square images: minutes for one of 1600 × 1600 pixels. Black ones stay black."""
FILL = (0.8, 0.4, 0.2)
"""The colour of a filler, in [0, 1]: orange."""


def filler_proto(metadata: OnnxMetadata) -> onnx.ModelProto:
    """Make a model that fills the masked region with one colour, and draws the lines of a sketch in black.

    Known pixels become slightly darker.
    """
    channels, follows_sketch = metadata.spec.in_channels, metadata.spec.find("sketch") is not None
    nodes = [
        helper.make_node("Sub", ["one", "mask"], ["known"]),
        helper.make_node("Mul", ["image", "known"], ["given"]),
        helper.make_node("Mul", ["given", "dim"], ["kept"]),
        helper.make_node("Mul", ["colour", "mask"], ["paint"]),
        helper.make_node("Add", ["kept", "paint"], ["filled" if follows_sketch else "output"]),
    ]
    if follows_sketch:
        nodes += [
            helper.make_node("Sub", ["one", "sketch"], ["paper"]),
            helper.make_node("Mul", ["filled", "paper"], ["output"]),
        ]
    weights = {
        "colour": np.array(FILL[:channels], np.float32)[None, :, None, None],
        "one": np.ones(1, np.float32),
        "dim": np.full(1, 0.9, np.float32),
    }
    return to_proto("filler", metadata, nodes, weights)


def write_filler(path: Path, *, sketch: bool = False, in_channels: int = 3, **options: Any) -> Path:
    """Write the filler. Options are those of `make_metadata`."""
    masks = [InputSpec("mask", "mask"), *([InputSpec("sketch", "mask", optional=True)] if sketch else [])]
    options = {"task": "inpainting", "model_name": "Orange"} | options
    metadata = make_metadata(inputs=[image_input(in_channels), *masks], **options)
    path.write_bytes(filler_proto(metadata).SerializeToString())
    return path


def generator_weights(spec: ModelSpec) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a generator by the input that they multiply: values × pixels."""
    height, width = spec.output_size or (0, 0)
    rng = np.random.default_rng(0)
    return {
        given.name: rng.standard_normal((given.channels, spec.out_channels * height * width), np.float32)
        for given in spec.inputs
    }


def generated(spec: ModelSpec, *vectors: FloatImages) -> FloatImages:
    """Compute the output N×C×H×W in [0, 1] of a generator for N×L latents and, if it has them, N×K labels."""
    sums = sum(vector @ weight for vector, weight in zip(vectors, generator_weights(spec).values(), strict=True))
    shape = len(vectors[0]), *spec.output_shape(0, 0)
    return np.asarray(1 / (1 + np.exp(-np.asarray(sums, np.float64))), np.float32).reshape(shape)


def generator_proto(metadata: OnnxMetadata) -> onnx.ModelProto:
    """Make a model of noise → image: the sigmoid of the latent, and of a label if it has one, times fixed weights."""
    spec = metadata.spec
    weights = generator_weights(spec)
    nodes = [helper.make_node("MatMul", [name, f"{name}_weights"], [f"{name}_levels"]) for name in weights]
    levels = [f"{name}_levels" for name in weights]
    nodes += [
        helper.make_node("Sum", levels, ["levels"]),
        helper.make_node("Reshape", ["levels", "shape"], ["shaped"]),
        helper.make_node("Sigmoid", ["shaped"], ["output"]),
    ]
    tensors: dict[str, NDArray[Any]] = {f"{name}_weights": value for name, value in weights.items()}
    tensors["shape"] = np.array([-1, *spec.output_shape(0, 0)], np.int64)
    return to_proto(
        "generator", metadata, nodes, tensors, expected=lambda *vectors: generated(metadata.spec, *vectors)
    )


def write_generator(
    path: Path, *, latent: int = 12, classes: int = 0, output_size: tuple[int, int] = (24, 32), **options: Any
) -> Path:
    """Write the generator. Options are those of `make_metadata`.

    latent: length of the latent. classes: number of classes of the label; 0 for a generator without a label.
    """
    label = [InputSpec("label", "label", classes, "none")] if classes else []
    options = {"task": "toy-generate", "use": "generate", "model_name": "Noise"} | options
    inputs = [InputSpec("latent", "latent", latent, "none"), *label]
    metadata = make_metadata(inputs=inputs, output_size=output_size, **options)
    path.write_bytes(generator_proto(metadata).SerializeToString())
    return path


def stylized(image: FloatImages, style: FloatImages) -> FloatImages:
    """Compute the output of a stylizer: half the image plus half the mean colour of the style."""
    return np.asarray((image + style.mean(axis=(2, 3), keepdims=True)) / 2, np.float32)


def stylizer_proto(metadata: OnnxMetadata) -> onnx.ModelProto:
    """Make a model of image + style → image, see `stylized`. The style image has its own size."""
    nodes = [
        helper.make_node("ReduceMean", ["style", "axes"], ["colour"], keepdims=1),
        helper.make_node("Add", ["image", "colour"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["output"]),
    ]
    weights: dict[str, NDArray[Any]] = {"axes": np.array([2, 3], np.int64), "half": np.full(1, 0.5, np.float32)}
    return to_proto("stylizer", metadata, nodes, weights, expected=stylized)


def mixing_stylizer_proto(metadata: OnnxMetadata) -> onnx.ModelProto:
    """Make a stylizer with a style strength: its share of the mean colour of the style, the rest of the image."""
    nodes = [
        helper.make_node("ReduceMean", ["style", "axes"], ["colour"], keepdims=1),
        helper.make_node("Unsqueeze", ["style_strength", "axes"], ["share"]),
        helper.make_node("Sub", ["colour", "image"], ["difference"]),
        helper.make_node("Mul", ["share", "difference"], ["change"]),
        helper.make_node("Add", ["image", "change"], ["output"]),
    ]
    return to_proto("mixing stylizer", metadata, nodes, {"axes": np.array([2, 3], np.int64)})


def write_stylizer(path: Path, *, with_strength: bool = False, **options: Any) -> Path:
    """Write a stylizer, with a style strength or without. Options are those of `make_metadata`."""
    options = {"task": "toy-stylize", "use": "stylize", "model_name": "Tint"} | options
    strength = [InputSpec("style_strength", "weight", 1, "none", optional=True)] * with_strength
    metadata = make_metadata(inputs=[image_input(), InputSpec("style", "image", 3, "any"), *strength], **options)
    make = mixing_stylizer_proto if with_strength else stylizer_proto
    path.write_bytes(make(metadata).SerializeToString())
    return path


def write_colouriser(path: Path, **options: Any) -> Path:
    """Write a model of gray → RGB: the mean filter, three times. Options are those of `make_metadata`."""
    repeat = helper.make_node("Concat", ["enlarged"] * 3, ["output"], axis=1)
    options = {"in_channels": 1, "out_channels": 3, "model_name": "Gray in colour", "vectors": False} | options
    return write_onnx(path, more_nodes=(repeat,), **options)


def write_gain(path: Path, gains: Sequence[float], **options: Any) -> Path:
    """Write a model of RGB → RGB that multiplies each channel by its gain. Options are those of `make_metadata`."""
    options = {"model_name": "Gain", "size_multiple": 1, "minimum_size": 1, "receptive_field": 0} | options
    metadata = make_metadata(**options)
    weights = {"gains": np.array(gains, np.float32)[None, :, None, None]}
    nodes = [helper.make_node("Mul", ["image", "gains"], ["output"])]
    proto = to_proto("gain", metadata, nodes, weights, expected=lambda image: image * weights["gains"])
    path.write_bytes(proto.SerializeToString())
    return path
