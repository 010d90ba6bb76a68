"""The data set of paired images: a sample is (source, target)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import FramingConfig, PairAugmentation, sample_seed
from gan_tasks.datasets.checks.validation import Problem, Progress, Shape, inspect_files
from gan_tasks.datasets.errors import DoubtfulDataError, MissingSplitError, UserError, counted
from gan_tasks.datasets.folders import images_in, listed, refuse_problems
from gan_tasks.datasets.images import Pixels, Reduction, centred, channels_fit, fit_channels, read, to_planes
from gan_tasks.datasets.loading.sampler import Key
from gan_tasks.datasets.ranges import Channels, Checked, Fraction, Range
from gan_tasks.datasets.sides.halves import count_single
from gan_tasks.datasets.sides.names import check_both_or_neither, child, find_side_folders, pair_files, suggest_sides

Layout = Literal["folders", "names", "aligned"]
Split = Literal["train", "val", "test"]
Image = TypeVar("Image")
Side = TypeVar("Side")


class Pair(NamedTuple, Generic[Image]):
    """One sample of C×H×W float32 arrays in [-1, 1]; in a batch these are torch tensors with N in front."""

    source: Image
    target: Image


@dataclass(frozen=True)
class PairedConfig(Checked):
    """Pairs and augmentation of the training data. The defaults are those of the pix2pix paper."""

    direction: Literal["a-to-b", "b-to-a"] = "a-to-b"
    """Translate from A to B or from B to A. In an aligned file A is the left half."""
    layout: Literal["auto", "folders", "names", "aligned"] = "auto"
    """How pairs are stored: folders = files of the same name in the folders A and B; names = files such as
    x_before.jpg and x_after.jpg in one folder; aligned = A and B side by side in one file; auto = the layout that is
    found, if the files look like pairs."""
    a: Path | None = None
    """The folder of A, anywhere, or of its subfolders train, val and test. It needs --b."""
    b: Path | None = None
    """The folder of B, anywhere, or of its subfolders train, val and test. It needs --a."""
    source_channels: Channels = 0
    """Number of channels of the source; 0 takes the number of the first file, alpha included."""
    target_channels: Channels = 0
    """Number of channels of the target; 0 takes the number of the first file, alpha included."""
    framing: FramingConfig = FramingConfig()
    photometric: Fraction = 0.0
    """Change brightness, contrast and colour of the source at random, by an amount from 0 (off) to 1."""
    denoise: Annotated[float, Range(0, 255)] = 0.0
    """Add Gaussian noise with this standard deviation, in 8-bit grey levels, to the source, so that the model also
    learns to denoise."""
    extra_data: Path | None = None
    """Mix the pairs of this folder into the training data, for example generated images."""
    extra_weight: Fraction = 0.25
    """Draw a training sample from --extra-data with this probability, 0 to 1."""
    strict: bool = False
    """Stop with an error if any file has a problem, instead of leaving the file out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_both_or_neither(self.a, self.b)


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair."""

    stem: str
    a: Path
    b: Path | None
    """None if `a` is an aligned file, with A in the left half and B in the right half."""

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.a,) if self.b is None else (self.a, self.b)


class Place(NamedTuple):
    """Where the pairs of a split are."""

    layout: Layout
    a: Path
    """The folder of A, or of both sides."""
    b: Path | None = None


@dataclass(frozen=True)
class FoundPairs:
    """The pairs of a folder, sorted by stem, and the problems of files that are not used."""

    place: Place
    split_folder: Path
    pairs: tuple[PairFiles, ...]
    problems: tuple[Problem, ...]
    summary: str
    """One line for the user: the number of pairs, how they are read, and the options that change this."""

    @property
    def layout(self) -> Layout:
        return self.place.layout


def find_pairs(root: Path, split: Split, config: PairedConfig) -> FoundPairs:
    """Find the pairs of a split by the names of folders and files, without decoding the files.

    Layouts: folders A and B with files of equal stems, see `find_side_folders`; or in root/<split>, and for "train"
    also in root, files whose names end in the names of the two sides, see `pair_files`, or aligned files with A left
    and B right. Files without a partner, several files of one stem, and files that are not images are problems;
    hidden files are skipped.

    Raises UserError if root, config.a or config.b is not a folder, and MissingSplitError if no layout is found.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the pairs")
    for place in _places(root, split, config):
        if config.layout in ("auto", place.layout):
            pairs, problems = _pair_by_stem(place.a, place.b) if place.b is not None else _pair_in(place)
            return _found(place, pairs, problems, config)
    raise MissingSplitError(
        f"{root} holds no {split} pairs; {_expected_layouts(root, split)}{suggest_sides(root, split)}"
    )


