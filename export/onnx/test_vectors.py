"""Test inputs of an exported graph: test vectors stored in its file, random inputs, and sizes that it must accept.

Imports no torch. Inputs are dicts by name, as the graph takes them: images in [0, 1], masks of 0 and 1, latents from
a standard normal distribution, one-hot labels, weights in [0, 1]. Only this module makes test inputs of each kind.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError
from gan_tasks.spec import InputSpec, ModelSpec

STRIDE = 3
"""A test vector stores every third row and column of its output; an odd step covers every phase of upsampling."""
BLOCK = 8
"""Side in pixels of the blocks that images of test vectors consist of, so that they compress well."""
MOST_BEYOND = 0.5
"""How far comparable outputs are below 0 or above 1. Some networks answer noise of full contrast with values of 1e6,
in which rounding errors are large."""
MAX_HALVINGS = 4
"""How often the contrast of the images is halved to get a comparable output."""
MAX_BYTES = 2**26
"""Largest size of an unpacked test vector; a short damaged text could unpack to very much data."""
MAX_VECTORS = 4
"""Most test vectors of a file. `export` writes two."""
KEY = "test_vector_"
"""Prefix of the metadata entries."""

VectorInputs = Mapping[str, NDArray[Any]]
"""Inputs by name: images and masks are C×H×W uint8 for [0, 1]; latents and labels are float32 vectors."""


@dataclass(frozen=True)
class TestVector:
    """An input and the expected output.

    output: C'×h×w uint16 for [0, 1], every STRIDE-th row and column of the whole output.
    """

    inputs: VectorInputs
    output: NDArray[np.uint16]

    @classmethod
    def of(cls, inputs: VectorInputs, output: FloatImages) -> TestVector:
        """Make a test vector from inputs and the whole output, 1×C'×H'×W' in [0, 1]."""
        return cls(inputs, np.rint(np.clip(sample(output), 0, 1) * 65535).astype(np.uint16))

    def feeds(self) -> dict[str, FloatImages]:
        """Return the inputs as the graph takes them."""
        return to_feeds(self.inputs)

    def error(self, output: FloatImages) -> float:
        """Return the largest difference of a 1×C'×H'×W' output from the expected one; infinite for another shape.

        Values outside [0, 1] are clipped, because the expected output is clipped too.
        """
        sampled = sample(output)
        if sampled.shape != self.output.shape:
            return float("inf")
        return float(np.abs(np.clip(sampled, 0, 1) - self.output / 65535).max())

    def to_text(self) -> str:
        """Encode as text: base64 of compressed safetensors."""
        from safetensors.numpy import save

        # Row-major copies, because safetensors ignores strides.
        arrays = {name: np.ascontiguousarray(values) for name, values in {**self.inputs, "": self.output}.items()}
        return base64.b64encode(zlib.compress(save(arrays), 9)).decode()

    @classmethod
    def from_text(cls, text: str) -> TestVector:
        """Decode a text of `to_text`. Raises ValueError for any other text."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            packed = base64.b64decode(text, validate=True)
            arrays = load(zlib.decompressobj().decompress(packed, MAX_BYTES))
            output = arrays.pop("")
        except (binascii.Error, zlib.error, SafetensorError, KeyError) as error:
            raise ValueError(f"it cannot be unpacked ({error})") from error
        kinds = {(values.ndim, values.dtype) for values in arrays.values()}
        if kinds - {(3, np.dtype(np.uint8)), (1, np.dtype(np.float32))}:
            raise ValueError(f"its inputs are {kinds} instead of C×H×W uint8 or a vector of float32")
        if output.ndim != 3 or output.dtype != np.uint16:
            raise ValueError(f"its output is {output.dtype} of shape {output.shape} instead of C×H×W uint16")
        return cls(arrays, output)


def test_vectors_to_metadata(vectors: Sequence[TestVector]) -> dict[str, str]:
    """Return the metadata entries of test vectors."""
    return {f"{KEY}{index}": vector.to_text() for index, vector in enumerate(vectors)}


def test_vectors_of(file: OnnxFile) -> tuple[TestVector, ...]:
    """Read the test vectors of a file. Raises OnnxFileError if one is damaged, or there are too many."""
    names = sorted(key for key in file.metadata if key.startswith(KEY))
    if len(names) > MAX_VECTORS:
        raise OnnxFileError(f"{file.name} has {len(names)} test vectors: expected at most {MAX_VECTORS}")
    try:
        return tuple(TestVector.from_text(file.metadata[name]) for name in names)
    except ValueError as error:
        raise OnnxFileError(f"{file.name} has a damaged test vector: {error}. Export it again") from error


def sample(output: FloatImages) -> FloatImages:
    """Return the pixels of a 1×C×H×W output that a test vector stores."""
    return output[0, :, ::STRIDE, ::STRIDE]


def to_feeds(inputs: VectorInputs) -> dict[str, FloatImages]:
    """Convert uint8 to float32 in [0, 1], and add a batch dimension of 1."""
    return {
        name: np.divide(values[None], 255, dtype=np.float32) if values.dtype == np.uint8 else values[None]
        for name, values in inputs.items()
    }


def blocks(spec: ModelSpec, height: int, width: int) -> dict[str, NDArray[Any]]:
    """Make the inputs of a test vector: images and masks of random blocks, random latents and labels."""
    rng = np.random.default_rng(0)

    def make(given: InputSpec) -> NDArray[Any]:
        if not given.is_spatial:
            return random_vector(given, rng)
        rows, columns = size_of(given, height, width, spec)
        shape = given.channels, -(-rows // BLOCK), -(-columns // BLOCK)
        if given.kind == "image":
            small = rng.integers(0, 256, shape, np.uint8)
        else:
            small = rng.integers(0, 2, shape, np.uint8) * np.uint8(255)
        return small.repeat(BLOCK, 1).repeat(BLOCK, 2)[:, :rows, :columns]

    return {given.name: make(given) for given in spec.inputs}


def noise(spec: ModelSpec, batch: int, height: int, width: int) -> dict[str, FloatImages]:
    """Make random inputs to compare two runs of a graph, always the same; masks consist of random blocks."""
    rng = np.random.default_rng(0)

    def make(given: InputSpec) -> FloatImages:
        if not given.is_spatial:
            return np.stack([random_vector(given, rng) for _ in range(batch)])
        rows, columns = size_of(given, height, width, spec)
        if given.kind == "image":
            return rng.random((batch, given.channels, rows, columns), np.float32)
        small = rng.integers(0, 2, (batch, given.channels, -(-rows // BLOCK), -(-columns // BLOCK)))
        return np.ascontiguousarray(small.astype(np.float32).repeat(BLOCK, 2).repeat(BLOCK, 3)[..., :rows, :columns])

    return {given.name: make(given) for given in spec.inputs}


def comparable(
    spec: ModelSpec, inputs: dict[str, NDArray[Any]], run: Callable[[dict[str, NDArray[Any]]], FloatImages]
) -> tuple[dict[str, NDArray[Any]], FloatImages]:
    """Return the inputs and their output. The contrast of images is halved while the output exceeds MOST_BEYOND.

    inputs: those of `blocks` or `noise`.
    """
    output = run(inputs)
    for _ in range(MAX_HALVINGS):
        if not np.isfinite(output).all() or not (np.abs(output - 0.5) > 0.5 + MOST_BEYOND).any():
            break
        inputs = inputs | {given.name: halved(inputs[given.name]) for given in spec.inputs if given.kind == "image"}
        output = run(inputs)
    return inputs, output


def halved(image: NDArray[Any]) -> NDArray[Any]:
    """Halve the contrast of an image of uint8, or of floats in [0, 1]."""
    return image // 2 + np.uint8(64) if image.dtype == np.uint8 else image / 2 + np.float32(0.25)


def random_vector(given: InputSpec, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a random latent, one-hot label or weight."""
    if given.kind == "latent":
        return rng.standard_normal(given.channels, np.float32)
    if given.kind == "weight":
        return rng.random(given.channels, np.float32)
    label = np.zeros(given.channels, np.float32)
    label[rng.integers(given.channels)] = 1
    return label


