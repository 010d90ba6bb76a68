"""The built-in photos: a small paired data set that needs no download, for a first training run.

The target is a photo. The source is a "painting by numbers" made from it: flat regions in a palette of few colours,
which are unrelated to the colours of the photo. The photos are files of the scikit-image wheel. According to its
documentation astronaut (NASA) and rocket (SpaceX) are in the public domain, and chelsea and coffee are CC0;
motorcycle comes from the Middlebury 2014 stereo benchmark (Scharstein et al.), and no licence is named.
"""

import importlib.util
import io
from collections.abc import Iterator
from colorsys import hsv_to_rgb
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, read, write
from gan_tasks.datasets.masks.draw import Mask, draw_damage

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
TEST_SIZE = 128
"""Height and width of the test images, in px."""

_TRAIN_SIZE = 256  # px, approximately: the training part of a photo is divided evenly
_NOISE_LEVELS, _JPEG_QUALITY = 8.0, 30
_PALE, _DARK = 235, 40  # gray levels of drawn damage
_SMOOTHING = 1.5  # standard deviation of the blur, in px
_COLOURS = 24
_GOLDEN_RATIO = 0.618034
_PALETTE = np.array(
    [
        hsv_to_rgb(number * _GOLDEN_RATIO % 1, (0.85, 0.5)[number % 2], (1.0, 0.75, 0.5)[number % 3])
        for number in range(_COLOURS)
    ]
)
_PALETTE = np.rint(_PALETTE * 255).astype(np.uint8)
"""RGB of each number. Numbers order the colours of the photos from dark to light; the palette is in no such order, so
that no simple mapping of colours turns a painting into the photo."""


def photo_pairs(out: Path) -> Path:
    """Write the pairs as out/{train,test}/{A,B}/*.png (A: painting, B: photo; RGB, 8 bits) and return `out`.

    The right part of each photo gives test images of 128 × 128 px; the rest gives larger training images. The result
    is the same on every run.

    Raises UserError if scikit-image, which contains the photos, is not installed.
    """
    photos = read_photos()
    paintings = dict(zip(photos, paint_by_numbers(list(photos.values())), strict=True))
    for name, photo in photos.items():
        for split, region in regions(*photo.shape[:2]):
            top, left = region[0].start, region[1].start
            for side, pixels in (("A", paintings[name]), ("B", photo)):
                folder = out / split / side
                folder.mkdir(parents=True, exist_ok=True)
                write(folder / f"{name}-y{top:03}-x{left:03}.png", Picture(pixels[region]))
    return out


def read_photos() -> dict[str, Pixels]:
    """Return the photos by name, H×W×3 uint8. Raises UserError if scikit-image is not installed."""
    return {Path(name).stem: read(_photo_folder() / name).pixels for name in PHOTOS}


def with_noise_and_jpeg(photo: Pixels, seed: int) -> Pixels:
    """Return an RGB photo with noise of a standard deviation of 8 levels, compressed as JPEG of quality 30."""
    from PIL import Image

    noise = np.random.default_rng(seed).normal(0, _NOISE_LEVELS, photo.shape)
    noisy = np.clip(np.rint(photo + noise), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=_JPEG_QUALITY)
    return np.asarray(Image.open(file))


def with_damage(photo: Pixels, seed: int) -> tuple[Pixels, Mask]:
    """Return an RGB photo with drawn scratches and stains, all pale or all dark, and the mask of these."""
    mask = draw_damage(np.random.default_rng(seed), *photo.shape[:2])
    return np.where(mask[..., None], np.uint8(_DARK if seed % 2 else _PALE), photo), mask


def regions(height: int, width: int) -> Iterator[tuple[str, tuple[slice, slice]]]:
    """Yield the split and the (rows, columns) of each image to cut from a photo, without overlaps."""
    test_columns = 2 if 0.45 * width > 2 * TEST_SIZE else 1
    train_width = width - test_columns * TEST_SIZE
    for top in range(0, height - TEST_SIZE + 1, TEST_SIZE):
        for left in range(train_width, width, TEST_SIZE):
            yield "test", (slice(top, top + TEST_SIZE), slice(left, left + TEST_SIZE))
    for rows in _divided(height):
        for columns in _divided(train_width):
            yield "train", (rows, columns)


def _divided(length: int) -> list[slice]:
    parts = max(1, round(length / _TRAIN_SIZE))
    borders = [length * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(borders)]


def paint_by_numbers(photos: list[Pixels]) -> list[Pixels]:
    """Paint each photo (H×W×3) in the colours of the palette; similar colours get the same number in all photos.

    k-means clusters the CIELAB colours of all photos together. A vote among neighbouring pixels smooths the regions.
    """
    import cv2

    lab: list[Pixels] = [cv2.cvtColor(photo.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for photo in photos]
    sample = np.concatenate([image[::4, ::4].reshape(-1, 3) for image in lab])
    cv2.setRNGSeed(0)
    numbers = np.empty((len(sample), 1), np.int32)  # an output of k-means that is not used
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 0.1)
    _, _, found = cv2.kmeans(sample, len(_PALETTE), numbers, until, 3, cv2.KMEANS_PP_CENTERS)
    centres = np.asarray(sorted(found, key=lambda centre: centre[0]))  # from dark to light
    return [_PALETTE[_numbers(image, centres)] for image in lab]


def _numbers(lab: Pixels, centres: NDArray[Any]) -> NDArray[np.intp]:
    """Return H×W indices of centres: at each pixel the nearest centre of most pixels in a Gaussian window."""
    import cv2

    nearest = np.stack([((lab - centre) ** 2).sum(axis=2) for centre in centres]).argmin(axis=0)
    votes = np.stack(
        [
            cv2.GaussianBlur((nearest == number).astype(np.float32), (0, 0), _SMOOTHING)
            for number in range(len(centres))
        ]
    )
    return np.asarray(votes.argmax(axis=0))


def _photo_folder() -> Path:
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise UserError("the built-in photos need scikit-image, which is not installed: pip install scikit-image")
    return Path(package.submodule_search_locations[0]) / "data"
