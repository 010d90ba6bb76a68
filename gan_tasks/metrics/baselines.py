"""Answers that need no network: what a model has to beat.

For pairs, `fit_baselines` fits three; for super-resolution there is `upscale_bicubic`; for holes the harmonic
fill, which is the strongest of the classical ones, and OpenCV's two.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, tee
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images.pixels import Pixels, fit_channels, to_float
from gan_tasks.datasets.images.resize import bicubic

Image: TypeAlias = NDArray[Any]
FloatImage: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
"""H×W, True where the image is missing."""

Example: TypeAlias = tuple[tuple[FloatImage, ...], FloatImage]
"""What a model is given for a sample, in the order of the task's `inputs`, and the right answer; C×H×W in [-1, 1]."""
Baseline: TypeAlias = Callable[..., FloatImage]
"""A way to answer without a network: called with the inputs of a sample, gives C×H×W in [-1, 1]."""

INPAINT_RADIUS_PX = 3.0
"""How far OpenCV's fills look around a pixel; its own examples' value."""


@dataclass(frozen=True)
class FittedBaselines:
    """Answers that need no network: a model of paired images has to do better than all three.

    Each method takes one source, in either form that `fit_baselines` takes, and gives float32 C×H×W
    in [-1, 1].
    """

    mean_colour: NDArray[np.float64]
    """Over all pixels of the training targets, C."""
    mean_image: NDArray[np.float64] | None
    """Pixel by pixel over the training targets, C×H×W; None where their sizes differ."""
    affine_map: NDArray[np.float64]
    """A source pixel's channels and a constant 1 → the target's channels, (source channels + 1)×C."""

    def identity(self, source: Image) -> FloatImage:
        """The source itself, in the target's number of channels. Raises UserError where it cannot be."""
        pixels = fit_channels(np.moveaxis(_as_float(source), 0, -1), len(self.mean_colour))
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))

    def mean(self, source: Image) -> FloatImage:
        """The mean training target, or the mean colour everywhere where the source is of another size."""
        size = _as_float(source).shape[1:]
        if self.mean_image is not None and self.mean_image.shape[1:] == size:
            return self.mean_image.astype(np.float32)
        colour = self.mean_colour.astype(np.float32)[:, None, None]
        return np.tile(colour, (1, *size))

    def affine(self, source: Image) -> FloatImage:
        """Each pixel through the affine map of colours of least squared error on the training pairs."""
        image = _as_float(source)
        baseline = _pixels_and_one(image) @ self.affine_map
        return np.clip(baseline.T.reshape(-1, *image.shape[1:]), -1, 1).astype(np.float32)


def fit_baselines(train_sources: Iterable[Image], train_targets: Iterable[Image]) -> FittedBaselines:
    """Fit the trivial answers to training pairs, in one pass and without holding the images.

    An image is either as in its file, uint8 or uint16 H×W×C, or as inside the project, float C×H×W
    in [-1, 1]. Raises ValueError where there are no pairs, or the two of a pair differ in size.
    """
    grams, crosses = [], []  # of the normal equations: XᵀX and XᵀY, a pixel a row
    target_sum: NDArray[np.float64] = np.zeros(())
    target_shapes = set()
    for source, target in zip(map(_as_float, train_sources), map(_as_float, train_targets), strict=True):
        if source.shape[1:] != target.shape[1:]:
            raise ValueError(f"a source of {source.shape[1:]} px has a target of {target.shape[1:]} px")
        x, y = _pixels_and_one(source), target.reshape(len(target), -1).T
        grams.append(x.T @ x)
        crosses.append(x.T @ y)
        target_shapes.add(target.shape)
        if len(target_shapes) == 1:
            target_sum = target_sum + target
    if not grams:
        raise ValueError("no training pairs to fit the trivial answers to")
    gram, cross = np.sum(grams, axis=0), np.sum(crosses, axis=0)
    channel_sums, pixel_count = cross[-1], gram[-1, -1]  # the products with the constant 1
    return FittedBaselines(
        mean_colour=channel_sums / pixel_count,
        mean_image=target_sum / len(grams) if len(target_shapes) == 1 else None,
        affine_map=np.linalg.lstsq(gram, cross)[0],
    )


