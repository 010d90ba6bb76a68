"""Edit images by moving their styles along directions, and show what directions do. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gan_tasks.datasets.images import Pixels
from gan_tasks.export.inference.apply import check_writable
from gan_tasks.export.inference.synthesis.directions import Directions, load_directions, moved, save_directions
from gan_tasks.export.inference.synthesis.generated_files import MarkedFiles, check_image_name, image_shape
from gan_tasks.export.inference.synthesis.grid import check_size, tiled
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import Point, to_text

SHOWN_AMOUNTS = (-4.0, -2.0, 0.0, 2.0, 4.0)


def edit(
    space: LatentSpace, point: Point, directions: Directions, amounts: Sequence[float], layers: Sequence[int] = ()
) -> Point:
    """Return a point moved along each direction by its amount, in standard deviations of the styles.

    layers: the layers that are changed; empty for those of the directions.

    Raises UserError for a point or directions of another model.
    """
    return space.point(moved(space.styles_of([point]), directions, amounts, layers)[0], point.label)


def edit_to_file(
    space: LatentSpace,
    point: Point,
    direction: Directions,
    amounts: Sequence[float],
    out: Path,
    *,
    layers: Sequence[int] = (),
    overwrite: bool = False,
) -> None:
    """Write a point moved along one direction to an image file; of several amounts the images in a row.

    A single image has a mark with its latent, and can be edited again. Raises UserError for a file of another program
    in the place of the result.
    """
    check_image_name(out)
    files = MarkedFiles(space.model, overwrite)
    files.check(out)
    check_writable(out.parent)
    check_size(len(amounts), len(amounts), image_shape(space.model))
    edited = [edit(space, point, direction, [amount], layers) for amount in amounts]
    images = space.images(space.styles_of(edited))
    if len(edited) == 1:
        files.write(out, images[0], to_text(edited[0]))
    else:
        files.write(out, tiled(images, len(images), count=len(images), shape=image_shape(space.model)), "")


def directions_to_files(
    space: LatentSpace, directions: Directions, out: Path, point: Point, *, overwrite: bool = False
) -> Path:
    """Write directions to an .npz file, and a picture of them beside it, `NAME.png`; return the picture's path.

    The picture has a row for each direction, which shows the image of `point` at -4, -2, 0, 2 and 4 standard
    deviations. Raises UserError for files of another kind in their places, which `overwrite` replaces.
    """
    picture = out.with_suffix(".png")
    files = MarkedFiles(space.model, overwrite)
    files.check(picture)
    files.check_arrays(out, load_directions)
    check_writable(out.parent)
    shown = directions_grid(space, directions, point)
    save_directions(out, directions)
    files.write(picture, shown, to_text(point))
    return picture


def directions_grid(space: LatentSpace, directions: Directions, point: Point) -> Pixels:
    """Return a row for each direction, which shows the image of a point moved along it."""
    count, shape = len(directions.vectors) * len(SHOWN_AMOUNTS), image_shape(space.model)
    check_size(count, len(SHOWN_AMOUNTS), shape)
    styles = space.styles_of([point])
    rows = [
        moved(styles, directions.one(number), [amount])
        for number in range(len(directions.vectors))
        for amount in SHOWN_AMOUNTS
    ]
    return tiled(space.images(np.concatenate(rows)), len(SHOWN_AMOUNTS), count=count, shape=shape)
