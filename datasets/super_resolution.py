"""The data set of super-resolution: a sample is (low, high). The low-resolution image is made or read from a file."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import sample_seed
from gan_tasks.datasets.checks.validation import Problem, Progress, Shape, inspect_files
from gan_tasks.datasets.errors import MissingSplitError, UserError, counted
from gan_tasks.datasets.folders import images_in, listed, refuse_problems, visible_folders
from gan_tasks.datasets.images import Pixels, centred, channels_fit, fit_channels, read, to_float, to_planes, to_uint8
from gan_tasks.datasets.images.resize import bicubic
from gan_tasks.datasets.loading.sampler import Key
from gan_tasks.datasets.paired import Split
from gan_tasks.datasets.ranges import Checked, Range, Side
from gan_tasks.datasets.sides.names import child

Image = TypeVar("Image")

HIGH_NAME = re.compile(r"(HR|high|GT|HQ)(mod\d+)?", re.IGNORECASE)
"""Names of a folder of high-resolution images, such as those of benchmarks: HR, GT, HQ, GTmod12."""
LOW_NAME = re.compile(r"(LR|low|LQ)_?(bic|bicubic)?_?(?:x(?P<scale>\d))?", re.IGNORECASE)
"""Names of a folder of low-resolution images, with or without the scale: LR, LQ, LRx4, LR_x4, LRbicx4, LR_bicubic. It
may hold a folder for each scale, such as X4."""
MARGIN = 4
"""Low-resolution pixels around a crop that are computed and cut off, so that the crop's border has no artifacts."""
DEGRADED_MARGIN = 8
"""The margin for Real-ESRGAN's degradation, which blurs over a larger distance."""


class LowRes(NamedTuple, Generic[Image]):
    """One sample of C×H×W and C×(s·H)×(s·W) float32 arrays in [-1, 1]; in a batch torch tensors with N in front."""

    low: Image
    high: Image


@dataclass(frozen=True)
class SuperResolutionDataConfig(Checked):
    """Images, degradation and crops of the training data."""

    scale: Annotated[int, Range(1, 8)] = 4
    """Enlarge height and width by this factor: 1, 2, 3, 4 or 8, if the network supports it."""
    degradation: Literal["bicubic", "real-esrgan"] = "bicubic"
    """How the low-resolution image is made: bicubic = MATLAB's bicubic interpolation; real-esrgan = random blur,
    resizing, noise and JPEG compression, so that the model learns to restore real photographs."""
    degrade_on: Literal["auto", "workers", "device"] = "auto"
    """Where the real-esrgan degradation runs: workers = in the data loader's processes; device = in batches on the
    device of the networks; auto = device on a GPU, else workers."""
    crop_size: Side = 128
    """Train on random crops of the high-resolution image of this height and width in px, a multiple of the scale."""
    flip: bool = True
    """Mirror half of the samples left to right, half top to bottom, and transpose half."""
    channels: Literal[1, 3] = 3
    """Number of channels of the images: 1 = gray, 3 = RGB."""
    strict: bool = False
    """Stop with an error if any file has a problem, instead of leaving the file out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale not in (1, 2, 3, 4, 8):
            raise UserError(f"scale is {self.scale}; give 1, 2, 3, 4 or 8")
        if self.crop_size < self.scale or self.crop_size % self.scale:
            raise UserError(
                f"crop_size is {self.crop_size}; give a multiple of the scale, {self.scale}, "
                f"such as {max(1, self.crop_size // self.scale) * self.scale}"
            )
        if self.degradation == "real-esrgan" and self.channels != 3:
            raise UserError(
                f"channels is {self.channels}, but degradation real-esrgan needs 3: "
                "give --channels 3, or --degradation bicubic"
            )

    @property
    def degrades_on_device(self) -> bool:
        """Whether samples are degraded in batches on the device, after loading."""
        return self.degradation == "real-esrgan" and self.degrade_on == "device"


@dataclass(frozen=True)
class HighAndLow:
    """The files of one sample."""

    high: Path
    low: Path | None
    """None if the low-resolution image is made from the high-resolution one."""


@dataclass(frozen=True)
class FoundPhotographs:
    """The images of a folder, and the problems of files that are not used."""

    images: tuple[HighAndLow, ...]
    problems: tuple[Problem, ...]
    summary: str
    """One line for the user: the number of images, and how the low-resolution ones are made."""


def open_super_resolution(
    root: Path,
    split: Split,
    config: SuperResolutionDataConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["SuperResolutionImages", FoundPhotographs]:
    """Read each file once (see `validation.py`) and make a dataset of those without a problem.

    A split is a folder of high-resolution images, root/<split>, or one that holds a folder of them (HIGH_NAME), with
    or without a folder of low-resolution ones (LOW_NAME) with files of the same names; these may end in the scale,
    such as `_x4` or `x4`. For "train", root itself may be this folder.

    Raises UserError if root is not a folder, if no usable image is left, and, with config.strict, if there is any
    problem. Raises MissingSplitError if there is no such folder.
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
        raise UserError(f"{folder} holds no usable image; {_expected(root, split)}. Problems:\n{listed(problems)}")
    if config.strict:
        refuse_problems(problems)
    low_images = "from files" if good[0].low else f"made by {config.degradation} degradation"
    left_out = f"; {counted(len(problems), 'file')} with problems left out" if problems else ""
    summary = f"{counted(len(good), 'image')} in {folder}, 1/{config.scale} size {low_images}{left_out}"
    return SuperResolutionImages(good, config, seed, augment), FoundPhotographs(tuple(good), tuple(problems), summary)


