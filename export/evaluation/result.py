"""What an evaluation found, and its forms for programs: JSON, and CSV with a row an image. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gan_tasks.datasets.images import atomic
from gan_tasks.metrics.catalogue import Metric, metric_named
from gan_tasks.metrics.statistics import bootstrap_interval

PerImage = Mapping[str, list[float]]
"""By measure, in the order of `Evaluation.names`."""


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SetMetrics:
    """How a set of images stands to the real ones, by one network's features."""

    kernel_distance: Figure
    precision: float
    recall: float
    diversity: float
    """Mean difference between two of its images over that between two real ones: 1 = as varied."""
    frechet_distance: float | None = None
    own_source_share: float | None = None
    """Unpaired tasks: share of the outputs whose nearest input is the one that they were made from."""


@dataclass(frozen=True)
class Memorization:
    """Whether outputs repeat training images, by features."""

    ratio: float
    """Median distance of an output to its nearest training image, over that of a held-out real image."""
    searched: int
    """Training images."""
    nearest: tuple[str, ...]
    """For each output, the name of the nearest training image,"""
    distance: tuple[float, ...]
    """and how far it is."""


@dataclass(frozen=True)
class InceptionValues:
    """By the published Inception network."""

    kid: Figure
    kid_real_vs_real: Figure
    kid_untranslated: Figure | None
    """Of the inputs as they are, where these can be compared."""
    inception_score: float
    inception_score_deviation: float
    fid: float | None


@dataclass(frozen=True)
class Subject:
    """A model or a trivial answer, measured."""

    name: str
    per_image: PerImage
    set_metrics: SetMetrics | None = None
    memorization: Memorization | None = None
    inception: InceptionValues | None = None
    colour_drift: tuple[float, ...] = ()
    """Mean of each channel of the outputs minus that of the real images, in levels of 255."""

    @cached_property
    def metrics(self) -> dict[str, Figure]:
        return {metric: summarise(values) for metric, values in self.per_image.items()}


@dataclass(frozen=True)
class MaskRatioGroup:
    """The images whose holes are about as large, measured."""

    over: float
    """The hole's share of the image is larger than this,"""
    up_to: float
    """and at most this."""
    images: int
    figures: Mapping[str, Mapping[str, Figure]]
    """By model or trivial answer, then by measure; without those that have no value for any of the images."""

    @property
    def heading(self) -> str:
        return f"{self.over:.0%} to {self.up_to:.0%}" if self.up_to < 1 else f"over {self.over:.0%}"


@dataclass(frozen=True)
class PairedTest:
    """Two subjects on the same images: is the difference more than chance?"""

    metric: str
    first: str
    second: str
    difference: float
    """First − second."""
    low: float
    high: float
    p: float
    """Corrected (Holm 1979) for the number of comparisons by this measure."""
    images: int

    @property
    def better(self) -> str | None:
        """The name of the better one; None where no difference is shown."""
        if not self.p < 0.05:
            return None
        first_lower = self.difference < 0
        return self.first if first_lower == metric_named(self.metric).lower_is_better else self.second


@dataclass(frozen=True)
class Evaluation:
    """Models on the images of a split, beside what needs no model."""

    task: str
    data: str
    split: str
    names: tuple[str, ...]
    """Of the samples measured."""
    samples: tuple[int, ...]
    """Their indices in the data."""
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """Smallest and largest (height, width) of what the models were given, by area."""
    mode: str
    crop_px: int
    models: tuple[Subject, ...]
    baselines: tuple[Subject, ...]
    inputs: SetMetrics | None
    """The untranslated inputs as a set, gray in their holes."""
    real: PerImage
    """What can be measured of the real images themselves."""
    features: str
    """The network of the set measures; empty where none was used."""
    real_vs_real: Figure | None
    """Kernel distance between random halves of the real images."""
    tests: tuple[PairedTest, ...]
    """Between models, and for a single one between it and each trivial answer."""
    notes: tuple[str, ...]
    """What a reader has to know, in sentences."""
    verdict: str = ""
    mask_source: str = ""
    """Where the holes come from, for a task that fills them;"""
    mask_ratios: tuple[float, ...] = ()
    """of each image, what share is hole;"""
    mask_ratio_groups: tuple[MaskRatioGroup, ...] = ()
    """and what was measured by that."""

    @property
    def images(self) -> int:
        return len(self.names)

    @property
    def metrics(self) -> list[Metric]:
        return [metric_named(key) for key in self.models[0].per_image]

    def with_verdict(self, verdict: str) -> Evaluation:
        return replace(self, verdict=verdict)


