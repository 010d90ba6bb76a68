"""Baselines: simple methods without a network that a model has to outperform.

`fit_baselines` fits three baselines for paired images. `upscale_bicubic` is the baseline for super-resolution, and
`denoise_non_local_means` for restoration. For inpainting there are the harmonic fill, which is the strongest of the
classical methods, and the two of OpenCV.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, tee
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images.pixels import Pixels, fit_channels, to_float, to_uint8
from gan_tasks.datasets.images.resize import bicubic

Image: TypeAlias = NDArray[Any]
FloatImage: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
"""H×W, True for masked pixels."""

Example: TypeAlias = tuple[tuple[FloatImage, ...], FloatImage]
"""The inputs of a sample, in the order of the task's `inputs`, and its target; each C×H×W in [-1, 1]."""
Baseline: TypeAlias = Callable[..., FloatImage]
"""A method without a network: it takes the inputs of a sample and returns C×H×W in [-1, 1]."""

INPAINT_RADIUS_PX = 3.0
"""Neighbourhood radius of OpenCV's two methods, in pixels; the value in OpenCV's examples."""


@dataclass(frozen=True)
class FittedBaselines:
    """Three baselines for paired images, fitted to training pairs.

    Each method takes one source, in either form that `fit_baselines` accepts, and returns float32 C×H×W in [-1, 1].
    """

    mean_colour: NDArray[np.float64]
    """Mean of all pixels of the training targets, C values in [-1, 1]."""
    mean_image: NDArray[np.float64] | None
    """Mean of the training targets, C×H×W in [-1, 1]; None if their sizes differ."""
    affine_map: NDArray[np.float64]
    """Matrix (source channels + 1)×C, from the channels of a source pixel and a constant 1 to those of the target."""

    def identity(self, source: Image) -> FloatImage:
        """Return the source with the target's number of channels. Raises UserError if that is not possible."""
        pixels = fit_channels(np.moveaxis(_as_float(source), 0, -1), len(self.mean_colour))
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))

    def mean(self, source: Image) -> FloatImage:
        """Return the mean training target, or a uniform image of the mean colour if the source has another size."""
        size = _as_float(source).shape[1:]
        if self.mean_image is not None and self.mean_image.shape[1:] == size:
            return self.mean_image.astype(np.float32)
        colour = self.mean_colour.astype(np.float32)[:, None, None]
        return np.tile(colour, (1, *size))

    def affine(self, source: Image) -> FloatImage:
        """Map the colour of each pixel by the affine map with the least squared error on the training pairs."""
        image = _as_float(source)
        baseline = _pixels_and_one(image) @ self.affine_map
        return np.clip(baseline.T.reshape(-1, *image.shape[1:]), -1, 1).astype(np.float32)


def fit_baselines(train_sources: Iterable[Image], train_targets: Iterable[Image]) -> FittedBaselines:
    """Fit the baselines to training pairs, in one pass and without keeping the images in memory.

    Images are uint8 or uint16 arrays H×W×C, or float arrays C×H×W in [-1, 1].

    Raises ValueError if there are no pairs, or source and target of a pair differ in size.
    """
    grams, crosses = [], []  # XᵀX and XᵀY of the normal equations, with one row per pixel
    target_sum: NDArray[np.float64] = np.zeros(())
    target_shapes = set()
    for source, target in zip(map(_as_float, train_sources), map(_as_float, train_targets), strict=True):
        if source.shape[1:] != target.shape[1:]:
            raise ValueError(
                f"a source of {source.shape[1:]} px has a target of {target.shape[1:]} px: expected the same size"
            )
        x, y = _pixels_and_one(source), target.reshape(len(target), -1).T
        grams.append(x.T @ x)
        crosses.append(x.T @ y)
        target_shapes.add(target.shape)
        if len(target_shapes) == 1:
            target_sum = target_sum + target
    if not grams:
        raise ValueError("no training pairs to fit the baselines to: give at least one")
    gram, cross = np.sum(grams, axis=0), np.sum(crosses, axis=0)
    channel_sums, pixel_count = cross[-1], gram[-1, -1]  # the products with the constant 1
    return FittedBaselines(
        mean_colour=channel_sums / pixel_count,
        mean_image=target_sum / len(grams) if len(target_shapes) == 1 else None,
        affine_map=np.linalg.lstsq(gram, cross)[0],
    )


def translation_baselines(examples: Iterable[Example]) -> Mapping[str, Baseline]:
    """Return the baselines for paired images by name, fitted to training examples.

    Without any examples the source itself is the only baseline.
    """
    baselines: dict[str, Baseline] = {"source itself": lambda source: source}
    stream = iter(examples)
    first = next(stream, None)
    if first is None:
        return baselines
    for_sources, for_targets = tee(chain([first], stream))
    fitted = fit_baselines((source for (source,), _ in for_sources), (target for _, target in for_targets))
    return baselines | {"mean image": fitted.mean, "affine map of the colours": fitted.affine}


