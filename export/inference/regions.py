"""Split the mask of an image into regions that are filled one after the other. numpy only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.masks.draw import Mask

BLOCK_PX = 32
"""Side of the blocks that separate masked regions; regions in adjacent blocks are filled together."""
LEAST_CONTEXT_PX = 64
"""Smallest width of the surroundings that are cut out with a masked region."""
LEAST_SIDE_PX = 256
"""Smallest side of a part that is cut out: the training size of inpainting networks."""


@dataclass(frozen=True)
class Region:
    """A part of an image with a masked region: rows top to bottom, columns left to right, in pixels."""

    top: int
    bottom: int
    left: int
    right: int
    mask: Mask
    """Pixels to fill, of the part's size. Pixels of other masked regions in the part are not included."""

    @property
    def place(self) -> tuple[slice, slice]:
        """Slices of rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left


def whole(mask: Mask) -> Region:
    """Return the whole image as a region."""
    return Region(0, mask.shape[0], 0, mask.shape[1], mask)


def regions(mask: Mask, *, least_side_px: int = LEAST_SIDE_PX) -> Iterator[Region]:
    """Yield the masked regions from top to bottom, each with surroundings of at least half its size on each side.

    least_side_px: smallest side of a part that is cut out of an image that is as large.
    """
    for blocks in connected(occupied_blocks(mask)):
        rows, columns = blocks[:, 0], blocks[:, 1]
        member = np.zeros(-(-np.array(mask.shape) // BLOCK_PX), np.bool_)
        member[rows, columns] = True
        own = mask & member.repeat(BLOCK_PX, 0).repeat(BLOCK_PX, 1)[: mask.shape[0], : mask.shape[1]]
        (top, bottom), (left, right) = (span(np.flatnonzero(own.max(axis=1 - axis))) for axis in (0, 1))
        side = max(bottom - top, right - left)
        least = max(least_side_px, side + 2 * max(LEAST_CONTEXT_PX, side // 2))
        top, bottom = widened(top, bottom, least, mask.shape[0])
        left, right = widened(left, right, least, mask.shape[1])
        yield Region(top, bottom, left, right, own[top:bottom, left:right])


def occupied_blocks(mask: Mask) -> NDArray[np.bool_]:
    """Return which blocks of BLOCK_PX have a masked pixel."""
    below, right = (-length % BLOCK_PX for length in mask.shape)
    padded = np.pad(mask, ((0, below), (0, right)))
    rows, columns = (length // BLOCK_PX for length in padded.shape)
    blocks: NDArray[np.bool_] = padded.reshape(rows, BLOCK_PX, columns, BLOCK_PX).max(axis=(1, 3))
    return blocks


def connected(occupied: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Yield groups of neighbouring positions, n×2, also diagonal ones, in the order of their first positions."""
    left_over = {(int(row), int(column)) for row, column in np.argwhere(occupied)}
    for first in sorted(left_over):
        if first not in left_over:
            continue
        left_over.remove(first)
        group, waiting = [first], deque([first])
        while waiting:
            row, column = waiting.popleft()
            around = {(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left_over
            left_over -= around
            group += around
            waiting += around
        yield np.array(group)


def span(positions: NDArray[np.intp]) -> tuple[int, int]:
    """Return the range, start and stop, of sorted positions."""
    return int(positions[0]), int(positions[-1]) + 1


def widened(start: int, stop: int, least: int, length: int) -> tuple[int, int]:
    """Widen a range to at least `least` around its centre, and move it into 0 … length."""
    width = min(length, max(least, stop - start))
    start = min(max(0, (start + stop - width) // 2), length - width)
    return start, start + width
