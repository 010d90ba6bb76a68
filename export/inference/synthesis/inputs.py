"""What a model of noise → image takes: latents, the class and the truncation. Imports no torch."""

from __future__ import annotations

import numpy as np

from gan_tasks.datasets.errors import UserError, did_you_mean
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.synthesis.points import Point
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.export.models.tiled import TiledModel
from gan_tasks.spec import InputSpec

TRUNCATION = "truncation"
LARGEST_BATCH = 16


def network_values(given: InputSpec, points: tuple[Point, ...]) -> FloatImages:
    """Return one input of the network for points with seeds or latents, N×K."""
    if given.kind == "latent":
        return np.stack([point.latent_of(given.channels) for point in points])
    if given.kind == "label":
        return np.stack([one_hot(given, point.label) for point in points])
    values = [[point.truncation if given.name == TRUNCATION else 1.0] * given.channels for point in points]
    return np.asarray(values, np.float32)


def one_hot(given: InputSpec, label: int | None) -> FloatImages:
    """Return a label as the network takes it: 1 at the class. Without a class it is zeros."""
    values = np.zeros(given.channels, np.float32)
    if label is not None:
        values[label] = 1
    return values


def batch_size(model: Model) -> int:
    """Return how many images are generated at once, within `max_memory_bytes`."""
    assert model.spec.output_size is not None  # see `check_generates`
    height, width = model.spec.output_size
    needed = height * width * (model.bytes_per_pixel if isinstance(model, TiledModel) else 1)
    return max(1, min(LARGEST_BATCH, model.max_memory_bytes // max(1, needed)))


def network_of(model: Model | Predictor) -> Model:
    """Return the network of what `gan_tasks.load` returns, or a network itself."""
    return model.model if isinstance(model, Predictor) else model


# What a model takes.


def check_generates(model: Model) -> None:
    """Raise UserError if a model does not make images from latents."""
    spec = model.spec
    if spec.use != "generate" or spec.output_size is None or not any(each.kind == "latent" for each in spec.inputs):
        raise UserError(
            f"{model.title} does not generate images from seeds: it is a model of {spec.task}, for "
            f"`gan-tasks apply`. Give a model that was trained for noise → image"
        )


def check_point(model: Model, point: Point) -> None:
    """Raise UserError for a label or a truncation that a model does not take."""
    given = label_input(model)
    if point.truncation != 1 and not truncates(model):
        raise UserError(
            f"truncation is {point.truncation:g}, but {model.title} has no mean of styles to truncate to: "
            "leave truncation out"
        )
    if not 0 <= point.truncation <= 1:
        raise UserError(f"truncation is {point.truncation:g}: expected a number from 0 to 1")
    if point.label is None:
        if given is not None and not given.optional and point.styles is None:
            raise UserError(f"{model.title} needs a class: {classes_text(given)}")
        return
    if given is None:
        raise UserError(f"{model.title} has no classes: leave out the class")
    if not 0 <= point.label < given.channels:
        raise UserError(f"class {point.label} does not exist in {model.title}: {classes_text(given)}")


def truncates(model: Model) -> bool:
    """Return whether a model takes a truncation."""
    return model.spec.find(TRUNCATION) is not None


def label_input(model: Model) -> InputSpec | None:
    """Return the input that takes the class; None for a model without classes."""
    return next((each for each in model.spec.inputs if each.kind == "label"), None)


def class_number(model: Model, text: str) -> int | None:
    """Return the number of a class from its name or number; None for empty text.

    Raises UserError for a class that the model does not have.
    """
    if not text:
        return None
    given = label_input(model)
    if given is None:
        raise UserError(f"{model.title} has no classes: leave out --class")
    if text in given.names:
        return given.names.index(text)
    if text.isascii() and text.isdecimal() and int(text[:9]) < given.channels:
        return int(text)
    hint = did_you_mean(text, given.names, f": {classes_text(given)}")
    raise UserError(f"{model.title} has no class {text!r}{hint}")


def classes_text(given: InputSpec) -> str:
    """Return the classes of a model in words."""
    if not given.names:
        return f"give a number from 0 to {given.channels - 1}"
    shown = ", ".join(given.names[:20]) + (" …" if len(given.names) > 20 else "")
    return f"give one of {shown}, or a number from 0 to {given.channels - 1}"


def latent_input(model: Model) -> InputSpec:
    """Return the input that takes the latent."""
    return next(each for each in model.spec.inputs if each.kind == "latent")
