"""NIQE: distance of an image's local statistics from those of natural photographs, without a reference image.

The published model was fitted to 125 photographs that may not be redistributed. The model here is fitted to a few
free photographs (`benchmarks/fit_niqe.py`). The metric is therefore called `niqe_own_fit`, and its values cannot be
compared with published values of NIQE.
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
"""Number of features: 18 at the image's size and 18 at half of it."""

_WINDOW_PX, _SIGMA_PX = 7, 7 / 6
_SHARP = 0.75  # least sharpness of a block, as a fraction of that of the sharpest block of the photo
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True)
class NaturalModel:
    """Gaussian distribution of the features of sharp blocks of photographs."""

    mean: NDArray[np.float64]
    """36 values."""
    covariance: NDArray[np.float64]
    """36×36 values."""


def niqe_own_fit(image: Pixels) -> float:
    """Return the NIQE of an image with the project's own model of photographs: lower is more natural.

    Mittal et al. 2013, https://doi.org/10.1109/LSP.2012.2227726

    image: H×W×C, gray or RGB, uint8 or uint16, at least 96 px along each side. Rows and columns beyond a multiple of
        96 px are left out. The value of images under 256 px is unreliable, because they have only a few blocks.

    The value is nan if every block is flat. Raises ValueError for a smaller image.
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
    """Load the model that is part of the package."""
    with resources.files("gan_tasks.metrics").joinpath(FIT_FILE).open("rb") as file, np.load(file) as arrays:
        return NaturalModel(arrays["mean"], arrays["covariance"])


def fit(photos: list[Pixels], *, stride_px: int) -> NaturalModel:
    """Fit the model to the sharp blocks of photographs.

    photos: images as in `niqe_own_fit`.
    stride_px: distance between overlapping blocks, in pixels.
    """
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
    """Return the features of each 96×96 px block, blocks×36, and its sharpness, the mean local deviation in grays."""
    gray = fit_channels(image, 1)
    if gray.dtype == np.uint16:
        gray = np.rint(gray / 257)  # finer steps than those of 8 bits would count as texture
    rows, columns = (side // BLOCK_PX for side in gray.shape[:2])
    if not rows * columns:
        raise ValueError(
            f"NIQE needs {BLOCK_PX} px or more along each side, got {image.shape[0]}×{image.shape[1]} px"
        )
    gray = gray[: rows * BLOCK_PX, : columns * BLOCK_PX].astype(np.float32)
    half = bicubic(gray, (gray.shape[0] // 2, gray.shape[1] // 2))
    normalised, deviation = _normalised(gray[..., 0])
    at_half, _ = _normalised(half[..., 0])
    features = [_features(_blocks(plane, rows, columns)) for plane in (normalised, at_half)]
    return np.concatenate(features, axis=1), _blocks(deviation, rows, columns).mean(axis=(1, 2))


def _normalised(gray: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the image normalised to a local mean of about 0 and deviation of about 1, and the local deviation."""
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
    """Split H×W into rows×columns blocks of equal size, (rows·columns)×h×w."""
    height, width = plane.shape[0] // rows, plane.shape[1] // columns
    return plane.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(-1, height, width)


def _features(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return parameters of the distributions of the values and of products of neighbouring values: blocks×18."""
    shape, left, right, _ = _asymmetric_gaussian(blocks)
    columns = [shape, (left + right) / 2]
    for direction in _DIRECTIONS:
        products = blocks * np.roll(blocks, direction, axis=(1, 2))
        shape, left, right, mean = _asymmetric_gaussian(products)
        columns += [shape, mean, left, right]
    return np.stack(columns, axis=1)


def _asymmetric_gaussian(blocks: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Fit an asymmetric generalised Gaussian to each block by moments; return shape, left and right scale, mean."""
    values = blocks.reshape(len(blocks), -1)
    shapes, ratios, scale_of, mean_of = _shape_table()
    with np.errstate(invalid="ignore", divide="ignore"):  # the parameters of a flat block are nan
        left, right = (
            np.sqrt((values**2 * side).sum(axis=1) / side.sum(axis=1)) for side in (values < 0, values > 0)
        )
        balance = left / right
        ratio = np.abs(values).mean(axis=1) ** 2 / (values**2).mean(axis=1)
        ratio = ratio * (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
    # The ratio grows with the shape, so look up the nearest entry of a sorted table.
    above = np.searchsorted(ratios, np.nan_to_num(ratio)).clip(1, len(ratios) - 1)
    index = above - (ratio - ratios[above - 1] < ratios[above] - ratio)
    left, right = left * scale_of[index], right * scale_of[index]
    return np.where(np.isfinite(ratio), shapes[index], np.nan), left, right, (right - left) * mean_of[index]


@cache
def _shape_table() -> tuple[NDArray[np.float64], ...]:
    """Return shapes a from 0.2 to 10, and of each Γ(2/a)²/(Γ(1/a)Γ(3/a)), √(Γ(1/a)/Γ(3/a)) and Γ(2/a)/Γ(1/a)."""
    shapes = np.arange(200, 10_001) / 1000
    one, two, three = (np.array([lgamma(k / shape) for shape in shapes]) for k in (1, 2, 3))
    return shapes, np.exp(2 * two - one - three), np.exp((one - three) / 2), np.exp(two - one)
