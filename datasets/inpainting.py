"""A folder of pictures to samples with holes: the picture, the mask of its hole, and a sketch of what was there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import Framing, FramingConfig, sample_seed
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.folders import listed, pictures_in
from gan_tasks.datasets.images import Pixels, channels_fit, fit_channels, read, to_float
from gan_tasks.datasets.masks.draw import Mask, MaskConfig, draw_mask, drawn_shares
from gan_tasks.datasets.masks.files import DEFAULT_THRESHOLD, check_threshold, resize_mask, to_mask
from gan_tasks.datasets.masks.pairing import FoundMasks, MaskPairing, find_masks
from gan_tasks.datasets.paired import Split
from gan_tasks.datasets.sampler import Key
from gan_tasks.datasets.validation import Problem, Progress, Shape, inspect_files

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
    channel_shuffle: bool = False
    """Put the colour channels of each sample in an order drawn at random: more variety, where pictures are few."""
    drawn_masks: MaskConfig = MaskConfig()
    masks: Path | None = None
    """Folder of mask files, or of the folders train, val and test with them; without it, holes are drawn."""
    mask_pairing: MaskPairing = "auto"
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
class FoundMasked:
    """What a folder holds: the pictures by name, the masks for them, and the files that are not used."""

    pictures: tuple[Path, ...]
    masks: FoundMasks | None
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
    or directly in config.masks. By name a mask must have its picture's size, and stays as it is; drawn at random it
    must cover a share between min_mask_ratio and max_mask_ratio, and is resized by the nearest pixel.

    Problems are, beside files that cannot be read: channels that cannot be converted, masks without any hole or that
    are all hole; by name also pictures without a mask, masks of another size, and several of one name.

    Raises UserError if root or config.masks is not a folder, if nothing usable is left, and with config.strict if
    there is any problem, listing all of them; MissingSplitError if there are no pictures of the split.
    """
    folder = _find_folder(root, split)
    shapes, problems, config = _open_pictures(folder, config, on_progress)
    masks = _open_masks(config.masks, split, shapes, config, on_progress) if config.masks is not None else None
    pictures = tuple(shapes)
    if masks is not None:
        problems += masks.problems
        pictures = tuple(masks.by_picture) if masks.by_picture is not None else pictures
    if config.strict and problems:
        raise UserError(f"{listed(problems)}\nfix or remove these files, or go on without them: not strict")
    left_out = f", {len(problems)} files with problems left out" if problems else ""
    origin = f"{masks.origin}, {masks.shares}" if masks is not None else _drawn(config)
    summary = f"{len(pictures)} pictures in {folder}{left_out}; holes {origin}"
    return MaskedImages(pictures, masks, config, seed, augment), FoundMasked(
        pictures, masks, tuple(problems), summary
    )


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
        masks: FoundMasks | None,
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
        own_mask = self._own_mask(self.pictures[index])
        for _ in range(_ATTEMPTS):
            framed, mask = self._framed(pixels, own_mask, rng)
            if mask.any() and not mask.all():
                break
        if self.config.channel_shuffle and not is_held_out:
            framed = framed[..., rng.permutation(framed.shape[2])]
        image = to_float(framed)
        sketch = np.zeros_like(mask)
        if self.config.sketch and rng.random() < 0.5:
            sketch = edge_lines(image) & mask
        return Masked(image, mask[None].astype(np.float32), sketch[None].astype(np.float32))

    def _framed(self, pixels: Pixels, own_mask: Mask | None, rng: np.random.Generator) -> tuple[Pixels, Mask]:
        if own_mask is None:
            framed = pixels if self._framing is None else self._framing(rng, pixels)[0]
            return framed, self._random_mask(rng, *framed.shape[:2])
        if self._framing_with_mask is None:
            return pixels, own_mask
        framed, mask = self._framing_with_mask(rng, pixels, own_mask[..., None].astype(np.uint8) * np.uint8(255))
        return framed, mask[..., 0] >= 128

    def _own_mask(self, picture: Path) -> Mask | None:
        if self.masks is None or self.masks.by_picture is None:
            return None
        return self._read_mask(self.masks.by_picture[picture])

    def _random_mask(self, rng: np.random.Generator, height: int, width: int) -> Mask:
        if self.masks is None:
            return draw_mask(rng, height, width, self.config.drawn_masks)
        return resize_mask(self._read_mask(self.masks.paths[rng.integers(len(self.masks.paths))]), height, width)

    def _read_mask(self, path: Path) -> Mask:
        return to_mask(read(path).pixels, self.config.mask_threshold, self.config.invert_mask)


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


def _open_masks(
    root: Path, split: Split, shapes: dict[Path, Shape], config: MaskedConfig, on_progress: Progress | None
) -> FoundMasks:
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the mask files")
    has_split = (root / split).is_dir()
    return find_masks(
        root / split if has_split else root,
        shapes,
        pairing=config.mask_pairing,
        threshold=config.mask_threshold,
        invert=config.invert_mask,
        min_mask_ratio=config.drawn_masks.min_mask_ratio,
        max_mask_ratio=config.drawn_masks.max_mask_ratio,
        all_have_pictures=has_split,
        on_progress=on_progress,
    )


def _drawn(config: MaskedConfig) -> str:
    size = config.framing.crop_size if config.framing.crop_size != (0, 0) else (256, 256)
    kinds = ", ".join(config.drawn_masks.mask_kinds)
    return f"drawn for each sample ({kinds}), {drawn_shares(config.drawn_masks, size)}"
