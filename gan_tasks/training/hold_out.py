"""Hold out some training images, where a data folder has no val or test images to measure a training with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.loading.sampler import load_sample
from gan_tasks.datasets.unpaired import UnpairedImages
from gan_tasks.tasks.base import Data

Names = Sequence[Sequence[str]]
"""Names of images: one sequence for samples of any kind, but two for unpaired data, of A and of B."""

FEWEST_IMAGES, SHARE, MOST = 40, 10, 50
"""By default one image in SHARE is held out, MOST at most, and none of fewer than FEWEST_IMAGES."""


def names_of(data: Data) -> Names:
    if isinstance(data, UnpairedImages):
        return [[path.stem for path in side] for side in (data.a, data.b)]
    return [[data.name(index) for index in range(len(data))]]


def choose(data: Data, count: int | None) -> Names:
    """Return the names of the images to hold out; of unpaired data as many of each side.

    The order of a hash of the names decides. A folder gives the same images each time, and other images do not change
    which of two is chosen first.

    Args:
        count: their number; None = the default.

    Raises UserError if nothing would be left to train on.
    """
    sides = [sorted(set(side), key=hashed) for side in names_of(data)]
    fewest = min(map(len, sides))
    if count is None:
        return [side[: min(MOST, len(side) // SHARE)] for side in sides] if fewest >= FEWEST_IMAGES else []
    if not 0 <= count < fewest:
        raise UserError(f"--hold-out is {count}, and there are {fewest} images: give 0 to {fewest - 1}")
    return [side[:count] for side in sides] if count else []


def hashed(name: str) -> bytes:
    return hashlib.blake2b(os.fsencode(name)).digest()


def only(data: Data, names: Names) -> Data | None:
    """Return the samples with these names; None if there are none."""
    return part(data, names, lambda name, side: name in side)


def without(data: Data, names: Names) -> Data | None:
    """Return the samples with other names; None if there are none."""
    return part(data, names, lambda name, side: name not in side)


def part(data: Data, names: Names, keeps: Callable[[str, set[str]], bool]) -> Data | None:
    sides = [set(side) for side in names]
    if len(sides) != (expected := 2 if isinstance(data, UnpairedImages) else 1):
        raise UserError(
            f"the run holds out images of {len(sides)} sides, expected {expected}: restore its config.json"
        )
    if isinstance(data, UnpairedImages):
        a, b = (
            [path for path in paths if keeps(path.stem, side)]
            for paths, side in zip((data.a, data.b), sides, strict=True)
        )
        return data.part(a, b) if a and b else None
    (side,) = sides
    indices = [index for index in range(len(data)) if keeps(data.name(index), side)]
    return Part(data, indices) if indices else None


class Part:
    """Some samples of a data set. Each is the same as in the whole set."""

    def __init__(self, data: Data, indices: Sequence[int]) -> None:
        self.data, self.indices = data, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, ...]:
        epoch, index = key
        return self.data[(epoch, self.indices[index])]

    def load(self, key: tuple[int, int]) -> tuple[Any, ...]:
        epoch, index = key
        sample: tuple[Any, ...] = load_sample(self.data, (epoch, self.indices[index]))
        return sample

    def name(self, index: int) -> str:
        return self.data.name(self.indices[index])
