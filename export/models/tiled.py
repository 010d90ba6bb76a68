"""A model that runs an image in tiles where the whole image would need too much memory. Imports no torch."""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import ImageError, Pixels, to_float
from gan_tasks.export.models.base import FloatImages, Model, from_float
from gan_tasks.export.models.tiling import Planes, fitting_tile, overlap_of, run_in_tiles, tile_spans

MAX_PADDED_PIXELS = 2**24
"""That a small or thin image may have in tiles when it is padded for the network."""
MAX_PADDING_FACTOR = 4
"""By which padding may enlarge any other image."""


class TiledModel(Model):
    """A `Model` that runs an image in tiles if it needs more than `max_memory_bytes` (see tiling.py)."""

    @property
    @abstractmethod
    def bytes_per_pixel(self) -> int:
        """Estimate of the memory in use per pixel of input."""

    @abstractmethod
    def run_network(self, *inputs: FloatImages) -> FloatImages:
        """Run the network as `run` does, without tiles."""

    def tiles_of(self, image: Planes) -> AbstractContextManager[None]:
        """Return a context in which tiles of an image 1×C×H×W are run. Integers are levels."""
        return nullcontext()

    @property
    def overlap(self) -> int:
        """Number of pixels that neighbouring tiles share."""
        spec = self.spec
        return overlap_of(spec.receptive_field, multiple=self.tile_multiple, minimum_size=spec.minimum_size)

    @property
    def tile_multiple(self) -> int:
        """Tiles start at multiples of this, in pixels, and have sides that are multiples of it."""
        return math.lcm(self.spec.size_multiple, self.spec.tile_multiple)

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        if self.spec.image is None:
            return False
        below, right = padding_to_multiple(height, width, self.spec.size_multiple, self.spec.minimum_size)
        return count * (height + below) * (width + right) * self.bytes_per_pixel > self.max_memory_bytes

    def tile_count(self, height: int, width: int) -> int:
        if not self.runs_in_tiles(height, width):
            return 1
        below, right = padding_to_multiple(height, width, self.spec.size_multiple, self.spec.minimum_size)
        padded = height + below, width + right
        tile = self._fitting_tile(*padded)
        return len(tile_spans(*padded, tile=tile, overlap=self.overlap, multiple=self.tile_multiple))

    def _fitting_tile(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of the tiles of a padded image of this size."""
        return fitting_tile(
            height,
            width,
            bytes_per_pixel=self.bytes_per_pixel,
            max_memory_bytes=self.max_memory_bytes,
            overlap=self.overlap,
            multiple=self.tile_multiple,
            title=self.title,
        )

    def check_padding(self, height: int, width: int) -> None:
        """Check that the network can be given an image.

        Raises ImageError for an image that padding enlarges out of proportion, such as one of 1 × 1,000,000 px, and
        for one that is larger than a network of a fixed size; UserError if this size needs too much memory.
        """
        multiple, minimum = self.spec.size_multiple, self.spec.minimum_size
        if self.spec.fixed_size:
            if max(height, width) > minimum:
                raise ImageError(
                    f"the image is {width} × {height} px, and {self.title} takes {minimum} × {minimum} px at most: "
                    "scale it down, or cut it into parts"
                )
            if self.runs_in_tiles(height, width):
                needed = minimum**2 * self.bytes_per_pixel
                raise UserError(
                    f"{self.title} needs {needed / 2**20:,.0f} MiB for its {minimum}×{minimum} pixels, and "
                    f"{self.max_memory_bytes / 2**20:,.0f} MiB are allowed: allow more memory"
                )
            return
        below, right = padding_to_multiple(height, width, multiple, minimum)
        rows, columns = height + below, width + right
        if rows * columns <= MAX_PADDING_FACTOR * height * width:
            return
        most = MAX_PADDED_PIXELS
        if not self.spec.runs_in_tiles:
            most = max(self.max_memory_bytes // self.bytes_per_pixel, (2 * max(minimum, multiple)) ** 2)
        if rows * columns > most:
            raise ImageError(
                f"the image of {width} × {height} px would be padded to {columns} × {rows} px, because {self.title} "
                f"takes sides of {minimum} px or more, in multiples of {multiple}: expected at most {most:,} px; cut "
                "the image into parts"
            )

    def run(self, *inputs: FloatImages) -> FloatImages:
        for given, values in zip(self.spec.inputs, inputs, strict=False):
            if given.is_spatial:
                self.check_padding(*values.shape[-2:])
        if not self.spec.runs_in_tiles or not self.runs_in_tiles(*inputs[0].shape[-2:], count=len(inputs[0])):
            return self.run_network(*inputs)
        return np.stack([self._run_in_tiles(image[None], in_levels=False) for image in inputs[0]])

    def run_pixels(self, pixels: Pixels) -> Pixels:
        if not self.runs_in_tiles(*pixels.shape[:2]):
            return super().run_pixels(pixels)
        self.check_padding(*pixels.shape[:2])
        return np.ascontiguousarray(
            self._run_in_tiles(pixels.transpose(2, 0, 1)[None], in_levels=True).transpose(1, 2, 0)
        )

    def _run_in_tiles(self, image: Planes, *, in_levels: bool) -> Planes:
        """Run 1×C×H×W in tiles; return C'×(s·H)×(s·W) of the same type: integers if `in_levels`, else floats."""

        def run_levels(tile: Planes) -> Planes:
            output = self.run_network(in_floats(tile))[0]
            return from_float(output, image.dtype).transpose(2, 0, 1)[None]

        spec = self.spec
        height, width = image.shape[-2:]
        (padded,) = pad_to_multiple(image, spec.size_multiple, spec.minimum_size)
        tile = self._fitting_tile(*padded.shape[-2:])
        with self.tiles_of(padded[None]):
            result = run_in_tiles(
                run_levels if in_levels else self.run_network,
                padded,
                tile=tile,
                overlap=self.overlap,
                multiple=self.tile_multiple,
                scale=spec.scale,
            )
        return result[..., : height * spec.scale, : width * spec.scale]


def in_floats(image: Planes) -> FloatImages:
    """Convert 1×C×H×W levels to [-1, 1]. Floats are returned as they are."""
    return to_float(image[0].transpose(1, 2, 0))[None] if np.issubdtype(image.dtype, np.integer) else image


def pad_to_multiple(images: Planes, multiple: int, minimum: int) -> Planes:
    """Pad N×C×H×W below and to the right, as `gan_tasks.networks.blocks.pad_to_multiple` does with torch."""
    height, width = images.shape[-2:]
    below, right = padding_to_multiple(height, width, multiple, minimum)
    if not below and not right:
        return images
    padding = ((0, 0), (0, 0), (0, below), (0, right))
    if below < height and right < width:
        return np.pad(images, padding, mode="reflect")
    return np.pad(images, padding, mode="edge")


def padding_to_multiple(height: int, width: int, multiple: int, minimum: int) -> tuple[int, int]:
    """Return the number of pixels to add below and to the right."""
    below = max(minimum, -(-height // multiple) * multiple) - height
    right = max(minimum, -(-width // multiple) * multiple) - width
    return below, right
