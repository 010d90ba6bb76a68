"""One sample at a time: what models are given, and what they make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import fit_channels
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.evaluation.masks import mask_of, with_known_pixels
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.metrics.baselines import Example
from gan_tasks.spec import ModelSpec
from gan_tasks.tasks.base import Data, Task
from gan_tasks.training.validation import arrays


@dataclass(frozen=True)
class Sample:
    """A sample: the inputs and outputs of the models, and the target. Images are C×H×W in [-1, 1].

    inputs: in the order of the first model's spec, with its numbers of channels.
    outputs: by model, with the unmasked pixels of the image put back.
    target: the target; for a task without targets, any image of the target domain; None for a drawn sample.
    mask: H×W, True for masked pixels; None for a task without masks.
    image: the first image of the inputs; None for a model without an image input.
    """

    name: str
    inputs: tuple[FloatImages, ...]
    outputs: dict[str, FloatImages]
    target: FloatImages | None
    mask: Mask | None
    image: FloatImages | None


def run_models(models: Mapping[str, Model], task: Task[Any, Any], data: Data, index: int) -> Sample:
    """Run models on one sample. In mode train, dropout depends on the index of the sample only.

    Raises UserError if an output does not have the target's size.
    """
    given, outputs, sample = [], {}, arrays(task, data, index)
    for name, model in models.items():
        inputs, target = fitted(sample, model.spec)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(index)
            output = model.run(*(each[None] for each in inputs))[0]
        if task.evaluation().has_target and output.shape != target.shape:
            image = image_of(model.spec, inputs)
            raise UserError(
                f"{data.name(index)}: the output has {describe(output)}"
                f"{'' if image is None else f' for an input of {describe(image)}'}, and the target has "
                f"{describe(target)}: give data of the kind that the model was trained on"
            )
        given.append(inputs)
        outputs[name] = output
    spec = next(iter(models.values())).spec
    mask, image = mask_of(spec, given[0]), image_of(spec, given[0])
    if image is not None:
        outputs = {name: with_known_pixels(output, image, mask) for name, output in outputs.items()}
    return Sample(data.name(index), given[0], outputs, target, mask, image)


def image_of(spec: ModelSpec, inputs: Sequence[FloatImages]) -> FloatImages | None:
    """Return the first image of the inputs; None for a model without an image input."""
    return None if spec.image is None else inputs[spec.inputs.index(spec.image)]


def example(model: Model, task: Task[Any, Any], data: Data, index: int) -> Example:
    """Return the inputs and the target of a sample, C×H×W with the model's numbers of channels."""
    return fitted(arrays(task, data, index), model.spec)


def real_image(model: Model, task: Task[Any, Any], data: Data, index: int) -> FloatImages:
    """Return the target of a sample, C×H×W with the model's number of channels."""
    _, target = arrays(task, data, index)
    return with_channels(target, model.spec.out_channels)


def fitted(sample: Example, spec: ModelSpec) -> Example:
    """Return the inputs and the target of a sample with the numbers of channels of a model."""
    inputs, target = sample
    fitting = (
        with_channels(each, given.channels) if given.kind == "image" else each
        for given, each in zip(spec.inputs, inputs, strict=True)
    )
    return tuple(fitting), with_channels(target, spec.out_channels)


def with_channels(image: FloatImages, channels: int) -> FloatImages:
    """Convert C×H×W to another number of channels, as `fit_channels` does for pixels."""
    return np.ascontiguousarray(fit_channels(image.transpose(1, 2, 0), channels).transpose(2, 0, 1))


def describe(image: FloatImages) -> str:
    channels, height, width = image.shape
    return f"{height}×{width} pixels of {channels} channels"