def summarise(values: list[float]) -> Figure:
    """Mean and bootstrap interval over images, those without a value left out."""
    present = [value for value in values if not np.isnan(value)]
    return Figure(float(np.mean(present)), *bootstrap_interval(present))


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """For `json.dump`: of one model its figures as `model` and `per_image`; of several all of it by name in `models`.

    A number that is not finite is text, which JSON has none for.
    """
    content = asdict(evaluation)
    content["images"] = evaluation.images
    content["conventions"] = {metric.key: metric.convention for metric in evaluation.metrics}
    content["baselines"] = {subject.name: metrics_of(subject) for subject in evaluation.baselines}
    content["baseline_sets"] = {
        subject.name: asdict(subject.set_metrics) for subject in evaluation.baselines if subject.set_metrics
    }
    models = {subject.name: model_to_json(subject) for subject in evaluation.models}
    del content["models"]
    if len(models) == 1:
        ((name, model),) = models.items()
        content |= {"name": name, "model": model.pop("metrics"), **model}
    else:
        content["models"] = models
    result: dict[str, Any] = finite(content)
    return result


def model_to_json(subject: Subject) -> dict[str, Any]:
    content = asdict(subject)
    del content["name"]
    return {"metrics": metrics_of(subject), **content}


def metrics_of(subject: Subject) -> dict[str, dict[str, float]]:
    return {key: asdict(figure) for key, figure in subject.metrics.items()}


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value if not isinstance(value, float) or np.isfinite(value) else str(value)


def table_of_images(evaluation: Evaluation) -> tuple[list[str], list[list[Any]]]:
    """Headings and rows: an image's name, what share of it is hole, each measure of each model, and its nearest
    training image."""
    several = len(evaluation.models) > 1

    def heading(subject: Subject, what: str) -> str:
        return f"{subject.name}: {what}" if several else what

    headings: list[str] = ["image"]
    columns: list[list[Any]] = [list(evaluation.names)]
    if evaluation.mask_ratios:
        headings.append("mask_ratio")
        columns.append(list(evaluation.mask_ratios))
    for subject in evaluation.models:
        for key, values in subject.per_image.items():
            headings.append(heading(subject, key))
            columns.append(list(values))
        if subject.memorization:
            headings += [heading(subject, "nearest_training_image"), heading(subject, "distance_to_it")]
            columns += [list(subject.memorization.nearest), list(subject.memorization.distance)]
    return headings, [list(row) for row in zip(*columns, strict=True)]


def write_json(path: Path, evaluation: Evaluation) -> None:
    text = json.dumps(to_json(evaluation), indent=1, ensure_ascii=False)
    atomic.write_bytes(path, text.encode())


def write_csv(path: Path, evaluation: Evaluation) -> None:
    text = io.StringIO()
    headings, rows = table_of_images(evaluation)
    csv.writer(text).writerows(spreadsheet_safe([headings, *rows]))
    atomic.write_bytes(path, text.getvalue().encode())


def spreadsheet_safe(rows: list[list[Any]]) -> Iterator[list[Any]]:
    """A name that begins like a formula would be run as one by a spreadsheet: quoted as text."""
    for row in rows:
        yield [f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@") else cell for cell in row]
