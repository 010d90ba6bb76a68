"""The data set of restoration: a sample is a degraded photograph, the clean one, and the mask of the damage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import sample_seed
from gan_tasks.datasets.checks.validation import Problem, Progress, inspect_files
from gan_tasks.datasets.degradations import damage, photographs
from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.folders import listed, refuse_problems
from gan_tasks.datasets.images import Pixels, centred, channels_fit, fit_channels, read, to_float, to_planes, to_uint8
from gan_tasks.datasets.loading.sampler import Key
from gan_tasks.datasets.paired import Split
from gan_tasks.datasets.ranges import Checked, Fraction, Side
from gan_tasks.datasets.sides.names import images_of_split

Image = TypeVar("Image")

CHANNELS = 3
"""Photographs are RGB; gray ones have three equal channels."""
MARGIN = 16
"""Pixels by which the degraded part of a photograph is larger than the crop: the largest block of a JPEG."""
CROPPED_SHARE = 0.25
"""Share of the samples whose JPEG blocks begin anywhere, as in a photograph that was cropped after compression."""


class Degraded(NamedTuple, Generic[Image]):
    """One sample of float32 arrays; in a batch these are torch tensors with N in front."""

    degraded: Image
    """C×H×W in [-1, 1]."""
    clean: Image
    """C×H×W in [-1, 1]."""
    mask: Image
    """1×H×W, 1 = damaged; all 0 for the degradation `photographs`, which changes every pixel."""


@dataclass(frozen=True)
class RestorationDataConfig(Checked):
    """Degradation and crops of the training photographs."""

    degradation: Literal["photographs", "damage"] = "photographs"
    """How photographs are degraded: photographs = JPEG compression, noise and mild blur; damage = scratches, folds,
    dust and stains of old photographs."""
    crop_size: Side = 96
    """Train on random crops of this height and width in px."""
    flip: bool = True
    """Mirror half of the samples left to right, half top to bottom, and transpose half."""
    gray_share: Fraction = 0.1
    """Share of the samples that are turned gray."""
    clean_share: Fraction = 0.08
    """Share of the training samples that are not degraded, so that the model leaves good photographs as they are.
    Held-out photographs are always degraded."""
    strict: bool = False
    """Stop with an error if any file has a problem, instead of leaving the file out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.crop_size:
            raise UserError("crop_size is 0: give the height and width of the crops in px, such as 96")


@dataclass(frozen=True)
class FoundClean:
    """The photographs of a folder, and the problems of files that are not used."""

    images: tuple[Path, ...]
    problems: tuple[Problem, ...]
    summary: str
    """One line for the user: the number of photographs, and how they are degraded."""


def open_restoration(
    root: Path,
    split: Split,
    config: RestorationDataConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["DegradedImages", FoundClean]:
    """Read each photograph once (see `validation.py`) and make a data set of those without a problem.

    The photographs of a split are in root/<split>, and for "train" alternatively in root.

    Raises UserError if root is not a folder, if no usable file is left, and, with config.strict, if there is any
    problem. Raises MissingSplitError if there are no images of the split.
    """
    folder, paths, problems = images_of_split(root, split)
    good = []
    for path, finding in inspect_files(paths, on_progress=on_progress).items():
        if isinstance(finding, Problem):
            problems.append(finding)
        elif not channels_fit(finding[2], CHANNELS):
            reason = f"has {finding[2]} channels; expected gray or RGB, with or without alpha"
            problems.append(Problem(path, reason))
        else:
            good.append(path)
    if not good:
        raise UserError(f"{folder} holds no usable image. Problems:\n{listed(problems)}")
    if config.strict:
        refuse_problems(problems)
    left_out = f"; {counted(len(problems), 'file')} with problems left out" if problems else ""
    summary = f"{counted(len(good), 'image')} in {folder}, degraded as {config.degradation}{left_out}"
    return DegradedImages(good, config, seed, augment), FoundClean(tuple(good), tuple(problems), summary)


class DegradedImages:
    """A map-style data set keyed by (epoch, index): a sample depends only on the seed and the key.

    augment: crop, flip and transpose at random. Without it, photographs are returned complete, all are degraded, and
        their degradation depends only on the index.
    """

    def __init__(self, images: Sequence[Path], config: RestorationDataConfig, seed: int, augment: bool) -> None:
        self.images, self.config, self.seed, self.augment = tuple(images), config, seed, augment

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the name of a sample: its file's name without the suffix."""
        return self.images[index].stem

    def __getitem__(self, key: Key) -> Degraded[NDArray[np.float32]]:
        return Degraded(*map(centred, self.load(key)))

    def load(self, key: Key) -> Degraded[Pixels]:
        """Return a sample whose images are uint8 and whose mask is float32."""
        epoch, index = key if self.augment else (0, key[1])
        rng = np.random.default_rng(sample_seed(self.seed if self.augment else 0, epoch, index))
        clean = _to_bytes(fit_channels(read(self.images[index]).pixels, CHANNELS))
        if self.augment:
            clean = self._part(clean, rng)
        if rng.random() < self.config.gray_share:
            clean = fit_channels(fit_channels(clean, 1), CHANNELS)
        degraded, clean, mask = self._degraded(clean, rng)
        if self.augment:
            moved = rng.random() < CROPPED_SHARE
            top, left = (int(length) if moved else 0 for length in rng.integers(0, MARGIN, 2))
            side = self.config.crop_size
            inner = np.s_[top : top + side, left : left + side]
            degraded, clean, mask = degraded[inner], clean[inner], mask[inner]
        return Degraded(to_planes(degraded), to_planes(clean), mask[None].astype(np.float32))

    def _part(self, pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Cut, mirror and transpose a random part, which has the margin. A smaller photograph is reflected."""
        side = self.config.crop_size + MARGIN
        missing = [max(0, side - length) for length in pixels.shape[:2]]
        if any(missing):
            pixels = np.pad(pixels, [*((n // 2, n - n // 2) for n in missing), (0, 0)], mode="symmetric")
        top, left = (int(rng.integers(length - side + 1)) for length in pixels.shape[:2])
        part = pixels[top : top + side, left : left + side]
        if self.config.flip:
            part = part[:: rng.choice((1, -1)), :: rng.choice((1, -1))]
            part = part.transpose(1, 0, 2) if rng.random() < 0.5 else part
        return np.ascontiguousarray(part)

    def _degraded(
        self, clean: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the degraded photograph, the clean one, which may have film grain now, and the mask H×W."""
        nowhere = np.zeros(clean.shape[:2], np.bool_)
        leaves = rng.random() < self.config.clean_share and self.augment  # held-out ones would have an infinite PSNR
        if self.config.degradation == "photographs":
            return clean if leaves else photographs.degrade(clean, rng), clean, nowhere
        clean = damage.with_grain(clean, rng)
        damaged, mask = (clean, nowhere) if leaves else damage.degrade(clean, rng)
        return damaged, clean, mask


def _to_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    return pixels if pixels.dtype == np.uint8 else to_uint8(to_float(pixels))