def size_of(given: InputSpec, height: int, width: int, spec: ModelSpec) -> tuple[int, int]:
    """Return (height, width) of an input for a first image of this size; an input of any size gets another one."""
    if given is spec.image or given.size == "as first":
        return height, width
    return height + 2 * spec.size_multiple, width + spec.size_multiple


def legal_sizes(spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    """Return five sizes (height, width) that a graph must accept: the smallest, high and wide ones, and a larger one.

    For a model of a fixed size, returns that size; for one without an image input, the size of its output.
    """
    if (only := only_size(spec)) is not None:
        return (only,)
    multiple = spec.size_multiple
    least = -(-spec.minimum_size // multiple)
    larger = max(least, 64 // multiple) + 1
    steps = ((least, least), (least, least + 1), (least + 1, least), (least + 2, least), (larger, larger))
    return tuple((rows * multiple, columns * multiple) for rows, columns in steps)


def vector_sizes(spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    """Return the sizes (height, width) of test vectors: the smallest square from 64 pixels on, and a rectangle.

    Smaller images of blocks are nearly constant, and instance norm amplifies rounding errors in them.
    """
    if (only := only_size(spec)) is not None:
        return (only,)
    side = -(-max(spec.minimum_size, 64) // spec.size_multiple) * spec.size_multiple
    return (side, side), (side, side + spec.size_multiple)


def only_size(spec: ModelSpec) -> tuple[int, int] | None:
    """Return the one size (height, width) of a model that has no other; else None."""
    if spec.fixed_size:
        return spec.minimum_size, spec.minimum_size
    return spec.output_size
