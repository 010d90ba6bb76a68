"""Small ONNX files made by hand, for what needs no network: a 3×3 mean filter that calls itself an exported model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.test_vectors import TestVector, blocks, test_vectors_to_metadata


def make_metadata(**changes: Any) -> OnnxMetadata:
    fields: dict[str, Any] = {
        "task": "pix2pix",
        "model_name": "Mean <3×3> & more",
        "licence": "CC0",
        "training_data": "none",
        "gan_tasks": "0.1.0",
        "in_channels": 3,
        "out_channels": 3,
        "scale": 1,
        "size_multiple": 4,
        "minimum_size": 8,
        "overlap": 8,
        "bytes_per_pixel": 100,
        "weights": "float32",
        "graph_sha256": "",
        "max_error": 0.0,
    }
    return OnnxMetadata(**{**fields, **changes})


def mean_filter(pixels: FloatImages) -> FloatImages:
    """What the graph computes, N×C×H×W, by shifting: independent of any convolution."""
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = pixels.shape[-2:]
    shifted = [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.mean(shifted, axis=0, dtype=np.float32)


def make_proto(
    metadata: OnnxMetadata, *, more_nodes: tuple[onnx.NodeProto, ...] = (), vectors: bool = True
) -> onnx.ModelProto:
    """The filter on each channel, enlarged `metadata.scale` times. `more_nodes` turn `enlarged` into `output`."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", metadata.in_channels, "h", "w"])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", metadata.out_channels, "H", "W"])
    kernel = np.full((metadata.in_channels, 1, 3, 3), 1 / 9, np.float32)
    scales = np.array([1, 1, metadata.scale, metadata.scale], np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["filtered"], group=metadata.in_channels, pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["filtered", "", "scales"], ["enlarged"], mode="nearest"),
        *(more_nodes or [helper.make_node("Identity", ["enlarged"], ["output"])]),
    ]
    weights = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(scales, "scales")]
    graph = helper.make_graph(nodes, "filter", [image], [output], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    properties = metadata.to_metadata() | {"graph_sha256": hashlib.sha256(graph.SerializeToString()).hexdigest()}
    if vectors:
        inputs = blocks(["image"], metadata.in_channels, 16, 24)
        expected = mean_filter(np.divide(inputs["image"][None], 255, dtype=np.float32))
        expected = expected.repeat(metadata.scale, 2).repeat(metadata.scale, 3)
        properties |= test_vectors_to_metadata([TestVector.of(inputs, expected)])
    helper.set_model_props(proto, properties)
    return proto


def write_onnx(path: Path, **options: Any) -> Path:
    """The filter's file; options are the metadata's fields, or `more_nodes` and `vectors`."""
    graph = {name: options.pop(name) for name in ("more_nodes", "vectors") if name in options}
    path.write_bytes(make_proto(make_metadata(**options), **graph).SerializeToString())
    return path


FILL = (0.8, 0.4, 0.2)
"""Of a filler, in [0, 1]: orange."""


def filler_proto(metadata: OnnxMetadata, *, sketch: bool = False) -> onnx.ModelProto:
    """A model that fills holes with one colour, in which the lines of a sketch, if it takes one, are black. What is
    around the holes comes out a little too dark."""
    sizes = {"image": metadata.in_channels, "mask": 1} | ({"sketch": 1} if sketch else {})
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in sizes.items()
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", metadata.out_channels, "h", "w"])
    colour = np.array(FILL[: metadata.in_channels], np.float32)[None, :, None, None]
    nodes = [
        helper.make_node("Sub", ["one", "mask"], ["known"]),
        helper.make_node("Mul", ["image", "known"], ["given"]),
        helper.make_node("Mul", ["given", "dim"], ["kept"]),
        helper.make_node("Mul", ["colour", "mask"], ["paint"]),
        helper.make_node("Add", ["kept", "paint"], ["filled" if sketch else "output"]),
    ]
    if sketch:
        nodes += [
            helper.make_node("Sub", ["one", "sketch"], ["paper"]),
            helper.make_node("Mul", ["filled", "paper"], ["output"]),
        ]
    numbers = {"colour": colour, "one": np.ones(1, np.float32), "dim": np.full(1, 0.9, np.float32)}
    weights = [numpy_helper.from_array(value, name) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "filler", inputs, [output], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checksum = {"graph_sha256": hashlib.sha256(graph.SerializeToString()).hexdigest()}
    helper.set_model_props(proto, metadata.to_metadata() | checksum)
    return proto


def write_filler(path: Path, *, sketch: bool = False, **metadata: Any) -> Path:
    metadata = {"task": "inpainting", "model_name": "Orange"} | metadata
    path.write_bytes(filler_proto(make_metadata(**metadata), sketch=sketch).SerializeToString())
    return path
