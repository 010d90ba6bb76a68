"""The data set of synthesis: a sample is an image, a latent vector that is drawn for it, and the class, if any."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.augmentations import Framing, FramingConfig, resize, sample_seed
from gan_tasks.datasets.checks.validation import Problem, Progress, inspect_files
from gan_tasks.datasets.errors import MissingSplitError, UserError, counted, enumerated
from gan_tasks.datasets.folders import images_in, listed, refuse_problems, visible_folders
from gan_tasks.datasets.images import Pixels, centred, channels_fit, fit_channels, read, to_planes
from gan_tasks.datasets.loading.sampler import Key
from gan_tasks.datasets.paired import Split
from gan_tasks.datasets.ranges import Channels, Checked, Side
from gan_tasks.datasets.sides.names import child

Array = TypeVar("Array")

SPLITS = frozenset({"train", "val", "test"})


class Unlabelled(NamedTuple, Generic[Array]):
    """One sample of float32 arrays; in a batch torch tensors with N in front.

    image: C×H×W in [-1, 1].
    latent: a vector of the standard normal distribution.
    label: 1 at the class of the image and 0 elsewhere; of length 0 without classes.
    """

    image: Array
    latent: Array
    label: Array


@dataclass(frozen=True)
class SizeConfig(FramingConfig):
    """The size of the images, and how training images are resized, cropped and flipped."""

    load_size: Side = 64
    """Resize height and width to this many px before cropping, or to more if the crop needs it; 0 keeps the file's
    size if the crop fits into it."""
    crop_size: tuple[Side, Side] = (64, 64)
    """Height and width of the generated images in px. Training images are cropped at random."""
    keep_aspect: bool = True
    """Keep the aspect ratio when resizing: the shorter side becomes --load-size px."""


@dataclass(frozen=True)
class UnlabelledConfig(Checked):
    """Images, classes and augmentation of the training data."""

    channels: Channels = 3
    """Number of channels of the images: 1 = gray, 3 = RGB; 0 takes the number of the first file, alpha included."""
    classes: bool = False
    """Each sub-folder is a class. The model learns to generate images of a given class."""
    class_names: tuple[str, ...] = ()
    """Names of the classes, which are those of their sub-folders; without names, all sub-folders are classes."""
    framing: SizeConfig = SizeConfig()
    strict: bool = False
    """Stop with an error if any file has a problem, instead of leaving the file out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.framing.crop_size == (0, 0):
            raise UserError("crop_size is 0 0, but it is the size of the generated images: give a height and a width")
        if self.class_names and not self.classes:
            raise UserError("class_names names classes, and there are none: give --classes, too")
        if len(set(self.class_names)) < len(self.class_names) or (self.classes and len(self.class_names) == 1):
            raise UserError(f"class_names is {' '.join(self.class_names)}: give two or more different names")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self.framing.crop_size


@dataclass(frozen=True)
class LabelledFile:
    """A file of the data, with the number of its class; 0 without classes."""

    path: Path
    label: int = 0


@dataclass(frozen=True)
class FoundUnlabelled:
    """The images of a folder, and the problems of files that are not used."""

    images: tuple[LabelledFile, ...]
    problems: tuple[Problem, ...]
    summary: str
    """One line for the user: the number of images and of classes."""


def open_unlabelled(
    root: Path,
    split: Split,
    config: UnlabelledConfig,
    seed: int,
    augment: bool,
    *,
    latent: int,
    on_progress: Progress | None = None,
) -> tuple["UnlabelledImages", FoundUnlabelled]:
    """Read each image once (see `validation.py`) and make a data set of those without a problem.

    A split is the folder root/<split>; for "train" also root itself. With classes, its sub-folders hold the images.
    A channel count of 0 is taken from the first good image, and missing names of classes from the sub-folders.

    latent: length of the latent vectors.

    Raises UserError if root is not a folder, if no usable image is left, if there are fewer than two classes, and,
    with config.strict, if there is any problem. Raises MissingSplitError if there is no such folder.
    """
    folder = _find(root, split, config)
    if config.classes and not config.class_names:
        config = replace(config, class_names=_class_names(folder))
    files, problems = _files_of_classes(folder, config.class_names) if config.classes else _files(folder)
    findings = inspect_files([file.path for file in files], on_progress=on_progress)
    good = []
    for file in files:
        finding = findings[file.path]
        if isinstance(finding, Problem):
            problems.append(finding)
        elif config.channels and not channels_fit(finding[2], config.channels):
            reason = f"has {finding[2]} channels; expected {config.channels} (see --channels)"
            problems.append(Problem(file.path, reason))
        else:
            config = config if config.channels else replace(config, channels=finding[2])
            good.append(file)
    if not good:
        raise UserError(f"{folder} holds no usable image. Problems:\n{listed(problems)}")
    if config.strict:
        refuse_problems(problems)
    of_classes = f" of {counted(len(config.class_names), 'class', 'classes')}" if config.classes else ""
    left_out = f"; {counted(len(problems), 'file')} with problems left out" if problems else ""
    summary = f"{counted(len(good), 'image')}{of_classes} in {folder}{left_out}"
    data = UnlabelledImages(good, config, seed, augment, latent=latent)
    return data, FoundUnlabelled(tuple(good), tuple(problems), summary)


