"""Photographs to samples of (low, high) resolution: the small image is made of the sharp one, or read beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import sample_seed
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.folders import listed, pictures_in
from gan_tasks.datasets.images import Pixels, channels_fit, fit_channels, read, to_float, to_uint8
from gan_tasks.datasets.images.resize import bicubic
from gan_tasks.datasets.paired import Split
from gan_tasks.datasets.sampler import Key
from gan_tasks.datasets.validation import Problem, Progress, Shape, inspect_files

Image = TypeVar("Image")

HIGH_NAMES, LOW_NAMES = ("HR", "high"), ("LR", "low")
"""What the folders of pairs may be called."""
MARGIN = 4
"""Pixels of the small image around a crop that are made and cut off: what is made of them sees no border there."""
DEGRADED_MARGIN = 8
"""The same for a degradation, which blurs farther."""


class LowRes(NamedTuple, Generic[Image]):
    """One sample, C×H×W and C×(s·H)×(s·W) float32 arrays in [-1, 1]; a batch has N in front and torch tensors."""

    low: Image
    high: Image


@dataclass(frozen=True)
class SuperResolutionDataConfig:
    """Which images are read, how small ones are made of them, and what part is trained on."""

    scale: int = 4
    """How many times as high and wide the result is: 1, 2, 3, 4 or 8, where the network allows."""
    degradation: Literal["bicubic", "real-esrgan"] = "bicubic"
    """How the small image is made: by MATLAB's bicubic interpolation, or with blur, noise and JPEG of random strength
    as well, so that the model cleans real photographs."""
    degrade_on: Literal["auto", "workers", "device"] = "auto"
    """real-esrgan: in the processes that read, or a batch at a time where the networks are; auto is the latter on a
    GPU."""
    crop_size: int = 128
    """Height and width in px of the part of the sharp image that is trained on; a multiple of the scale."""
    flip: bool = True
    """Mirror half of the samples left to right, half upside down, and turn half by 90°."""
    channels: Literal[1, 3] = 3
    """1 works on gray."""
    strict: bool = False
    """Stop if any file has a problem, instead of going on without it."""

    def __post_init__(self) -> None:
        if self.scale not in (1, 2, 3, 4, 8):
            raise UserError(f"scale is {self.scale}; give 1, 2, 3, 4 or 8")
        if self.crop_size < self.scale or self.crop_size % self.scale:
            raise UserError(
                f"crop_size is {self.crop_size}; it must be a multiple of the scale, {self.scale}, "
                f"such as {max(1, self.crop_size // self.scale) * self.scale}"
            )
        if self.degradation == "real-esrgan" and self.channels != 3:
            raise UserError("degradation real-esrgan is of colours: give --channels 3, or --degradation bicubic")

    @property
    def degrades_on_device(self) -> bool:
        return self.degradation == "real-esrgan" and self.degrade_on == "device"


@dataclass(frozen=True)
class HighAndLow:
    """Where one sample is stored."""

    high: Path
    low: Path | None
    """None: it is made of the other."""


@dataclass(frozen=True)
class FoundPhotographs:
    """What a folder holds, and the files that are not used."""

    images: tuple[HighAndLow, ...]
    problems: tuple[Problem, ...]
    summary: str
    """One line for the person: what was found, and how it is read."""


def open_super_resolution(
    root: Path,
    split: Split,
    config: SuperResolutionDataConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["SuperResolutionImages", FoundPhotographs]:
    """Read each file once (see check.py) and make a dataset of those without a problem.

    A split is a folder of sharp photographs, root/<split>, or one that holds the folders HR and LR (or high and low)
    with files of the same names, where `_x4` or `x4` may follow in LR; for "train" also root itself.

    Raises UserError if root is not a folder, if no picture is left, and with config.strict if there is any problem,
    listing all of them; MissingSplitError if there is no such folder.
    """
    folder, images, problems = _find(root, split, config.scale)
    paths = [path for files in images for path in (files.high, files.low) if path is not None]
    findings = inspect_files(paths, on_progress=on_progress)
    good = []
    for files in images:
        wrong = list(_problems(files, findings, config))
        problems += wrong
        if not wrong:
            good.append(files)
    if not good:
        raise UserError(f"{folder} holds no usable picture; {_expected(root, split)}. Problems:\n{listed(problems)}")
    if config.strict and problems:
        raise UserError(f"{listed(problems)}\nfix or remove these files, or go on without them: not strict")
    made = "beside small ones" if good[0].low else f"made {config.scale}× smaller, {config.degradation}"
    left_out = f"; {len(problems)} files with problems left out" if problems else ""
    summary = f"{len(good)} pictures in {folder}, {made}{left_out}"
    return SuperResolutionImages(good, config, seed, augment), FoundPhotographs(tuple(good), tuple(problems), summary)


class SuperResolutionImages:
    """A map-style dataset keyed by (epoch, index): the sample depends on the seed and the key alone.

    augment: a random crop, flipped and turned; otherwise images come whole, cut to a multiple of the scale.
    """

    def __init__(
        self, images: Sequence[HighAndLow], config: SuperResolutionDataConfig, seed: int, augment: bool
    ) -> None:
        self.images, self.config, self.seed, self.augment = tuple(images), config, seed, augment

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return self.images[index].high.stem

    def __getitem__(self, key: Key) -> LowRes[NDArray[np.float32]]:
        """Where batches are degraded on the device, `low` is black, and both have DEGRADED_MARGIN around them."""
        epoch, index = key
        rng = np.random.default_rng(sample_seed(self.seed, epoch, index))
        files, scale = self.images[index], self.config.scale
        high = self._read(files.high)
        low = None if files.low is None else self._read(files.low)
        if not self.augment:
            high = high[: high.shape[0] // scale * scale, : high.shape[1] // scale * scale]
            return _sample(self._lowered(high, rng) if low is None else low, high)
        if low is not None:
            low, high = _crop_pair(low, high, self.config.crop_size, scale, rng)
        else:
            low, high = self._crop(high, rng)
        if self.config.flip:
            turns = rng.random(3) < 0.5
            low, high = _turned(low, turns), _turned(high, turns)
        return _sample(low, high)

    def _crop(self, high: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """A part with a margin, the small image of that, and the margin cut off both."""
        config = self.config
        margin = DEGRADED_MARGIN if config.degradation == "real-esrgan" else MARGIN
        wide = config.crop_size + 2 * margin * config.scale
        part = _random_part(_at_least(high, wide), wide, rng)
        if config.degrades_on_device:
            side = wide // config.scale
            return np.zeros((side, side, part.shape[2]), part.dtype), part
        return _inner(self._lowered(part, rng), margin), _inner(part, margin * config.scale)

    def _lowered(self, high: Pixels, rng: np.random.Generator) -> Pixels:
        config = self.config
        if config.degradation == "real-esrgan":
            from gan_tasks.datasets.degradations.real_esrgan import degrade, draw_degradation
            from gan_tasks.datasets.degradations.unsharp_mask import sharpen

            return degrade(sharpen(_to_bytes(high)), draw_degradation(rng), config.scale)
        return bicubic(high, (high.shape[0] // config.scale, high.shape[1] // config.scale))

    def _read(self, path: Path) -> Pixels:
        return fit_channels(read(path).pixels, self.config.channels)


def _sample(low: Pixels, high: Pixels) -> LowRes[NDArray[np.float32]]:
    return LowRes(to_float(low), to_float(high))


def _to_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    return to_uint8(to_float(pixels))  # of uint8 the same


def _at_least(pixels: Pixels, side: int, *, unit: int = 1) -> Pixels:
    """Mirrored at the border, by a multiple of `unit` on each side: so a small image goes with its large one."""
    missing = [-(-max(0, side - length) // unit) for length in pixels.shape[:2]]
    if not any(missing):
        return pixels
    widths = [(n // 2 * unit, (n - n // 2) * unit) for n in missing]
    return np.pad(pixels, [*widths, (0, 0)], mode="symmetric")


def _random_part(pixels: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    top, left = (int(rng.integers(length - side + 1)) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def _inner(pixels: Pixels, margin: int) -> Pixels:
    return pixels[margin:-margin, margin:-margin]


def _crop_pair(
    low: Pixels, high: Pixels, crop_size: int, scale: int, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """The same part of both: the small one's pixels say where it may begin."""
    side = crop_size // scale
    low, high = _at_least(low, side), _at_least(high, crop_size, unit=scale)
    top, left = (int(rng.integers(length - side + 1)) for length in low.shape[:2])
    return (
        low[top : top + side, left : left + side],
        high[top * scale : (top + side) * scale, left * scale : (left + side) * scale],
    )