def translation_baselines(examples: Iterable[Example]) -> Mapping[str, Baseline]:
    """The trivial answers to pairs by name, fitted to examples of the training; where there are none, the source."""
    baselines: dict[str, Baseline] = {"source itself": lambda source: source}
    stream = iter(examples)
    first = next(stream, None)
    if first is None:
        return baselines
    for_sources, for_targets = tee(chain([first], stream))
    fitted = fit_baselines((source for (source,), _ in for_sources), (target for _, target in for_targets))
    return baselines | {"mean image": fitted.mean, "affine map of the colours": fitted.affine}


def _as_float(image: Image) -> FloatImage:
    return image.astype(np.float32) if np.issubdtype(image.dtype, np.floating) else to_float(image)


def _pixels_and_one(image: FloatImage) -> NDArray[np.float64]:
    """C×H×W → (H·W)×(C + 1), the last column 1."""
    return np.vstack([image.reshape(len(image), -1), np.ones((1, image[0].size))]).T


def upscale_bicubic(image: Pixels, scale: int) -> Pixels:
    """H×W×C → scale·H×scale·W×C by MATLAB's bicubic interpolation, the field's baseline for super-resolution."""
    return bicubic(image, (image.shape[0] * scale, image.shape[1] * scale))


def fill_harmonic(image: Pixels, mask: Mask) -> Pixels:
    """Fill the hole of H×W×C pixels with the solution of Laplace's equation, like a membrane held at its rim.

    Every pixel of the hole becomes the mean of its four neighbours (fewer at the image's border); all others stay as
    they are, to the bit. A sparse direct solution, about half a second for 256×256 px.
    Raises ValueError where nothing is known, or hole and image differ in size.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import splu

    _check_mask(image, mask)
    if not mask.any():
        return image
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(np.count_nonzero(mask))
    unknowns = number.max() + 1
    neighbours, known_sum = np.zeros(unknowns), np.zeros((unknowns, image.shape[2]))
    rows, columns = [], []
    for here, there in _neighbours():
        inside = mask[here]
        index, other = number[here][inside], number[there][inside]
        neighbours[index] += 1
        known = other < 0
        known_sum[index[known]] += image[there][inside][known]
        rows.append(index[~known])
        columns.append(other[~known])
    row, column = np.concatenate(rows), np.concatenate(columns)
    diagonal = np.arange(unknowns)
    laplacian = coo_array(
        (
            np.concatenate([neighbours, np.full(len(row), -1.0)]),
            (np.concatenate([diagonal, row]), np.concatenate([diagonal, column])),
        )
    )
    filled = splu(laplacian.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(known_sum)
    result = image.copy()
    result[mask] = np.rint(filled) if np.issubdtype(image.dtype, np.integer) else filled
    return result


def fill_telea(image: Pixels, mask: Mask) -> Pixels:
    """Fill the hole of H×W×C uint8 pixels by OpenCV's fast marching. Telea 2004; raises as `fill_harmonic`."""
    import cv2

    return _opencv_fill(image, mask, cv2.INPAINT_TELEA)


def fill_navier_stokes(image: Pixels, mask: Mask) -> Pixels:
    """Fill the hole of H×W×C uint8 pixels by OpenCV's fluid dynamics. Bertalmio et al. 2001; raises likewise."""
    import cv2

    return _opencv_fill(image, mask, cv2.INPAINT_NS)


def _opencv_fill(image: Pixels, mask: Mask, method: int) -> Pixels:
    import cv2

    _check_mask(image, mask)
    # Where a hole touches the image's border OpenCV looks at what is in it: the truth must not be there.
    blank = np.where(mask[..., None], np.rint(image[~mask].mean(axis=0)), image).astype(np.uint8)
    filled = cv2.inpaint(blank, mask.astype(np.uint8), INPAINT_RADIUS_PX, method)
    return np.where(mask[..., None], filled.reshape(image.shape), image)


def _check_mask(image: Pixels, mask: Mask) -> None:
    if mask.shape != image.shape[:2] or mask.dtype != np.bool_:
        raise ValueError(f"a hole of {mask.dtype} {mask.shape} in an image of {image.shape}: expected bool H×W")
    if mask.all():
        raise ValueError("the hole is the whole image: there is nothing to fill it from")


def _neighbours() -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """(pixels, their neighbours) in each of the four directions."""
    everything, but_last, but_first = slice(None), slice(None, -1), slice(1, None)
    pairs = [((but_last, everything), (but_first, everything)), ((everything, but_last), (everything, but_first))]
    return pairs + [(there, here) for here, there in pairs]
