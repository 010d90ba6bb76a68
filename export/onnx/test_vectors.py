"""What an exported graph is tried with: cases kept in its file, random inputs, and the sizes it must take.

Imports no torch. Inputs are dicts by name: `image` holds values in [0, 1], every other input is a mask of 0 and 1.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError

STRIDE = 3
"""Every third row and column of a case's output is kept: an odd number meets every phase of the upsampling."""
BLOCK = 8
"""Inputs of cases are made of blocks of so many pixels a side, so that they pack well."""
MAX_BYTES = 2**26
"""A case unpacked; little text may claim to hold very much."""


@dataclass(frozen=True)
class TestVector:
    """An input and what must come of it.

    inputs: by name, C×H×W uint8, standing for [0, 1].
    output: C'×h×w uint16, standing for [0, 1]: every STRIDE-th row and column of the whole output.
    """

    inputs: Mapping[str, NDArray[np.uint8]]
    output: NDArray[np.uint16]

    @classmethod
    def of(cls, inputs: Mapping[str, NDArray[np.uint8]], output: FloatImages) -> TestVector:
        """From the whole output, 1×C'×H'×W' in [0, 1]."""
        return cls(inputs, np.rint(np.clip(sample(output), 0, 1) * 65535).astype(np.uint16))

    def feeds(self) -> dict[str, FloatImages]:
        """The inputs as the graph takes them."""
        return to_feeds(self.inputs)

    def error(self, output: FloatImages) -> float:
        """Largest difference of a 1×C'×H'×W' output to what was expected; infinite where the shapes differ.

        What lies outside [0, 1] counts as the nearer end, which is all that can be seen or was kept of it.
        """
        sampled = sample(output)
        if sampled.shape != self.output.shape:
            return float("inf")
        return float(np.abs(np.clip(sampled, 0, 1) - self.output / 65535).max())

    def to_text(self) -> str:
        from safetensors.numpy import save

        # Row-major copies: safetensors writes the memory as it lies, whatever the strides.
        arrays = {name: np.ascontiguousarray(pixels) for name, pixels in {**self.inputs, "": self.output}.items()}
        return base64.b64encode(zlib.compress(save(arrays), 9)).decode()

    @classmethod
    def from_text(cls, text: str) -> TestVector:
        """Raises ValueError for anything that `to_text` did not write."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            packed = base64.b64decode(text, validate=True)
            arrays = load(zlib.decompressobj().decompress(packed, MAX_BYTES))
            output = arrays.pop("")
        except (binascii.Error, zlib.error, SafetensorError, KeyError) as error:
            raise ValueError(f"it cannot be unpacked ({error})") from error
        for pixels, dtype in (*((pixels, np.uint8) for pixels in arrays.values()), (output, np.uint16)):
            if pixels.ndim != 3 or pixels.dtype != dtype:
                raise ValueError(f"it holds {pixels.dtype} of shape {pixels.shape} instead of C×H×W {dtype.__name__}")
        return cls(arrays, output)


def test_vectors_to_metadata(vectors: Sequence[TestVector]) -> dict[str, str]:
    return {f"case_{index}": vector.to_text() for index, vector in enumerate(vectors)}


def test_vectors_of(file: OnnxFile) -> tuple[TestVector, ...]:
    """Raises OnnxFileError where one is damaged."""
    names = sorted(key for key in file.metadata if key.startswith("case_"))
    try:
        return tuple(TestVector.from_text(file.metadata[name]) for name in names)
    except ValueError as error:
        raise OnnxFileError(f"{file.name} has a damaged test case: {error}. Export it again") from error


def sample(output: FloatImages) -> FloatImages:
    """The pixels of a 1×C×H×W output that a case keeps."""
    return output[0, :, ::STRIDE, ::STRIDE]


def to_feeds(inputs: Mapping[str, NDArray[np.uint8]]) -> dict[str, FloatImages]:
    """C×H×W uint8 to 1×C×H×W float32 in [0, 1]."""
    return {name: np.divide(pixels[None], 255, dtype=np.float32) for name, pixels in inputs.items()}


def blocks(names: Sequence[str], in_channels: int, height: int, width: int) -> dict[str, NDArray[np.uint8]]:
    """The inputs of a case: blocks of random colour, and masks of blocks."""
    rng = np.random.default_rng(0)

    def enlarge(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return values.repeat(BLOCK, 1).repeat(BLOCK, 2)[:, :height, :width]

    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    return {
        name: enlarge(rng.integers(0, 256, (in_channels, rows, columns), np.uint8))
        if name == "image"
        else enlarge(rng.integers(0, 2, (1, rows, columns), np.uint8) * np.uint8(255))
        for name in names
    }


def noise(names: Sequence[str], in_channels: int, batch: int, height: int, width: int) -> dict[str, FloatImages]:
    """Random images, and masks of random blocks, N×C×H×W, to compare two runs of a graph with; always the same."""
    rng = np.random.default_rng(0)
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)

    def mask() -> FloatImages:
        blocks = rng.integers(0, 2, (batch, 1, rows, columns)).astype(np.float32)
        return np.ascontiguousarray(blocks.repeat(BLOCK, 2).repeat(BLOCK, 3)[..., :height, :width])

    return {
        name: rng.random((batch, in_channels, height, width), np.float32) if name == "image" else mask()
        for name in names
    }


def legal_sizes(size_multiple: int, minimum_size: int) -> tuple[tuple[int, int], ...]:
    """Five sizes (height, width) that a graph must take: the smallest, rectangles both ways, and a larger one."""
    least = -(-minimum_size // size_multiple)
    larger = max(least, 64 // size_multiple) + 1
    steps = ((least, least), (least, least + 1), (least + 1, least), (least + 2, least), (larger, larger))
    return tuple((rows * size_multiple, columns * size_multiple) for rows, columns in steps)


def vector_sizes(size_multiple: int, minimum_size: int) -> tuple[tuple[int, int], ...]:
    """A square and a rectangle, the smallest of 64 pixels or more.

    In smaller ones blocks make a nearly flat image, of which instance norm makes enlarged rounding errors.
    """
    side = -(-max(minimum_size, 64) // size_multiple) * size_multiple
    return (side, side), (side, side + size_multiple)
