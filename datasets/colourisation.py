"""The data set of colourisation: a sample is a gray image and the colour photograph that it is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import Framing, FramingConfig, sample_seed
from gan_tasks.datasets.checks.validation import Problem, Progress, inspect_files
from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.folders import listed, refuse_problems
from gan_tasks.datasets.images import Pixels, centred, fit_channels, read, to_planes
from gan_tasks.datasets.loading.sampler import Key
from gan_tasks.datasets.paired import Pair, Split
from gan_tasks.datasets.ranges import Checked, Side
from gan_tasks.datasets.sides.names import images_of_split

GRAY, RGB = 1, 3


@dataclass(frozen=True)
class PhotographFraming(FramingConfig):
    """How photographs are resized, cropped and flipped for training."""

    load_size: Side = 256
    """Resize height and width to this many px before cropping; 0 keeps the file's size."""
    crop_size: tuple[Side, Side] = (224, 224)
    """Train on random crops of this height and width in px; smaller images are padded by reflection. Cropping is
    turned off by 0 0."""


@dataclass(frozen=True)
class ColourisationDataConfig(Checked):
    """Images and augmentation of the training data."""

    framing: PhotographFraming = PhotographFraming()
    strict: bool = False
    """Stop with an error if any file has a problem, instead of leaving the file out."""


@dataclass(frozen=True)
class FoundColourPhotographs:
    """The colour photographs of a folder, and the problems of files that are not used."""

    images: tuple[Path, ...]
    problems: tuple[Problem, ...]
    summary: str
    """One line for the user: the number of photographs."""


def open_colourisation(
    root: Path,
    split: Split,
    config: ColourisationDataConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["ColourPhotographs", FoundColourPhotographs]:
    """Read each file once (see `validation.py`) and make a data set of the colour photographs.

    A split is the folder root/<split>; for "train" also root itself. Gray files are problems: they have no colour to
    learn.

    Raises UserError if root is not a folder, if no usable photograph is left, and, with config.strict, if there is
    any problem. Raises MissingSplitError if there is no such folder.
    """
    folder, images, problems = images_of_split(root, split)
    good = []
    for path, finding in inspect_files(images, in_colour=True, on_progress=on_progress).items():
        if isinstance(finding, Problem):
            problems.append(finding)
        elif finding[2] not in (3, 4):
            problems.append(Problem(path, f"has {counted(finding[2], 'channel')}; expected a colour photograph"))
        else:
            good.append(path)
    if not good:
        raise UserError(f"{folder} holds no usable colour photograph. Problems:\n{listed(problems)}")
    if config.strict:
        refuse_problems(problems)
    left_out = f"; {counted(len(problems), 'file')} with problems left out" if problems else ""
    summary = f"{counted(len(good), 'colour photograph')} in {folder}{left_out}"
    found = FoundColourPhotographs(tuple(good), tuple(problems), summary)
    return ColourPhotographs(good, config, seed, augment), found


class ColourPhotographs:
    """A map-style data set keyed by (epoch, index): a sample depends only on the seed and the key.

    source: the gray image, 1×H×W, made by the same conversion as the gray version of a file at inference.
    target: the photograph, 3×H×W.

    augment: resize, crop and flip at random. Without it, photographs are returned complete and unchanged.
    """

    def __init__(self, images: Sequence[Path], config: ColourisationDataConfig, seed: int, augment: bool) -> None:
        self.images, self.config, self.seed = tuple(images), config, seed
        self._framing = Framing(config.framing) if augment else None

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the name of a sample: that of its file without the suffix."""
        return self.images[index].stem

    def __getitem__(self, key: Key) -> Pair[NDArray[np.float32]]:
        return Pair(*map(centred, self.load(key)))

    def load(self, key: Key) -> Pair[Pixels]:
        """Return a sample in which images of 8 bits are uint8, and others float32 in [-1, 1]."""
        epoch, index = key
        reduction = None if self._framing is None else self._framing.reduction
        photograph = fit_channels(read(self.images[index], reduction=reduction).pixels, RGB)
        if self._framing is not None:
            rng = np.random.default_rng(sample_seed(self.seed, epoch, index))
            (photograph,) = self._framing(rng, photograph)
        return Pair(to_planes(fit_channels(photograph, GRAY)), to_planes(photograph))
