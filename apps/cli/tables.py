"""Tables of results, for the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gan_tasks.apps.cli.machine import Package, Report
from gan_tasks.export.evaluation.mask_ratios import METRICS
from gan_tasks.export.evaluation.report import scaled, set_columns, set_names, text
from gan_tasks.export.evaluation.result import Evaluation, Figure
from gan_tasks.export.onnx.benchmark import Bench, Measured, speed_up
from gan_tasks.metrics.catalogue import metric_named


def print_evaluation(found: Evaluation) -> None:
    """Means, then what else was measured: by mask ratio, of sets of images, and tests of differences."""
    console = Console()
    console.print(table_of_means(found))
    if found.mask_ratio_groups:
        console.print(table_by_mask_ratio(found))
    if found.features:
        console.print(table_of_sets(found))
    if len(found.models) > 1:
        console.print(table_of_tests(found))


def table_of_means(found: Evaluation) -> Table:
    title = f"{found.images} images of {found.data} ({found.split}): means with 95 % intervals"
    table = Table(title=title, title_justify="left")
    table.add_column("model or baseline")
    for metric in found.metrics:
        table.add_column(f"{metric.heading} {'↓' if metric.lower_is_better else '↑'}", justify="right")
    for subject in (*found.models, *found.baselines):
        metrics = subject.metrics
        table.add_row(subject.name, *(text(metrics.get(m.key), m.digits) for m in found.metrics))
    return table


def table_by_mask_ratio(found: Evaluation) -> Table:
    table = Table(title="By mask ratio, the share of an image that is masked", title_justify="left")
    for heading in ("mask ratio", "images", "model or baseline"):
        table.add_column(heading, justify="right" if heading == "images" else "left")
    for metric in METRICS:
        table.add_column(f"{metric.heading} {'↓' if metric.lower_is_better else '↑'}", justify="right")
    for group in found.mask_ratio_groups:
        for number, (name, figures) in enumerate(group.figures.items()):
            cells = [text(figures.get(metric.key), metric.digits) for metric in METRICS]
            table.add_row(*((group.heading, str(group.images)) if number == 0 else ("", "")), name, *cells)
        table.add_section()
    return table


def table_of_sets(found: Evaluation) -> Table:
    table = Table(title=f"Sets of images, by the features of {found.features}", title_justify="left")
    columns = set_columns(found)
    for heading in ("outputs of", *(heading for heading, _ in columns)):
        table.add_column(heading, justify="left" if heading == "outputs of" else "right")
    for name in set_names(found):
        table.add_row(name, *(cells.get(name, "–") for _, cells in columns))
    return table


def table_of_tests(found: Evaluation) -> Table:
    title = "Differences, first − second, with 95 % intervals; p by permutation, corrected for the number of pairs"
    table = Table(title=title, title_justify="left")
    for heading in ("metric", "first", "second", "difference", "p", "better"):
        table.add_column(heading, justify="right" if heading in ("difference", "p") else "left")
    for test in found.tests:
        metric = metric_named(test.metric)
        figure = scaled(Figure(test.difference, test.low, test.high), metric)
        cells = text(figure, metric.digits), f"{test.p:.4f}", test.conclusion
        table.add_row(metric.heading, test.first, test.second, *cells)
    return table


def table_of_bench(result: Bench) -> Table:
    height, width = result.size
    table = Table(title=f"One image of {height}×{width} pixels", title_justify="left")
    for heading in ("", "load s", "median ms", "times as fast", "dB to float32"):
        table.add_column(heading, justify="right" if heading else "left")
    first = result.measured[0]
    for one in result.measured:
        if not one.problem:
            mark = "→" if one == result.chosen else " "
            table.add_row(f"{mark} {one.configuration}", *bench_figures(one, first))
    return table


def bench_figures(one: Measured, first: Measured) -> tuple[str, str, str, str]:
    fidelity = "the same" if math.isinf(one.fidelity_db) and one.fidelity_db > 0 else f"{one.fidelity_db:.0f}"
    return f"{one.load_s:.2f}", f"{one.latency_s * 1000:.1f}", f"{speed_up(first, one):.2f}", fidelity


def table_of_machine(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("Python", report.python)
    table.add_row("gan-tasks", report.gan_tasks)
    for package in report.packages:
        table.add_row(package.name, escape(version_text(package)))
    for device in report.devices:
        table.add_row("device", escape(device))
    for name, reason in report.providers.items():
        table.add_row(f"provider {name}", escape(f"not here: {reason}") if reason else "ready")
    return table


def version_text(package: Package) -> str:
    if package.version:
        return package.version
    return f"not installed: pip install 'gan-tasks[{package.extra}]'" if package.extra else "not installed"