class SuperResolutionImages:
    """A map-style dataset keyed by (epoch, index): a sample depends only on the seed and the key.

    augment: crop, flip and transpose at random. Without it, images are returned complete, except that height and
        width are cut to multiples of the scale.
    """

    def __init__(
        self, images: Sequence[HighAndLow], config: SuperResolutionDataConfig, seed: int, augment: bool
    ) -> None:
        self.images, self.config, self.seed, self.augment = tuple(images), config, seed, augment

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the name of a sample: the name of its high-resolution file without the suffix."""
        return self.images[index].high.stem

    def __getitem__(self, key: Key) -> LowRes[NDArray[np.float32]]:
        """Return the sample of `load` as float32."""
        return LowRes(*map(centred, self.load(key)))

    def load(self, key: Key) -> LowRes[Pixels]:
        """Return a sample in which images of 8 bits are uint8, and others float32 in [-1, 1].

        If batches are degraded on the device, `low` is all black and both images have the margin
        DEGRADED_MARGIN, in low-resolution pixels.
        """
        epoch, index = key
        rng = np.random.default_rng(sample_seed(self.seed, epoch, index))
        files, scale = self.images[index], self.config.scale
        high = self._read(files.high)
        low = None if files.low is None else self._read(files.low)
        if not self.augment:
            high = high[: high.shape[0] // scale * scale, : high.shape[1] // scale * scale]
            return _sample(self._degraded(high, rng) if low is None else low, high)
        if low is not None:
            low, high = _crop_pair(low, high, self.config.crop_size, scale, rng)
        else:
            low, high = self._crop(high, rng)
        if self.config.flip:
            flips = rng.random(3) < 0.5
            low, high = _flipped(low, flips), _flipped(high, flips)
        return _sample(low, high)

    def _crop(self, high: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """Cut a random part with a margin, degrade it, and cut the margin off both images."""
        config = self.config
        margin = DEGRADED_MARGIN if config.degradation == "real-esrgan" else MARGIN
        wide = config.crop_size + 2 * margin * config.scale
        part = _random_part(_at_least(high, wide), wide, rng)
        if config.degrades_on_device:
            side = wide // config.scale
            return np.zeros((side, side, part.shape[2]), part.dtype), part
        return _inner(self._degraded(part, rng), margin), _inner(part, margin * config.scale)

    def _degraded(self, high: Pixels, rng: np.random.Generator) -> Pixels:
        config = self.config
        if config.degradation == "real-esrgan":
            from gan_tasks.datasets.degradations.real_esrgan import degrade, draw_degradation
            from gan_tasks.datasets.degradations.unsharp_mask import sharpen

            return degrade(sharpen(_to_bytes(high)), draw_degradation(rng), config.scale)
        return bicubic(high, (high.shape[0] // config.scale, high.shape[1] // config.scale))

    def _read(self, path: Path) -> Pixels:
        return fit_channels(read(path).pixels, self.config.channels)


def _sample(low: Pixels, high: Pixels) -> LowRes[Pixels]:
    return LowRes(to_planes(low), to_planes(high))


def _to_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    return pixels if pixels.dtype == np.uint8 else to_uint8(to_float(pixels))


def _at_least(pixels: Pixels, side: int, *, unit: int = 1) -> Pixels:
    """Pad by reflection to at least side × side, by a multiple of `unit` on each side, so that pairs stay aligned."""
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
    """Cut the same random part from both images; it starts at a whole pixel of the low-resolution image."""
    side = crop_size // scale
    low, high = _at_least(low, side), _at_least(high, crop_size, unit=scale)
    top, left = (int(rng.integers(length - side + 1)) for length in low.shape[:2])
    return (
        low[top : top + side, left : left + side],
        high[top * scale : (top + side) * scale, left * scale : (left + side) * scale],
    )


def _flipped(pixels: Pixels, flips: NDArray[np.bool_]) -> Pixels:
    horizontally, vertically, transposed = flips
    pixels = pixels[:, ::-1] if horizontally else pixels
    pixels = pixels[::-1] if vertically else pixels
    return pixels.transpose(1, 0, 2) if transposed else pixels


def _find(root: Path, split: Split, scale: int) -> tuple[Path, list[HighAndLow], list[Problem]]:
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the images")
    for folder in (child(root, split), *([root] if split == "train" else [])):
        high, low = _high_and_low(folder, scale)
        if high and low:
            return folder, *_matched(high, low, scale)
        if high or (folder.is_dir() and images_in(folder)[0]):
            images, problems = images_in(high or folder)
            return folder, [HighAndLow(path, None) for path in images], problems
    raise MissingSplitError(f"{root} holds no {split} images; {_expected(root, split)}")


def _high_and_low(folder: Path, scale: int) -> tuple[Path | None, Path | None]:
    """Return the folders of high-resolution images and of low-resolution images of this scale."""
    folders = visible_folders(folder)
    high = next((path for path in folders if HIGH_NAME.fullmatch(path.name)), None)
    for path in folders:
        if (name := LOW_NAME.fullmatch(path.name)) and (name["scale"] or str(scale)) == str(scale):
            of_scales = {own.name.lower(): own for own in path.glob("[xX][0-9]/")}
            if not of_scales or f"x{scale}" in of_scales:
                return high, of_scales.get(f"x{scale}", path)
    return high, None


def _expected(root: Path, split: Split) -> str:
    also = f" or {root}" if split == "train" else ""
    return f"expected images in {root / split}{also}, or folders HR and LR there"


def _matched(high: Path, low: Path, scale: int) -> tuple[list[HighAndLow], list[Problem]]:
    (highs, problems), (lows, low_problems) = images_in(high), images_in(low)
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
                yield Problem(
                    path or files.high, f"has {finding[2]} channels; expected gray or RGB, with or without alpha"
                )
    (height, width, _), *low = shapes
    if min(height, width) < config.scale:
        yield Problem(files.high, f"is {width} × {height} px; expected at least {config.scale} × {config.scale} px")
        return
    for low_height, low_width, _ in low:
        if (height // config.scale, width // config.scale) != (low_height, low_width):
            reason = (
                f"is {low_width} × {low_height} px; expected {width // config.scale} × {height // config.scale} px, "
                f"1/{config.scale} of {files.high}"
            )
            if (low_height, low_width) == (height, width):
                reason += ". It has the size of the high-resolution image: reduce it, or leave the folder LR out"
            yield Problem(files.low or files.high, reason)
