"""The order of training images as a pure function of the seed, without torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Key = tuple[int, int]
"""(epoch, index): the number of the pass over the data, and the index of the image."""


def load_sample(dataset: Any, key: Key) -> Any:
    """Return a sample by `load` if the dataset has it: images of 8 bits stay uint8, a quarter of what float32 takes.

    A process hands over a batch as quickly as it copies it. A class that defines `__getitem__` alone, such as one
    derived from a data set of this package, is asked by that.
    """
    for kind in type(dataset).__mro__:
        if "load" in vars(kind):
            return dataset.load(key)
        if "__getitem__" in vars(kind):
            break
    return dataset[key]


@dataclass(frozen=True)
class ImageStream:
    """An endless sequence of batches, each a list of `batch_size` (epoch, index) keys: a DataLoader's batch_sampler.

    The batches of all ranks are slices of one endless sequence of images: position p is image
    permutation(seed, epoch)[p % n] of epoch p // n, where n is dataset_size. A step takes batch_size · world_size
    positions, in rank order. No image is dropped, a batch may span two epochs, and the state of the sampler is one
    number: start_image, the number of images drawn so far.
    """

    dataset_size: int
    batch_size: int
    """Images per step on each rank."""
    seed: int
    rank: int = 0
    world_size: int = 1
    start_image: int = 0
    """Images already drawn by all ranks together."""

    def __post_init__(self) -> None:
        if self.dataset_size < 1 or self.batch_size < 1:
            raise ValueError(
                f"dataset_size is {self.dataset_size} and batch_size {self.batch_size}; give 1 or more for each"
            )
        if not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"rank is {self.rank} and world_size {self.world_size}; give a rank from 0 to {self.world_size - 1}"
            )

    def __iter__(self) -> Iterator[list[Key]]:
        start = self.start_image + self.rank * self.batch_size
        epoch, order = -1, np.empty(0, np.int64)
        while True:
            batch = []
            for position in range(start, start + self.batch_size):
                if position // self.dataset_size != epoch:
                    epoch = position // self.dataset_size
                    order = _permutation(self.seed, epoch, self.dataset_size)
                batch.append((epoch, int(order[position % self.dataset_size])))
            yield batch
            start += self.batch_size * self.world_size


def _permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(size)
