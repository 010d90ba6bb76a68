"""Seeded augmentation of images. Every random draw comes from (seed, epoch, index)."""

import os
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images.pixels import Pixels, to_float, to_planes
from gan_tasks.datasets.ranges import Checked, Range, Side

_LEAST_REDUCED = ((4, 2.0), (2, 4 / 3))
"""By which a JPEG may be divided, and how many times as large as the resized image it must still be."""


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
    zoom_out: Annotated[float, Range(1, 64)] = 1.0
    """Shrink height and width to random sizes before cropping, down to 1/N; 1 = off. For few large images."""
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
    """Resize H×W×C pixels (uint8, uint16, float32) like PIL: bicubic, over more pixels along an axis that shrinks."""
    from torch import from_numpy
    from torch.nn.functional import interpolate

    if pixels.shape[:2] == (height, width):
        return pixels
    # PyTorch takes a tenth of the time of PIL for bytes. It warns of arrays that are not writable, such as PIL's.
    values = np.require(pixels, np.uint8 if pixels.dtype == np.uint8 else np.float32, ["C", "W"])
    batch = from_numpy(values).permute(2, 0, 1)[None]
    resized = interpolate(batch, (height, width), mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()
    if pixels.dtype == np.uint16:
        resized = np.rint(np.clip(resized, 0, 65535)).astype(np.uint16)
    return np.asarray(resized, pixels.dtype)


class Framing:
    """Resize, crop and flip images as a FramingConfig says; images of one call get the same crop and flip."""

    def __init__(self, config: FramingConfig) -> None:
        self._config = config

    def reduction(self, height: int, width: int) -> int:
        """Return by which a JPEG's height and width may be divided when it is decoded (`images.read`).

        It stays so much larger than the resized image that this changes by about half a grey level on average, and
        by less than one in most photographs (docs/results-speed.md).
        """
        times = min(height, width) / self._config.load_size if self._config.load_size else 0
        return next((divisor for divisor, least in _LEAST_REDUCED if times >= least * divisor), 1)

    def __call__(self, rng: np.random.Generator, *images: Pixels) -> list[Pixels]:
        """Turn H×W×C pixels of equal H and W (uint8, uint16, float32) into pixels of the crop's size.

        Images that `reduction` reduced may stand beside others, if they are resized.
        """
        height, width = self._config.crop_size
        resized = [self._resized(pixels) for pixels in images]
        if self._config.zoom_out > 1:
            resized = self._zoomed_out(rng, resized)
        resized = [_at_least(pixels, height, width) for pixels in resized]
        if height and width:
            spare = resized[0].shape[0] - height, resized[0].shape[1] - width
            top, left = (int(rng.integers(length + 1)) for length in spare)
            resized = [pixels[top : top + height, left : left + width] for pixels in resized]
        if self._config.flip and rng.random() < 0.5:
            return [pixels[:, ::-1] for pixels in resized]
        return resized

    def _resized(self, pixels: Pixels) -> Pixels:
        config = self._config
        if not config.load_size:
            return pixels
        height, width = pixels.shape[:2]
        scale = config.load_size / min(height, width)
        if config.keep_aspect:
            return resize(pixels, round(height * scale), round(width * scale))
        return resize(pixels, config.load_size, config.load_size)

    def _zoomed_out(self, rng: np.random.Generator, images: list[Pixels]) -> list[Pixels]:
        """Resize images of equal size alike, to a random size that is not below the crop's (as in SinCUT)."""
        factors = rng.uniform(1 / self._config.zoom_out, 1, 2)
        sizes = [
            max(1, min(length, least), round(length * factor))
            for length, least, factor in zip(images[0].shape, self._config.crop_size, factors, strict=False)
        ]
        return [resize(pixels, *sizes) for pixels in images]


def _at_least(pixels: Pixels, height: int, width: int) -> Pixels:
    """Pad by reflection on both sides."""
    missing = [max(0, least - length) for least, length in zip((height, width), pixels.shape, strict=False)]
    if not any(missing):
        return pixels
    return np.pad(pixels, [*((n // 2, n - n // 2) for n in missing), (0, 0)], mode="reflect")


class PairAugmentation:
    """Crop and flip both images of a pair alike; change colours and add noise on the source only.

    photometric: 0 to 1. Brightness, contrast and saturation change by up to ± half of it, hue by up to ± a tenth.
    denoise: standard deviation, in 8-bit grey levels, of Gaussian noise. Neither option changes alpha.
    """

    def __init__(self, framing: FramingConfig, *, photometric: float, denoise: float, source_channels: int) -> None:
        self.framing, self._denoise = Framing(framing), denoise
        self._colours = {2: 1, 4: 3}.get(source_channels, source_channels)  # the last channel of 2 or 4 is alpha
        self._photometric = _photometric(photometric, self._colours) if photometric else None

    def __call__(self, source: Pixels, target: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """Turn H×W×C pixels of equal H and W (uint8, uint16, float32) into C×H×W by `to_planes`."""
        source, target = self.framing(rng, source, target)
        return self._degraded(source, rng), to_planes(target)

    def _degraded(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        if self._photometric is None and not self._denoise:
            return to_planes(pixels)
        image = to_float(pixels)
        colour, alpha = image[: self._colours], image[self._colours :]
        if self._photometric is not None:
            unit = np.ascontiguousarray((colour.transpose(1, 2, 0) + 1) / 2)  # float, because it takes no uint16
            colour = _seeded(self._photometric, rng)(image=unit)["image"].transpose(2, 0, 1) * 2 - 1
        if self._denoise:
            sigma = self._denoise * 2 / 255
            colour = colour + sigma * rng.standard_normal(colour.shape, np.float32)
        return np.concatenate([np.clip(colour, -1, 1), alpha]).astype(np.float32)


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
