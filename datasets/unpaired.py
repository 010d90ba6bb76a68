"""Two folders of pictures without pairs: to samples of one picture of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import Framing, FramingConfig, sample_seed
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.folders import listed, pictures_in
from gan_tasks.datasets.images import channels_fit, fit_channels, read, to_float
from gan_tasks.datasets.paired import Split
from gan_tasks.datasets.sampler import Key
from gan_tasks.datasets.validation import Problem, Progress, inspect_files

Image = TypeVar("Image")


class Unpaired(NamedTuple, Generic[Image]):
    """One sample, C×H×W float32 arrays in [-1, 1]; a batch of them has N in front and torch tensors inside."""

    a: Image
    b: Image


@dataclass(frozen=True)
class UnpairedConfig:
    """Which pictures are read, and how they are augmented for training. Defaults as published for CycleGAN."""

    a_channels: int = 0
    """Channels of the pictures of A; 0 = as the first file has, alpha included."""
    b_channels: int = 0
    """Channels of the pictures of B; 0 = as the first file has, alpha included."""
    framing: FramingConfig = FramingConfig()
    strict: bool = False
    """Stop if any file has a problem, instead of going on without it."""

    def __post_init__(self) -> None:
        for name in ("a_channels", "b_channels"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 0 or more")


@dataclass(frozen=True)
class FoundUnpaired:
    """What two folders hold: the pictures of each by name, and the files that are not used."""

    a: tuple[Path, ...]
    b: tuple[Path, ...]
    problems: tuple[Problem, ...]
    summary: str
    """One line for the person: what was found, and where."""


def open_unpaired(
    root: Path,
    split: Split,
    config: UnpairedConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["UnpairedImages", FoundUnpaired]:
    """Read each picture of both sides once (see check.py) and make a dataset of those without a problem.

    A split is the folders A and B in root/<split>, or the folders <split>A and <split>B in root; for "train" also A
    and B directly in root. Their numbers may differ. Channel counts of 0 are resolved from the first good picture.

    Raises UserError if root is not a folder, if a side has no usable picture, and with config.strict if there is any
    problem, listing all of them; MissingSplitError if there are no such folders.
    """
    folders = _find_folders(root, split)
    sides, problems, channels = [], [], []
    for folder, wanted in zip(folders, (config.a_channels, config.b_channels), strict=True):
        pictures, unused = pictures_in(folder)
        problems += unused
        findings = inspect_files(pictures, on_progress=on_progress)
        good = []
        for path, finding in findings.items():
            if isinstance(finding, Problem):
                problems.append(finding)
            elif wanted and not channels_fit(finding[2], wanted):
                problems.append(Problem(path, f"has {finding[2]} channels, not to be made the {wanted} expected"))
            else:
                wanted = wanted or finding[2]
                good.append(path)
        if not good:
            raise UserError(f"{folder} holds no usable picture. Problems:\n{listed(problems)}")
        sides.append(tuple(good))
        channels.append(wanted)
    if config.strict and problems:
        raise UserError(f"{listed(problems)}\nfix or remove these files, or go on without them: not strict")
    a, b = sides
    left_out = f"; {len(problems)} files with problems left out" if problems else ""
    summary = f"{len(a)} pictures in {folders[0]} and {len(b)} in {folders[1]}, no pairs{left_out}"
    config = replace(config, a_channels=channels[0], b_channels=channels[1])
    return UnpairedImages(a, b, config, seed, augment), FoundUnpaired(a, b, tuple(problems), summary)


class UnpairedImages:
    """A map-style dataset keyed by (epoch, index): the sample depends on the seed and the key alone.

    It is as long as the larger side. When augmenting, each side is shuffled on its own in every epoch, so that
    pictures meet others each time, all of a side equally often; otherwise they come whole, in the order of their
    names.
    """

    def __init__(
        self, a: Sequence[Path], b: Sequence[Path], config: UnpairedConfig, seed: int, augment: bool
    ) -> None:
        if not (config.a_channels and config.b_channels):
            raise ValueError("channel counts are not resolved yet: make the dataset with open_unpaired")
        self.a, self.b, self.config, self.seed = tuple(a), tuple(b), config, seed
        self._framing = Framing(config.framing) if augment else None

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def __getitem__(self, key: Key) -> Unpaired[NDArray[np.float32]]:
        path_a, path_b = self.paths(key)
        rng = np.random.default_rng(sample_seed(self.seed, *key))
        a = self._read(path_a, self.config.a_channels, rng)
        return Unpaired(a, self._read(path_b, self.config.b_channels, rng))

    def name(self, index: int) -> str:
        """Of the sample, as it comes without augmentation."""
        a, b = (side[index % len(side)].stem for side in (self.a, self.b))
        return f"{a}, {b}"

    def paths(self, key: Key) -> tuple[Path, Path]:
        """The files that meet in a sample."""
        epoch, index = key
        places = [index % len(side) for side in (self.a, self.b)]
        if self._framing is not None:
            orders = (_order(self.seed, epoch, number, len(side)) for number, side in enumerate((self.a, self.b)))
            places = [int(order[place]) for order, place in zip(orders, places, strict=True)]
        return self.a[places[0]], self.b[places[1]]

    def _read(self, path: Path, channels: int, rng: np.random.Generator) -> NDArray[np.float32]:
        pixels = fit_channels(read(path).pixels, channels)
        return to_float(pixels if self._framing is None else self._framing(rng, pixels)[0])


@lru_cache(maxsize=4)  # both sides, in this epoch and the next
def _order(seed: int, epoch: int, side: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch, side)).permutation(size)


def _find_folders(root: Path, split: Split) -> tuple[Path, Path]:
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the folders of A and B")
    candidates = [(root / split / "A", root / split / "B"), (root / f"{split}A", root / f"{split}B")]
    if split == "train":
        candidates.append((root / "A", root / "B"))
    for a, b in candidates:
        if a.is_dir() and b.is_dir():
            return a, b
    expected = " or ".join(f"{a} and {b}" for a, b in candidates)
    raise MissingSplitError(f"{root} holds no {split} pictures; expected are the folders {expected}")