def _turned(pixels: Pixels, turns: NDArray[np.bool_]) -> Pixels:
    across, down, transposed = turns
    pixels = pixels[:, ::-1] if across else pixels
    pixels = pixels[::-1] if down else pixels
    return pixels.transpose(1, 0, 2) if transposed else pixels


def _find(root: Path, split: Split, scale: int) -> tuple[Path, list[HighAndLow], list[Problem]]:
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the photographs")
    for folder in (root / split, *([root] if split == "train" else [])):
        high = next((folder / name for name in HIGH_NAMES if (folder / name).is_dir()), None)
        low = next((folder / name for name in LOW_NAMES if (folder / name).is_dir()), None)
        if high and low:
            return folder, *_matched(high, low, scale)
        if high or (folder.is_dir() and pictures_in(folder)[0]):
            pictures, problems = pictures_in(high or folder)
            return folder, [HighAndLow(path, None) for path in pictures], problems
    raise MissingSplitError(f"{root} holds no {split} pictures; {_expected(root, split)}")


def _expected(root: Path, split: Split) -> str:
    also = f" or {root}" if split == "train" else ""
    return f"expected are photographs in {root / split}{also}, or folders HR and LR there"


def _matched(high: Path, low: Path, scale: int) -> tuple[list[HighAndLow], list[Problem]]:
    (highs, problems), (lows, low_problems) = pictures_in(high), pictures_in(low)
    problems = problems + low_problems
    highs_by_stem, lows_by_stem = _by_stem(highs), _by_stem(lows)
    images = []
    for stem, paths in highs_by_stem.items():
        names = (stem, f"{stem}x{scale}", f"{stem}_x{scale}")
        partners = next((lows_by_stem.pop(name) for name in names if name in lows_by_stem), [])
        if len(paths) == len(partners) == 1:
            images.append(HighAndLow(paths[0], partners[0]))
        elif partners:
            reason = f"{len(paths)} files in {high} and {len(partners)} in {low} are called {stem}; keep one of each"
            problems += [Problem(path, reason) for path in paths + partners]
        else:
            problems += [Problem(path, f"has no partner called {stem} in {low}") for path in paths]
    for stem, paths in lows_by_stem.items():
        problems += [Problem(path, f"has no partner called {stem} in {high}") for path in paths]
    return images, problems


def _by_stem(paths: Sequence[Path]) -> dict[str, list[Path]]:
    by_stem: dict[str, list[Path]] = {}
    for path in paths:
        by_stem.setdefault(path.stem, []).append(path)
    return by_stem


def _problems(
    files: HighAndLow, findings: dict[Path, Shape | Problem], config: SuperResolutionDataConfig
) -> Iterator[Problem]:
    shapes = []
    for path in (files.high, files.low):
        finding = findings[path] if path is not None else None
        if isinstance(finding, Problem):
            yield finding
            return
        if finding is not None:
            shapes.append(finding)
            if not channels_fit(finding[2], config.channels):
                yield Problem(path or files.high, f"has {finding[2]} channels, and gray or RGB is expected")
    (height, width, _), *low = shapes
    if min(height, width) < config.scale:
        yield Problem(files.high, f"is {width} × {height} px, less than a pixel when made {config.scale}× smaller")
        return
    for low_height, low_width, _ in low:
        if (height // config.scale, width // config.scale) != (low_height, low_width):
            reason = f"is {low_width} × {low_height} px, not 1/{config.scale} of {files.high}, {width} × {height} px"
            yield Problem(files.low or files.high, reason)
