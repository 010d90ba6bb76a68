"""The images that models are measured on, and the networks that compare them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.folders import images_in
from gan_tasks.datasets.images import Pixels, fit_channels, read
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.metrics.features import FeatureNetwork, FeatureRows, efficientnet_lite0
from gan_tasks.metrics.unseen import reason, trained_with
from gan_tasks.progress import track

Features = NDArray[np.float32]
Item = TypeVar("Item")
LARGEST_REAL = 200
"""Most photographs that sets of results are compared with."""
OTHERS = "other photographs"


@dataclass(frozen=True)
class Photo:
    """A photograph: the name of its file and its pixels, H×W×3 of uint8."""

    name: str
    pixels: Pixels


@dataclass(frozen=True)
class Sources:
    """Where images are read from. Each is asked for when it is needed."""

    photos: Path | None = None
    """Folder of photographs that no model was trained on."""
    real: Path | None = None
    """Folder of other photographs, which sets of results are compared with."""
    real_is: str = OTHERS
    """What they are, for the notes of the tables: whether the model was trained on them."""
    sets: tuple[Path, ...] = ()
    """Folders of benchmarks of super-resolution, with the large images in them or in their folder HR."""
    masks: Path | None = None
    """Folder of mask files, white where masked."""
    data: Path | None = None
    """Data folder of a model that translates, as `gan-tasks evaluate` takes it."""
    split: Literal["train", "val", "test"] = "test"
    """Split of `data`."""
    images: int | None = None
    """Largest number of photographs; all by default."""
    open_model: Callable[[str], Predictor] | None = None
    """Opens another model by its name, which a model is compared with."""

    def read_photos(self) -> list[Photo]:
        """Return the photographs. Raises UserError without --photos, or if the folder has none."""
        return read_photos(required(self.photos, "--photos"), self.images)

    def read_real(self) -> list[Photo]:
        """Return the first of the other photographs.

        Were they those of the results, an unbiased distance of sets would be below 0: each result resembles the
        photograph that it was made of more than chance allows.

        Raises UserError without --real, or if the folder has none.
        """
        return read_photos(required(self.real, "--real"), LARGEST_REAL)


def required(path: Path | None, option: str) -> Path:
    """Return the path. Raises UserError if there is none."""
    if path is None:
        raise UserError(f"this model is measured on images of {option}, which is missing: give the folder")
    return path


def read_photos(folder: Path, count: int | None = None) -> list[Photo]:
    """Return the first photographs of a folder as RGB, in the order of their names."""
    paths = files_of(folder)[:count]
    return [Photo(path.name, read_rgb(path)) for path in paths]


def files_of(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name. Raises UserError if there are none."""
    paths = images_in(folder)[0] if folder.is_dir() else []
    if not paths:
        raise UserError(f"{folder} has no images: give a folder of image files")
    return paths


def read_rgb(path: Path) -> Pixels:
    """Return H×W×3 of uint8. Raises UserError for other types of pixels."""
    pixels = read(path, keep_profiles=()).pixels
    if pixels.dtype != np.uint8:
        raise UserError(f"{path} has pixels of {pixels.dtype}: give photographs of 8 bits")
    return fit_channels(pixels, 3)


def counted_up(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield the items, and show the progress and the remaining time."""
    with track(len(items), what, "images") as advance:
        for item in items:
            yield item
            advance(1)


@cache
def feature_network() -> FeatureNetwork:
    """Return EfficientNet-Lite0. Raises UserError if its weights are not installed."""
    return efficientnet_lite0()


def features_of(images: Iterable[Pixels]) -> Features:
    """Return the features of images H×W×C of any sizes, N×D."""
    rows = FeatureRows(feature_network())
    for image in images:
        rows.add(image)
    return rows.taken()


def features_note(*models: Predictor) -> str:
    """Name the network of the features; say so if a model was trained with it."""
    network = feature_network().name
    training = {model.title: model.spec.trained_with for model in models}
    note = "Kernel distance ×10³ by the features of EfficientNet-Lite0; lower is nearer to real photographs."
    return f"{note} Take it with care: {reason(network, training)}." if trained_with(network, training) else note
