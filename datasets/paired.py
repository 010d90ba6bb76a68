"""Pairs of pictures: a folder to samples of (source, target)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import FramingConfig, PairAugmentation, sample_seed
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.folders import listed, pictures_in
from gan_tasks.datasets.images import Pixels, channels_fit, fit_channels, read, to_float
from gan_tasks.datasets.sampler import Key
from gan_tasks.datasets.validation import Problem, Progress, Shape, inspect_files

Layout = Literal["folders", "aligned"]
Split = Literal["train", "val", "test"]
Image = TypeVar("Image")
Side = TypeVar("Side")


class Pair(NamedTuple, Generic[Image]):
    """One sample, C×H×W float32 arrays in [-1, 1]; a batch of them has N in front and torch tensors inside."""

    source: Image
    target: Image


@dataclass(frozen=True)
class PairedConfig:
    """Which pairs are read, and how they are augmented for training. Defaults as published for pix2pix."""

    direction: Literal["a-to-b", "b-to-a"] = "a-to-b"
    """Which side is the source; in an aligned file A is the left half."""
    layout: Literal["auto", "folders", "aligned"] = "auto"
    """How pairs are stored: files of one name in the folders A and B, or both side by side in one file."""
    source_channels: int = 0
    """Channels of the source; 0 = as the first file has, alpha included."""
    target_channels: int = 0
    """Channels of the target; 0 = as the first file has, alpha included."""
    framing: FramingConfig = FramingConfig()
    photometric: float = 0.0
    """Strength, 0 to 1, of random changes of brightness, contrast and colour, on the source alone."""
    denoise: float = 0.0
    """Standard deviation, in 8-bit grey levels, of noise added to the source: the model learns to clean too."""
    extra_data: Path | None = None
    """Another folder of pairs to mix in, for example of generated pictures."""
    extra_weight: float = 0.25
    """Probability, 0 to 1, that a sample comes from extra_data."""
    strict: bool = False
    """Stop if any file has a problem, instead of going on without it."""

    def __post_init__(self) -> None:
        for name in ("source_channels", "target_channels", "denoise"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("photometric", "extra_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1")


@dataclass(frozen=True)
class PairFiles:
    """Where one pair is stored."""

    stem: str
    a: Path
    b: Path | None
    """None: `a` is an aligned file, A in its left half and B in its right."""

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.a,) if self.b is None else (self.a, self.b)


@dataclass(frozen=True)
class FoundPairs:
    """What a folder holds: the pairs by stem, and the files that are not used."""

    layout: Layout
    split_folder: Path
    pairs: tuple[PairFiles, ...]
    problems: tuple[Problem, ...]
    summary: str
    """One line for the person: what was found, how it is read, and how to have it read otherwise."""


def find_pairs(root: Path, split: Split, config: PairedConfig) -> FoundPairs:
    """Find the pairs of a split by the names of folders and files; nothing is decoded.

    Layouts: folders A and B with files of equal stems, or aligned files with A left and B right, in root/<split>; or
    folders named <split>A and <split>B. For "train" also directly in root. Files without a partner, several of one
    stem, and files that are not pictures are problems; hidden files are skipped.

    Raises UserError if root is not a folder, MissingSplitError if it holds no such layout.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the pairs")
    for layout, a, b in _candidates(root, split):
        if config.layout in ("auto", layout) and _holds(a, b):
            pairs, problems = _pair_by_stem(a, b) if b is not None else _aligned(a)
            return _found(layout, a if b is None else a.parent, pairs, problems, config)
    raise MissingSplitError(f"{root} holds no {split} pairs; {_expected_layouts(split)}")


