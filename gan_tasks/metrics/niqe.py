"""NIQE: how far the local statistics of an image are from those of natural photographs. No reference, no network.

The published model was fitted to 125 photographs that may not be passed on; the one here is fitted to a few free ones
(`benchmarks/fit_niqe.py`). So values go by the name `niqe_own_fit`, and are not to be set beside published NIQE.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images.pixels import Pixels, fit_channels
from gan_tasks.datasets.images.resize import bicubic

BLOCK_PX = 96
FIT_FILE = "niqe_own_fit.npz"
FEATURES = 36
"""18 at the image's size and 18 at half of it."""

_WINDOW_PX, _SIGMA_PX = 7, 7 / 6
_SHARP = 0.75  # of the sharpest block of a photo
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True)
class NaturalModel:
    """A Gaussian of the features of sharp blocks of photographs."""

    mean: NDArray[np.float64]
    """36."""
    covariance: NDArray[np.float64]
    """36×36."""


def niqe_own_fit(image: Pixels) -> float:
    """Distance of the image's statistics from the project's own model of photographs: smaller is more natural.

    image: H×W×C, gray or RGB, uint8 (or uint16), both sides 96 px at least; what is beyond a multiple of 96 px is
    left out. One or few blocks, as of images under 256 px, make an unsteady value.

    nan where no block has any structure. Raises ValueError for a smaller image.
    Mittal et al. 2013, https://doi.org/10.1109/LSP.2012.2227726
    """
    blocks, _ = block_features(image)
    usable = blocks[np.isfinite(blocks).all(axis=1)]
    if len(usable) == 0:
        return float("nan")
    model = own_model()
    covariance = np.cov(usable, rowvar=False) if len(usable) > 1 else np.zeros((FEATURES, FEATURES))
    difference = usable.mean(axis=0) - model.mean
    return float(np.sqrt(difference @ np.linalg.pinv((model.covariance + covariance) / 2) @ difference))


@cache
def own_model() -> NaturalModel:
    """The model that comes with the package."""
    with resources.files("gan_tasks.metrics").joinpath(FIT_FILE).open("rb") as file, np.load(file) as arrays:
        return NaturalModel(arrays["mean"], arrays["covariance"])


def fit(photos: list[Pixels], *, stride_px: int) -> NaturalModel:
    """Fit the model to the sharp blocks of photographs, at every `stride_px`; see `niqe_own_fit` for their form."""
    sharp = []
    for photo in photos:
        for top in range(0, BLOCK_PX, stride_px):
            for left in range(0, BLOCK_PX, stride_px):
                features, sharpness = block_features(photo[top:, left:])
                usable = (sharpness > _SHARP * sharpness.max()) & np.isfinite(features).all(axis=1)
                sharp.append(features[usable])
    rows = np.concatenate(sharp)
    return NaturalModel(rows.mean(axis=0), np.cov(rows, rowvar=False))


def block_features(image: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The features of each block of 96×96 px, blocks×36, and its sharpness: the mean local deviation in grays."""
    gray = fit_channels(image, 1)
    if gray.dtype == np.uint16:
        gray = np.rint(gray / 257)  # what lies between two grays of 8 bits would count as texture
    rows, columns = (side // BLOCK_PX for side in gray.shape[:2])
    if not rows * columns:
        raise ValueError(f"NIQE needs {BLOCK_PX} px on each side and the image has {image.shape[0]}×{image.shape[1]}")
    gray = gray[: rows * BLOCK_PX, : columns * BLOCK_PX].astype(np.float32)
    half = bicubic(gray, (gray.shape[0] // 2, gray.shape[1] // 2))
    normalised, deviation = _normalised(gray[..., 0])
    at_half, _ = _normalised(half[..., 0])
    features = [_features(_blocks(plane, rows, columns)) for plane in (normalised, at_half)]
    return np.concatenate(features, axis=1), _blocks(deviation, rows, columns).mean(axis=(1, 2))


def _normalised(gray: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Locally of mean 0 and deviation 1, nearly, and the local deviation."""
    import cv2

    offsets = np.arange(_WINDOW_PX) - _WINDOW_PX // 2
    window = np.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    window /= window.sum()
    values = gray.astype(np.float64)

    def blurred(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.sepFilter2D(plane, cv2.CV_64F, window, window, borderType=cv2.BORDER_REPLICATE))

    mean = blurred(values)
    deviation = np.sqrt(np.abs(blurred(values**2) - mean**2))
    return (values - mean) / (deviation + 1), deviation


def _blocks(plane: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    height, width = plane.shape[0] // rows, plane.shape[1] // columns
    return plane.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(-1, height, width)


def _features(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shapes of the distributions of the values, and of the products of neighbours: blocks×18."""
    shape, left, right, _ = _asymmetric_gaussian(blocks)
    columns = [shape, (left + right) / 2]
    for direction in _DIRECTIONS:
        products = blocks * np.roll(blocks, direction, axis=(1, 2))
        shape, left, right, mean = _asymmetric_gaussian(products)
        columns += [shape, mean, left, right]
    return np.stack(columns, axis=1)


def _asymmetric_gaussian(blocks: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Shape, left and right scale, and mean of an asymmetric generalised Gaussian fitted to each block by moments."""
    values = blocks.reshape(len(blocks), -1)
    shapes, ratios, scale_of, mean_of = _shape_table()
    with np.errstate(invalid="ignore", divide="ignore"):  # a flat block has no shape: nan
        left, right = (
            np.sqrt((values**2 * side).sum(axis=1) / side.sum(axis=1)) for side in (values < 0, values > 0)
        )
        balance = left / right
        ratio = np.abs(values).mean(axis=1) ** 2 / (values**2).mean(axis=1)
        ratio = ratio * (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
    # The ratio grows with the shape: the nearest entry of a sorted table.
    above = np.searchsorted(ratios, np.nan_to_num(ratio)).clip(1, len(ratios) - 1)
    index = above - (ratio - ratios[above - 1] < ratios[above] - ratio)
    left, right = left * scale_of[index], right * scale_of[index]
    return np.where(np.isfinite(ratio), shapes[index], np.nan), left, right, (right - left) * mean_of[index]


@cache
def _shape_table() -> tuple[NDArray[np.float64], ...]:
    """Shapes 0.2 to 10; Γ(2/a)²/(Γ(1/a)Γ(3/a)), √(Γ(1/a)/Γ(3/a)) and Γ(2/a)/Γ(1/a) of each."""
    shapes = np.arange(200, 10_001) / 1000
    one, two, three = (np.array([lgamma(k / shape) for shape in shapes]) for k in (1, 2, 3))
    return shapes, np.exp(2 * two - one - three), np.exp((one - three) / 2), np.exp(two - one)