def open_pairs(
    root: Path,
    split: Split,
    config: PairedConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["PairedImages", FoundPairs]:
    """Find the pairs, read each file once (see `validation.py`) and make a dataset of those without a problem.

    Problems are those of `find_pairs`, files that cannot be read, sides of different sizes, aligned files of odd
    width, and channels that cannot be converted. Channel counts of 0 are taken from the first good pair.

    Raises UserError if no usable pair is left, and, with config.strict, if there is any problem. Raises
    DoubtfulDataError if the layout is auto and files that are taken for aligned pairs look like single pictures.
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
    if config.strict:
        refuse_problems(found.problems)
    return PairedImages(found.pairs, config, seed, augment, extra), found


class PairedImages:
    """A map-style dataset of pairs keyed by (epoch, index): a sample depends only on the seed and the key.

    config: with resolved channel counts, as `open_pairs` makes it.
    augment: resize, crop, flip, and change the source as configured. Without it, pairs are returned complete and
        unchanged, for evaluation.
    extra: pairs of which one is drawn instead with the probability config.extra_weight, if `augment` is set.
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
            raise ValueError(
                "source_channels or target_channels is 0, expected resolved numbers; make the dataset with open_pairs"
            )
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
        """Return the name of a sample: its files' common stem."""
        return self.pairs[index].stem

    def __getitem__(self, key: Key) -> Pair[NDArray[np.float32]]:
        return Pair(*map(centred, self.load(key)))

    def load(self, key: Key) -> Pair[Pixels]:
        """Return a sample in which images of 8 bits are uint8, and others float32 in [-1, 1]."""
        epoch, index = key
        files = self.pairs[index]
        if self._augmentation is None:
            source, target = self._read(files)
            return Pair(to_planes(source), to_planes(target))
        rng = np.random.default_rng(sample_seed(self.seed, epoch, index))
        if self.extra and rng.random() < self.config.extra_weight:
            files = self.extra[rng.integers(len(self.extra))]
        return Pair(*self._augmentation(*self._read(files), rng))

    def _reduction(self, files: PairFiles) -> Reduction | None:
        if self._augmentation is None:
            return None
        of_image = self._augmentation.framing.reduction
        if files.b is not None:
            return of_image

        def of_both(height: int, width: int) -> int:
            divisor = of_image(height, width // 2)
            return divisor if width % (2 * divisor) == 0 else 1  # else one column would be of both sides

        return of_both

    def _read(self, files: PairFiles) -> tuple[Pixels, Pixels]:
        reduction = self._reduction(files)
        sides = [read(path, reduction=reduction).pixels for path in files.paths]
        if len(sides) == 1:
            middle = sides[0].shape[1] // 2
            sides = [sides[0][:, :middle], sides[0][:, middle:]]
        source, target = _source_first((sides[0], sides[1]), self.config)
        return fit_channels(source, self.source_channels), fit_channels(target, self.target_channels)


def _places(root: Path, split: Split, config: PairedConfig) -> Iterator[Place]:
    """Yield where the pairs of a split are, best first."""
    if folders := find_side_folders(root, split, config.a, config.b):
        yield Place("folders", *folders)
    for folder in (child(root, split), root) if split == "train" else (child(root, split),):
        images = images_in(folder)[0] if folder.is_dir() else []
        if config.layout != "aligned" and pair_files(images):
            yield Place("names", folder)
        if images:
            yield Place("aligned", folder)


def _expected_layouts(root: Path, split: Split) -> str:
    also = f" or in {root}" if split == "train" else ""
    return (
        f"expected in {root / split}{also}: folders A/ and B/ with files of the same names, files with A and B "
        f"side by side, or files such as x_before.png and x_after.png; or in {root}: folders {split}A/ and {split}B/"
    )


def _images_by_stem(folder: Path) -> tuple[dict[str, list[Path]], list[Problem]]:
    images, problems = images_in(folder)
    return _by_stem(images), problems


def _by_stem(images: Sequence[Path]) -> dict[str, list[Path]]:
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        by_stem[path.stem].append(path)
    return by_stem


def _pair_by_stem(a: Path, b: Path) -> tuple[list[PairFiles], list[Problem]]:
    by_stem_a, problems_a = _images_by_stem(a)
    by_stem_b, problems_b = _images_by_stem(b)
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


def _pair_in(place: Place) -> tuple[list[PairFiles], list[Problem]]:
    """Return the pairs of a folder in which both sides are."""
    images, problems = images_in(place.a)
    if place.layout == "names" and (named := pair_files(images)) is not None:
        (name_a, name_b), files = named
        paired = {path for pair in files.values() for path in pair}
        reason = f"has no partner: expected names that differ in {name_a} and {name_b}"
        problems += [Problem(path, reason) for path in images if path not in paired]
        return [PairFiles(stem, a, b) for stem, (a, b) in files.items()], problems
    pairs = []
    for stem, paths in sorted(_by_stem(images).items()):
        if len(paths) == 1:
            pairs.append(PairFiles(stem, paths[0], None))
        else:
            problems += [Problem(path, f"{len(paths)} files are called {stem}; keep one") for path in paths]
    return pairs, problems


def _found(place: Place, pairs: Sequence[PairFiles], problems: Sequence[Problem], config: PairedConfig) -> FoundPairs:
    folder = place.a if place.b is None or place.a.parent != place.b.parent else place.a.parent
    if place.b is not None:
        stored = f"A in {place.a} and B in {place.b}" if folder == place.a else _named(place.a, place.b)
    elif place.layout == "names" and pairs and pairs[0].b is not None:
        stored = f"A and B by the names of the files, such as {pairs[0].a.name} and {pairs[0].b.name}"
    else:
        stored = "A and B side by side in each file"
    unused = f", {counted(len(problems), 'file')} with problems left out" if problems else ""
    summary = (
        f"{counted(len(pairs), 'pair')} in {folder} ({stored}{unused}), {config.direction}; "
        "change this with --layout and --direction"
    )
    return FoundPairs(place, folder, tuple(pairs), tuple(problems), summary)


def _named(a: Path, b: Path) -> str:
    """Return how the folders of A and of B are called."""
    return "folders A and B" if (a.name, b.name) == ("A", "B") else f"A in the folder {a.name}, B in {b.name}"


def _open_folder(
    root: Path, split: Split, config: PairedConfig, on_progress: Progress | None
) -> tuple[FoundPairs, PairedConfig]:
    """Find the pairs, keep those without a problem, and resolve channel counts that are 0."""
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
            f"{root} holds no usable {split} pair; {_expected_layouts(root, split)}. Problems:\n{listed(problems)}"
        )
    if found.layout == "aligned" and config.layout == "auto":
        _question(pairs, shapes)
    return _found(found.place, pairs, problems, config), config


def _question(pairs: Sequence[PairFiles], shapes: dict[Path, Shape]) -> None:
    """Raise DoubtfulDataError if files that are taken for aligned pairs look like single pictures."""
    paths = [files.a for files in pairs]
    single, sampled = count_single(paths)
    if 2 * single >= sampled:
        height, width, _ = shapes[paths[0]]
        raise DoubtfulDataError(
            f"{single} of {sampled} files in {paths[0].parent} look like single pictures, not like A and B side by "
            f"side: the left half continues in the right half, or is too narrow ({paths[0].name} is {width} × "
            f"{height} px). If they are pairs, give --layout aligned; if A and B are in files of their own, put them "
            "into two folders and give --a FOLDER --b FOLDER"
        )


def _mismatches(files: PairFiles, shapes: dict[Path, Shape], config: PairedConfig) -> list[Problem]:
    height, width, channels_a = shapes[files.a]
    if files.b is None:
        if width % 2:
            return [Problem(files.a, f"is {width} px wide; expected an even width, for A and B side by side")]
        sides = [(files.a, channels_a)] * 2
    else:
        height_b, width_b, channels_b = shapes[files.b]
        if (height_b, width_b) != (height, width):
            reason = f"is {width_b} × {height_b} px but its partner {files.a} is {width} × {height} px"
            return [Problem(files.b, reason)]
        sides = [(files.a, channels_a), (files.b, channels_b)]
    expected = _source_first((config.source_channels, config.target_channels), config)
    return [
        Problem(path, f"has {present} channels, which cannot be converted to the {wanted} expected")
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
    """Order (A, B) as (source, target), or (source, target) as (A, B), by the direction."""
    return sides if config.direction == "a-to-b" else (sides[1], sides[0])
