"""Points of a model's latent space: what an image is generated from, and can be made again from. Imports no torch.

A point is in the mark of each generated image (see provenance.py), and in the .npz files of inversion. Commands take
both in place of a seed.
"""

from __future__ import annotations

import base64
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import IMAGE_SUFFIXES, atomic
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.provenance import read_xmp

Vector = NDArray[np.float32]
SUFFIX = ".npz"
LARGEST_SEED = 2**63 - 1
MOST_VALUES = 2**20
"""Of a latent or of styles. More are none."""


@dataclass(frozen=True, eq=False)
class Point:
    """What an image is generated from. Exactly one of seed, latent and styles is not None.

    seed: the seed that the latent is drawn from.
    latent: the latent vector, float32 of length Z.
    styles: the styles of all layers, float32 L×D. They are used as they are: label and truncation are in them.
    label: number of the class, for a conditional model.
    truncation: 1 changes nothing, and 0 gives the mean image.

    Raises UserError for a seed out of 0 to 2⁶³ - 1, and for values that are not finite or of another shape.
    """

    seed: int | None = None
    latent: Vector | None = None
    styles: Vector | None = None
    label: int | None = None
    truncation: float = 1.0

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.seed, self.latent, self.styles)) != 1:
            raise ValueError("a point is one of a seed, a latent and styles")
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise UserError(f"the seed is {self.seed}: expected a whole number from 0 to {LARGEST_SEED}")
        for name, values, rank in (("latent", self.latent, 1), ("styles", self.styles, 2)):
            if values is not None and (values.ndim != rank or not values.size or not np.isfinite(values).all()):
                raise UserError(f"{name} of the shape {values.shape}: expected finite numbers, {rank}-dimensional")

    def latent_of(self, length: int) -> Vector:
        """Return the latent of a seed or of this point. Raises UserError for another length."""
        if self.seed is not None:
            return draw_latent(self.seed, length)
        assert self.latent is not None
        if len(self.latent) != length:
            raise UserError(
                f"a latent of {len(self.latent)} numbers, where the model takes {length}: it is of another model"
            )
        return self.latent


# As text, in the marks of images.


def to_text(point: Point) -> str:
    """Return a point as JSON text of one line. `from_text` gives the same point back."""
    values: dict[str, Any] = {}
    if point.seed is not None:
        values["seed"] = point.seed
    if point.latent is not None:
        values["latent"] = encoded(point.latent)
    if point.styles is not None:
        values |= {"styles": encoded(point.styles), "layers": len(point.styles)}
    if point.label is not None:
        values["class"] = point.label
    if point.truncation != 1:
        values["truncation"] = point.truncation
    return json.dumps(values)


def from_text(text: str) -> Point:
    """Return the point of `to_text`. Raises UserError for other text."""
    try:
        values = dict(json.loads(text))
        styles = None
        if "styles" in values:
            styles = decoded(values["styles"]).reshape(int(values["layers"]), -1)
        return Point(
            seed=None if "seed" not in values else int(values["seed"]),
            latent=None if "latent" not in values else decoded(values["latent"]),
            styles=styles,
            label=None if "class" not in values else int(values["class"]),
            truncation=float(values.get("truncation", 1.0)),
        )
    except UserError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise UserError(f"{text[:40]!r} is no seed or latent of a generated image") from error


def encoded(values: Vector) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def decoded(text: str) -> Vector:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)


# As files.


def is_point_file(text: str) -> bool:
    """Return whether a word names a file of a point, rather than a seed."""
    return Path(text).suffix.lower() in (SUFFIX, *IMAGE_SUFFIXES)


def read_point(path: Path) -> Point:
    """Read the point of an .npz file, or of a generated image from its mark. Raises UserError if there is none."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: expected an .npz file of a latent, or a generated image")
    if path.suffix.lower() == SUFFIX:
        return load_point(path)
    mark = read_xmp(path)
    if mark is None or not mark.generated_from:
        raise UserError(
            f"{path} does not say what it was generated from: expected an image of `gan-tasks generate`. "
            "For a photograph, find its latent with `gan-tasks invert` first"
        )
    try:
        return from_text(mark.generated_from)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def save_point(path: Path, point: Point) -> None:
    """Write a point to an .npz file, atomically."""
    values = {"seed": point.seed, "latent": point.latent, "styles": point.styles, "label": point.label}
    arrays = {name: np.asarray(value) for name, value in values.items() if value is not None}
    save_arrays(path, {**arrays, "truncation": np.asarray(point.truncation)})


def load_point(path: Path) -> Point:
    """Read a point from an .npz file. Raises UserError for a file that holds none."""
    arrays = load_arrays(path, most_values=MOST_VALUES)
    if not arrays.keys() & {"seed", "latent", "styles"}:
        raise UserError(f"{path} holds no latent: expected an .npz file of `gan-tasks invert` or `edit`")
    try:
        return Point(
            seed=int(arrays["seed"]) if "seed" in arrays else None,
            latent=arrays["latent"].astype(np.float32) if "latent" in arrays else None,
            styles=arrays["styles"].astype(np.float32) if "styles" in arrays else None,
            label=int(arrays["label"]) if "label" in arrays else None,
            truncation=float(arrays.get("truncation", 1.0)),
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: {error}") from error


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to an .npz file, atomically. Creates the folder if it does not exist."""
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, buffer.getvalue())


def load_arrays(path: Path, *, most_values: int) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz file. Raises UserError for what is none, and for more values than `most_values`."""
    try:
        with zipfile.ZipFile(path) as file:
            size_bytes = sum(each.file_size for each in file.infolist())
            if size_bytes > 8 * most_values + 4096:
                raise UserError(
                    f"{path} holds {size_bytes:,} bytes, which is more than a latent has: give another file"
                )
            return {each.filename.removesuffix(".npy"): read_array(file, each) for each in file.infolist()}
    except UserError:
        raise
    except Exception as error:  # damaged files make the readers raise nearly any exception
        raise UserError(f"{path} is no whole .npz file: {error}") from error


def read_array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Read an array of an .npz file. Raises ValueError, before memory is taken, for more values than it has bytes."""
    with file.open(member) as data:
        version = npy.read_magic(data)
        header = npy.read_array_header_1_0(data) if version == (1, 0) else npy.read_array_header_2_0(data)
    shape, _, dtype = header
    count = math.prod(shape)
    if dtype.kind not in "biufU" or min(shape, default=0) < 0 or max(1, dtype.itemsize) * count > member.file_size:
        raise ValueError(f"{member.filename} is no array of numbers, of which the file has all")
    with file.open(member) as data:
        array: NDArray[Any] = npy.read_array(data, allow_pickle=False)
    return array
