"""The data set of unpaired images in two folders: a sample is one image of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import Framing, FramingConfig, sample_seed
from gan_tasks.datasets.checks.validation import Problem, Progress, inspect_files
from gan_tasks.datasets.errors import MissingSplitError, UserError, counted
from gan_tasks.datasets.folders import images_in, listed, refuse_problems
from gan_tasks.datasets.images import Pixels, centred, channels_fit, fit_channels, read, to_planes
from gan_tasks.datasets.loading.sampler import Key
from gan_tasks.datasets.paired import Split
from gan_tasks.datasets.ranges import Channels, Checked, PositiveCount
from gan_tasks.datasets.sides.names import check_both_or_neither, find_side_folders, suggest_sides

Image = TypeVar("Image")


class Unpaired(NamedTuple, Generic[Image]):
    """One sample of C×H×W float32 arrays in [-1, 1]; in a batch these are torch tensors with N in front."""

    a: Image
    b: Image


@dataclass(frozen=True)
class UnpairedConfig(Checked):
    """Images and augmentation of the training data. The defaults are those of the CycleGAN paper."""

    a_channels: Channels = 0
    """Number of channels of the images in A; 0 takes the number of the first file, alpha included."""
    b_channels: Channels = 0
    """Number of channels of the images in B; 0 takes the number of the first file, alpha included."""
    a: Path | None = None
    """The folder of A, anywhere, or of its subfolders train, val and test. It needs --b."""
    b: Path | None = None
    """The folder of B, anywhere, or of its subfolders train, val and test. It needs --a."""
    crops_per_image: PositiveCount = 1
    """Random crops of each image in an epoch. Give a large number for a single large image, or a few."""
    framing: FramingConfig = FramingConfig()
    strict: bool = False
    """Stop with an error if any file has a problem, instead of leaving the file out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_both_or_neither(self.a, self.b)


@dataclass(frozen=True)
class FoundUnpaired:
    """The images of two folders, sorted by name, and the problems of files that are not used."""

    a: tuple[Path, ...]
    b: tuple[Path, ...]
    problems: tuple[Problem, ...]
    summary: str
    """One line for the user: the number of images in each folder."""


