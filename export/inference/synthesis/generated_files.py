"""Write generated images to files, each with a mark from which it can be made again. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError, enumerated
from gan_tasks.datasets.images import ImageError, Picture, Pixels, atomic, read, write
from gan_tasks.datasets.images.formats import check_length
from gan_tasks.export.inference.apply import check_writable
from gan_tasks.export.inference.files.names import MARKED_SUFFIXES
from gan_tasks.export.inference.provenance import PROGRAM, xmp
from gan_tasks.export.inference.resume import own_mark, replaceable
from gan_tasks.export.inference.synthesis.generate import generate_points
from gan_tasks.export.inference.synthesis.grid import check_size, columns_of, tiled
from gan_tasks.export.inference.synthesis.inputs import check_generates, check_point
from gan_tasks.export.inference.synthesis.points import Point, to_text
from gan_tasks.export.models.base import Model
from gan_tasks.progress import track

GRID_NAME = "grid.png"
MOST_SEEDS_IN_MARK = 1000


@dataclass(frozen=True)
class Summary:
    """The results of `generate_to_files`: how many images were written, and how many were there already."""

    written: int
    kept: int


@dataclass(frozen=True)
class MarkedFiles:
    """Writes images of a model with marks. Files of other programs are replaced only with `overwrite`."""

    model: Model
    overwrite: bool = False

    @cached_property
    def version(self) -> str:
        return self.model.version()

    def mark(self, generated_from: str, source: str = "") -> bytes:
        """Return the XMP packet of an image.

        generated_from: a point as `to_text` gives it, or another JSON text.
        source: see `provenance.Mark`.
        """
        return xmp(
            self.model.title,
            __version__,
            model_version=self.version,
            generated_from=generated_from,
            source=source,
        )

    def keeps(self, path: Path, generated_from: str) -> bool:
        """Return whether this model has made the same image already. Raises the errors of `check`."""
        self.check(path)
        mark = None if self.overwrite else own_mark(path)
        return mark is not None and (mark.creator_tool, mark.model_version, mark.generated_from) == (
            f"{PROGRAM} {__version__}",
            self.version,
            generated_from,
        )

    def check(self, path: Path) -> None:
        """Raise UserError, before the work, for a file that cannot be written or that another program made."""
        check_length(path)
        if path.exists() and not self.overwrite:
            replaceable(path)

    def check_arrays(self, path: Path, load: Callable[[Path], object]) -> None:
        """Raise UserError, before the work, for an .npz file of another kind, which `load` does not read."""
        if path.exists() and not self.overwrite:
            try:
                load(path)
            except UserError as error:
                raise UserError(
                    f"{path} exists already and would be lost ({error}): give another name for the results, or "
                    "--overwrite to replace it"
                ) from error

    def write(self, path: Path, pixels: Pixels, generated_from: str, *, source: str = "") -> None:
        """Write an image with its mark, atomically. Creates the folder if it does not exist."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, Picture(pixels), xmp=self.mark(generated_from, source))
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def check_image_name(path: Path) -> None:
    """Raise UserError if a path does not name an image file that can have a mark."""
    if path.is_dir() or path.suffix.lower() not in MARKED_SUFFIXES:
        raise UserError(f"{path} is no name of an image file: expected one of {enumerated(sorted(MARKED_SUFFIXES))}")


def is_image_name(path: Path) -> bool:
    """Return whether a destination is one image file rather than a folder. Raises UserError for other files."""
    if path.is_dir() or not path.suffix:
        return False
    check_image_name(path)
    return True


def generate_to_files(
    model: Model,
    points: Mapping[str, Point],
    out: Path,
    *,
    grid: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Summary:
    """Generate images into a folder, `NAME.png` each, with progress. Images of an earlier run are kept.

    Args:
        points: what is generated, by the names of the images without suffix.
        out: a folder; or an image file, for a single image or for the grid alone.
        grid: whether all images are put side by side too, into `grid.png`.

    Raises UserError before the work for points that the model does not take, and for files of other programs in the
    place of results, which `overwrite` replaces.
    """
    check_generates(model)
    for point in points.values():
        check_point(model, point)
    files = MarkedFiles(model, overwrite)
    to_file = is_image_name(out)
    if to_file and len(points) > 1 and not grid:
        raise UserError(
            f"{out} is one image file, and {len(points):,} images are to be written: give a folder, or --grid to put "
            "them side by side"
        )
    check_writable(out.parent if to_file else out)
    if grid:
        check_size(len(points), columns_of(len(points)), image_shape(model))
    grid_path = (out if to_file else out / GRID_NAME) if grid else None
    targets = {name: out if to_file else out / f"{name}.png" for name in points if not (to_file and grid)}
    if grid_path in targets.values():
        raise UserError(f"{grid_path} would be both an image and the grid: rename the file of that image")
    atomic.remove_leftovers(targets.values())
    kept = {
        name
        for name, path in targets.items()
        if files.keeps(path, to_text(points[name])) and has_shape(path, image_shape(model))
    }
    if grid_path is not None:
        files.check(grid_path)

    def images(advance: Callable[[int], None]) -> Iterator[Pixels]:
        made = generate_points(model, (point for name, point in points.items() if name not in kept))
        for name, point in points.items():
            if name in kept:
                if grid:
                    yield read(targets[name]).pixels
                continue
            pixels = next(made).pixels
            if name in targets:
                files.write(targets[name], pixels, to_text(point))
            advance(1)
            yield pixels

    todo = len(points) - len(kept)
    with track(len(points), "Generating", "images", done=len(kept), quiet=quiet or todo <= 1) as advance:
        if grid_path is None:
            for _ in images(advance):
                pass
        else:
            side_by_side = tiled(
                images(advance), columns_of(len(points)), count=len(points), shape=image_shape(model)
            )
            files.write(grid_path, side_by_side, seeds_text(list(points.values())))
    return Summary(todo, len(kept))


def image_shape(model: Model) -> tuple[int, int, int]:
    """Return (height, width, channels) of the images of a model that generates."""
    assert model.spec.output_size is not None  # see `check_generates`
    return *model.spec.output_size, model.spec.out_channels


def has_shape(path: Path, shape: tuple[int, int, int]) -> bool:
    """Return whether a file holds a whole image of this shape, of 8 bits."""
    try:
        pixels = read(path).pixels
    except ImageError:
        return False
    return pixels.shape == shape and pixels.dtype == np.uint8


def seeds_text(points: Sequence[Point]) -> str:
    """Return the text for the mark of a picture of several images: their seeds.

    It is empty if there are many, if one has no seed, and if they differ in class or truncation.
    """
    if len(points) > MOST_SEEDS_IN_MARK or any(point.seed is None for point in points):
        return ""
    first = points[0]
    if any((point.label, point.truncation) != (first.label, first.truncation) for point in points):
        return ""
    more = {"class": first.label, "truncation": first.truncation if first.truncation != 1 else None}
    return json.dumps({"seeds": [point.seed for point in points], **{k: v for k, v in more.items() if v is not None}})
