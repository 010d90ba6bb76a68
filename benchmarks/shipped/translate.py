"""Models that translate images, beside their baselines, by the evaluation that `gan-tasks evaluate` makes."""

from __future__ import annotations

from gan_tasks.export.evaluation.evaluate import evaluate
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.evaluation.result import Evaluation, Figure, Subject
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.metrics.catalogue import KERNEL_DISTANCE, L1, PSNR, SSIM
from shipped.data import Sources, required
from shipped.results import Column, Goal, Row, Table

DISTANCE = Column(KERNEL_DISTANCE.heading, KERNEL_DISTANCE.digits)


def with_pairs(model: Predictor, sources: Sources) -> tuple[list[Table], list[Goal]]:
    """Measure L1, PSNR and SSIM to the targets, and the kernel distance, of the model and the baselines.

    The kernel distance is left out for a model that was trained with the features that it would be measured with.
    """
    found = evaluated(model, sources)
    metrics = (L1, PSNR, SSIM)
    columns = [Column(metric.heading, metric.digits) for metric in metrics]
    subjects = (*found.baselines, *found.models)
    figures = [[subject.metrics.get(metric.key) for metric in metrics] for subject in subjects]
    if found.features:
        columns.append(DISTANCE)
        for values, subject in zip(figures, subjects, strict=True):
            values.append(distance_of(subject))
    rows = [Row(subject.name, tuple(values)) for subject, values in zip(subjects, figures, strict=True)]
    if found.features:
        rows.append(Row("real images, two halves", (*(None for _ in metrics), times_1000(found.real_vs_real))))
    return [Table("Beside the targets", "Method", tuple(columns), tuple(rows), note_of(found))], []


def without_pairs(model: Predictor, sources: Sources) -> tuple[list[Table], list[Goal]]:
    """Measure the kernel distance to real images of the other side, and whether outputs still show their source."""
    found = evaluated(model, sources)
    (subject,) = found.models
    sets, inputs = subject.set_metrics, found.inputs
    assert sets is not None and inputs is not None
    own = sets.own_source_share
    rows = (
        Row("untranslated", (times_1000(inputs.kernel_distance), None)),
        Row("model", (times_1000(sets.kernel_distance), None if own is None else exact(100 * own))),
        Row("real images, two halves", (times_1000(found.real_vs_real), None)),
    )
    columns = (DISTANCE, Column("Own source is the nearest, %", 0))
    share = sets.kernel_distance.mean / inputs.kernel_distance.mean
    goal = Goal(
        "Nearer to the real images than the untranslated ones",
        f"{100 * share:.0f} % of their kernel distance",
        sets.kernel_distance.high < inputs.kernel_distance.low,
    )
    return [Table("Beside real images of the other side", "Images", columns, rows, note_of(found))], [goal]


def evaluated(model: Predictor, sources: Sources) -> Evaluation:
    options = EvaluationOptions(split=sources.split, limit=sources.images or 0)
    return evaluate(model.model, required(sources.data, "--data"), options=options)


def note_of(found: Evaluation) -> str:
    distance = f", kernel distance by the features of {found.features}" if found.features else ""
    return f"{found.images} images{distance}. {found.verdict}"


def distance_of(subject: Subject) -> Figure | None:
    return times_1000(subject.set_metrics.kernel_distance) if subject.set_metrics else None


def times_1000(figure: Figure | None) -> Figure | None:
    return None if figure is None else Figure(1e3 * figure.mean, 1e3 * figure.low, 1e3 * figure.high)


def exact(value: float) -> Figure:
    return Figure(value, value, value)