def open_unpaired(
    root: Path,
    split: Split,
    config: UnpairedConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["UnpairedImages", FoundUnpaired]:
    """Read each image of both sides once (see `validation.py`) and make a dataset of those without a problem.

    A split is the folders A and B in root/<split>, or the folders <split>A and <split>B in root; for "train" also A
    and B directly in root; see `find_side_folders`. The two may hold different numbers of images. Channel counts of 0
    are taken from the first good image of each side.

    Raises UserError if root is not a folder, if a side has no usable image, and, with config.strict, if there is any
    problem. Raises MissingSplitError if there are no such folders.
    """
    folders = _find_folders(root, split, config)
    sides, problems, channels = [], [], []
    for folder, wanted in zip(folders, (config.a_channels, config.b_channels), strict=True):
        images, unused = images_in(folder)
        problems += unused
        findings = inspect_files(images, on_progress=on_progress)
        good = []
        for path, finding in findings.items():
            if isinstance(finding, Problem):
                problems.append(finding)
            elif wanted and not channels_fit(finding[2], wanted):
                problems.append(
                    Problem(path, f"has {finding[2]} channels, which cannot be converted to the {wanted} expected")
                )
            else:
                wanted = wanted or finding[2]
                good.append(path)
        if not good:
            raise UserError(f"{folder} holds no usable image; fix or replace these files:\n{listed(problems)}")
        sides.append(tuple(good))
        channels.append(wanted)
    if config.strict:
        refuse_problems(problems)
    a, b = sides
    left_out = f"; {counted(len(problems), 'file')} with problems left out" if problems else ""
    summary = f"{counted(len(a), 'image')} in {folders[0]} and {len(b)} in {folders[1]}, unpaired{left_out}"
    config = replace(config, a_channels=channels[0], b_channels=channels[1])
    return UnpairedImages(a, b, config, seed, augment), FoundUnpaired(a, b, tuple(problems), summary)


class UnpairedImages:
    """A map-style dataset keyed by (epoch, index): a sample depends only on the seed and the key.

    Its length is that of the larger side; the smaller side is repeated. With augmentation it is `crops_per_image`
    times as long.

    config: with resolved channel counts, as `open_unpaired` makes it.
    augment: shuffle each side independently in every epoch, and resize, crop and flip as configured. Without it,
        images are returned complete and unchanged, in the order of their names.
    """

    def __init__(
        self, a: Sequence[Path], b: Sequence[Path], config: UnpairedConfig, seed: int, augment: bool
    ) -> None:
        if not (config.a_channels and config.b_channels):
            raise ValueError(
                "a_channels or b_channels is 0, expected resolved numbers; make the dataset with open_unpaired"
            )
        self.a, self.b, self.config, self.seed = tuple(a), tuple(b), config, seed
        self._framing = Framing(config.framing) if augment else None

    def __len__(self) -> int:
        crops = 1 if self._framing is None else self.config.crops_per_image
        return crops * max(len(self.a), len(self.b))

    def __getitem__(self, key: Key) -> Unpaired[NDArray[np.float32]]:
        return Unpaired(*map(centred, self.load(key)))

    def load(self, key: Key) -> Unpaired[Pixels]:
        """Return a sample in which images of 8 bits are uint8, and others float32 in [-1, 1]."""
        path_a, path_b = self.paths(key)
        rng = np.random.default_rng(sample_seed(self.seed, *key))
        a = self._read(path_a, self.config.a_channels, rng)
        return Unpaired(a, self._read(path_b, self.config.b_channels, rng))

    def part(self, a: Sequence[Path], b: Sequence[Path]) -> "UnpairedImages":
        """Return the data set of some of its images."""
        return UnpairedImages(a, b, self.config, self.seed, augment=self._framing is not None)

    def name(self, index: int) -> str:
        """Return the names of both files of a sample without augmentation, separated by a comma."""
        a, b = (side[index % len(side)].stem for side in (self.a, self.b))
        return f"{a}, {b}"

    def paths(self, key: Key) -> tuple[Path, Path]:
        """Return the files of A and of B for a sample."""
        epoch, index = key
        positions = [index % len(side) for side in (self.a, self.b)]
        if self._framing is not None:
            orders = (_order(self.seed, epoch, number, len(side)) for number, side in enumerate((self.a, self.b)))
            positions = [int(order[position]) for order, position in zip(orders, positions, strict=True)]
        return self.a[positions[0]], self.b[positions[1]]

    def _read(self, path: Path, channels: int, rng: np.random.Generator) -> Pixels:
        if self._framing is None:
            return to_planes(fit_channels(read(path).pixels, channels))
        if len(self.a) == len(self.b) == 1:  # of a single pair all crops come from one decoded image
            pixels = _decoded_once(path, path.stat().st_mtime_ns, channels, self.config.framing)
        else:
            pixels = _decoded(path, channels, self.config.framing)
        return to_planes(self._framing(rng, pixels)[0])


def _decoded(path: Path, channels: int, framing: FramingConfig) -> Pixels:
    return fit_channels(read(path, reduction=Framing(framing).reduction).pixels, channels)


@lru_cache(maxsize=2)
def _decoded_once(path: Path, changed_ns: int, channels: int, framing: FramingConfig) -> Pixels:
    return _decoded(path, channels, framing)


@lru_cache(maxsize=4)  # both sides, in the current and the next epoch
def _order(seed: int, epoch: int, side: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch, side)).permutation(size)


def _find_folders(root: Path, split: Split, config: UnpairedConfig) -> tuple[Path, Path]:
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the folders A and B")
    if found := find_side_folders(root, split, config.a, config.b):
        return found
    places = [(root / split / "A", root / split / "B"), (root / f"{split}A", root / f"{split}B")]
    if split == "train":
        places.append((root / "A", root / "B"))
    expected = " or ".join(f"{a} and {b}" for a, b in places)
    raise MissingSplitError(
        f"{root} holds no {split} images; expected the folders {expected}{suggest_sides(root, split)}"
    )
