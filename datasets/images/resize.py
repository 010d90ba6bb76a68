"""MATLAB's bicubic `imresize`, which made the low-resolution images of super-resolution benchmarks, in numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images.pixels import Pixels

_A = -0.5  # coefficient of the cubic in MATLAB and PIL; OpenCV and torch use -0.75
_RADIUS = 2.0  # of the kernel, in pixels


def bicubic(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize H×W×C pixels to (height, width) with an antialiased cubic kernel, like MATLAB's `imresize`.

    When downscaling, the kernel is widened by the scale, so that detail is averaged and does not alias. Beyond
    the border the outermost pixel is repeated. The axis with the smaller scale is resized first; integers are rounded
    and clipped to their range after each axis. MATLAB does the same, except that newer releases mirror at the border.
    float32 is not clipped and may overshoot the range of the input. Keys 1981,
    https://doi.org/10.1109/TASSP.1981.1163711

    Raises ValueError for an empty image or size.
    """
    if image.ndim != 3 or 0 in image.shape or min(size) < 1:
        raise ValueError(
            f"cannot resize an array of {image.shape} to {size}: expected H×W×C and a size of 1×1 or more"
        )
    for axis in sorted((0, 1), key=lambda axis: size[axis] / image.shape[axis]):
        if size[axis] != image.shape[axis]:
            image = _as_type(_along(image, axis, size[axis]), image.dtype)
    return image


def _along(image: Pixels, axis: int, length: int) -> NDArray[np.float64]:
    columns = np.ascontiguousarray(np.moveaxis(image, axis, 0))
    resized = np.zeros((length, *columns.shape[1:]))
    for position, weight in zip(*_taps(len(columns), length), strict=True):
        resized += columns[position] * weight[:, None, None]
    return np.moveaxis(resized, 0, axis)


def _taps(length_in: int, length_out: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the input positions for each output pixel and their weights, both taps×length_out."""
    scale = length_out / length_in
    stretch = max(1.0, 1 / scale)
    centre = (np.arange(length_out) + 0.5) / scale - 0.5
    count = int(np.ceil(2 * _RADIUS * stretch)) + 2
    position = np.floor(centre - _RADIUS * stretch).astype(np.intp) + np.arange(count)[:, None]
    weight = _cubic((centre - position) / stretch)
    used = weight.any(axis=1)
    return np.clip(position, 0, length_in - 1)[used], (weight / weight.sum(axis=0))[used]


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near = (_A + 2) * x**3 - (_A + 3) * x**2 + 1
    far = _A * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < _RADIUS, far, 0.0))


def _as_type(values: NDArray[np.float64], dtype: np.dtype[Any]) -> Pixels:
    if np.issubdtype(dtype, np.integer):
        values = np.clip(np.floor(values + 0.5), 0, np.iinfo(dtype).max)
    return values.astype(dtype)
