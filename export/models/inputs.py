"""Inputs of a model as people give them in Python, checked: arrays and PIL images. Imports no torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import ImageError, Pixels, from_pil
from gan_tasks.datasets.masks.files import to_mask
from gan_tasks.spec import InputSpec

PIXELS = "H×W×C pixels of uint8 or uint16"


def as_array(given: InputSpec, value: Any) -> NDArray[Any]:
    """Return an array as it is, a PIL image as upright pixels, and a number as a weight.

    Raises UserError for anything else.
    """
    if isinstance(value, np.ndarray):
        return value
    if given.kind == "weight" and isinstance(value, int | float):
        return np.full(given.channels, value)
    if is_pil_image(value) and given.is_spatial:
        return from_pil(value).pixels
    expected = (
        f"{PIXELS} (a numpy array), or a PIL image" if given.is_spatial else f"{given.channels} numbers (an array)"
    )
    raise UserError(f"{given.name} is {described(value)}: expected {expected}{remedy(given, value)}")


def described(value: Any) -> str:
    kind = type(value).__name__
    return f"{str(value)!r} ({kind})" if isinstance(value, str | Path) else f"of the type {kind}"


def remedy(given: InputSpec, value: Any) -> str:
    if isinstance(value, str | Path) and given.is_spatial:
        return ". Read the file first: gan_tasks.datasets.images.read(Path(...)).pixels"
    if type(value).__module__.partition(".")[0] == "torch":
        return ". Convert a tensor first, such as tensor.permute(1, 2, 0).mul(255).round().byte().cpu().numpy()"
    if isinstance(value, list | tuple):
        return ". Convert it with np.asarray; give one image a call"
    return ""


def is_pil_image(value: Any) -> bool:
    module = sys.modules.get("PIL.Image")  # where it is not imported, nobody made such an image
    return module is not None and isinstance(value, module.Image)


def checked_image(name: str, image: NDArray[Any]) -> Pixels:
    """Return pixels as they are. Raises ImageError for another shape or type."""
    what = f"{name} is {image.dtype} of shape {image.shape}: expected {PIXELS}"
    if image.ndim == 4:
        raise ImageError(f"{what}, without a batch: call the model once for each image")
    if image.ndim == 2:
        raise ImageError(f"{what}: give a gray image as pixels[..., None]")
    if image.ndim != 3:
        raise ImageError(what)
    height, width, channels = image.shape
    if height <= 4 < min(width, channels):
        raise ImageError(f"{what}. This looks like C×H×W: give pixels.transpose(1, 2, 0)")
    if 0 in image.shape:
        raise ImageError(f"{what}, at least one of each")
    if image.dtype.kind == "u" and image.dtype.itemsize <= 2:
        return image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype.kind == "f":
        if not np.isfinite(image).all():
            raise ImageError(f"{what}. It has values that are NaN or infinite")
        low, high = float(image.min()), float(image.max())
        offset, factor = (1, 127.5) if low < 0 and high <= 1 else (0, 255 if high <= 1 else 1)
        levels = "pixels" if factor == 1 else f"pixels * {factor}" if not offset else f"(pixels + 1) * {factor}"
        levels = f"np.rint({levels}).clip(0, 255).astype(np.uint8)"
        raise ImageError(f"{what}. Its values are {low:.4g} to {high:.4g}: give {levels}")
    levels = "pixels * np.uint8(255)" if image.dtype == np.bool_ else "pixels.clip(0, 255).astype(np.uint8)"
    raise ImageError(f"{what}: give {levels}")


def checked_vector(given: InputSpec, values: NDArray[Any]) -> NDArray[np.float32]:
    """Return a latent, a label or a weight as float32.

    Raises UserError for another shape, for what is no number, and for a weight below 0 or above 1.
    """
    if values.shape != (given.channels,):
        raise UserError(f"{given.name} has the shape {values.shape}: expected {given.channels} numbers")
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise UserError(f"{given.name} is {values.dtype}: expected {given.channels} finite numbers")
    if given.kind == "weight" and not (values.min() >= 0 and values.max() <= 1):
        raise UserError(f"{given.name} is {values.min():g} to {values.max():g}: expected numbers from 0 to 1")
    return values.astype(np.float32)


def as_mask(given: InputSpec, values: NDArray[Any], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return H×W bool of the size of the image, True where masked. Raises UserError for what is no such mask."""
    try:
        mask = values if values.dtype == np.bool_ and values.ndim == 2 else to_mask(values)
    except UserError as error:
        raise UserError(f"{given.name}: {error}") from error
    if mask.shape != size:
        raise UserError(
            f"{given.name} is {mask.shape[0]}×{mask.shape[1]} pixels: expected {size[0]}×{size[1]}, as the image"
        )
    if not mask.any() and values.any():
        low, high = values.min(), values.max()
        raise UserError(
            f"{given.name} has values from {low} to {high}, none of which counts as white: give an array of bool, "
            f"such as {given.name} > {low}"
        )
    return mask
