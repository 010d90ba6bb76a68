"""Real-ESRGAN's second-order degradation of arrays, on the CPU: it makes a realistic low-resolution image.

Two stages blur the image, resize it, add noise and compress it as JPEG. Then the image is resized to its final size
and, in most cases, filtered with a sinc, before or after the second compression. A `Degradation` holds all random
choices, so the same one gives the same result. Probabilities and ranges are those of Real-ESRGAN's training options,
which are the same for each of its scales. Xintao Wang et al. 2021, https://arxiv.org/abs/2107.10833
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.degradations.kernels import LARGEST_KERNEL, Bell, Blur, Profile, Sinc

Interpolation = Literal["area", "bilinear", "bicubic"]
Size: TypeAlias = tuple[int, int]
_Unit: TypeAlias = NDArray[np.float32]  # H×W×3 in [0, 1]; filters may overshoot the range
_T = TypeVar("_T")


@dataclass(frozen=True)
class Noise:
    """Noise with a fixed seed: it is the same each time it is added."""

    kind: Literal["gaussian", "poisson"]
    strength: float
    """gaussian: standard deviation in 8-bit grey levels; poisson: a factor on the Poisson noise of the image."""
    gray: bool
    """Whether the three channels get the same noise."""
    seed: int
    """Seed of the noise, below 2^32."""


@dataclass(frozen=True)
class Stage:
    """One round of blur, resizing, noise and JPEG compression; None skips a step."""

    blur: Blur | None
    zoom: float
    """Resize factor of height and width, relative to the input (first stage) or to the final size (second)."""
    interpolation: Interpolation
    noise: Noise | None
    jpeg_quality: int | None


@dataclass(frozen=True)
class Degradation:
    """All random choices for one sample."""

    first: Stage
    second: Stage
    interpolation: Interpolation
    """Interpolation of the resize to the final size."""
    sinc: Sinc | None
    """Filter after the resize to the final size; None skips it."""
    jpeg_last: bool
    """Whether the JPEG compression of the second stage comes after, not before, the final resize and sinc filter."""


@dataclass(frozen=True)
class _Ranges:
    """Probabilities and ranges from which one stage is drawn."""

    blurred: float
    sigma_px: tuple[float, float]
    enlarged_reduced_kept: tuple[float, float, float]
    zoom: tuple[float, float]
    gaussian: tuple[float, float]
    poisson: tuple[float, float]


_FIRST = _Ranges(
    blurred=1.0,
    sigma_px=(0.2, 3.0),
    enlarged_reduced_kept=(0.2, 0.7, 0.1),
    zoom=(0.15, 1.5),
    gaussian=(1, 30),
    poisson=(0.05, 3.0),
)
_SECOND = _Ranges(
    blurred=0.8,
    sigma_px=(0.2, 1.5),
    enlarged_reduced_kept=(0.3, 0.4, 0.3),
    zoom=(0.3, 1.2),
    gaussian=(1, 25),
    poisson=(0.05, 2.5),
)

_SINC = 0.1
_BELLS: tuple[tuple[Profile, bool], ...] = (  # (profile, whether it is isotropic)
    ("gaussian", True),
    ("gaussian", False),
    ("generalized", True),
    ("generalized", False),
    ("plateau", True),
    ("plateau", False),
)
_BELL_PROBABILITIES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
_BETA: dict[Profile, tuple[float, float]] = {"gaussian": (1, 1), "generalized": (0.5, 4), "plateau": (1, 2)}
_KERNEL_SIZES = tuple(range(7, LARGEST_KERNEL + 1, 2))
_INTERPOLATIONS: tuple[Interpolation, ...] = ("area", "bilinear", "bicubic")
_GAUSSIAN_NOISE, _GRAY_NOISE = 0.5, 0.4
_JPEG_QUALITY = (30, 95)
_FINAL_SINC = 0.8
_JPEG_LAST = 0.5


def draw_degradation(rng: np.random.Generator) -> Degradation:
    """Draw the degradation of one sample from `rng`. As in Real-ESRGAN, it does not depend on the scale."""
    return Degradation(
        first=_draw_stage(rng, _FIRST),
        second=_draw_stage(rng, _SECOND),
        interpolation=_one_of(rng, _INTERPOLATIONS),
        sinc=_draw_sinc(rng, math.pi / 3) if rng.random() < _FINAL_SINC else None,
        jpeg_last=bool(rng.random() < _JPEG_LAST),
    )


def _draw_stage(rng: np.random.Generator, ranges: _Ranges) -> Stage:
    return Stage(
        blur=_draw_blur(rng, ranges.sigma_px) if rng.random() < ranges.blurred else None,
        zoom=_draw_zoom(rng, ranges),
        interpolation=_one_of(rng, _INTERPOLATIONS),
        noise=_draw_noise(rng, ranges),
        jpeg_quality=int(rng.integers(*_JPEG_QUALITY, endpoint=True)),
    )


def _draw_blur(rng: np.random.Generator, sigma_px: tuple[float, float]) -> Blur:
    if rng.random() < _SINC:
        return _draw_sinc(rng, math.pi / 5)
    profile, is_isotropic = _one_of(rng, _BELLS, _BELL_PROBABILITIES)
    sigma = rng.uniform(*sigma_px)
    return Bell(
        profile=profile,
        size=_one_of(rng, _KERNEL_SIZES),
        sigmas=(sigma, sigma if is_isotropic else rng.uniform(*sigma_px)),
        angle=0.0 if is_isotropic else rng.uniform(-math.pi, math.pi),
        beta=_draw_beta(rng, *_BETA[profile]),
    )


def _draw_beta(rng: np.random.Generator, lowest: float, highest: float) -> float:
    """Draw a β below 1 (more peaked than a Gaussian) and above 1 (flatter) with equal probability."""
    return rng.uniform(lowest, 1) if rng.random() < 0.5 else rng.uniform(1, highest)


def _draw_sinc(rng: np.random.Generator, lowest_cutoff: float) -> Sinc:
    size = _one_of(rng, _KERNEL_SIZES)
    if size < 13:  # a small kernel cannot hold a low cutoff frequency
        lowest_cutoff = math.pi / 3
    return Sinc(size, cutoff=rng.uniform(lowest_cutoff, math.pi))


def _draw_zoom(rng: np.random.Generator, ranges: _Ranges) -> float:
    smallest, largest = ranges.zoom
    return rng.uniform(*_one_of(rng, ((1, largest), (smallest, 1), (1, 1)), ranges.enlarged_reduced_kept))


def _draw_noise(rng: np.random.Generator, ranges: _Ranges) -> Noise:
    is_gaussian = rng.random() < _GAUSSIAN_NOISE
    return Noise(
        kind="gaussian" if is_gaussian else "poisson",
        strength=rng.uniform(*(ranges.gaussian if is_gaussian else ranges.poisson)),
        gray=bool(rng.random() < _GRAY_NOISE),
        seed=int(rng.integers(2**32)),
    )


def _one_of(rng: np.random.Generator, choices: tuple[_T, ...], probabilities: tuple[float, ...] | None = None) -> _T:
    return choices[int(rng.choice(len(choices), p=probabilities))]


def sizes(high: Size, degradation: Degradation, scale: int) -> tuple[Size, Size, Size]:
    """Return the (height, width) after the resize of the first stage, after that of the second, and of the result.

    high: (height, width) of the input. If `scale` does not divide it, the last rows or columns are ignored, so that
        each pixel of the result corresponds to scale×scale whole pixels of the input.

    Raises ValueError if the input is smaller than scale×scale.
    """
    low = (high[0] // scale, high[1] // scale)
    if min(low) < 1:
        raise ValueError(
            f"cannot downscale an image of {high[0]}×{high[1]} px by {scale}: expected at least {scale}×{scale} px"
        )
    whole = (low[0] * scale, low[1] * scale)
    return _zoomed(whole, degradation.first.zoom), _zoomed(low, degradation.second.zoom), low


def _zoomed(size: Size, zoom: float) -> Size:
    return max(1, int(size[0] * zoom)), max(1, int(size[1] * zoom))


def degrade(
    image: NDArray[np.uint8] | NDArray[np.float32], degradation: Degradation, scale: int
) -> NDArray[np.uint8]:
    """Degrade H×W×3 RGB, uint8 or float32 in [0, 1], to (H // scale)×(W // scale)×3 uint8.

    If `scale` does not divide H or W, the last rows or columns are ignored. Real-ESRGAN sharpens the image first
    (`unsharp_mask.py`).

    Raises ValueError for an image smaller than scale×scale.
    """
    first, second = degradation.first, degradation.second
    size_1, size_2, size = sizes((image.shape[0], image.shape[1]), degradation, scale)
    low = _to_unit(image[: size[0] * scale, : size[1] * scale])

    low = _resized(_filtered(low, first.blur), size_1, first.interpolation)
    low = _compressed(_noisy(low, first.noise), first.jpeg_quality)

    low = _resized(_filtered(low, second.blur), size_2, second.interpolation)
    low = _noisy(low, second.noise)

    if not degradation.jpeg_last:
        low = _compressed(low, second.jpeg_quality)
    low = _filtered(_resized(low, size, degradation.interpolation), degradation.sinc)
    if degradation.jpeg_last:
        low = _compressed(low, second.jpeg_quality)
    return _to_uint8(low)


def _filtered(image: _Unit, blur: Blur | None) -> _Unit:
    import cv2

    if blur is None:
        return image
    return np.asarray(cv2.filter2D(image, -1, blur.kernel(), borderType=cv2.BORDER_REFLECT_101), np.float32)


def _resized(image: _Unit, size: Size, interpolation: Interpolation) -> _Unit:
    import cv2

    if image.shape[:2] == size:
        return image
    if interpolation == "area" and (size[0] > image.shape[0] or size[1] > image.shape[1]):
        return _enlarged_by_area(image, size)  # OpenCV may pick a neighbouring pixel there, by rounding
    flags = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
    return np.asarray(cv2.resize(image, size[::-1], interpolation=flags[interpolation]), np.float32)


def _enlarged_by_area(image: _Unit, size: Size) -> _Unit:
    for length in size:  # the rows, and then the columns, which have become rows
        image = _resized_by_area(image, length).transpose(1, 0, 2)
    return np.ascontiguousarray(image)


def _resized_by_area(image: _Unit, length: int) -> _Unit:
    from scipy.sparse import csr_array

    # Not a dense product: most weights are 0, and numpy's library would start a thread for each core.
    weights = csr_array(area_weights(len(image), length))
    return np.asarray((weights @ image.reshape(len(image), -1)).reshape(length, *image.shape[1:]), np.float32)


def area_weights(old: int, new: int) -> NDArray[np.float32]:
    """Return new×old weights for area resizing in 1D: the fraction of each new pixel that an old one covers."""
    edges = np.arange(new + 1) * old / new
    pixels = np.arange(old)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (covered.clip(min=0) * new / old).astype(np.float32)


def _noisy(image: _Unit, noise: Noise | None) -> _Unit:
    if noise is None:
        return image
    rng = np.random.default_rng(noise.seed)
    if noise.kind == "gaussian":
        shape = (*image.shape[:2], 1 if noise.gray else 3)
        added = rng.standard_normal(shape, np.float32) * np.float32(noise.strength / 255)
    else:
        added = _shot_noise(_luma(image) if noise.gray else image, rng) * np.float32(noise.strength)
    return np.clip(image + added, 0, 1)


def _shot_noise(image: _Unit, rng: np.random.Generator) -> _Unit:
    """Draw Poisson noise. Its scale depends on the number of grey levels that the image uses, as in Real-ESRGAN."""
    levels = _to_uint8(image)
    photons = np.float32(2 ** math.ceil(math.log2(np.count_nonzero(np.bincount(levels.ravel())))))
    light = levels.astype(np.float32) / 255
    return (rng.poisson(light * photons) / photons - light).astype(np.float32)


def _luma(image: _Unit) -> _Unit:
    """Return H×W×1 luma by ITU-R BT.601."""
    import cv2

    return np.asarray(cv2.transform(image, np.array([[0.299, 0.587, 0.114]])), np.float32)[..., None]


def _compressed(image: _Unit, quality: int | None) -> _Unit:
    import cv2

    if quality is None:
        return image
    # Not simplejpeg: its fast cosine transform is less exact than that of cameras and most programs.
    blue_first = np.ascontiguousarray(_to_uint8(image)[..., ::-1])
    _, data = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _to_unit(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def _to_unit(image: NDArray[np.uint8] | NDArray[np.float32]) -> _Unit:
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    return image.astype(np.float32)


def _to_uint8(image: _Unit) -> NDArray[np.uint8]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
