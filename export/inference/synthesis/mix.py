"""Mix styles: those of one point at the coarse layers, and those of another at the fine ones. Needs torch.

Karras et al. 2019, https://arxiv.org/abs/1812.04948: coarse layers determine pose and shape, fine ones colours and
texture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels
from gan_tasks.export.inference.apply import check_writable
from gan_tasks.export.inference.synthesis.generated_files import MarkedFiles, check_image_name, image_shape
from gan_tasks.export.inference.synthesis.grid import check_size, tiled
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace, Styles
from gan_tasks.export.inference.synthesis.points import Point, to_text


def mix(coarse: Styles, fine: Styles, layers: Sequence[int]) -> Styles:
    """Return styles L×D (or N×L×D): those of `coarse` at `layers`, and those of `fine` at the others."""
    mixed = fine.copy()
    mixed[..., list(layers), :] = coarse[..., list(layers), :]
    return mixed


def parse_layers(text: str, count: int, *, default: Sequence[int]) -> tuple[int, ...]:
    """Return the layers of such as `0-3,7`; `default` for an empty text.

    count: number of layers. They are numbered from 0, coarse to fine.

    Raises UserError for layers that the model does not have.
    """
    if not text:
        return tuple(default)
    layers = set[int]()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not first.isdecimal() or not (last.isdecimal() if dash else not last):
            raise UserError(f"{part!r} in the layers {text[:80]!r} is none: expected such as 0-3,7")
        if max(int(first), int(last or first)) >= count:
            raise UserError(
                f"layers {text[:80]}: the model has {count}, numbered 0 to {count - 1} from coarse to fine"
            )
        layers |= set(range(int(first), int(last or first) + 1))
    if not layers:
        raise UserError(f"no layers in {text!r}: give the smaller number first")
    return tuple(sorted(layers))


def coarse_layers(space: LatentSpace) -> tuple[int, ...]:
    """Return the layers of features with at most a quarter of the image's sides: the default of what is coarse.

    Where all features are larger, as with the margins of a small StyleGAN3, it is the first third of the layers.
    """
    longest = max(space.generator.output_size)
    found = tuple(layer for layer, size in enumerate(space.layer_sizes()) if 4 * max(size) <= longest)
    return found or tuple(range(max(1, space.layer_count // 3)))


def check_mixes(space: LatentSpace) -> None:
    """Raise UserError for a network whose image has one style only."""
    if space.layer_count < 2:
        raise UserError(
            f"{space.model.title} has one style for all layers, so that no styles can be mixed: `gan-tasks "
            "interpolate` mixes two of its images"
        )


def mix_to_file(
    space: LatentSpace,
    coarse: Sequence[Point],
    fine: Sequence[Point],
    layers: Sequence[int],
    out: Path,
    *,
    overwrite: bool = False,
) -> None:
    """Write the mixture of two points, or the grid of several, to an image file.

    A single mixture has a mark with its styles, and can be taken as a point itself. Raises UserError for a network
    with one style, and for a file of another program in the place of the result.
    """
    check_mixes(space)
    check_image_name(out)
    files = MarkedFiles(space.model, overwrite)
    files.check(out)
    check_writable(out.parent)
    if len(coarse) == len(fine) == 1:
        styles = mix(space.styles_of(coarse)[0], space.styles_of(fine)[0], layers)
        files.write(out, space.images(styles[None])[0], to_text(space.point(styles)))
    else:
        files.write(out, mix_grid(space, coarse, fine, layers), "")


def mix_grid(space: LatentSpace, coarse: Sequence[Point], fine: Sequence[Point], layers: Sequence[int]) -> Pixels:
    """Return a grid of mixed images: a row for each point of the coarse layers, a column for each of the fine ones.

    The first column shows the images of the coarse points, and the first row those of the fine ones.
    """
    check_mixes(space)
    check_size((len(coarse) + 1) * (len(fine) + 1), len(fine) + 1, image_shape(space.model))
    rows, columns = space.styles_of(coarse), space.styles_of(fine)
    cells = [np.stack([row, *mix(np.broadcast_to(row, columns.shape), columns, layers)]) for row in rows]
    images = iter(space.images(np.concatenate([columns, *cells])))
    count = (len(rows) + 1) * (len(columns) + 1)
    return tiled((None, *images), len(columns) + 1, count=count, shape=image_shape(space.model))
