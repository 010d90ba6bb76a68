"""Run large images in overlapping tiles with limited memory, and blend the tiles. numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError

Planes = NDArray[Any]
"""C×H×W of any type; integers remain integers."""

OnTile = Callable[[int, int], None]
"""Callback with the numbers of finished tiles and of all tiles, before the first tile and after each. An exception
that it raises ends the run."""

_on_tile: ContextVar[OnTile] = ContextVar("on_tile", default=lambda done, count: None)


@contextmanager
def reporting_tiles(on_tile: OnTile) -> Iterator[None]:
    """Call `on_tile` for the tiles that this thread runs inside the block."""
    token = _on_tile.set(on_tile)
    try:
        yield
    finally:
        _on_tile.reset(token)


def current_on_tile() -> OnTile:
    """Return the callback of the block around, which does nothing if there is none."""
    return _on_tile.get()


@dataclass(frozen=True)
class Span:
    """A tile along one side of the image: pixels start to stop, of which the first `shared` are also in the tile
    before."""

    start: int
    stop: int
    shared: int = 0


def spans(length: int, tile: int, overlap: int, multiple: int) -> tuple[Span, ...]:
    """Cover a side with tiles of equal length, at most `tile`, that share at least `overlap` pixels with the next.

    They start at multiples of `multiple`, so that the downsampling grid of a network is the same in each tile. The
    last tile is shorter if the length is not a multiple.

    Args:
        length, tile, overlap: in pixels; tile and overlap are multiples of `multiple`; tile ≥ 2·overlap, or tile ≥
            length.
    """
    if tile >= length:
        return (Span(0, length),)
    if tile < 2 * overlap or tile % multiple or overlap % multiple:
        raise ValueError(f"tiles of {tile} px with an overlap of {overlap} do not fit steps of {multiple} px")
    whole = -(-length // multiple) * multiple
    count = -(-(length - overlap) // (tile - overlap))
    tile = even_tile(length, count, overlap, multiple)
    starts = [index * (whole - tile) // (count - 1) // multiple * multiple for index in range(count)]
    following = (Span(start, min(start + tile, length), before + tile - start) for before, start in pairwise(starts))
    return (Span(0, tile), *following)


def even_tile(length: int, count: int, overlap: int, multiple: int) -> int:
    """Return the shortest length of `count` tiles that cover a side."""
    return -(-(length + (count - 1) * overlap) // (count * multiple)) * multiple


def rise(shared: int) -> NDArray[np.float32]:
    """Return the blend weights of a tile in the pixels that it shares with the tile before.

    Each tile has weight 0 in the outer three eighths of the overlap, where its receptive field is cut off. In the
    quarter between, the weights change linearly.
    """
    margin, ramp = 3 * shared / 8, max(shared / 4, 1)
    weights: NDArray[np.float32] = np.clip((np.arange(shared) + 0.5 - margin) / ramp, 0, 1).astype(np.float32)
    return weights


def overlap_of(receptive_field: int, *, multiple: int, minimum_size: int) -> int:
    """Return the number of pixels that neighbouring tiles share for a receptive-field radius; see `rise`."""
    return -(-max(math.ceil(8 * receptive_field / 3), minimum_size) // multiple) * multiple


def tile_size(height: int, width: int, *, max_pixels: int, overlap: int, multiple: int) -> tuple[int, int]:
    """Return the (height, width) of the tiles of at most `max_pixels` that run the fewest pixels in total.

    If no tile has at most `max_pixels`, returns the smallest one. A side of a tile is at least 2·overlap, or the side
    of the image.

    Args:
        height, width, overlap: in pixels; overlap is a multiple of `multiple`.
    """

    def sides(length: int) -> list[int]:
        most = max(1, length // overlap - 1)
        tiles = (even_tile(length, count, overlap, multiple) for count in range(2, most + 1))
        return [length, *(tile for tile in tiles if 2 * overlap <= tile < length)]

    def pixels_run(tile: tuple[int, int]) -> int:
        rows, columns = (
            1 if side == length else -(-(length - overlap) // (side - overlap))
            for side, length in zip(tile, (height, width), strict=True)
        )
        return rows * columns * tile[0] * tile[1]

    lower, narrower = sides(height), sides(width)
    best = (lower[-1], narrower[-1])
    for columns in narrower:
        rows = next((rows for rows in lower if rows * columns <= max_pixels), None)
        if rows is not None and (best[0] * best[1] > max_pixels or pixels_run((rows, columns)) < pixels_run(best)):
            best = (rows, columns)
    return best


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
    """Return the best tile within the memory limit, see `tile_size`.

    Raises UserError, with the title of the model, if the smallest tile needs more memory.
    """
    max_pixels = max_memory_bytes // bytes_per_pixel
    tile = tile_size(height, width, max_pixels=max_pixels, overlap=overlap, multiple=multiple)
    if (needed := tile[0] * tile[1] * bytes_per_pixel) > max_memory_bytes:
        raise UserError(
            f"{title} needs {needed / 2**20:,.0f} MiB for its smallest tile, {tile[0]}×{tile[1]} pixels, "
            f"and {max_memory_bytes / 2**20:,.0f} MiB are allowed: allow more memory"
        )
    return tile


def tile_spans(
    height: int, width: int, *, tile: tuple[int, int], overlap: int, multiple: int
) -> list[tuple[Span, Span]]:
    """Return the (rows, columns) of each tile of an image, row by row. See `spans`."""
    return list(product(spans(height, tile[0], overlap, multiple), spans(width, tile[1], overlap, multiple)))


def run_in_tiles(
    run: Callable[[Planes], Planes],
    image: Planes,
    *,
    tile: tuple[int, int],
    overlap: int,
    multiple: int = 1,
    scale: int = 1,
) -> Planes:
    """Run an image C×H×W tile by tile; return C'×(s·H)×(s·W) of the type that `run` returns.

    The result equals that of the whole image if the receptive-field radius is at most 3/8 of the overlap. But means
    over the whole image, such as those of instance norm, are computed for each tile. Only the result is as large
    as the image. Integers are blended as integers, which changes nothing where tiles are equal.

    Args:
        run: runs the network on a tile, 1×C×h×w → 1×C'×(s·h)×(s·w).
    """
    height, width = image.shape[-2:]
    tiles = tile_spans(height, width, tile=tile, overlap=overlap, multiple=multiple)
    on_tile = current_on_tile()
    on_tile(0, len(tiles))
    result: Planes | None = None
    for done, (row, column) in enumerate(tiles, start=1):
        top = row.shared * scale
        output = run(image[None, :, row.start : row.stop, column.start : column.stop])[0]
        if result is None:
            # Memory layout H×W×C, which images have.
            result = np.empty((height * scale, width * scale, len(output)), output.dtype).transpose(2, 0, 1)
        if column.start == 0:
            shared_rows = np.empty((len(output), top, width * scale), output.dtype)
        across = slice(column.start * scale, column.stop * scale)
        weights = rise(column.shared * scale)
        join(shared_rows[..., across], output[:, :top], weights)
        join(result[:, row.start * scale + top : row.stop * scale, across], output[:, top:], weights)
        if column.stop == width:
            for line, (weight, shared_row) in enumerate(
                zip(rise(top), shared_rows.swapaxes(0, 1), strict=True), row.start * scale
            ):
                blend(result[:, line], shared_row, weight)
        on_tile(done, len(tiles))
    assert result is not None  # there is at least one tile
    return result


def join(canvas: Planes, tile: Planes, weights: NDArray[np.float32]) -> None:
    """Write a tile to the canvas; its first columns are blended with these weights."""
    shared = len(weights)
    canvas[..., shared:] = tile[..., shared:]
    blend(canvas[..., :shared], tile[..., :shared], weights)


def blend(canvas: Planes, tile: Planes, weight: NDArray[np.float32]) -> None:
    """Blend a tile into the canvas in place; `weight` is that of the tile."""
    mixed = canvas + (tile - canvas.astype(np.float32)) * weight
    canvas[...] = np.rint(mixed) if np.issubdtype(canvas.dtype, np.integer) else mixed
