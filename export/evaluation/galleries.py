"""Galleries of an evaluation: best and worst images, and outputs beside their nearest training image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_tasks.datasets.images import to_uint8
from gan_tasks.export.evaluation.data import EvaluationData, open_images
from gan_tasks.export.evaluation.generation.galleries import galleries_of_generators
from gan_tasks.export.evaluation.masks import with_gray_mask
from gan_tasks.export.evaluation.report import Gallery
from gan_tasks.export.evaluation.result import Evaluation, Subject
from gan_tasks.export.evaluation.samples import Sample, example, run_models
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.metrics.catalogue import L1, L1_MASKED, NIQE, TO_REAL, Metric
from gan_tasks.runs.image_grid import grid
from gan_tasks.spec import ModelSpec
from gan_tasks.tasks.base import Task

ROWS = 3
"""Rows of a gallery of best or worst images."""
NEAREST = 4
"""Rows of the gallery of outputs nearest to a training image."""


def draw_galleries(
    evaluation: Evaluation, models: Mapping[str, Model], root: Path, task: Task[Any, Any]
) -> list[Gallery]:
    """Run the models again on the best and worst images, and draw the galleries."""
    opened = open_images(models, task, root, evaluation.split)
    spec, has_target = next(iter(models.values())).spec, task.evaluation().has_target
    if evaluation.is_of_generators:
        return galleries_of_generators(evaluation, models, opened, task)
    inputs = [given.name for given in spec.inputs if given.is_spatial]
    titles = [*inputs, *(models if len(models) > 1 else ["output"]), *(["real"] if has_target else [])]

    def rows(places: Sequence[int]) -> list[list[Any]]:
        found = []
        for place in places:
            sample = run_models(models, task, opened.images, evaluation.samples[place])
            images = [*shown(spec, sample), *sample.outputs.values()]
            if has_target and sample.target is not None:
                images.append(sample.target)
            found.append([to_uint8(image) for image in images])
        return found

    galleries = []
    for subject in evaluation.models:
        metric = ranking(subject)
        if metric is None:
            continue
        values = np.asarray(subject.per_image[metric.key])
        order = [int(i) for i in np.argsort(values if metric.lower_is_better else -values) if np.isfinite(values[i])]
        for word, places in (("Best", order[:ROWS]), ("Worst", order[::-1][:ROWS])):
            listed = ", ".join(f"{evaluation.names[i]} ({values[i]:.{metric.digits}f})" for i in places)
            of = f" of {subject.name}" if len(models) > 1 else ""
            heading = f"{word} images{of}, by {metric.heading}"
            galleries.append(Gallery(heading, f"From top to bottom: {listed}.", grid(rows(places), titles)))
    galleries += [
        gallery
        for subject in evaluation.models
        if (gallery := nearest(evaluation, subject, models[subject.name], opened, task))
    ]
    return galleries


def shown(spec: ModelSpec, sample: Sample) -> list[FloatImages]:
    """Return the images and masks to show, in [-1, 1]. Masked pixels of the image are gray."""
    images = []
    for given, each in zip(spec.inputs, sample.inputs, strict=True):
        if given is spec.image:
            images.append(with_gray_mask(each, sample.mask))
        elif given.is_spatial:
            images.append(each if given.kind == "image" else each * 2 - 1)
    return images


def ranking(subject: Subject) -> Metric | None:
    """Return the metric that ranks the images of a model; None if there is none."""
    return next((metric for metric in (L1_MASKED, L1, TO_REAL, NIQE) if metric.key in subject.per_image), None)


def nearest(
    evaluation: Evaluation, subject: Subject, model: Model, opened: EvaluationData, task: Task[Any, Any]
) -> Gallery | None:
    """Draw the outputs that are nearest to a training image, each beside that image; None without a search."""
    train = opened.train
    if subject.memorization is None or train is None:
        return None
    index_of = {train.name(index): index for index in reversed(range(len(train)))}
    rows, listed = [], []
    for place in np.argsort(subject.memorization.distance)[:NEAREST]:
        sample = run_models({subject.name: model}, task, opened.images, evaluation.samples[place])
        name = subject.memorization.nearest[place]
        _, found = example(model, task, train, index_of[name])
        rows.append([to_uint8(sample.outputs[subject.name]), to_uint8(found)])
        listed.append(f"{sample.name} – {name} ({subject.memorization.distance[place]:.2f})")
    heading = f"Outputs{f' of {subject.name}' if len(evaluation.models) > 1 else ''} nearest to a training image"
    return Gallery(heading, f"From top to bottom: {', '.join(listed)}.", grid(rows, ["output", "training"]))
