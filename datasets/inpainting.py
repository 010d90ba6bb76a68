"""The data set of inpainting: a sample is an image, a mask, and a sketch of the image in the masked region."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import Framing, FramingConfig, sample_seed
from gan_tasks.datasets.checks.validation import Problem, Progress, Shape, inspect_files
from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.folders import listed, refuse_problems
from gan_tasks.datasets.images import Pixels, centred, channels_fit, fit_channels, read, to_float, to_planes
from gan_tasks.datasets.loading.sampler import Key
from gan_tasks.datasets.masks.draw import Mask, MaskConfig, draw_mask, drawn_mask_ratios
from gan_tasks.datasets.masks.files import DEFAULT_THRESHOLD, resize_mask, to_mask
from gan_tasks.datasets.masks.pairing import FoundMasks, MaskPairing, find_masks
from gan_tasks.datasets.paired import Split
from gan_tasks.datasets.ranges import Channels, Checked, Range
from gan_tasks.datasets.sides.names import images_of_split

Image = TypeVar("Image")

_ATTEMPTS = 10


class Masked(NamedTuple, Generic[Image]):
    """One sample of float32 arrays; in a batch these are torch tensors with N in front."""

    image: Image
    """The complete image, the masked region included: C×H×W in [-1, 1]."""
    mask: Image
    """1×H×W, 1 = masked = to be filled, 0 = known."""
    sketch: Image
    """1×H×W, 1 = an edge of the image in the masked region; all 0 in a sample without a sketch."""


@dataclass(frozen=True)
class MaskedConfig(Checked):
    """Images, masks and augmentation of the training data. The defaults are those of the DeepFill v2 paper.

    Crops have the resolution of the file unless --load-size is given. Give it for large photographs: otherwise a crop
    shows only a small part of the image.
    """

    image_channels: Channels = 0
    """Number of channels of the images; 0 takes the number of the first file. Alpha is dropped."""
    framing: FramingConfig = FramingConfig(load_size=0, keep_aspect=True)
    channel_shuffle: bool = False
    """Shuffle the colour channels of each training sample at random, which augments small data sets."""
    drawn_masks: MaskConfig = MaskConfig()
    masks: Path | None = None
    """Read masks from the files of this folder or its subfolders train, val and test; without it, masks are drawn."""
    mask_pairing: MaskPairing = "auto"
    """How mask files are paired with images: stem = by the same file name; random = at random, resized to the image;
    auto = by file name if any mask has the name of an image, else at random."""
    mask_threshold: Annotated[int, Range(1, 255)] = DEFAULT_THRESHOLD
    """Mask the pixels of a mask file whose gray level is at least this, 1 to 255: white = masked = to be filled."""
    invert_mask: bool = False
    """Mask the pixels of a mask file below --mask-threshold instead: black ones, or erased ones of a layer."""
    sketch: bool = False
    """Give half of the samples a sketch, the edges in the masked region, so that the model learns to follow lines."""
    strict: bool = False
    """Stop with an error if any file has a problem, instead of leaving the file out."""


@dataclass(frozen=True)
class FoundMasked:
    """The files of a folder: the images sorted by name, their masks, and the problems of files that are not used."""

    images: tuple[Path, ...]
    masks: FoundMasks | None
    """None if masks are drawn."""
    problems: tuple[Problem, ...]
    summary: str
    """One line for the user: the number of images, where the masks come from, and their mask ratios."""


def open_masked(
    root: Path,
    split: Split,
    config: MaskedConfig,
    seed: int,
    augment: bool,
    *,
    on_progress: Progress | None = None,
) -> tuple["MaskedImages", FoundMasked]:
    """Read each image and each mask once and make a dataset of those without a problem.

    The images of a split are in root/<split>, and for "train" alternatively in root. Its masks are in
    config.masks/<split>, or in config.masks. A mask that is paired by name must have the size of its image and is not
    resized. A mask that is paired at random must have a mask ratio from min_mask_ratio to max_mask_ratio, and is
    resized with nearest-neighbour interpolation.

    Problems are files that cannot be read, channels that cannot be converted, and masks of which no pixel or every
    pixel is masked. For pairing by name they are also images without a mask, masks of another size, and several masks
    of one name.

    Raises UserError if root or config.masks is not a folder, if no usable file is left, and, with config.strict, if
    there is any problem. Raises MissingSplitError if there are no images of the split.
    """
    folder, shapes, problems, config = _open_images(root, split, config, on_progress)
    masks = _open_masks(config.masks, split, shapes, config, on_progress) if config.masks is not None else None
    images = tuple(shapes)
    if masks is not None:
        problems += masks.problems
        images = tuple(masks.by_image) if masks.by_image is not None else images
    if config.strict:
        refuse_problems(problems)
    left_out = f", {counted(len(problems), 'file')} with problems left out" if problems else ""
    origin = f"{masks.origin}, mask ratio {masks.mask_ratios}" if masks is not None else _drawn(config)
    summary = f"{counted(len(images), 'image')} in {folder}{left_out}; masks {origin}"
    return MaskedImages(images, masks, config, seed, augment), FoundMasked(images, masks, tuple(problems), summary)


class MaskedImages:
    """A map-style dataset keyed by (epoch, index): a sample depends only on the seed and the key.

    config: with a resolved number of channels, as `open_masked` makes it.
    masks: the mask files; None draws masks.
    augment: resize, crop and flip images as configured, together with their masks if these are paired by name; other
        masks change in each epoch. Without it, images are returned complete and unchanged, and their masks depend
        only on the index.

    A crop of a mask that is paired by name may be masked everywhere or nowhere. Up to 10 crops are drawn until one is
    not; if there is none, the last one is used.
    """

    def __init__(
        self,
        images: Sequence[Path],
        masks: FoundMasks | None,
        config: MaskedConfig,
        seed: int,
        augment: bool,
    ) -> None:
        if not config.image_channels:
            raise ValueError("image_channels is 0, expected a resolved number; make the dataset with open_masked")
        self.images, self.masks, self.config, self.seed = tuple(images), masks, config, seed
        self._framing = Framing(config.framing) if augment else None

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the name of a sample: its file's name without the suffix."""
        return self.images[index].stem

    def __getitem__(self, key: Key) -> Masked[NDArray[np.float32]]:
        return Masked(*map(centred, self.load(key)))

    def load(self, key: Key) -> Masked[Pixels]:
        """Return a sample in which an image of 8 bits is uint8, and others float32; so are masks and sketches."""
        epoch, index = key
        is_held_out = self._framing is None
        rng = np.random.default_rng(sample_seed(*((0, 0) if is_held_out else (self.seed, epoch)), index))
        reduction = None if self._framing is None else self._framing.reduction
        pixels = fit_channels(read(self.images[index], reduction=reduction).pixels, self.config.image_channels)
        own_mask = self._own_mask(self.images[index])
        for _ in range(_ATTEMPTS):
            framed, mask = self._framed(pixels, own_mask, rng)
            if mask.any() and not mask.all():
                break
        if self.config.channel_shuffle and not is_held_out:
            framed = framed[..., rng.permutation(framed.shape[2])]
        sketch = np.zeros_like(mask)
        if self.config.sketch and rng.random() < 0.5:
            sketch = edge_lines(to_float(framed)) & mask
        return Masked(to_planes(framed), mask[None].astype(np.float32), sketch[None].astype(np.float32))

    def _framed(self, pixels: Pixels, own_mask: Mask | None, rng: np.random.Generator) -> tuple[Pixels, Mask]:
        if own_mask is None:
            framed = pixels if self._framing is None else self._framing(rng, pixels)[0]
            return framed, self._random_mask(rng, *framed.shape[:2])
        if self._framing is None:
            return pixels, own_mask
        framed, mask = self._framing(rng, pixels, own_mask[..., None].astype(np.uint8) * np.uint8(255))
        return framed, mask[..., 0] >= 128

    def _own_mask(self, image: Path) -> Mask | None:
        if self.masks is None or self.masks.by_image is None:
            return None
        return self._read_mask(self.masks.by_image[image])

    def _random_mask(self, rng: np.random.Generator, height: int, width: int) -> Mask:
        if self.masks is None:
            return draw_mask(rng, height, width, self.config.drawn_masks)
        return resize_mask(self._read_mask(self.masks.paths[rng.integers(len(self.masks.paths))]), height, width)

    def _read_mask(self, path: Path) -> Mask:
        return to_mask(read(path).pixels, self.config.mask_threshold, self.config.invert_mask)