class UnlabelledImages:
    """A map-style data set keyed by (epoch, index): a sample depends only on the seed and the key.

    All images have the configured size. An image that would not cover the crop is enlarged until it does.

    augment: crop and flip at random, and draw another latent in each epoch. Without it, images are cropped at the
        centre, and the latent of an image is always the same.
    """

    def __init__(
        self, images: Sequence[LabelledFile], config: UnlabelledConfig, seed: int, augment: bool, *, latent: int
    ) -> None:
        self.images, self.config, self.seed, self.augment, self.latent = tuple(images), config, seed, augment, latent
        framing = config.framing
        self._framing = Framing(replace(framing, load_size=0))
        smallest = max(framing.load_size, *framing.crop_size) if framing.load_size else 0
        self._reduction = Framing(replace(framing, load_size=smallest)).reduction

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the name of a sample: that of its file without the suffix, after that of its class if it has one."""
        file = self.images[index]
        names = self.config.class_names
        return f"{names[file.label]}-{file.path.stem}" if names else file.path.stem

    def __getitem__(self, key: Key) -> Unlabelled[NDArray[np.float32]]:
        sample = self.load(key)
        return Unlabelled(centred(sample.image), sample.latent, sample.label)

    def load(self, key: Key) -> Unlabelled[Pixels]:
        """Return the sample; an image of 8 bits is uint8, others float32 in [-1, 1]."""
        epoch, index = key if self.augment else (0, key[1])
        rng = np.random.default_rng(sample_seed(self.seed, epoch, index))
        file = self.images[index]
        latent = rng.standard_normal(self.latent, np.float32)
        label = np.zeros(len(self.config.class_names), np.float32)
        label[file.label : file.label + 1] = 1
        pixels = fit_channels(read(file.path, reduction=self._reduction).pixels, self.config.channels)
        pixels = self._covering(pixels)
        pixels = self._framing(rng, pixels)[0] if self.augment else _centre(pixels, self.config.size)
        return Unlabelled(to_planes(pixels), latent, label)

    def _covering(self, pixels: Pixels) -> Pixels:
        """Resize H×W×C pixels to the load size, or to the smallest size that covers the crop if that is larger."""
        framing, size = self.config.framing, self.config.size
        height, width = pixels.shape[:2]
        if framing.load_size and not framing.keep_aspect:
            return resize(pixels, max(framing.load_size, size[0]), max(framing.load_size, size[1]))
        scale = framing.load_size / min(height, width) if framing.load_size else 1.0
        scale = max(scale, size[0] / height, size[1] / width)
        return resize(pixels, max(size[0], round(height * scale)), max(size[1], round(width * scale)))


def _centre(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    top, left = ((length - side) // 2 for length, side in zip(pixels.shape, size, strict=False))
    return pixels[top : top + size[0], left : left + size[1]]


def _find(root: Path, split: Split, config: UnlabelledConfig) -> Path:
    """Return the folder of a split."""
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the images")
    places = [child(root, split), *([root] if split == "train" else [])]
    for folder in places:
        if folder.is_dir() and (_class_folders(folder) if config.classes else images_in(folder)[0]):
            return folder
    if not config.classes and (inside := next((names for place in places if (names := _class_folders(place))), [])):
        raise MissingSplitError(
            f"{inside[0].parent} holds no images, but its sub-folders do ({enumerated(_first_names(inside))}): "
            "give --classes to learn them as classes, or give the folder that holds the images"
        )
    holding = "sub-folders of images, one for each class," if config.classes else "images"
    expected = " or ".join(str(place) for place in (root / split, *places[1:]))
    raise MissingSplitError(f"{root} holds no {split} images; expected {holding} in {expected}")


def _class_folders(folder: Path) -> list[Path]:
    """Return the sub-folders with images, by name. In a folder of a split, `train` may be the name of a class."""
    splits = () if folder.name.lower() in SPLITS else SPLITS
    return [each for each in visible_folders(folder) if each.name.lower() not in splits and images_in(each)[0]]


def _first_names(folders: Sequence[Path]) -> list[str]:
    names = [each.name for each in folders[:3]]
    return [*names, f"{len(folders) - 3} more"] if len(folders) > 3 else names


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(each.name for each in _class_folders(folder))
    if len(names) < 2:
        raise UserError(f"{folder} has one sub-folder with images, {names[0]}: --classes needs two or more")
    return names


def _files(folder: Path) -> tuple[list[LabelledFile], list[Problem]]:
    images, problems = images_in(folder)
    return [LabelledFile(path) for path in images], problems


def _files_of_classes(folder: Path, names: Sequence[str]) -> tuple[list[LabelledFile], list[Problem]]:
    """Return the files of the classes. Sub-folders of other names, and images beside them, are problems."""
    files, problems = list[LabelledFile](), list[Problem]()
    for path in images_in(folder)[0]:
        problems.append(Problem(path, "belongs to no class: it is in none of the sub-folders"))
    for path in _class_folders(folder):
        if path.name not in names:
            problems.append(Problem(path, f"is none of the classes {enumerated(list(names))}"))
    for label, name in enumerate(names):
        if (folder / name).is_dir():
            images, unused = images_in(folder / name)
            files += [LabelledFile(path, label) for path in images]
            problems += unused
    return files, problems
