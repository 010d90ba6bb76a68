"""Large images in tiles that overlap and are blended, so that memory is bounded. numpy alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.model import FloatImages

OnTile = Callable[[int, int], None]
"""Told how many tiles are done, and of how many: before the first and after each. What it raises ends the run."""

_on_tile: ContextVar[OnTile] = ContextVar("on_tile", default=lambda done, count: None)


@contextmanager
def watching_tiles(on_tile: OnTile) -> Iterator[None]:
    """Let `on_tile` be told of the tiles that this thread runs inside the block."""
    token = _on_tile.set(on_tile)
    try:
        yield
    finally:
        _on_tile.reset(token)


@dataclass(frozen=True)
class Span:
    """One tile along one side of the image: pixels start to stop, and the weight of each in the result."""

    start: int
    stop: int
    weights: NDArray[np.float32]


def spans(length: int, tile: int, overlap: int, multiple: int) -> tuple[Span, ...]:
    """Cover a side with tiles; the weights of all tiles at a pixel sum to 1.

    A tile's weight is 0 over the outer quarter of the overlap, where it lacks the surroundings that a whole image
    would have, and rises straight to 1 over the middle half. Tiles start at multiples of `multiple`, so that a
    network that halves its input sees the same grid in each.

    Args:
        length, tile, overlap: in pixels, each a multiple of `multiple`; tile ≥ 2·overlap unless it is the length.
    """
    if tile >= length:
        return (Span(0, length, np.ones(length, np.float32)),)
    if tile < 2 * overlap or any(value % multiple for value in (length, tile, overlap)):
        raise ValueError(f"tiles of {tile} px with an overlap of {overlap} do not fit steps of {multiple} px")
    starts = [*range(0, length - tile, tile - overlap), length - tile]
    weights = np.zeros((len(starts), length), np.float64)
    for row, start in zip(weights, starts, strict=True):
        centres = np.arange(tile) + 0.5
        from_start = centres if start > 0 else np.inf
        from_end = tile - centres if start + tile < length else np.inf
        margin, ramp = overlap / 4, max(overlap / 2, 1)
        row[start : start + tile] = np.clip((np.minimum(from_start, from_end) - margin) / ramp, 0, 1)
    weights /= weights.sum(axis=0)
    return tuple(
        Span(start, start + tile, row[start : start + tile].astype(np.float32))
        for row, start in zip(weights, starts, strict=True)
    )


def tile_size(height: int, width: int, *, max_pixels: int, multiple: int, minimum: int) -> tuple[int, int]:
    """The largest tile of at most `max_pixels`, square where the image allows it, as (height, width).

    Args:
        height, width, minimum: in pixels, multiples of `multiple`. A tile is no smaller than `minimum`, or
            the image where that is smaller still: the result may then be more than max_pixels.
    """

    def side(limit: int, length: int) -> int:
        return min(length, max(minimum, limit // multiple * multiple))

    rows = side(math.isqrt(max_pixels), height)
    columns = side(max_pixels // rows, width)
    return side(max_pixels // columns, height), columns


def overlap_of(reach: int, *, size_multiple: int, minimum_size: int) -> int:
    """Pixels that neighbouring tiles share, where the image decides what is made `reach` pixels away."""
    return -(-max(4 * reach, minimum_size) // size_multiple) * size_multiple


def fitting_tile(
    height: int,
    width: int,
    *,
    bytes_per_pixel: int,
    max_memory_bytes: int,
    overlap: int,
    multiple: int,
    title: str,
) -> tuple[int, int]:
    """The largest tile that keeps to the memory, see `tile_size`.

    Raises UserError, naming the model by its title, where not even the smallest does.
    """
    max_pixels = max_memory_bytes // bytes_per_pixel
    tile = tile_size(height, width, max_pixels=max_pixels, multiple=multiple, minimum=2 * overlap)
    if (needed := tile[0] * tile[1] * bytes_per_pixel) > max_memory_bytes:
        raise UserError(
            f"{title} needs {needed / 2**20:,.0f} MiB for its smallest tile, {tile[0]}×{tile[1]} pixels, "
            f"and {max_memory_bytes / 2**20:,.0f} MiB are allowed: allow more memory"
        )
    return tile


def run_in_tiles(
    run: Callable[[FloatImages], FloatImages],
    image: FloatImages,
    *,
    tile: tuple[int, int],
    overlap: int,
    multiple: int = 1,
    scale: int = 1,
) -> FloatImages:
    """Run C×H×W through `run`, 1×C×h×w → 1×C'×(s·h)×(s·w), tile by tile; gives C'×(s·H)×(s·W) float32.

    The result equals that of the whole image where an output pixel depends on at most overlap / 4 pixels to each
    side; normalisation over the whole image, as instance norm's, becomes one over each tile.
    """
    height, width = image.shape[-2:]
    result: FloatImages | None = None
    tiles = list(product(spans(height, tile[0], overlap, multiple), spans(width, tile[1], overlap, multiple)))
    on_tile = _on_tile.get()
    on_tile(0, len(tiles))
    for done, (row, column) in enumerate(tiles, start=1):
        output = run(image[None, :, row.start : row.stop, column.start : column.stop])[0]
        if result is None:
            result = np.zeros((len(output), height * scale, width * scale), np.float32)
        weights = np.outer(row.weights.repeat(scale), column.weights.repeat(scale))
        result[:, row.start * scale : row.stop * scale, column.start * scale : column.stop * scale] += (
            output * weights
        )
        on_tile(done, len(tiles))
    assert result is not None  # there is always a tile
    return result
