"""Seeded augmentation of images with albumentations. Every random draw comes from (seed, epoch, index)."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images.pixels import Pixels, to_float
from gan_tasks.datasets.ranges import Checked, Side


@dataclass(frozen=True)
class FramingConfig(Checked):
    """How images are resized, cropped and flipped for training."""

    # The defaults are those of the pix2pix and CycleGAN papers; other tasks have their own.
    load_size: Side = 286
    """Resize height and width to this many px before cropping; 0 keeps the file's size."""
    crop_size: tuple[Side, Side] = (256, 256)
    """Train on random crops of this height and width in px; smaller images are padded by reflection. Cropping is
    turned off by 0 0."""
    keep_aspect: bool = False
    """Keep the aspect ratio when resizing: the shorter side becomes --load-size px."""
    flip: bool = True
    """Mirror half of the samples left to right."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_size != (0, 0) and min(self.crop_size) < 1:
            raise UserError(f"crop_size is {self.crop_size}; give a height and a width of 1 px or more, or 0 0")


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Make a 32-bit seed for one sample. Neighbouring keys give unrelated seeds (numpy's SeedSequence)."""
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1)[0])


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize H×W×C pixels of any type: area averaging along an axis that shrinks, bicubic along one that grows."""
    import cv2

    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.shape[2] > 4:  # OpenCV's limit
        parts = [resize(part, height, width) for part in (pixels[..., :4], pixels[..., 4:])]
        return np.concatenate(parts, axis=2)
    # One axis after the other: if one axis grows, OpenCV interpolates along both, and the axis that shrinks aliases.
    shrunk = (min(width, pixels.shape[1]), min(height, pixels.shape[0]))
    resized = cv2.resize(np.ascontiguousarray(pixels), shrunk, interpolation=cv2.INTER_AREA)
    resized = cv2.resize(resized, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized).reshape(height, width, -1)  # OpenCV drops a single channel's axis


class Framing:
    """Resize, crop and flip images as a FramingConfig says; images of one call get the same crop and flip."""

    def __init__(self, config: FramingConfig, *, images: int = 1) -> None:
        self._config = config
        self._names = ["image", *(f"image{number}" for number in range(1, images))]
        self._geometry = _geometry(config.crop_size, config.flip, self._names[1:])

    def __call__(self, rng: np.random.Generator, *images: Pixels) -> list[Pixels]:
        """Turn H×W×C pixels of equal H and W (uint8, uint16, float32) into pixels of the crop's size."""
        resized = [self._resized(pixels) for pixels in images]
        framed = _seeded(self._geometry, rng)(**dict(zip(self._names, resized, strict=True)))
        return [framed[name] for name in self._names]

    def _resized(self, pixels: Pixels) -> Pixels:
        config = self._config
        if not config.load_size:
            return pixels
        height, width = pixels.shape[:2]
        scale = config.load_size / min(height, width)
        if config.keep_aspect:
            return resize(pixels, round(height * scale), round(width * scale))
        return resize(pixels, config.load_size, config.load_size)


class PairAugmentation:
    """Crop and flip both images of a pair alike; change colours and add noise on the source only.

    photometric: 0 to 1. Brightness, contrast and saturation change by up to ± half of it, hue by up to ± a tenth.
    denoise: standard deviation, in 8-bit grey levels, of Gaussian noise. Neither option changes alpha.
    """

    def __init__(self, framing: FramingConfig, *, photometric: float, denoise: float, source_channels: int) -> None:
        self._framing, self._denoise = Framing(framing, images=2), denoise
        self._colours = {2: 1, 4: 3}.get(source_channels, source_channels)  # the last channel of 2 or 4 is alpha
        self._photometric = _photometric(photometric, self._colours) if photometric else None

    def __call__(
        self, source: Pixels, target: Pixels, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Turn H×W×C pixels of equal H and W (uint8, uint16, float32) into C×H×W float32 in [-1, 1]."""
        source, target = self._framing(rng, source, target)
        return self._degraded(to_float(source), rng), to_float(target)

    def _degraded(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        colour, alpha = image[: self._colours], image[self._colours :]
        if self._photometric is not None:
            unit = np.ascontiguousarray((colour.transpose(1, 2, 0) + 1) / 2)  # float, because it takes no uint16
            colour = _seeded(self._photometric, rng)(image=unit)["image"].transpose(2, 0, 1) * 2 - 1
        if self._denoise:
            sigma = self._denoise * 2 / 255
            colour = colour + sigma * rng.standard_normal(colour.shape, np.float32)
        return np.concatenate([np.clip(colour, -1, 1), alpha]).astype(np.float32)


def _geometry(crop_size: tuple[int, int], flip: bool, more_images: list[str]) -> Any:
    import cv2

    A = _albumentations()
    steps = []
    if crop_size != (0, 0):
        steps.append(A.RandomCrop(*crop_size, pad_if_needed=True, border_mode=cv2.BORDER_REFLECT_101))
    if flip:
        steps.append(A.HorizontalFlip(p=0.5))
    return A.Compose(steps, additional_targets=dict.fromkeys(more_images, "image"))


def _photometric(amount: float, channels: int) -> Any:
    A = _albumentations()
    half = amount / 2
    if channels not in (1, 3):  # saturation and hue are defined for gray and RGB only
        return A.Compose([A.RandomBrightnessContrast(half, half, p=1)])
    around_1 = (1 - half, 1 + half)
    hue = (-amount / 10, amount / 10)
    return A.Compose([A.ColorJitter(around_1, around_1, around_1, hue, p=1)])


def _seeded(compose: Any, rng: np.random.Generator) -> Any:
    """Seed the transform for one sample: albumentations keeps its own generator, equal in every worker and epoch."""
    compose.set_random_seed(int(rng.integers(2**32)))
    return compose


def _albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it checks online for a newer version
    import albumentations

    return albumentations
