"""What makes samples doubtful as training data, whatever the task: a look at some of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MAX_SAMPLED = 24
"""Largest number of samples that are read."""
MOST = 0.9
"""Share of the samples from which on a property is that of the data set."""
ONE_COLOUR = 4 / 255
"""Standard deviation, in [-1, 1], below which an image is of one colour."""
NEARLY_BLACK_OR_WHITE = 8 / 255
"""Distance to -1 or 1 within which a value is black or white, as in a mask that was saved as JPEG."""
SMALLEST_SIDE = 16
"""Height and width in px of the smallest images that networks learn from."""


class Samples(Protocol):
    """A data set of samples by (epoch, index), each a NamedTuple of float32 C×H×W arrays."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: tuple[int, int]) -> tuple[NDArray[np.float32], ...]: ...


Columns = Mapping[str, Sequence[NDArray[np.float32]]]
"""The images of the samples by their name in the sample."""


def find_doubts(data: Samples) -> list[str]:
    """Return sentences for the user about the images of a data set without augmentation; none if they look right.

    Images of one colour, the same image in all samples, the same image under two names, images that are masks, and
    images too small to learn from.
    """
    count = min(len(data), MAX_SAMPLED)
    samples = [data[0, number * len(data) // count] for number in range(count)]
    names: tuple[str, ...] = getattr(samples[0], "_fields", ())
    columns = {name: list(arrays) for name, arrays in zip(names, zip(*samples, strict=True), strict=False)}
    columns = {name: arrays for name, arrays in columns.items() if arrays[0].ndim == 3}
    masks = {name for name, arrays in columns.items() if all(map(_is_mask, arrays))}
    images = {name: arrays for name, arrays in columns.items() if name not in masks}
    return [
        *_doubts_of_each(images),
        *_same_images(images),
        *(_images_of_masks(images) if masks else ()),
    ]


def _doubts_of_each(images: Columns) -> Iterator[str]:
    for name, arrays in images.items():
        of_one_colour = sum(array.std(axis=(1, 2)).max() < ONE_COLOUR for array in arrays)
        if of_one_colour >= MOST * len(arrays):
            yield f"{name}: {_count(of_one_colour, arrays)} images are of one colour, with nothing to learn from"
        elif len(arrays) > 1 and all(np.array_equal(array, arrays[0]) for array in arrays[1:]):
            yield f"{name}: all {len(arrays)} sampled images are the same picture; give different ones"
    largest = [max((column[i] for column in images.values()), key=np.size) for i in range(_length(images))]
    small = sum(min(array.shape[1:]) < SMALLEST_SIDE for array in largest)
    if largest and small >= MOST * len(largest):
        yield f"{_count(small, largest)} images are smaller than {SMALLEST_SIDE} px; give larger ones"


def _same_images(images: Columns) -> Iterator[str]:
    names = list(images)
    for position, one in enumerate(names):
        for other in names[position + 1 :]:
            same = sum(np.array_equal(a, b) for a, b in zip(images[one], images[other], strict=True))
            if same >= MOST * len(images[one]):
                yield f"{one} and {other} are the same picture in {_count(same, images[one])} samples"


def _images_of_masks(images: Columns) -> Iterator[str]:
    for name, arrays in images.items():
        black_and_white = sum(map(_is_black_and_white, arrays))
        if black_and_white >= MOST * len(arrays):
            yield f"{name}: {_count(black_and_white, arrays)} images are black and white only, as masks are"


def _is_mask(array: NDArray[np.float32]) -> bool:
    """Return whether an array is a mask or sketch, 0 or 1. An image in [-1, 1] has no values of exactly 0."""
    return len(array) == 1 and bool((array == 0).any()) and bool(np.isin(array, (0, 1)).all())


def _is_black_and_white(array: NDArray[np.float32]) -> bool:
    return float((np.abs(np.abs(array) - 1) <= NEARLY_BLACK_OR_WHITE).mean()) >= 0.98


def _length(images: Columns) -> int:
    return len(next(iter(images.values()), ()))


def _count(number: int, sampled: Sequence[object]) -> str:
    return f"{number} of {len(sampled)} sampled"