def open_pairs(
    root: Path,
    split: Split,
    config: PairedConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["PairedImages", FoundPairs]:
    """Find the pairs, read each file once (see check.py) and make a dataset of those without a problem.

    Beyond those of `find_pairs`, problems are: files that cannot be read, sides of different sizes, aligned files of
    odd width, channels that cannot be converted. Channel counts of 0 are resolved from the first good pair.

    Raises UserError if no pair is left, and with config.strict if there is any problem, listing all of them.
    """
    found, config = _open_folder(root, split, config, on_progress)
    extra: tuple[PairFiles, ...] = ()
    if config.extra_data is not None and augment:
        found_extra, _ = _open_folder(config.extra_data, "train", config, on_progress)
        extra = found_extra.pairs
        found = replace(
            found,
            problems=found.problems + found_extra.problems,
            summary=f"{found.summary}; mixed with {found_extra.summary}",
        )
    if config.strict and found.problems:
        raise UserError(f"{listed(found.problems)}\nfix or remove these files, or go on without them: not strict")
    return PairedImages(found.pairs, config, seed, augment, extra), found


class PairedImages:
    """A map-style dataset of pairs, keyed by (epoch, index): the sample depends on the seed and the key alone.

    config: with concrete channel counts, as `open_pairs` makes it.
    augment: resize, crop, flip and degrade as configured; otherwise pairs come whole and as they are, for evaluation.
    extra: pairs mixed in with probability config.extra_weight when augmenting.
    """

    def __init__(
        self,
        pairs: Sequence[PairFiles],
        config: PairedConfig,
        seed: int,
        augment: bool,
        extra: Sequence[PairFiles] = (),
    ) -> None:
        if not (config.source_channels and config.target_channels):
            raise ValueError("channel counts are not resolved yet: make the dataset with open_pairs")
        self.pairs, self.config, self.seed, self.extra = tuple(pairs), config, seed, tuple(extra)
        self.source_channels, self.target_channels = config.source_channels, config.target_channels
        self._augmentation = (
            PairAugmentation(
                config.framing,
                photometric=config.photometric,
                denoise=config.denoise,
                source_channels=config.source_channels,
            )
            if augment
            else None
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return self.pairs[index].stem

    def __getitem__(self, key: Key) -> Pair[NDArray[np.float32]]:
        epoch, index = key
        files = self.pairs[index]
        if self._augmentation is None:
            source, target = self._read(files)
            return Pair(to_float(source), to_float(target))
        rng = np.random.default_rng(sample_seed(self.seed, epoch, index))
        if self.extra and rng.random() < self.config.extra_weight:
            files = self.extra[rng.integers(len(self.extra))]
        return Pair(*self._augmentation(*self._read(files), rng))

    def _read(self, files: PairFiles) -> tuple[Pixels, Pixels]:
        a = read(files.a).pixels
        if files.b is None:
            middle = a.shape[1] // 2
            a, b = a[:, :middle], a[:, middle:]
        else:
            b = read(files.b).pixels
        source, target = _source_first((a, b), self.config)
        return fit_channels(source, self.source_channels), fit_channels(target, self.target_channels)


def _candidates(root: Path, split: Split) -> Iterator[tuple[Layout, Path, Path | None]]:
    """Where a split may be, best first: the folders of A and B, or that of aligned files and None."""
    yield "folders", root / split / "A", root / split / "B"
    yield "folders", root / f"{split}A", root / f"{split}B"
    yield "aligned", root / split, None
    if split == "train":
        yield "folders", root / "A", root / "B"
        yield "aligned", root, None


def _expected_layouts(split: Split) -> str:
    also = " (or directly in it)" if split == "train" else ""
    return (
        f"expected are, in its folder {split}/{also}, the folders A/ and B/ with files of the same names, or files "
        f"with A and B side by side; or the folders {split}A/ and {split}B/"
    )


def _holds(a: Path, b: Path | None) -> bool:
    if b is not None:
        return a.is_dir() and b.is_dir()
    return a.is_dir() and bool(pictures_in(a)[0])


def _pictures_by_stem(folder: Path) -> tuple[dict[str, list[Path]], list[Problem]]:
    by_stem: dict[str, list[Path]] = defaultdict(list)
    pictures, problems = pictures_in(folder)
    for path in pictures:
        by_stem[path.stem].append(path)
    return by_stem, problems


def _pair_by_stem(a: Path, b: Path) -> tuple[list[PairFiles], list[Problem]]:
    by_stem_a, problems_a = _pictures_by_stem(a)
    by_stem_b, problems_b = _pictures_by_stem(b)
    pairs, problems = [], problems_a + problems_b
    for stem in sorted(by_stem_a.keys() | by_stem_b.keys()):
        paths_a, paths_b = by_stem_a.get(stem, []), by_stem_b.get(stem, [])
        if len(paths_a) == len(paths_b) == 1:
            pairs.append(PairFiles(stem, paths_a[0], paths_b[0]))
        elif paths_a and paths_b:
            reason = f"{len(paths_a)} files in {a} and {len(paths_b)} in {b} are called {stem}; keep one of each"
            problems += [Problem(path, reason) for path in paths_a + paths_b]
        else:
            missing_in = b if paths_a else a
            problems += [Problem(path, f"has no partner called {stem} in {missing_in}") for path in paths_a + paths_b]
    return pairs, problems


def _aligned(folder: Path) -> tuple[list[PairFiles], list[Problem]]:
    by_stem, problems = _pictures_by_stem(folder)
    pairs = []
    for stem, paths in sorted(by_stem.items()):
        if len(paths) == 1:
            pairs.append(PairFiles(stem, paths[0], None))
        else:
            problems += [Problem(path, f"{len(paths)} files are called {stem}; keep one") for path in paths]
    return pairs, problems


def _found(
    layout: Layout,
    folder: Path,
    pairs: Sequence[PairFiles],
    problems: Sequence[Problem],
    config: PairedConfig,
) -> FoundPairs:
    stored = "folders A and B" if layout == "folders" else "A and B side by side in each file"
    unused = f", {len(problems)} files with problems left out" if problems else ""
    summary = (
        f"{len(pairs)} pairs in {folder} ({stored}{unused}), {config.direction}; "
        "--layout and --direction read them otherwise"
    )
    return FoundPairs(layout, folder, tuple(pairs), tuple(problems), summary)


def _open_folder(
    root: Path, split: Split, config: PairedConfig, on_progress: Progress | None
) -> tuple[FoundPairs, PairedConfig]:
    """Find the pairs, keep the good ones, and resolve the channel counts that are still 0."""
    found = find_pairs(root, split, config)
    findings = inspect_files([path for files in found.pairs for path in files.paths], on_progress=on_progress)
    shapes = {path: finding for path, finding in findings.items() if not isinstance(finding, Problem)}
    pairs, problems = [], list(found.problems)
    for files in found.pairs:
        unreadable = [finding for path in files.paths if isinstance(finding := findings[path], Problem)]
        pair_problems = unreadable or _mismatches(files, shapes, config)
        problems += pair_problems
        if not pair_problems:
            pairs.append(files)
            config = _with_channels_of(files, shapes, config)
    if not pairs:
        raise UserError(
            f"{root} holds no usable {split} pair; {_expected_layouts(split)}. Problems:\n{listed(problems)}"
        )
    return _found(found.layout, found.split_folder, pairs, problems, config), config


def _mismatches(files: PairFiles, shapes: dict[Path, Shape], config: PairedConfig) -> list[Problem]:
    height, width, channels_a = shapes[files.a]
    if files.b is None:
        if width % 2:
            return [Problem(files.a, f"is {width} px wide; A and B side by side make an even width")]
        sides = [(files.a, channels_a)] * 2
    else:
        height_b, width_b, channels_b = shapes[files.b]
        if (height_b, width_b) != (height, width):
            reason = f"is {width_b} × {height_b} px but its partner {files.a} is {width} × {height} px"
            return [Problem(files.b, reason)]
        sides = [(files.a, channels_a), (files.b, channels_b)]
    expected = _source_first((config.source_channels, config.target_channels), config)
    return [
        Problem(path, f"has {present} channels, which cannot be made the {wanted} expected")
        for (path, present), wanted in zip(sides, expected, strict=True)
        if wanted and not channels_fit(present, wanted)
    ]


def _with_channels_of(files: PairFiles, shapes: dict[Path, Shape], config: PairedConfig) -> PairedConfig:
    source, target = _source_first((shapes[files.a][2], shapes[files.b or files.a][2]), config)
    return replace(
        config,
        source_channels=config.source_channels or source,
        target_channels=config.target_channels or target,
    )


def _source_first(sides: tuple[Side, Side], config: PairedConfig) -> tuple[Side, Side]:
    """(A, B) to (source, target), and back."""
    return sides if config.direction == "a-to-b" else (sides[1], sides[0])
