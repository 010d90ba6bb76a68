"""Augmentation, seeded: albumentations behind one adapter. Every draw comes from (seed, epoch, index)."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.pixels import Pixels, to_float


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """A 32-bit seed for one sample: neighbouring keys give unrelated ones (numpy's SeedSequence)."""
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1)[0])


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize H×W×C pixels of any type: by area along an axis that shrinks, bicubic along one that grows."""
    import cv2

    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.shape[2] > 4:  # OpenCV's limit
        parts = [resize(part, height, width) for part in (pixels[..., :4], pixels[..., 4:])]
        return np.concatenate(parts, axis=2)
    # One after the other: where one axis grows, OpenCV interpolates along the other too, which aliases.
    shrunk = (min(width, pixels.shape[1]), min(height, pixels.shape[0]))
    resized = cv2.resize(np.ascontiguousarray(pixels), shrunk, interpolation=cv2.INTER_AREA)
    resized = cv2.resize(resized, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized).reshape(height, width, -1)  # OpenCV drops a single channel's axis


class PairAugmentation:
    """One geometry for both pictures of a pair; changes of value on the source alone.

    load_size: px; both sides are resized to it, or the shorter one if keep_aspect; 0 = not resized.
    crop_size: (height, width) in px of the random crop, reflected at the border of a smaller picture; (0, 0) = none.
    flip: mirror left–right in half of the samples.
    photometric: 0–1; up to ± half of it in brightness, contrast and saturation, ± a tenth of it in hue.
    denoise: standard deviation, in 8-bit grey levels, of Gaussian noise. It and photometric leave alpha alone.
    """

    def __init__(
        self,
        *,
        load_size: int,
        keep_aspect: bool,
        crop_size: tuple[int, int],
        flip: bool,
        photometric: float,
        denoise: float,
        source_channels: int,
    ) -> None:
        self._load_size, self._keep_aspect, self._denoise = load_size, keep_aspect, denoise
        self._colours = {2: 1, 4: 3}.get(source_channels, source_channels)  # the last of 2 or 4 is alpha
        self._geometry = _geometry(crop_size, flip)
        self._photometric = _photometric(photometric, self._colours) if photometric else None

    def __call__(
        self, source: Pixels, target: Pixels, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """H×W×C pixels of equal H and W (uint8, uint16, float32) to C×H×W float32 in [-1, 1]."""
        source, target = self._resized(source), self._resized(target)
        both = _seeded(self._geometry, rng)(image=source, target=target)
        return self._degraded(to_float(both["image"]), rng), to_float(both["target"])

    def _resized(self, pixels: Pixels) -> Pixels:
        if not self._load_size:
            return pixels
        height, width = pixels.shape[:2]
        scale = self._load_size / min(height, width)
        if self._keep_aspect:
            return resize(pixels, round(height * scale), round(width * scale))
        return resize(pixels, self._load_size, self._load_size)

    def _degraded(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        colour, alpha = image[: self._colours], image[self._colours :]
        if self._photometric is not None:
            unit = np.ascontiguousarray((colour.transpose(1, 2, 0) + 1) / 2)  # float, as it takes no uint16
            colour = _seeded(self._photometric, rng)(image=unit)["image"].transpose(2, 0, 1) * 2 - 1
        if self._denoise:
            sigma = self._denoise * 2 / 255
            colour = colour + sigma * rng.standard_normal(colour.shape, np.float32)
        return np.concatenate([np.clip(colour, -1, 1), alpha]).astype(np.float32)


def _geometry(crop_size: tuple[int, int], flip: bool) -> Any:
    import cv2

    A = _albumentations()
    steps = []
    if crop_size != (0, 0):
        steps.append(A.RandomCrop(*crop_size, pad_if_needed=True, border_mode=cv2.BORDER_REFLECT_101))
    if flip:
        steps.append(A.HorizontalFlip(p=0.5))
    return A.Compose(steps, additional_targets={"target": "image"})


def _photometric(strength: float, channels: int) -> Any:
    A = _albumentations()
    half = strength / 2
    if channels not in (1, 3):  # saturation and hue mean nothing there
        return A.Compose([A.RandomBrightnessContrast(half, half, p=1)])
    around_1 = (1 - half, 1 + half)
    hue = (-strength / 10, strength / 10)
    return A.Compose([A.ColorJitter(around_1, around_1, around_1, hue, p=1)])


def _seeded(compose: Any, rng: np.random.Generator) -> Any:
    """Albumentations keeps a generator of its own, the same in every worker and epoch: set it for each sample."""
    compose.set_random_seed(int(rng.integers(2**32)))
    return compose


def _albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for a newer version
    import albumentations

    return albumentations
