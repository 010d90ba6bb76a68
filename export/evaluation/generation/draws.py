"""What generators draw: the samples of fixed seeds, of the classes that the held-out images have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.evaluation.samples import Sample
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.synthesis.seeds import seed_name
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.metrics.distribution import KERNEL_LEAST_IMAGES
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import Data, Task
from gan_tasks.training.validation import arrays

BATCH_PIXELS, MOST_IMAGES = 8 * 256 * 256, 16
"""Most pixels, and images, that are drawn at once."""


def is_generator(spec: ModelSpec) -> bool:
    """Return whether a model makes images of drawn latents alone, so that it can make as many as are asked for."""
    return spec.use == "generate" and spec.image is None


def all_generate(models: Mapping[str, Model]) -> bool:
    """Return whether the models are generators. Raises UserError if only some of them are."""
    generate = {name: is_generator(model.spec) for name, model in models.items()}
    if len(set(generate.values())) > 1:
        some = ", ".join(name for name, draws in generate.items() if draws)
        raise UserError(f"{some} generates images of noise, and the others do not: compare models of one kind")
    return all(generate.values())


def check_count(count: int, *, generates: bool) -> None:
    """Raise UserError for a number of samples that cannot be compared as a set; 0 stands for a number that can.

    generates: whether the models are generators. Others have one output for each image.
    """
    if count and not generates:
        raise UserError(
            "--samples is for generators of noise → image: leave it out, or limit the images with --limit"
        )
    if 0 < count < KERNEL_LEAST_IMAGES:
        raise UserError(
            f"--samples is {count}, and sets of images are compared from {KERNEL_LEAST_IMAGES} on: give "
            f"{KERNEL_LEAST_IMAGES} or more, better as many as there are held-out images"
        )


def classes_of(
    models: Mapping[str, Model], task: Task[Any, Any], data: Data, indices: Sequence[int]
) -> list[FloatImages] | None:
    """Return the labels of real images, each K values; None if no model has classes.

    Raises UserError if the images have no classes, or another number of them than a model.
    """
    labels = {name: label for name, model in models.items() if (label := label_of(model.spec)) is not None}
    if not labels:
        return None
    first = next(iter(labels))
    place = models[first].spec.inputs.index(labels[first])
    found = [
        label
        for index in indices
        for label in arrays(task, data, index)[0][place : place + 1]
        if label.ndim == 1 and len(label) > 1
    ]
    count = len(found[0]) if found else 0
    for name, label in labels.items():
        if label.channels != count:
            raise UserError(
                f"{name} has {label.channels} classes, and the images have {count or 'none'}: give a folder with "
                f"{label.channels} sub-folders of images, one for each class"
            )
    return found


def label_of(spec: ModelSpec) -> InputSpec | None:
    return next((given for given in spec.inputs if given.kind == "label"), None)


def inputs_of(spec: ModelSpec, seed: int, label: FloatImages | None) -> tuple[FloatImages, ...]:
    """Return the inputs of one sample, in the order of the spec: weights, such as the truncation, are 1."""

    def value(given: InputSpec) -> FloatImages:
        if given.kind == "latent":
            return draw_latent(seed, given.channels)
        if given.kind == "label" and label is not None:
            return label
        return np.ones(given.channels, np.float32)

    return tuple(map(value, spec.inputs))


def drawn(
    models: Mapping[str, Model], seeds: Sequence[int], classes: Sequence[FloatImages] | None
) -> Iterator[Sample]:
    """Draw the sample of each seed from each model, in batches. Seed i has the class of the i-th real image.

    A sample has the same seed in all models, but the images of two models have nothing in common by that.
    """
    first = next(iter(models.values())).spec
    pixels = max(height * width for _, height, width in (model.spec.output_shape(0, 0) for model in models.values()))
    size = max(1, min(MOST_IMAGES, BATCH_PIXELS // pixels))
    for start in range(0, len(seeds), size):
        batch = seeds[start : start + size]
        labels = [None if classes is None else classes[seed % len(classes)] for seed in batch]
        outputs = {name: run(model, batch, labels) for name, model in models.items()}
        for row, seed in enumerate(batch):
            images = {name: made[row] for name, made in outputs.items()}
            yield Sample(seed_name(seed), inputs_of(first, seed, labels[row]), images, None, None, None)


def run(model: Model, seeds: Sequence[int], labels: Sequence[FloatImages | None]) -> FloatImages:
    """Return the images of seeds, N×C×H×W in [-1, 1]."""
    rows = [inputs_of(model.spec, seed, label) for seed, label in zip(seeds, labels, strict=True)]
    return model.run(*map(np.stack, zip(*rows, strict=True)))