def edge_lines(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find the edges of C×H×W in [-1, 1] with Canny's method (1986); return H×W bool, True on lines of 1 px width."""
    import cv2

    gray = np.rint((image.mean(axis=0) + 1) * 127.5).astype(np.uint8)
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.5)  # removes texture, which a person would not sketch
    return np.asarray(cv2.Canny(smooth, 40, 100)).astype(np.bool_)


def _open_images(
    root: Path, split: Split, config: MaskedConfig, on_progress: Progress | None
) -> tuple[Path, dict[Path, Shape], list[Problem], MaskedConfig]:
    """Return the folder, the shapes of its usable images, the problems of others, and the config with channels."""
    folder, images, problems = images_of_split(root, split)
    shapes: dict[Path, Shape] = {}
    wanted = config.image_channels
    for path, finding in inspect_files(images, on_progress=on_progress).items():
        if isinstance(finding, Problem):
            problems.append(finding)
        elif wanted and not channels_fit(finding[2], wanted):
            problems.append(
                Problem(path, f"has {finding[2]} channels, which cannot be converted to the {wanted} expected")
            )
        else:
            wanted = wanted or {2: 1, 4: 3}.get(finding[2], finding[2])
            shapes[path] = finding
    if not shapes:
        raise UserError(f"{folder} holds no usable image; fix or replace these files:\n{listed(problems)}")
    return folder, shapes, problems, replace(config, image_channels=wanted)


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
        every_mask_has_image=has_split,
        on_progress=on_progress,
    )


def _drawn(config: MaskedConfig) -> str:
    size = config.framing.crop_size if config.framing.crop_size != (0, 0) else (256, 256)
    kinds = ", ".join(config.drawn_masks.mask_kinds)
    return f"drawn for each sample ({kinds}), mask ratio {drawn_mask_ratios(config.drawn_masks, size)}"
