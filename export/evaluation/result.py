"""The results of an evaluation. Write them as JSON, or as CSV with one row per image. Imports no torch."""

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

from gan_tasks.datasets.errors import printable
from gan_tasks.datasets.images import atomic
from gan_tasks.metrics.catalogue import Metric, metric_named
from gan_tasks.metrics.statistics import bootstrap_interval, smallest_p

SIGNIFICANT = 0.05
"""A difference is significant if its p-value is below this."""

PerImage = Mapping[str, list[float]]
"""Values by metric, one per image, in the order of `Evaluation.names`."""


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SetMetrics:
    """Metrics between a set of images and the real ones, from the features of one network."""

    kernel_distance: Figure
    precision: float
    recall: float
    diversity: float
    """Mean distance between two of its images over that between two real ones: 1 = as varied."""
    density: float | None = None
    """For generators: number of real neighbourhoods that an image is in, over that of a real image."""
    coverage: float | None = None
    """For generators: share of the real images that have an image in their neighbourhood."""
    frechet_distance: float | None = None
    own_source_share: float | None = None
    """For unpaired tasks: share of the outputs whose nearest input is their own source."""


@dataclass(frozen=True)
class Memorization:
    """Test for memorization: how near outputs are to training images, in features."""

    ratio: float
    """Median distance of an output to its nearest training image, over that of a held-out real image."""
    searched: int
    """Number of training images searched."""
    nearest: tuple[str, ...]
    """Name of the nearest training image of each output."""
    distance: tuple[float, ...]
    """Distance of each output to its nearest training image."""


@dataclass(frozen=True)
class InceptionValues:
    """Metrics from the published Inception network."""

    kid: Figure
    kid_real_vs_real: Figure
    """The real-vs-real baseline of KID."""
    kid_untranslated: Figure | None
    """KID of the untranslated inputs, if they can be compared."""
    inception_score: float
    inception_score_deviation: float
    fid: float | None


@dataclass(frozen=True)
class PathLength:
    """Perceptual path length: how far images move for a small step of the latent, see `metrics/generators`."""

    value: Figure
    space: str
    """Where the step is taken: "z", between latents, or "w", between the styles of a mapping network."""
    distance: str
    """The perceptual distance. Values of different distances cannot be compared."""
    pairs: int
    """Number of steps."""


@dataclass(frozen=True)
class Subject:
    """The results of a model or a baseline."""

    name: str
    per_image: PerImage
    set_metrics: SetMetrics | None = None
    memorization: Memorization | None = None
    inception: InceptionValues | None = None
    colour_drift: tuple[float, ...] = ()
    """Mean of each channel of the outputs minus that of the real images, in levels of 255."""
    pixel_diversity: float | None = None
    """For generators: mean distance between the pixels of two samples over that of two real images."""
    path_length: PathLength | None = None
    """For generators that torch runs."""

    @cached_property
    def metrics(self) -> dict[str, Figure]:
        """Means over the images, by metric."""
        return {metric: summarise(values) for metric, values in self.per_image.items()}


@dataclass(frozen=True)
class MaskRatioGroup:
    """The results of the images in a range of mask ratios."""

    over: float
    """Lower end of the mask ratios, not included."""
    up_to: float
    """Upper end of the mask ratios, included."""
    images: int
    figures: Mapping[str, Mapping[str, Figure]]
    """By model or baseline, then by metric; without metrics that have no value for any of the images."""

    @property
    def heading(self) -> str:
        return f"{self.over:.0%} to {self.up_to:.0%}" if self.up_to < 1 else f"over {self.over:.0%}"


