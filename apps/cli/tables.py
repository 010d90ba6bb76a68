"""Tables of results, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from textwrap import fill

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gan_tasks.apps.cli.machine import Package, Report
from gan_tasks.datasets.errors import counted, on_one_line
from gan_tasks.export.evaluation.mask_ratios import METRICS
from gan_tasks.export.evaluation.report import scaled, set_columns, set_names, text
from gan_tasks.export.evaluation.result import Evaluation, Figure
from gan_tasks.export.onnx.benchmark import Bench, Measured, speed_up
from gan_tasks.metrics.catalogue import Metric, metric_named

SHORTEST_NAME = 14
"""Characters of a name that must fit beside the numbers, or a table shows each row as a list."""


@dataclass(frozen=True)
class Columns:
    """A table of results. Names are shortened where the terminal is narrow, and values never."""

    title: str
    names: tuple[str, ...]
    """Headings of the columns of names."""
    values: tuple[str, ...]
    """Headings of the columns of values."""
    rows: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    """The names and the values of each row."""

    def add(self, *names: str, values: Iterable[str]) -> None:
        self.rows.append((tuple(map(on_one_line, names)), tuple(values)))


def fitted(columns: Columns, width: int) -> Table:
    """Return the table in at most `width` characters, if one value and its heading fit into them.

    Names are shortened. If they would become too short, intervals go below their values; if that is not enough, each
    row is shown as a list of its cells.
    """
    return in_columns(columns, width) or in_columns(with_intervals_below(columns), width) or listed(columns, width)


def with_intervals_below(columns: Columns) -> Columns:
    rows = [(names, tuple(value.replace(" [", "\n[") for value in values)) for names, values in columns.rows]
    return replace(columns, rows=rows)


def in_columns(columns: Columns, width: int) -> Table | None:
    """Return the table with a column for each heading; None if names would become too short."""
    of_values = [
        max(
            cell_len(text)
            for text in (*heading.split(), *(line for _, v in columns.rows for line in v[place].split("\n")))
        )
        for place, heading in enumerate(columns.values)
    ]
    of_names = [
        max(cell_len(text) for text in (heading, *(names[place] for names, _ in columns.rows)))
        for place, heading in enumerate(columns.names)
    ]
    left = width - sum(of_values) - 3 * (len(of_values) + len(of_names)) - 1  # without the borders
    while sum(of_names) > left and max(of_names) > SHORTEST_NAME:
        of_names[of_names.index(max(of_names))] -= 1
    if sum(of_names) > left:
        return None
    table = Table(title=Text(on_one_line(columns.title)), title_justify="left")
    for heading, size in zip(columns.names, of_names, strict=True):
        table.add_column(heading, width=size, no_wrap=True)
    for heading, size in zip(columns.values, of_values, strict=True):
        table.add_column(fill(heading, size), width=size, no_wrap=True, justify="right")
    for names, values in columns.rows:
        shown = (Text(shortened(name, size)) for name, size in zip(names, of_names, strict=True))
        table.add_row(*shown, *map(Text, values))
    return table


def listed(columns: Columns, width: int) -> Table:
    """Return the table with a line for each cell."""
    headings = (*columns.names, *columns.values)
    of_headings = max(map(cell_len, headings))
    left = width - of_headings - 7  # the borders
    table = Table(title=Text(on_one_line(columns.title)), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for names, values in columns.rows:
        for heading, cell in zip(headings, (*(shortened(name, left) for name in names), *values), strict=True):
            if cell != "–":
                table.add_row(heading, Text(cell))
        table.add_section()
    return table


def shortened(name: str, width: int) -> str:
    """Shorten a name in the middle, because names often differ at the end."""
    start, end = name[: (len(name) + 1) // 2], name[(len(name) + 1) // 2 :]
    if cell_len(name) <= width:
        return name
    while cell_len(start) + 1 + cell_len(end) > width and start:
        start, end = (start[:-1], end) if len(start) > len(end) else (start, end[1:])
    return f"{start}…{end}"


def print_evaluation(found: Evaluation) -> None:
    """Means, then what else was measured: by mask ratio, of sets of images, and tests of differences."""
    console = Console()
    tables = [table_of_means(found)] if found.metrics else []
    if found.mask_ratio_groups:
        tables.append(table_by_mask_ratio(found))
    if set_columns(found):
        tables.append(table_of_sets(found))
    if found.tests and len(found.models) > 1:
        tables.append(table_of_tests(found))
    for table in tables:
        console.print(fitted(table, console.width))


def table_of_means(found: Evaluation) -> Columns:
    of = f"{counted(found.images, 'image')} of {found.data} ({found.split})"
    title = f"{samples_text(found) if found.is_of_generators else of}: means with 95 % intervals"
    table = Columns(title, ("model or baseline",), tuple(map(heading_of, found.metrics)))
    for subject in (*found.models, *found.baselines):
        table.add(subject.name, values=(text(subject.metrics.get(m.key), m.digits) for m in found.metrics))
    return table


def samples_text(found: Evaluation) -> str:
    real = counted(found.real_images or 0, "real image")
    return f"{counted(found.images, 'sample')} beside {real} of {found.data} ({found.split})"


def heading_of(metric: Metric) -> str:
    return f"{metric.heading} {'↓' if metric.lower_is_better else '↑'}"


def table_by_mask_ratio(found: Evaluation) -> Columns:
    title = "By mask ratio, the share of an image that is masked"
    table = Columns(title, ("mask ratio", "images", "model or baseline"), tuple(map(heading_of, METRICS)))
    for group in found.mask_ratio_groups:
        for name, figures in group.figures.items():
            values = (text(figures.get(metric.key), metric.digits) for metric in METRICS)
            table.add(group.heading, str(group.images), name, values=values)
    return table


def table_of_sets(found: Evaluation) -> Columns:
    columns = set_columns(found)
    by = f"by the features of {found.features}" if found.features else "by their pixels"
    title = f"{samples_text(found) if found.is_of_generators else 'Sets of images'}, {by}"
    table = Columns(title, ("outputs of",), tuple(heading for heading, _ in columns))
    for name in set_names(found):
        table.add(name, values=(cells.get(name, "–") for _, cells in columns))
    return table


def table_of_tests(found: Evaluation) -> Columns:
    title = "Differences, first − second, with 95 % intervals; p by permutation, corrected for the number of pairs"
    table = Columns(title, ("metric", "first", "second", "better"), ("difference", "p"))
    for test in found.tests:
        metric = metric_named(test.metric)
        figure = scaled(Figure(test.difference, test.low, test.high), metric)
        names = metric.heading, test.first, test.second, test.conclusion
        table.add(*names, values=(text(figure, metric.digits), f"{test.p:.4f}"))
    return table


def table_of_bench(result: Bench, width: int) -> Table:
    height, across = result.size
    headings = ("load s", "median ms", "times as fast", "dB to float32")
    table = Columns(f"One image of {height}×{across} pixels", ("configuration",), headings)
    first = result.measured[0]
    for one in result.measured:
        if not one.problem:
            mark = "→" if one == result.chosen else " "
            table.add(f"{mark} {one.configuration}", values=bench_figures(one, first))
    return fitted(table, width)


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
