"""What was measured of a model: tables of figures with their intervals, and goals; as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gan_tasks.datasets.images.atomic import write_bytes
from gan_tasks.export.evaluation.result import Figure, for_json, summarise
from gan_tasks.export.evaluation.significance import paired_test

Values = Sequence[float]
"""A value for each image. nan: the image has none."""
NO_FIGURE = Figure(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Column:
    """A column of figures: its heading, with the unit, and the digits after the decimal point."""

    heading: str
    digits: int = 2
    is_gain: bool = False
    """Whether its figures are differences, which are written with their sign."""

    def text(self, figure: Figure | None) -> str:
        """Return a figure with its 95 % interval, such as "31.20 (30.10 to 32.40)"."""
        if figure is None:
            return ""
        mean, low, high = (self.number(value) for value in (figure.mean, figure.low, figure.high))
        return mean if low == high else f"{mean} ({low} to {high})"

    def number(self, value: float) -> str:
        if not np.isfinite(value):
            return "∞" if value > 0 else "–"
        text = f"{value:{'+' if self.is_gain else ''}.{self.digits}f}"
        return text.replace("-", "−")


@dataclass(frozen=True)
class Row:
    """A row of a table: what was measured on, and a figure for each column."""

    name: str
    figures: tuple[Figure | None, ...]


@dataclass(frozen=True)
class Table:
    """A table of figures. note: conventions, in sentences."""

    title: str
    first_heading: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""

    def markdown(self) -> str:
        heads = [self.first_heading, *(column.heading for column in self.columns)]
        lines = [f"| {' | '.join(heads)} |", f"|---{'|---:' * len(self.columns)}|"]
        for row in self.rows:
            cells = [column.text(figure) for column, figure in zip(self.columns, row.figures, strict=True)]
            lines.append(f"| {' | '.join([row.name, *cells])} |")
        parts = [f"**{self.title}**", "\n".join(lines), self.note]
        return "\n\n".join(part for part in parts if part)


@dataclass(frozen=True)
class Goal:
    """What a model should reach, what it does, and whether that is enough."""

    aim: str
    found: str
    is_met: bool

    def markdown(self) -> str:
        return f"- {self.aim}: {'met' if self.is_met else 'not met'}, {self.found}."


@dataclass(frozen=True)
class Results:
    """All that was measured of a model. version: the digest of its weights. command: the options of the script."""

    name: str
    version: str
    command: str
    tables: tuple[Table, ...]
    goals: tuple[Goal, ...]

    def markdown(self) -> str:
        """Return the figures and the goals as Markdown without headings."""
        goals = "\n".join(goal.markdown() for goal in self.goals)
        intervals = "In parentheses are 95 % intervals over the images."
        command = f"```text\n{self.command}\n```"
        parts = (*(table.markdown() for table in self.tables), intervals, goals, "Measured by", command)
        return "\n\n".join(part for part in parts if part)

    def write(self, folder: Path) -> None:
        """Write NAME.json and NAME.md into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(for_json(asdict(self)), indent=1, ensure_ascii=False)
        write_bytes(folder / f"{self.name}.json", content.encode())
        write_bytes(folder / f"{self.name}.md", f"{self.markdown()}\n".encode())


def read_results(path: Path) -> Results:
    """Read what `Results.write` wrote as JSON."""
    from pydantic import TypeAdapter

    return TypeAdapter(Results).validate_json(path.read_bytes())


def mean(values: Values) -> Figure:
    """Return the mean and its bootstrap interval over the images that have a value; nan without any."""
    return summarise(list(values)) if not np.isnan(values).all() else NO_FIGURE


def gain(values: Values, baseline: Values) -> Figure:
    """Return the mean of values − baseline of the same images, with its bootstrap interval.

    Images without finite values of both are left out.
    """
    test = paired_test(np.asarray(values, np.float64), np.asarray(baseline, np.float64))
    if test is None:
        return NO_FIGURE
    return Figure(test.difference, test.low, test.high)


def at_least(aim: str, figure: Figure, wanted: float, *, is_gain: bool = False) -> Goal:
    """Return the goal that the mean of a figure is at least `wanted` dB."""
    return Goal(aim, f"{Column('', is_gain=is_gain).text(figure)} dB", figure.mean >= wanted)
