"""What an exported model says of itself: the `metadata_props` of its ONNX file. Imports no torch."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from gan_tasks.export.model import FloatImages
from gan_tasks.export.onnx_file import OnnxFile, OnnxFileError

Arrays = dict[str, FloatImages]
Channels = Annotated[int, Field(ge=1, le=4096)]
Side = Annotated[int, Field(ge=1, le=4096)]

CASE_STRIDE = 3
"""Every third output pixel of a case is kept: an odd number meets every phase of the upsampling."""
CASE_BLOCK = 8
"""Inputs of cases are made of blocks of so many pixels a side, so that they pack well."""
MAX_CASE_BYTES = 2**26


@dataclass(frozen=True)
class Card:
    """The metadata of an exported model; each field is one entry, as text."""

    task: str
    model_name: str
    licence: str
    training_data: str
    """In the exporter's own words, as the licence is."""
    gan_tasks: str
    """Version that exported it."""
    in_channels: Channels
    out_channels: Channels
    scale: Annotated[int, Field(ge=1, le=64)]
    """Output pixels to an input pixel, along a side."""
    size_multiple: Side
    """Height and width given to the graph must divide by this,"""
    minimum_size: Side
    """and be at least this, in pixels."""
    overlap: Side
    """Pixels that neighbouring tiles of a large image share; a multiple of `size_multiple`."""
    bytes_per_pixel: Annotated[int, Field(ge=1)]
    """Estimate of the memory in use while it runs, to a pixel of input."""
    weights: Literal["float32", "float16"]
    """How they are stored; the arithmetic is of float32 in both."""
    max_error: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Largest difference to the network in torch when it was exported, of values in [0, 1]."""
    cases: tuple[Case, ...] = ()

    def to_metadata(self) -> dict[str, str]:
        texts = {key: str(value) for key, value in asdict(replace(self, cases=())).items() if key != "cases"}
        return texts | {f"case_{index}": case.to_text() for index, case in enumerate(self.cases)}

    @classmethod
    def of(cls, file: OnnxFile) -> Card:
        """Raises OnnxFileError where a file was not written by `gan-tasks export`, or its metadata were changed."""
        metadata = file.metadata
        try:
            fields: dict[str, Any] = {key: metadata[key] for key in cls.__dataclass_fields__ if key != "cases"}
        except KeyError as error:
            raise OnnxFileError(
                f"{file.name} holds no {error.args[0]!r} in its metadata: expected a model that `gan-tasks export` wrote"
            ) from error
        try:
            card = TypeAdapter(cls).validate_python(fields)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise OnnxFileError(f"{file.name} has metadata that do not fit: {wrong}. Export it again") from error
        names = sorted(key for key in metadata if key.startswith("case_"))
        try:
            return replace(card, cases=tuple(Case.from_text(metadata[name]) for name in names))
        except ValueError as error:
            raise OnnxFileError(f"{file.name} has a damaged test case: {error}. Export it again") from error


@dataclass(frozen=True)
class Case:
    """An input and what must come of it.

    inputs: by name, C×H×W uint8, standing for [0, 1].
    output: C'×H'×W' uint16, standing for [0, 1]: every CASE_STRIDE-th row and column of the whole output.
    """

    inputs: Mapping[str, NDArray[np.uint8]]
    output: NDArray[np.uint16]

    def feeds(self) -> Arrays:
        return feeds_of(self.inputs)

    def error(self, output: FloatImages) -> float:
        """Largest difference of a 1×C'×H'×W' output to what was expected; infinite where the shapes differ."""
        sampled = sample(output)
        if sampled.shape != self.output.shape:
            return float("inf")
        return float(np.abs(sampled - self.output / 65535).max())

    def to_text(self) -> str:
        from safetensors.numpy import save

        return base64.b64encode(zlib.compress(save({**self.inputs, "": self.output}), 9)).decode()

    @classmethod
    def from_text(cls, text: str) -> Case:
        """Raises ValueError for anything that `to_text` did not write."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            unpacker = zlib.decompressobj()
            packed = base64.b64decode(text, validate=True)
            arrays = load(unpacker.decompress(packed, MAX_CASE_BYTES))  # bounded: little text may hold very much
            output = arrays.pop("")
        except (binascii.Error, zlib.error, SafetensorError, KeyError) as error:
            raise ValueError(f"it cannot be unpacked ({error})") from error
        is_sound = output.dtype == np.uint16 and all(pixels.dtype == np.uint8 for pixels in arrays.values())
        if not is_sound or any(pixels.ndim != 3 for pixels in (*arrays.values(), output)):
            raise ValueError("it has the wrong shape or type")
        return cls(arrays, output)


def feeds_of(inputs: Mapping[str, NDArray[np.uint8]]) -> Arrays:
    """The inputs of a case as the graph takes them, 1×C×H×W float32 in [0, 1]."""
    return {name: pixels[None] / np.float32(255) for name, pixels in inputs.items()}


def make_case(inputs: Mapping[str, NDArray[np.uint8]], output: FloatImages) -> Case:
    """Of inputs as in `Case` and the whole output for them, 1×C'×H'×W' float32."""
    return Case(inputs, np.rint(np.clip(sample(output), 0, 1) * 65535).astype(np.uint16))


def sample(output: FloatImages) -> FloatImages:
    """The pixels of a 1×C×H×W output that a case keeps."""
    return np.ascontiguousarray(output[0, :, ::CASE_STRIDE, ::CASE_STRIDE])


def blocks(names: tuple[str, ...], in_channels: int, height: int, width: int) -> dict[str, NDArray[np.uint8]]:
    """Inputs for a case: coloured blocks as the image, and a mask of blocks for every other input."""
    rng = np.random.default_rng(0)
    rows, columns = -(-height // CASE_BLOCK), -(-width // CASE_BLOCK)
    found = {}
    for name in names:
        if name == "image":
            small = rng.integers(0, 256, (in_channels, rows, columns), np.uint8)
        else:
            small = rng.integers(0, 2, (1, rows, columns), np.uint8) * np.uint8(255)
        found[name] = small.repeat(CASE_BLOCK, 1).repeat(CASE_BLOCK, 2)[:, :height, :width].copy()
    return found


def noise(names: tuple[str, ...], in_channels: int, batch: int, height: int, width: int) -> Arrays:
    """Inputs for comparing: uniform noise in [0, 1) as the image, and a random mask for every other input."""
    rng = np.random.default_rng(0)
    return {
        name: rng.random((batch, in_channels, height, width), np.float32)
        if name == "image"
        else rng.integers(0, 2, (batch, 1, height, width)).astype(np.float32)
        for name in names
    }


def legal_sizes(size_multiple: int, minimum_size: int) -> tuple[tuple[int, int], ...]:
    """Five sizes (height, width) that a graph must take: the smallest, rectangles both ways, and a larger one."""
    least = -(-minimum_size // size_multiple)
    larger = max(least, 64 // size_multiple) + 1
    steps = ((least, least), (least, least + 1), (least + 1, least), (least + 2, least), (larger, larger))
    return tuple((rows * size_multiple, columns * size_multiple) for rows, columns in steps)
