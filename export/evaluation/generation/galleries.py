"""Galleries of generators: samples, real images, and samples beside their nearest training image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images import to_uint8
from gan_tasks.export.evaluation.data import EvaluationData
from gan_tasks.export.evaluation.generation.draws import classes_of, drawn
from gan_tasks.export.evaluation.report import Gallery
from gan_tasks.export.evaluation.result import Evaluation, Subject
from gan_tasks.export.evaluation.samples import real_image
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.runs.image_grid import grid, sheet
from gan_tasks.tasks.base import Task
from gan_tasks.training.validation import distinct

COLUMNS, MOST_SHOWN = 8, 32
"""Columns of a gallery of samples or of real images, and most images in it."""
NEAREST = 8
"""Most samples that are shown beside their nearest training image."""


def galleries_of_generators(
    evaluation: Evaluation, models: Mapping[str, Model], opened: EvaluationData, task: Task[Any, Any]
) -> list[Gallery]:
    """Draw the first samples again, and those that are nearest to training images."""
    first = next(iter(models.values()))
    indices = sorted(distinct(task, opened.images, 0).targets)[: evaluation.real_images]
    classes = classes_of(models, task, opened.images, indices)
    galleries = []
    for subject in evaluation.models:
        model, of = models[subject.name], f" of {subject.name}" if len(models) > 1 else ""
        seeds = evaluation.samples[:MOST_SHOWN]
        samples = [sample.outputs[subject.name] for sample in drawn({subject.name: model}, seeds, classes)]
        caption = f"The samples of the seeds {seeds[0]} to {seeds[-1]}, not selected."
        galleries.append(Gallery(f"Samples{of}", caption, in_rows(samples)))
    shown = [real_image(first, task, opened.images, index) for index in indices[:MOST_SHOWN]]
    galleries.append(Gallery("Real images", "The first of the held-out images.", in_rows(shown)))
    pairs = (
        nearest(evaluation, subject, models[subject.name], opened, task, classes) for subject in evaluation.models
    )
    return [*galleries, *filter(None, pairs)]


def in_rows(images: Sequence[FloatImages]) -> NDArray[np.uint8]:
    return sheet([to_uint8(image) for image in images], COLUMNS)


def nearest(
    evaluation: Evaluation,
    subject: Subject,
    model: Model,
    opened: EvaluationData,
    task: Task[Any, Any],
    classes: Sequence[FloatImages] | None,
) -> Gallery | None:
    """Draw the samples that are nearest to a training image, each beside that image; None without a search."""
    train = opened.train
    if subject.memorization is None or train is None:
        return None
    index_of = {train.name(index): index for index in reversed(range(len(train)))}
    rows, listed = [], []
    for place in np.argsort(subject.memorization.distance)[:NEAREST]:
        (sample,) = drawn({subject.name: model}, [evaluation.samples[place]], classes)
        name = subject.memorization.nearest[place]
        rows.append(
            [to_uint8(sample.outputs[subject.name]), to_uint8(real_image(model, task, train, index_of[name]))]
        )
        listed.append(f"{sample.name} – {name} ({subject.memorization.distance[place]:.2f})")
    heading = f"Samples{f' of {subject.name}' if len(evaluation.models) > 1 else ''} nearest to a training image"
    return Gallery(heading, f"From top to bottom: {', '.join(listed)}.", grid(rows, ["sample", "training"]))
