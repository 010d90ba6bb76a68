"""The point that the encoded inputs of a model stand for, such as those of a request. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gan_tasks.export.inference.predictor import Inputs, Source
from gan_tasks.export.inference.synthesis.inputs import TRUNCATION
from gan_tasks.export.inference.synthesis.points import Point
from gan_tasks.spec import ModelSpec


def point_of_sources(spec: ModelSpec, sources: Mapping[str, Source], inputs: Inputs) -> Point | None:
    """Return the point of what a model of noise → image was given; None for inputs that no point has.

    sources, inputs: the same, encoded and as `Predictor.read` gives them.
    """
    latent, label = (
        next((given.name for given in spec.inputs if given.kind == kind), "") for kind in ("latent", "label")
    )
    if latent not in inputs or not inputs.keys() <= {latent, label, TRUNCATION}:
        return None
    seed = seed_of(sources[latent])
    number = class_of(inputs[label]) if label in inputs else None
    if label in inputs and number is None:
        return None
    truncation = float(inputs[TRUNCATION][0]) if TRUNCATION in inputs else 1.0
    return Point(seed, latent=inputs[latent] if seed is None else None, label=number, truncation=truncation)


def seed_of(source: Source) -> int | None:
    """Return the seed of a latent that was given as one."""
    text = source.decode(errors="replace").strip() if isinstance(source, bytes) else source.read_text().strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def class_of(label: NDArray[np.float32]) -> int | None:
    """Return the number of the class of a one-hot label; None for a mixture of classes."""
    number = int(label.argmax())
    return number if label[number] == 1 and np.count_nonzero(label) == 1 else None
