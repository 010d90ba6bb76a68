"""Generate images from seeds, with any kind of model: an ONNX file, a run folder or a public checkpoint.

The same seed gives the same latent on every machine (see latents.py). Imports torch only for points with styles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np

from gan_tasks.datasets.images import Pixels
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.synthesis.inputs import (
    batch_size,
    check_generates,
    check_point,
    network_of,
    network_values,
)
from gan_tasks.export.inference.synthesis.points import Point
from gan_tasks.export.models.base import Model, from_float


@dataclass(frozen=True, eq=False)
class Generated:
    """A generated image, and what it was generated from. pixels: H×W×C uint8."""

    point: Point
    pixels: Pixels

    @property
    def seed(self) -> int | None:
        return self.point.seed


def generate(
    model: Model | Predictor, seeds: Iterable[int], label: int | None = None, truncation: float = 1.0
) -> Iterator[Generated]:
    """Generate the images of seeds, in their order, in batches within the memory of the model.

    Args:
        model: as `gan_tasks.load` gives it, or its network.
        label: number of the class, for a conditional model.
        truncation: how far styles may be from their mean, 0 to 1: less variety and usually better images below 1.

    Raises UserError, at the first image, for a model that does not generate, and for a label or a truncation that it
    does not take.
    """
    return generate_points(model, (Point(seed, label=label, truncation=truncation) for seed in seeds))


def generate_points(model: Model | Predictor, points: Iterable[Point]) -> Iterator[Generated]:
    """Generate the images of points. Raises the errors of `generate`.

    Points with styles need a model with weights, see `LatentSpace`.
    """
    model = network_of(model)
    check_generates(model)
    size = batch_size(model)
    for has_styles, group in groupby(points, lambda point: point.styles is not None):
        while batch := tuple(islice(group, size)):
            for point in batch:
                check_point(model, point)
            images = images_of_styles(model, batch) if has_styles else images_of_latents(model, batch)
            yield from map(Generated, batch, images)


def images_of_latents(model: Model, points: tuple[Point, ...]) -> list[Pixels]:
    """Return the images of points with seeds or latents, run as one batch."""
    output = model.run(*(network_values(given, points) for given in model.spec.inputs))
    return [from_float(image, np.dtype(np.uint8)) for image in output]


def images_of_styles(model: Model, points: tuple[Point, ...]) -> list[Pixels]:
    """Return the images of points with styles, run as one batch."""
    from gan_tasks.export.inference.synthesis.latent_space import LatentSpace

    space = LatentSpace(model)
    return list(space.images(space.styles_of(points)))
