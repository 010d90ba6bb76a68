"""Write an evaluation as one self-contained HTML page with tables, tests and images. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import counted, printable
from gan_tasks.datasets.images import atomic
from gan_tasks.export.evaluation.mask_ratios import METRICS
from gan_tasks.export.evaluation.result import (
    Evaluation,
    Figure,
    InceptionValues,
    SetMetrics,
    Subject,
    table_of_images,
)
from gan_tasks.metrics.catalogue import KERNEL_DISTANCE, Metric, metric_named
from gan_tasks.metrics.statistics import interval_ends
from gan_tasks.runs.reports.html import RIGHT, embedded, page, section, table

MOST_ROWS = 500
"""Most rows of the table of images."""
REAL_VS_REAL, UNTRANSLATED = "real-vs-real baseline", "untranslated inputs"
"""Names of rows in the table of sets."""


@dataclass(frozen=True)
class Gallery:
    """An image of the page, with its heading and caption."""

    heading: str
    caption: str
    pixels: NDArray[np.uint8]
    """H×W×3."""


def write_evaluation_report(path: Path, evaluation: Evaluation, galleries: Sequence[Gallery]) -> None:
    """Write the page to a file; it needs no other files."""
    atomic.write_bytes(path, printable(report(evaluation, galleries)).encode())


def report(evaluation: Evaluation, galleries: Sequence[Gallery]) -> str:
    """Return the page as HTML."""
    several = len(evaluation.models) > 1
    title = " against ".join(model.name for model in evaluation.models)
    return page(
        f"{'Comparison' if several else 'Evaluation'} · {title}",
        [
            head(evaluation, title),
            section("What to know", notes(evaluation)),
            section("Means over images", means(evaluation)),
            section("By mask ratio", mask_ratio_groups(evaluation)),
            section("Significance of the differences", tests(evaluation)),
            section("Sets of images", sets(evaluation)),
            section("Inception", inception(evaluation)),
            section("Memorization of training images", memorization(evaluation)),
            *(section(gallery.heading, figure(gallery)) for gallery in galleries),
            section("Each image", each_image(evaluation)),
            section("How it was measured", conventions(evaluation)),
        ],
    )


def head(evaluation: Evaluation, title: str) -> str:
    small, large = (f"{height} × {width}" for height, width in evaluation.sizes)
    facts = {
        "Task": evaluation.task,
        "Images": images_text(evaluation),
        "Size, px (height × width)": small if small == large else f"{small} to {large}",
        "Features": evaluation.features or "none",
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return (
        f'<header><h1>{escape(title)}</h1><p class="verdict">{escape(evaluation.verdict)}</p>'
        f'<dl class="facts">{items}</dl></header>'
    )


def images_text(evaluation: Evaluation) -> str:
    """Return the number of images and their split, and for generators that of the real images."""
    if evaluation.real_images is None:
        return f"{evaluation.images:,} ({evaluation.split})"
    samples = counted(evaluation.images, "sample")
    return f"{samples} beside {counted(evaluation.real_images, 'real image')} ({evaluation.split})"


def notes(evaluation: Evaluation) -> str:
    items = "".join(
        f'<li class="panel note"><strong>Note</strong><span>{escape(n)}</span></li>' for n in evaluation.notes
    )
    return f'<ul class="findings">{items}</ul>' if items else ""


def means(evaluation: Evaluation) -> str:
    """Return the table of means of every model and baseline; the best of each column is in bold."""
    subjects = [*evaluation.models, *evaluation.baselines]
    metrics = evaluation.metrics
    if not metrics:
        return ""
    rows = []
    for subject in subjects:
        cells = []
        for metric in metrics:
            figure = subject.metrics.get(metric.key)
            values = [s.metrics[metric.key].mean for s in subjects if metric.key in s.metrics]
            best = min(values) if metric.lower_is_better else max(values)
            cells.append(cell(figure, metric, best=figure is not None and figure.mean == best))
        rows.append((subject.name, cells))
    for key, values in evaluation.real.items():
        mean = float(np.nanmean(values))
        rows.append(
            (
                "real images",
                [f"<td{RIGHT}>{mean:.{m.digits}f}</td>" if m.key == key else EMPTY for m in metrics],
            )
        )
    heads = [f"{m.heading}<small>{'lower' if m.lower_is_better else 'higher'} is better</small>" for m in metrics]
    caption = f"Means over {counted(evaluation.images, 'image')}, with 95 % bootstrap intervals below."
    return table("Means over images", "Model or baseline", heads, rows) + quiet(caption)


def mask_ratio_groups(evaluation: Evaluation) -> str:
    """Return the table of every model and baseline by mask ratio; the best of a group is in bold."""
    rows = []
    for group in evaluation.mask_ratio_groups:
        for name, figures in group.figures.items():
            cells = [f"<td>{escape(name)}</td>"]
            for metric in METRICS:
                values = [other[metric.key].mean for other in group.figures.values() if metric.key in other]
                figure = figures.get(metric.key)
                best = figure is not None and figure.mean == (min if metric.lower_is_better else max)(values)
                cells.append(cell(figure, metric, best=best))
            rows.append((f"{group.heading}, {counted(group.images, 'image')}", cells))
    if not rows:
        return ""
    caption = (
        "Groups of images by mask ratio, over the first number and up to the second. Means over the images of a "
        "group, with 95 % bootstrap intervals below. PSNR and SSIM are of whole images, with the unmasked pixels put "
        "back."
    )
    heads = ["Model or baseline", *(metric.heading for metric in METRICS)]
    return table("By mask ratio", "Mask ratio", heads, rows, words=("Model or baseline",)) + quiet(caption)


def tests(evaluation: Evaluation) -> str:
    if not evaluation.tests:
        return ""
    several = len(evaluation.models) > 1
    between = "Between" if several else "Against"
    rows = []
    for test in evaluation.tests:
        metric = metric_named(test.metric)
        difference = scaled(Figure(test.difference, test.low, test.high), metric)
        better = f"<strong>{escape(test.better)}</strong> better" if test.better else test.conclusion
        rows.append(
            (
                metric.heading,
                [
                    f"<td>{escape(f'{test.first} − {test.second}' if several else test.second)}</td>",
                    cell(difference, metric),
                    f"<td{RIGHT}>{p_text(test.p)}</td>",
                    f"<td>{better}</td>",
                ],
            )
        )
    heads = [between, "Difference", "p", "Verdict"]
    paired = all(test.paired for test in evaluation.tests)
    title = "Paired tests" if paired else "Unpaired tests"
    return table(title, "Metric", heads, rows, words=(between, "Verdict")) + quiet(PAIRED if paired else UNPAIRED)


_SIGNIFICANCE = (
    ", corrected after Holm for the number of pairs per metric. A difference is significant if p is below 0.05."
)
PAIRED = (
    "p: probability of a difference at least as large if the outputs for each image were swapped at random between "
    "the two (for values of images: if the sign of each difference were flipped at random)" + _SIGNIFICANCE
)
UNPAIRED = (
    "The samples of two generators are not paired, also where their seeds are equal. p: probability of a difference "
    "at least as large if all samples were divided between the two at random" + _SIGNIFICANCE
)


def sets(evaluation: Evaluation) -> str:
    columns = set_columns(evaluation)
    if not columns:
        return ""
    rows = [
        (name, [f"<td{RIGHT}>{escape(cells.get(name, '–'))}</td>" for _, cells in columns])
        for name in set_names(evaluation)
    ]
    return table("Sets of images", "Outputs of", [escape(heading) for heading, _ in columns], rows) + quiet(
        " ".join(sets_sentences(evaluation))
    )


def sets_sentences(evaluation: Evaluation) -> Iterator[str]:
    """Say what the columns of the table of sets mean."""
    if evaluation.features:
        yield (
            f"Computed from the pooled features of {evaluation.features}; not comparable with values of other "
            "networks. Kernel distance: squared maximum mean discrepancy to the real images, 0 on average for two "
            "samples of one distribution. The real-vs-real baseline is the distance between halves of the real "
            "images; a distance within it cannot be told from 0 with this number of images. Precision: share of the "
            "outputs among the real images. Recall: share of the real images among the outputs. Diversity: 1 = as "
            "varied as the real images."
        )
    if any(each.density is not None for each in set_metrics_of(evaluation)):
        yield (
            "Density: number of neighbourhoods of real images that a sample is in, 1 = as a real image. Coverage: "
            "share of the real images with a sample in their neighbourhood; 0.97 for as many other real images."
        )
    if any(subject.pixel_diversity is not None for subject in evaluation.models):
        yield "Diversity of pixels: the same as diversity, of reduced images instead of features."
    if found := next((subject.path_length for subject in evaluation.models if subject.path_length), None):
        yield (
            f"Path length: perceptual path length by {found.distance}, for steps of 0.0001 at the start of "
            f"{counted(found.pairs, 'path')}, without outliers. z: between latents; w: between styles."
        )
    if any(each.own_source_share is not None for each in set_metrics_of(evaluation)):
        yield "Own source: share of the outputs whose nearest input is their own source."
    if evaluation.mask_ratios:
        yield "Untranslated inputs: masked pixels are gray."


def set_metrics_of(evaluation: Evaluation) -> list[SetMetrics]:
    return [subject.set_metrics for subject in evaluation.models if subject.set_metrics]


def set_names(evaluation: Evaluation) -> list[str]:
    subjects = (*evaluation.models, *evaluation.baselines)
    names = [*(subject.name for subject in subjects), *([UNTRANSLATED] if evaluation.inputs else [])]
    return [*names, *([REAL_VS_REAL] if evaluation.real_vs_real else [])]


def set_columns(evaluation: Evaluation) -> list[tuple[str, dict[str, str]]]:
    """Return (heading, text by row) for each metric of sets of images; leave out columns without any value."""
    subjects = (*evaluation.models, *evaluation.baselines)
    found: dict[str, SetMetrics] = {s.name: s.set_metrics for s in subjects if s.set_metrics}
    if evaluation.inputs:
        found[UNTRANSLATED] = evaluation.inputs
    kernel = {name: text(scaled(one.kernel_distance, KERNEL_DISTANCE), 1) for name, one in found.items()}
    if evaluation.real_vs_real:
        kernel[REAL_VS_REAL] = text(scaled(evaluation.real_vs_real, KERNEL_DISTANCE), 1)
    lengths = {s.name: s.path_length for s in subjects if s.path_length}

    def column(values: Mapping[str, float | None], form: str = ".2f") -> dict[str, str]:
        return {name: format(value, form) for name, value in values.items() if value is not None}

    columns = [
        ("Kernel distance ×10³ ↓", kernel),
        ("Precision ↑", column({name: one.precision for name, one in found.items()})),
        ("Recall ↑", column({name: one.recall for name, one in found.items()})),
        ("Density ↑", column({name: one.density for name, one in found.items()})),
        ("Coverage ↑", column({name: one.coverage for name, one in found.items()})),
        ("Diversity", column({name: one.diversity for name, one in found.items()})),
        ("Diversity of pixels", column({s.name: s.pixel_diversity for s in subjects})),
        ("Fréchet distance ↓", column({name: one.frechet_distance for name, one in found.items()}, ".1f")),
        ("Own source ↑", column({name: one.own_source_share for name, one in found.items()}, ".0%")),
        (
            "Path length ↓",
            {
                name: f"{text(one.value, 1 if one.value.mean >= 10 else 3)} ({one.space})"
                for name, one in lengths.items()
            },
        ),
    ]
    return [(heading, cells) for heading, cells in columns if cells]


def inception(evaluation: Evaluation) -> str:
    subjects = (*evaluation.models, *evaluation.baselines)
    values = {subject.name: subject.inception for subject in subjects if subject.inception}
    if not values:
        return ""

    def row(name: str, found: InceptionValues) -> tuple[str, list[str]]:
        score = f"{found.inception_score:.2f} ± {found.inception_score_deviation:.2f}"
        frechet = f"{found.fid:.1f}" if found.fid is not None else "–"
        return name, [
            cell(scaled(found.kid, KERNEL_DISTANCE), KERNEL_DISTANCE),
            *(f"<td{RIGHT}>{x}</td>" for x in (frechet, score)),
        ]

    first = next(iter(values.values()))
    rows = [row(name, found) for name, found in values.items()]
    rows += [
        (name, [cell(scaled(figure, KERNEL_DISTANCE), KERNEL_DISTANCE), EMPTY, EMPTY])
        for name, figure in ((UNTRANSLATED, first.kid_untranslated), (REAL_VS_REAL, first.kid_real_vs_real))
        if figure is not None
    ]
    return table("Inception", "Outputs of", ["KID ×10³", "FID", "Inception Score"], rows)


def memorization(evaluation: Evaluation) -> str:
    sentences = []
    for subject in evaluation.models:
        if subject.memorization:
            sentences.append(f"<p>{escape(memorization_sentence(subject))}</p>")
    return f'<div class="panel">{"".join(sentences)}</div>' if sentences else ""


def memorization_sentence(subject: Subject) -> str:
    assert subject.memorization is not None
    ratio, searched = subject.memorization.ratio, subject.memorization.searched
    meaning = (
        "outputs are nearer to training images than real images are: look at the pairs below"
        if ratio < 0.5
        else "no sign of memorization"
    )
    return (
        f"{subject.name}: the nearest of {searched:,} training images is {ratio:.2f} times as far from an output as "
        f"from a held-out real image (medians): {meaning}."
    )


def each_image(evaluation: Evaluation) -> str:
    headings, rows = table_of_images(evaluation)
    if len(headings) == 1:  # only names
        return ""
    shown = [
        (str(name), [f"<td{RIGHT}>{escape(c if isinstance(c, str) else f'{c:.4g}')}</td>" for c in cells])
        for name, *cells in rows[:MOST_ROWS]
    ]
    more = quiet(f"The first {MOST_ROWS} of {len(rows):,}; the CSV file has all.") if len(rows) > MOST_ROWS else ""
    return table("Each image", "Image", [escape(heading) for heading in headings[1:]], shown) + more


def conventions(evaluation: Evaluation) -> str:
    items = "".join(f"<dt>{escape(m.heading)}</dt><dd>{escape(m.convention)}</dd>" for m in evaluation.metrics)
    facts = {
        "Data": f"{evaluation.data}, split {evaluation.split}",
        **({"Masks": evaluation.mask_source} if evaluation.mask_source else {}),
        "Mode of the networks": evaluation.mode,
        **({} if evaluation.is_of_generators else {"Left out at each side": f"{evaluation.crop_px} px"}),
    }
    items += "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f'<dl class="how panel">{items}</dl>'


def figure(gallery: Gallery) -> str:
    return embedded(gallery.pixels, gallery.heading, gallery.caption)


EMPTY = f"<td{RIGHT}>–</td>"


def cell(figure: Figure | None, metric: Metric, *, best: bool = False) -> str:
    if figure is None:
        return EMPTY
    ends = interval_ends(figure.low, figure.high, metric.digits)
    interval = f"<small>{' to '.join(ends)}</small>" if ends else ""
    return f'<td class="right{" best" if best else ""}">{figure.mean:.{metric.digits}f}{interval}</td>'


def text(figure: Figure | None, digits: int) -> str:
    if figure is None:
        return "–"
    ends = interval_ends(figure.low, figure.high, digits)
    return f"{figure.mean:.{digits}f}" + (f" [{', '.join(ends)}]" if ends else "")


def scaled(figure: Figure, metric: Metric) -> Figure:
    """Multiply a value and its interval by the scale of the metric, to show them."""
    return Figure(metric.scale * figure.mean, metric.scale * figure.low, metric.scale * figure.high)


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def quiet(sentence: str) -> str:
    return f'<p class="quiet">{escape(sentence)}</p>'
