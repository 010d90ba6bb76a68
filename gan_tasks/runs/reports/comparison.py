"""Write one page about several runs: what they reached, the options that differ, their curves and latest samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import printable
from gan_tasks.runs.checkpoint import write_atomically
from gan_tasks.runs.json_file import described_by
from gan_tasks.runs.reports import charts as curves
from gan_tasks.runs.reports.charts import Chart, Line
from gan_tasks.runs.reports.html import IMAGE_WIDTH_PX, page, section, table
from gan_tasks.runs.reports.report import Run, chart_list, facts, figure, read_content, sample_caption

OPTIONS = ("task_config", "train_config")
UNIMPORTANT = ("quiet", "workers")
"""Options that do not change a result."""


def write_comparison(runs: Sequence[Path], out: Path) -> Path:
    """Write the page and return its path. It may be called during the trainings.

    Raises UserError if one of the folders has no journal, or one of its JSON files is damaged.
    """
    contents = [read_content(run) for run in runs]
    named = dict(zip(distinct_names(runs), contents, strict=True))
    with described_by(*(run / name for run in runs for name in ("config.json", "journal.jsonl"))):
        sections = [
            f"<header><h1>{escape(' · '.join(named))}</h1></header>",
            section("Results so far", facts_table(named)),
            section("Options that differ", options_table(named)),
            section("Curves", f'<div class="charts">{"".join(map(curves.draw, common_charts(named)))}</div>'),
            *(section(f"Latest samples of {name}", latest_samples(run)) for name, run in named.items()),
        ]
        text = printable(page("Comparison of runs", sections))
    write_atomically(out, text.encode())
    return out


def distinct_names(runs: Sequence[Path]) -> list[str]:
    """Return the names of the folders, with as many parents as they need to differ."""
    parts = [run.resolve().parts for run in runs]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]


def facts_table(runs: Mapping[str, Run]) -> str:
    found = {
        name: {"Task": str(run.config.get("task", "")), **dict(facts(run.journal))} for name, run in runs.items()
    }
    heads = list(dict.fromkeys(head for row in found.values() for head in row))
    return cells_table("Results so far", heads, found, words=("Task",))


def options_table(runs: Mapping[str, Run]) -> str:
    """Return a table of the options whose values differ, one row per run; the empty string if all are equal."""
    options = {
        name: dict(leaf for part in OPTIONS for leaf in leaves(run.config.get(part, {})))
        for name, run in runs.items()
    }
    keys = list(dict.fromkeys(key for row in options.values() for key in row if key not in UNIMPORTANT))
    differ = [key for key in keys if len({row.get(key) for row in options.values()}) > 1]
    heads = {key: f"--{key.rsplit('.', 1)[-1].replace('_', '-')}" for key in differ}
    rows = {name: {heads[key]: row[key] for key in differ if key in row} for name, row in options.items()}
    columns = list(dict.fromkeys(heads.values()))
    return cells_table("Options that differ", columns, rows, words=columns) if differ else ""


def cells_table(label: str, heads: Sequence[str], rows: Mapping[str, Mapping[str, str]], words: Sequence[str]) -> str:
    def cell(head: str, text: str) -> str:
        return f"<td>{escape(text)}</td>" if head in words else f'<td class="right">{escape(text)}</td>'

    filled = [(name, [cell(head, row.get(head, "–")) for head in heads]) for name, row in rows.items()]
    escaped = [escape(head) for head in heads]
    return table(label, "Run", escaped, filled, words=[escape(word) for word in words])


def leaves(value: Any, route: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value of nested objects as text, with its route, such as "optimisation.lr"."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{route}.{key}" if route else key)
    else:
        yield route, str(value)


def common_charts(runs: Mapping[str, Run]) -> Iterator[Chart]:
    """Yield a chart of each curve that any of the runs has, with one line per run, in the order of the report."""
    charts: dict[str, dict[str, Chart]] = {}
    lines: dict[tuple[str, str], list[Line]] = {}
    for name, run in runs.items():
        for chart in chart_list(run.journal):
            for line in chart.lines:
                if len(line.values):
                    charts.setdefault(chart.title, {})[line.label] = chart
                    lines.setdefault((chart.title, line.label), []).append(replace(line, label=name))
    for title, of_label in charts.items():
        for label, chart in of_label.items():
            yield replace(chart, title=f"{title}: {label}" if len(of_label) > 1 else title, lines=lines[title, label])


def latest_samples(run: Run) -> str:
    if not run.samples:
        return ""
    images_at = {line["step"]: line["images"] for line in run.journal}
    return figure(run.samples[-1], IMAGE_WIDTH_PX, "Latest samples", sample_caption(run.samples[-1], images_at))