@dataclass(frozen=True)
class SignificanceTest:
    """Significance test of the difference between two subjects: on the same images, or on their own samples."""

    metric: str
    first: str
    second: str
    difference: float
    """First − second."""
    low: float
    high: float
    p: float
    """p-value, corrected (Holm 1979) for the number of comparisons with this metric."""
    images: int
    comparisons: int = 1
    """Number of comparisons with this metric, for which p is corrected."""
    paired: bool = True
    """Whether the values of both are of the same images. The samples of two generators are not paired."""

    @property
    def can_be_significant(self) -> bool:
        """Whether this number of images can give a significant difference at all."""
        return self.comparisons * smallest_p(self.images, paired=self.paired) < SIGNIFICANT

    @property
    def better(self) -> str | None:
        """Name of the better subject; None if the difference is not significant."""
        if not (self.can_be_significant and self.p < SIGNIFICANT):
            return None
        first_lower = self.difference < 0
        return self.first if first_lower == metric_named(self.metric).lower_is_better else self.second

    @property
    def conclusion(self) -> str:
        """The better subject, or why there is none."""
        return self.better or ("no difference shown" if self.can_be_significant else "too few images")


@dataclass(frozen=True)
class Evaluation:
    """The results of models and baselines on the images of a split."""

    task: str
    data: str
    split: str
    names: tuple[str, ...]
    """Names of the samples."""
    samples: tuple[int, ...]
    """Their indices in the data; the seeds of drawn samples."""
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """Smallest and largest (height, width) of the inputs, by area; of the samples of a generator."""
    mode: str
    crop_px: int
    models: tuple[Subject, ...]
    baselines: tuple[Subject, ...]
    inputs: SetMetrics | None
    """Metrics of the untranslated inputs as a set; masked pixels are gray."""
    real: PerImage
    """No-reference metrics of the real images."""
    features: str
    """Feature network that compares sets of images; empty if none was used."""
    real_vs_real: Figure | None
    """The real-vs-real baseline: kernel distance between random halves of the real images."""
    tests: tuple[SignificanceTest, ...]
    """Tests between models; for a single model, between it and each baseline."""
    notes: tuple[str, ...]
    """Remarks for the reader, each in sentences."""
    verdict: str = ""
    real_images: int | None = None
    """For generators: number of real images that the samples are compared with."""
    mask_source: str = ""
    """For a task with masks: description of where they come from."""
    mask_ratios: tuple[float, ...] = ()
    """For a task with masks: mask ratio of each image."""
    mask_ratio_groups: tuple[MaskRatioGroup, ...] = ()
    """For a task with masks: results by mask ratio."""

    @property
    def images(self) -> int:
        return len(self.names)

    @property
    def is_of_generators(self) -> bool:
        """Whether the models draw their images, so that these are compared with the real ones as sets alone."""
        return self.real_images is not None

    @property
    def metrics(self) -> list[Metric]:
        return [metric_named(key) for key in self.models[0].per_image]

    def with_verdict(self, verdict: str) -> Evaluation:
        return replace(self, verdict=verdict)


def summarise(values: list[float]) -> Figure:
    """Return the mean and its bootstrap interval over the images that have a value."""
    present = [value for value in values if not np.isnan(value)]
    return Figure(float(np.mean(present)), *bootstrap_interval(present))


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Convert to values for `json.dump`.

    The results of a single model are in `model` and `per_image`; those of several models are in `models`, by name.
    Numbers that are not finite become text, because JSON cannot hold them.
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
    result: dict[str, Any] = for_json(content)
    return result


def model_to_json(subject: Subject) -> dict[str, Any]:
    content = asdict(subject)
    del content["name"]
    return {"metrics": metrics_of(subject), **content}


def metrics_of(subject: Subject) -> dict[str, dict[str, float]]:
    return {key: asdict(figure) for key, figure in subject.metrics.items()}


def for_json(value: Any) -> Any:
    """Replace what JSON cannot hold in nested values: numbers that are not finite, and names that are not UTF-8."""
    if isinstance(value, dict):
        return {printable(key): for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(item) for item in value]
    if isinstance(value, str):
        return printable(value)
    return value if not isinstance(value, float) or np.isfinite(value) else str(value)


def table_of_images(evaluation: Evaluation) -> tuple[list[str], list[list[Any]]]:
    """Return headings and rows: an image's name, its mask ratio, each metric of each model, and the nearest training
    image."""
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
    atomic.write_bytes(path, printable(text.getvalue()).encode())


def spreadsheet_safe(rows: list[list[Any]]) -> Iterator[list[Any]]:
    """Quote text that begins like a formula, so that a spreadsheet does not run it."""
    for row in rows:
        yield [f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@") else cell for cell in row]
