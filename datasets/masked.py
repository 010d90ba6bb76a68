"""A folder of pictures to samples with holes: the whole picture, the mask of its hole, and a sketch of what was there."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.check import Problem, Progress, Shape, inspect_files
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.folders import listed, pictures_in
from gan_tasks.datasets.image import ImageError, Pixels, channels_fit, fit_channels, read, to_float
from gan_tasks.datasets.mask_files import DEFAULT_THRESHOLD, check_threshold, resize_hole, to_hole, useless
from gan_tasks.datasets.masks import Hole, MaskConfig, draw_hole, drawn_shares, hole_shares
from gan_tasks.datasets.paired import Split
from gan_tasks.datasets.stream import Key
from gan_tasks.datasets.transforms import Framing, FramingConfig, sample_seed

Image = TypeVar("Image")

_ATTEMPTS = 10


class Masked(NamedTuple, Generic[Image]):
    """One sample, float32 arrays; a batch of them has N in front and torch tensors inside."""

    image: Image
    """The whole picture, what is under the hole included: C×H×W in [-1, 1]."""
    mask: Image
    """1×H×W, 1 = hole, 0 = given."""
    sketch: Image
    """1×H×W, 1 = a line of what was in the hole; zeros where there is none."""


@dataclass(frozen=True)
class MaskedConfig:
    """Which pictures and holes are read or drawn, and how they are augmented. Defaults as published for DeepFill v2.

    Crops are as large as in the file unless load_size is given; for large photographs it should be, or a crop shows
    little of them.
    """

    image_channels: int = 0
    """Channels of the pictures; 0 = as the first file has. Alpha is left out."""
    framing: FramingConfig = FramingConfig(load_size=0, keep_aspect=True)
    holes: MaskConfig = MaskConfig()
    masks: Path | None = None
    """Folder of mask files, or of the folders train, val and test with them; without it, holes are drawn."""
    mask_pairing: Literal["auto", "stem", "random"] = "auto"
    """Which mask a picture gets: that of its own name, or any one, resized; auto = by name if any has one."""
    mask_threshold: int = DEFAULT_THRESHOLD
    """Gray level, 1 to 255, from which on a pixel of a mask file is hole."""
    invert_mask: bool = False
    """In mask files, what is below mask_threshold is hole: black, or what was erased from a layer."""
    sketch: bool = False
    """Give half of the samples the edges of what was in the hole, so that a model learns to follow drawn lines."""
    strict: bool = False
    """Stop if any file has a problem, instead of going on without it."""

    def __post_init__(self) -> None:
        if self.image_channels < 0:
            raise UserError(f"image_channels is {self.image_channels}; it must be 0 or more")
        check_threshold(self.mask_threshold)


@dataclass(frozen=True)
class MaskFiles:
    """The mask files in use."""

    paths: tuple[Path, ...]
    own: bool
    """They belong to the pictures, one to each in their order; else any goes with any."""


@dataclass(frozen=True)
class FoundMasked:
    """What a folder holds: the pictures by name, the masks for them, and the files that are not used."""

    pictures: tuple[Path, ...]
    masks: MaskFiles | None
    """None: holes are drawn."""
    problems: tuple[Problem, ...]
    summary: str
    """One line for the person: what was found, where the holes come from, and what share of a picture they cover."""


def open_masked(
    root: Path,
    split: Split,
    config: MaskedConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["MaskedImages", FoundMasked]:
    """Read each picture and each mask once and make a dataset of those without a problem.

    The pictures of a split lie in root/<split>, for "train" also directly in root; its masks in config.masks/<split>,
    or directly in config.masks. By name a mask must have its picture's size, and stays as it is; drawn at random it is
    resized by the nearest pixel, and must cover a share between min_hole and max_hole.

    Problems are, beside files that cannot be read: channels that cannot be converted, masks without any hole or that
    are all hole; by name also pictures without a mask, masks of another size, and several of one name.

    Raises UserError if root or config.masks is not a folder, if nothing usable is left, and with config.strict if
    there is any problem, listing all of them; MissingSplitError if there are no pictures of the split.
    """
    folder = _find_folder(root, split)
    shapes, problems, config = _open_pictures(folder, config, on_progress)
    if config.masks is None:
        masks, shares = None, drawn_shares(config.holes, _crop_size(config))
        origin = f"drawn anew for each sample ({', '.join(config.holes.mask_kinds)})"
    else:
        masks, found_shares, shapes, mask_problems, origin = _open_masks(
            config.masks, split, shapes, config, on_progress
        )
        problems += mask_problems
        if not masks.paths:
            raise UserError(f"{config.masks} holds no usable mask for {folder}. Problems:\n{listed(problems)}")
        shares = hole_shares(found_shares)
    if config.strict and problems:
        raise UserError(f"{listed(problems)}\nfix or remove these files, or go on without them: not strict")
    left_out = f", {len(problems)} files with problems left out" if problems else ""
    summary = f"{len(shapes)} pictures in {folder}{left_out}; holes {origin}, {shares}"
    dataset = MaskedImages(tuple(shapes), masks, config, seed, augment)
    return dataset, FoundMasked(tuple(shapes), masks, tuple(problems), summary)


class MaskedImages:
    """A map-style dataset keyed by (epoch, index): the sample depends on the seed and the key alone.

    masks: None draws the holes.
    augment: resize, crop and flip as configured, a mask that belongs to its picture with it, and another hole in each
        epoch. Otherwise pictures come whole and as they are, with the same hole whatever the seed and the epoch.

    A crop that has no hole or nothing else, which happens where masks belong to pictures, is drawn again, 10 times at
    most: then it stays.
    """

    def __init__(
        self,
        pictures: Sequence[Path],
        masks: MaskFiles | None,
        config: MaskedConfig,
        seed: int,
        augment: bool,
    ) -> None:
        if not config.image_channels:
            raise ValueError("the channel count is not resolved yet: make the dataset with open_masked")
        self.pictures, self.masks, self.config, self.seed = tuple(pictures), masks, config, seed
        self._framing = Framing(config.framing) if augment else None
        self._framing_with_mask = Framing(config.framing, images=2) if augment else None

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        return self.pictures[index].stem

    def __getitem__(self, key: Key) -> Masked[NDArray[np.float32]]:
        epoch, index = key
        is_held_out = self._framing is None
        rng = np.random.default_rng(sample_seed(*((0, 0) if is_held_out else (self.seed, epoch)), index))
        pixels = fit_channels(read(self.pictures[index]).pixels, self.config.image_channels)
        own_hole = self._read_hole(self.masks.paths[index]) if self.masks is not None and self.masks.own else None
        for _ in range(_ATTEMPTS):
            framed, hole = self._framed(pixels, own_hole, rng)
            if hole.any() and not hole.all():
                break
        image = to_float(framed)
        sketch = np.zeros_like(hole)
        if self.config.sketch and rng.random() < 0.5:
            sketch = edge_lines(image) & hole
        return Masked(image, hole[None].astype(np.float32), sketch[None].astype(np.float32))

    def _framed(self, pixels: Pixels, own_hole: Hole | None, rng: np.random.Generator) -> tuple[Pixels, Hole]:
        if own_hole is None:
            framed = pixels if self._framing is None else self._framing(rng, pixels)[0]
            return framed, self._random_hole(rng, *framed.shape[:2])
        if self._framing_with_mask is None:
            return pixels, own_hole
        framed, mask = self._framing_with_mask(rng, pixels, own_hole[..., None].astype(np.uint8) * np.uint8(255))
        return framed, mask[..., 0] >= 128

    def _random_hole(self, rng: np.random.Generator, height: int, width: int) -> Hole:
        if self.masks is None:
            return draw_hole(rng, height, width, self.config.holes)
        return resize_hole(self._read_hole(self.masks.paths[rng.integers(len(self.masks.paths))]), height, width)

    def _read_hole(self, path: Path) -> Hole:
        return to_hole(read(path).pixels, self.config.mask_threshold, self.config.invert_mask)


def edge_lines(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """C×H×W in [-1, 1] to H×W, True on its edges: lines of 1 px, as a person might sketch them (Canny 1986)."""
    import cv2

    gray = np.rint((image.mean(axis=0) + 1) * 127.5).astype(np.uint8)
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.5)  # fine texture is not what a person sketches
    return np.asarray(cv2.Canny(smooth, 40, 100)).astype(np.bool_)


def _find_folder(root: Path, split: Split) -> Path:
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the pictures")
    for folder in (root / split, root) if split == "train" else (root / split,):
        if folder.is_dir() and pictures_in(folder)[0]:
            return folder
    also = " (or directly in it)" if split == "train" else ""
    raise MissingSplitError(f"{root} holds no {split} pictures; expected are pictures in its folder {split}/{also}")


def _open_pictures(
    folder: Path, config: MaskedConfig, on_progress: Progress | None
) -> tuple[dict[Path, Shape], list[Problem], MaskedConfig]:
    """The shapes of the usable pictures; the config with a channel count."""
    pictures, problems = pictures_in(folder)
    shapes: dict[Path, Shape] = {}
    wanted = config.image_channels
    for path, finding in inspect_files(pictures, on_progress=on_progress).items():
        if isinstance(finding, Problem):
            problems.append(finding)
        elif wanted and not channels_fit(finding[2], wanted):
            problems.append(Problem(path, f"has {finding[2]} channels, not to be made the {wanted} expected"))
        else:
            wanted = wanted or {2: 1, 4: 3}.get(finding[2], finding[2])
            shapes[path] = finding
    if not shapes:
        raise UserError(f"{folder} holds no usable picture. Problems:\n{listed(problems)}")
    return shapes, problems, replace(config, image_channels=wanted)


@dataclass(frozen=True)
class _MaskFinding:
    """What a readable mask with a hole is like."""

    size: tuple[int, int]
    share: float


def _open_masks(
    root: Path, split: Split, shapes: dict[Path, Shape], config: MaskedConfig, on_progress: Progress | None
) -> tuple[MaskFiles, list[float], dict[Path, Shape], list[Problem], str]:
    """The masks, their shares of hole, the pictures that can be used with them, problems, and where masks come from."""
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the mask files")
    has_split = (root / split).is_dir()
    folder = root / split if has_split else root
    files, problems = pictures_in(folder)
    findings: dict[Path, _MaskFinding] = {}
    for path, finding in _inspect_masks(files, config, on_progress):
        if isinstance(finding, Problem):
            problems.append(finding)
        else:
            findings[path] = finding

    own = config.mask_pairing == "stem"
    if config.mask_pairing == "auto":
        own = not {path.stem for path in files}.isdisjoint(path.stem for path in shapes)
    if own:
        pairs, pair_problems = _by_stem(folder, files, findings, shapes)
        problems += pair_problems
        if has_split:  # in a folder for all splits, masks without a picture are those of the others
            used = {path.stem for path in shapes}
            problems += [Problem(path, "is the mask of no picture") for path in findings if path.stem not in used]
        origin = f"from the masks of the same names in {folder} (--mask-pairing random gives any to any)"
        chosen = MaskFiles(tuple(pairs.values()), own=True)
        return (
            chosen,
            [findings[path].share for path in chosen.paths],
            {p: shapes[p] for p in pairs},
            problems,
            origin,
        )

    low, high = config.holes.min_hole, config.holes.max_hole
    fitting = {path: finding.share for path, finding in findings.items() if low <= finding.share <= high}
    if findings and not fitting:
        raise UserError(
            f"none of the {len(findings)} masks in {folder} covers a share from {low} to {high}; they cover "
            f"{hole_shares([finding.share for finding in findings.values()])}: change --min-hole or --max-hole"
        )
    unfit = f", {len(findings) - len(fitting)} of other sizes left out" if len(fitting) < len(findings) else ""
    origin = f"from {len(fitting)} masks in {folder} at random{unfit} (--mask-pairing stem goes by names)"
    return MaskFiles(tuple(fitting), own=False), list(fitting.values()), shapes, problems, origin


def _inspect_masks(
    paths: Sequence[Path], config: MaskedConfig, on_progress: Progress | None
) -> Iterator[tuple[Path, _MaskFinding | Problem]]:
    """Not remembered from one time to the next as pictures are: the answer hangs on the threshold."""

    def inspect(path: Path) -> _MaskFinding | Problem:
        try:
            pixels = read(path).pixels
            hole = to_hole(pixels, config.mask_threshold, config.invert_mask)
        except ImageError as error:
            return Problem(path, str(error).removeprefix(f"{path}: "))
        except UserError as error:
            return Problem(path, str(error))
        reason = useless(hole, pixels)
        return Problem(path, reason) if reason else _MaskFinding((hole.shape[0], hole.shape[1]), float(hole.mean()))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (path, finding) in enumerate(zip(paths, pool.map(inspect, paths), strict=True), 1):
            if on_progress is not None:
                on_progress(done, len(paths))
            yield path, finding


def _by_stem(
    folder: Path, files: Sequence[Path], findings: dict[Path, _MaskFinding], shapes: dict[Path, Shape]
) -> tuple[dict[Path, Path], list[Problem]]:
    """The mask of each picture that has a usable one of its name."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        by_stem[path.stem].append(path)
    pairs: dict[Path, Path] = {}
    problems = []
    for picture, (height, width, _) in shapes.items():
        masks = by_stem.get(picture.stem, [])
        if not masks:
            problems.append(Problem(picture, f"has no mask called {picture.stem} in {folder}"))
        elif len(masks) > 1:
            reason = f"{len(masks)} masks in {folder} are called {picture.stem}; keep one"
            problems += [Problem(path, reason) for path in masks]
        elif masks[0] not in findings:
            problems.append(Problem(picture, f"its mask {masks[0]} has a problem of its own"))
        elif findings[masks[0]].size != (height, width):
            mask_height, mask_width = findings[masks[0]].size
            reason = f"is {mask_width} × {mask_height} px but its picture {picture} is {width} × {height} px"
            problems.append(Problem(masks[0], reason))
        else:
            pairs[picture] = masks[0]
    return pairs, problems


def _crop_size(config: MaskedConfig) -> tuple[int, int]:
    return (256, 256) if config.framing.crop_size == (0, 0) else config.framing.crop_size
