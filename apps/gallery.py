"""A picture of what the models of gan-tasks-models make of the built-in photographs. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images import Picture, Pixels, fit_channels, write
from gan_tasks.datasets.images.resize import bicubic
from gan_tasks.datasets.masks.draw import MaskConfig, draw_mask
from gan_tasks.datasets.sample_photos import read_photos, with_damage, with_noise_and_jpeg
from gan_tasks.export.load import load
from gan_tasks.pretrained.shipped import ShippedModel, find_shipped
from gan_tasks.progress import track
from gan_tasks.runs.image_grid import grid

SIDE = 256
"""Height and width of the shown regions, in px."""


@dataclass(frozen=True)
class Example:
    """What a model is shown with.

    make: the inputs of the model from a region of the photograph.
    top, left: corner of the region, in px.
    """

    model: str
    before: str
    after: str
    photo: str
    top: int
    left: int
    make: Callable[[Pixels], tuple[NDArray[Any], ...]]


def reduced(scale: int) -> Callable[[Pixels], tuple[NDArray[Any], ...]]:
    return lambda photo: (bicubic(photo, (SIDE // scale, SIDE // scale)),)


def spoiled(photo: Pixels) -> tuple[NDArray[Any], ...]:
    return (with_noise_and_jpeg(photo, seed=0),)


def scratched(photo: Pixels) -> tuple[NDArray[Any], ...]:
    return (with_damage(photo, seed=2)[0],)


def gray(photo: Pixels) -> tuple[NDArray[Any], ...]:
    return (fit_channels(photo, 1),)


def masked(photo: Pixels) -> tuple[NDArray[Any], ...]:
    config = MaskConfig(mask_kinds=("strokes",), min_mask_ratio=0.1, max_mask_ratio=0.25)
    mask = draw_mask(np.random.default_rng(1), SIDE, SIDE, config)
    return np.where(mask[..., None], np.uint8(255), photo), mask


EXAMPLES = (
    Example("upscale-x4", "a quarter of the size", "enlarged", "astronaut", 0, 110, reduced(4)),
    Example("upscale-x4-crisp", "a quarter of the size", "enlarged, crisp", "motorcycle_left", 150, 250, reduced(4)),
    Example("upscale-x2", "half the size", "enlarged", "coffee", 60, 250, reduced(2)),
    Example("restore-x1", "noise and JPEG", "restored", "chelsea", 20, 100, spoiled),
    Example("colourise", "gray", "colourised", "coffee", 60, 250, gray),
    Example("fill", "masked", "filled", "rocket", 120, 200, masked),
    Example("descratch", "scratched", "mended", "astronaut", 0, 110, scratched),
)
"""In the order of the rows."""


def draw_gallery(path: Path) -> tuple[str, ...]:
    """Write a picture with a row for each installed model of EXAMPLES; return their names.

    A row has the input of the model, its output and the photograph. Nothing is written if no model is installed.
    Raises UserError for a damaged model, and if scikit-image, which contains the photographs, is not installed.
    """
    installed = [(example, model) for example in EXAMPLES if (model := find_shipped(Path(example.model)))]
    if not installed:
        return ()
    photos, rows = read_photos(), []
    with track(len(installed), "Gallery", "models") as advance:
        for example, model in installed:
            rows.append(row(example, model, photos[example.photo]))
            advance(1)
    write(path, Picture(np.concatenate(rows)))
    return tuple(example.model for example, _ in installed)


def row(example: Example, model: ShippedModel, photo: Pixels) -> NDArray[np.uint8]:
    """Return a row of the picture, with titles."""
    region = photo[example.top : example.top + SIDE, example.left : example.left + SIDE]
    inputs = example.make(region)
    output = load(model.path, device="cpu")(*inputs)
    return grid([[inputs[0], output, region]], [example.before, f"{example.after} by {model.name}", "photograph"])