def _as_float(image: Image) -> FloatImage:
    """Convert uint8 or uint16 H×W×C to float32 C×H×W in [-1, 1]; float images keep their layout."""
    return image.astype(np.float32) if np.issubdtype(image.dtype, np.floating) else to_float(image)


def _pixels_and_one(image: FloatImage) -> NDArray[np.float64]:
    """Reshape C×H×W → (H·W)×(C + 1), where the last column is 1."""
    return np.vstack([image.reshape(len(image), -1), np.ones((1, image[0].size))]).T


def upscale_bicubic(image: Pixels, scale: int) -> Pixels:
    """Upscale H×W×C → (scale·H)×(scale·W)×C with MATLAB's bicubic interpolation, the usual baseline."""
    return bicubic(image, (image.shape[0] * scale, image.shape[1] * scale))


def denoise_non_local_means(image: FloatImage) -> FloatImage:
    """Denoise C×H×W in [-1, 1], gray or RGB, with OpenCV's non-local means, at the strength of its noise.

    Buades et al. 2011, https://doi.org/10.5201/ipol.2011.bcm_nlm. The filter strength is the standard deviation of
    the noise in levels of 255, which `noise_level` estimates.
    """
    pixels = to_uint8(image)
    return to_float(non_local_means(pixels, noise_level(pixels)))


def non_local_means(pixels: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """Denoise H×W×C, gray or RGB, with OpenCV's non-local means, with windows of 7 and 21 px.

    strength: OpenCV's parameters h and hColor, in levels of 255.
    """
    import cv2

    if pixels.shape[2] == 1:
        return np.asarray(cv2.fastNlMeansDenoising(pixels, None, strength), np.uint8)[..., None]
    bgr = np.ascontiguousarray(pixels[..., ::-1])  # it filters lightness and chroma of BGR
    denoised = cv2.fastNlMeansDenoisingColored(bgr, None, strength, strength)
    return np.ascontiguousarray(np.asarray(denoised, np.uint8)[..., ::-1])


def noise_level(pixels: NDArray[np.uint8]) -> float:
    """Estimate the standard deviation of Gaussian noise in H×W×C, in levels of 255 (Immerkær 1996).

    A kernel that gives 0 for a locally quadratic image leaves noise, and its median is not affected by edges.
    """
    import cv2

    kernel = np.outer((1, -2, 1), (1, -2, 1)).astype(np.float32)
    left = cv2.filter2D(pixels.astype(np.float32), -1, kernel)
    return float(np.median(np.abs(left))) / (0.6745 * 6)


def fill_harmonic(image: Pixels, mask: Mask) -> Pixels:
    """Fill the masked region of H×W×C pixels with the solution of Laplace's equation.

    Every masked pixel becomes the mean of its four neighbours (fewer at the image border). All other pixels stay
    exactly as they are. It is a sparse direct solution, which takes about half a second for 256×256 px.

    Raises ValueError if everything is masked, or mask and image differ in size.
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
    """Fill the masked region of H×W×C uint8 pixels with OpenCV's fast marching method (Telea 2004).

    Raises ValueError as `fill_harmonic` does.
    """
    import cv2

    return _opencv_fill(image, mask, cv2.INPAINT_TELEA)


def fill_navier_stokes(image: Pixels, mask: Mask) -> Pixels:
    """Fill the masked region of H×W×C uint8 pixels with OpenCV's Navier-Stokes method (Bertalmio et al. 2001).

    Raises ValueError as `fill_harmonic` does.
    """
    import cv2

    return _opencv_fill(image, mask, cv2.INPAINT_NS)


def _opencv_fill(image: Pixels, mask: Mask, method: int) -> Pixels:
    import cv2

    _check_mask(image, mask)
    # OpenCV reads masked pixels if the mask touches the image border. They must not contain the original image.
    blank = np.where(mask[..., None], np.rint(image[~mask].mean(axis=0)), image).astype(np.uint8)
    filled = cv2.inpaint(blank, mask.astype(np.uint8), INPAINT_RADIUS_PX, method)
    return np.where(mask[..., None], filled.reshape(image.shape), image)


def _check_mask(image: Pixels, mask: Mask) -> None:
    if mask.shape != image.shape[:2] or mask.dtype != np.bool_:
        raise ValueError(f"a mask of {mask.dtype} {mask.shape} for an image of {image.shape}: expected bool H×W")
    if mask.all():
        raise ValueError("the mask covers the whole image: leave at least one pixel unmasked")


def _neighbours() -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Return the slices of (pixels, their neighbours) for each of the four directions."""
    everything, but_last, but_first = slice(None), slice(None, -1), slice(1, None)
    pairs = [((but_last, everything), (but_first, everything)), ((everything, but_last), (everything, but_first))]
    return pairs + [(there, here) for here, there in pairs]
