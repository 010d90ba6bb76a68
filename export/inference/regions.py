"""Where the holes of a picture are: the parts of it that are filled one after the other. numpy alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.masks.draw import Mask

BLOCK_PX = 32
"""Holes are told apart by blocks: those closer than this are filled at once."""
LEAST_CONTEXT_PX = 64
"""What is seen around a hole, at least,"""
LEAST_SIDE_PX = 256
"""and the smallest part that is cut out: networks learn from pictures of this size."""


@dataclass(frozen=True)
class Region:
    """A part of a picture in which a hole is filled: rows top to bottom, columns left to right, in pixels."""

    top: int
    bottom: int
    left: int
    right: int
    mask: Mask
    """Of the part's size: what is to be filled here. Other holes may reach into the part."""

    @property
    def place(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left


def whole(mask: Mask) -> Region:
    return Region(0, mask.shape[0], 0, mask.shape[1], mask)


def regions(mask: Mask) -> Iterator[Region]:
    """The holes of a picture one by one, from above, each with surroundings as wide as half of it or more."""
    for blocks in connected(occupied_blocks(mask)):
        rows, columns = blocks[:, 0], blocks[:, 1]
        member = np.zeros(-(-np.array(mask.shape) // BLOCK_PX), np.bool_)
        member[rows, columns] = True
        own = mask & member.repeat(BLOCK_PX, 0).repeat(BLOCK_PX, 1)[: mask.shape[0], : mask.shape[1]]
        (top, bottom), (left, right) = (span(np.flatnonzero(own.max(axis=1 - axis))) for axis in (0, 1))
        side = max(bottom - top, right - left)
        wanted = max(LEAST_SIDE_PX, side + 2 * max(LEAST_CONTEXT_PX, side // 2))
        top, bottom = widened(top, bottom, wanted, mask.shape[0])
        left, right = widened(left, right, wanted, mask.shape[1])
        yield Region(top, bottom, left, right, own[top:bottom, left:right])


def occupied_blocks(mask: Mask) -> NDArray[np.bool_]:
    """Which blocks of BLOCK_PX have a pixel of a hole."""
    below, right = (-length % BLOCK_PX for length in mask.shape)
    padded = np.pad(mask, ((0, below), (0, right)))
    rows, columns = (length // BLOCK_PX for length in padded.shape)
    blocks: NDArray[np.bool_] = padded.reshape(rows, BLOCK_PX, columns, BLOCK_PX).max(axis=(1, 3))
    return blocks


def connected(occupied: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Groups of neighbouring places, n×2, diagonal neighbours included; in the order of their first places."""
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


def span(places: NDArray[np.intp]) -> tuple[int, int]:
    return int(places[0]), int(places[-1]) + 1


def widened(start: int, stop: int, wanted: int, length: int) -> tuple[int, int]:
    """A stretch of `wanted` around the one given, moved so far that it lies in 0 … length, or all of that."""
    wanted = min(length, max(wanted, stop - start))
    start = min(max(0, (start + stop - wanted) // 2), length - wanted)
    return start, start + wanted
