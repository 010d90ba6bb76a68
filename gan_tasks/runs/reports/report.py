"""Write `RUN/report.html`, a self-contained page with the options, the curves and the results of a run.

Curves are inline SVG and images are embedded. The page has no scripts and makes no requests. Text that comes from
files is escaped.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gan_tasks.datasets.errors import counted, printable
from gan_tasks.datasets.images import ImageError, fit_channels, read, to_float, to_uint8
from gan_tasks.metrics.catalogue import (
    KERNEL_DISTANCE,
    L1,
    LPIPS,
    MS_SSIM,
    MS_SSIM_Y,
    NIQE,
    PSNR,
    PSNR_Y,
    SSIM,
    SSIM_Y,
    Metric,
)
from gan_tasks.runs.checkpoint import write_atomically
from gan_tasks.runs.journal import read_journal, series
from gan_tasks.runs.json_file import described_by, read_object
from gan_tasks.runs.reports import charts as curves
from gan_tasks.runs.reports.charts import Chart, Line
from gan_tasks.runs.reports.diagnosis import COLOUR_SHIFT, Finding, diagnose, planned_images
from gan_tasks.runs.reports.html import IMAGE_WIDTH_PX, embedded, page, section

STRIP_LENGTH = 8  # number of earlier sample grids on the page
STRIP_WIDTH_PX = 480
LARGEST_IMAGE_PX = 20_000_000
"""Height × width of the largest image that is shown; sample grids are far smaller."""
MOST_EVENTS = 200
NETWORK_NAMES = {"g": "generator", "d": "discriminator"}
LEVEL_NAMES = {"good": "Good", "note": "Note", "warning": "Warning"}


METRICS = (L1, PSNR, SSIM, MS_SSIM, PSNR_Y, SSIM_Y, MS_SSIM_Y, LPIPS, NIQE, KERNEL_DISTANCE)


@dataclass(frozen=True)
class Run:
    """The content of a run folder. Missing parts are empty."""

    name: str
    config: Mapping[str, Any]
    journal: Sequence[Mapping[str, Any]]
    samples: Sequence[Path]
    evaluation: Mapping[str, Any]
    before_after: Path


def write_report(run: Path, *, out: Path | None = None, refresh_s: int = 0) -> Path:
    """Write the report of a run and return its path. It may be called during the training.

    Args:
        out: the file to write; by default `run/report.html`.
        refresh_s: for a running training: seconds after which an open browser loads the page again.

    It needs `journal.jsonl`. It also shows `config.json`, `samples/step-NNNNNNNN.png`, `evaluation.json` and
    `before-after.png` if they exist.

    Raises UserError if `run` has no journal or one of the JSON files is damaged.
    """
    report = out or run / "report.html"
    content = read_content(run)
    with described_by(run / "evaluation.json", run / "config.json", run / "journal.jsonl"):
        text = printable(_page(content, refresh_s))
    write_atomically(report, text.encode())
    return report


def read_content(run: Path) -> Run:
    """Read what a report shows. Raises UserError as `write_report` does."""
    return Run(
        name=run.resolve().name,
        config=read_object(run / "config.json"),
        journal=read_journal(run / "journal.jsonl"),
        samples=sorted((run / "samples").glob(f"step-{8 * '[0-9]'}.png")),
        evaluation=read_object(run / "evaluation.json"),
        before_after=run / "before-after.png",
    )


def _page(run: Run, refresh_s: int) -> str:
    findings = diagnose(run.journal, is_running=refresh_s > 0)
    title = " · ".join([str(run.config.get("task", "Training run")), run.name])
    sections = (
        _head(run, title, findings, is_running=refresh_s > 0),
        _before_after(run.before_after),
        section("Diagnosis", _findings(findings)),
        section("Held-out images", _evaluation(run.evaluation)),
        section("Curves", _charts(run.journal)),
        section("Samples", _samples(run)),
        section("Training", _how(run.config)),
        section("Events", _events(run.journal)),
        _config(run.config),
    )
    return page(title, sections, refresh_s=refresh_s)


# --- The top of the page -----------------------------------------------------------------------------------


def _head(run: Run, title: str, findings: Sequence[Finding], *, is_running: bool) -> str:
    items = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts(run.journal))
    verdict = _running(run) if is_running else _verdict(run, findings)
    return (
        f'<header><h1>{escape(title)}</h1><p class="verdict">{escape(verdict)}</p>'
        f'<dl class="facts">{items}</dl></header>'
    )


def _verdict(run: Run, findings: Sequence[Finding]) -> str:
    """Return the verdict of the evaluation, or a summary of the warnings if the run was not evaluated."""
    if verdict := run.evaluation.get("verdict"):
        return str(verdict)
    warnings = sum(finding.level == "warning" for finding in findings)
    if warnings:
        return f"Not evaluated yet. The curves give {counted(warnings, 'warning')}."
    return "Not evaluated yet. The curves give no warning."


def _running(run: Run) -> str:
    planned = planned_images(run.journal)
    trained = run.journal[-1]["images"] if run.journal else 0
    share = f" of {planned:,} ({trained / planned:.0%})" if planned else ""
    return f"The training is running: image {trained:,}{share}. This page refreshes itself."


def facts(journal: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """Yield what a run reached so far, as (name, text)."""
    if not journal:
        return
    seconds = _seconds_trained(journal)
    images = journal[-1]["images"]
    yield "Training images", f"{images:,}"
    yield "Training time", _duration_text(seconds)
    _, speeds = series(journal, "speed/images_per_second")
    if len(speeds):
        yield "Speed", f"{curves.number_text(float(np.median(speeds)))} images/s"
    for metric in METRICS:
        _, values = series(journal, f"val/{metric.key}")
        if len(values):
            best = float(np.nanmin(values) if metric.lower_is_better else np.nanmax(values))
            yield f"Best {metric.heading} (held-out)", _value_text(best, metric)


def _seconds_trained(journal: Sequence[Mapping[str, Any]]) -> float:
    """Return the time from the first line to the last, without the pauses before a run was resumed.

    A clock that was set back between two lines counts as no time.
    """
    gaps = (
        max(0.0, float(later["time"] - earlier["time"]))
        for earlier, later in pairwise(journal)
        if later.get("event") != "resumed"
    )
    return sum(gaps)


def _duration_text(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _before_after(path: Path) -> str:
    if not path.exists():
        return ""
    caption = "Held-out images: input, output and, if there is one, target."
    return f"<section>{figure(path, IMAGE_WIDTH_PX, 'Before and after', caption)}</section>"


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return '<p class="panel">No problems found.</p>'
    items = (
        f'<li class="panel {finding.level}"><strong>{LEVEL_NAMES[finding.level]}</strong>'
        f"<span>{_with_code(finding.sentence)}</span></li>"
        for finding in findings
    )
    return f'<ul class="findings">{"".join(items)}</ul>'


def _with_code(sentence: str) -> str:
    """Escape text for HTML. Text between backticks becomes code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(sentence))


# --- Metrics of held-out images -----------------------------------------------------------------------------


def _evaluation(evaluation: Mapping[str, Any]) -> str:
    """Return a table of the model and its baselines, with the best value of each column in bold."""
    rows = {"This model": evaluation.get("model", {}), **evaluation.get("baselines", {})}
    metrics = [m for m in METRICS if any(_mean(row.get(m.key)) is not None for row in rows.values())]
    if not metrics:
        return ""
    heads = "".join(
        f'<th scope="col" class="right">{metric.heading}'
        f"<small>{'lower' if metric.lower_is_better else 'higher'} is better</small></th>"
        for metric in metrics
    )
    body = "".join(
        f'<tr{_class("model" if index == 0 else "")}><th scope="row">{escape(name)}</th>'
        f"{''.join(_cell(row, metric, rows.values()) for metric in metrics)}</tr>"
        for index, (name, row) in enumerate(rows.items())
    )
    count = evaluation.get("images")
    caption = f'<p class="quiet">Evaluated on {counted(count, "image")} not used for training.</p>' if count else ""
    return (
        '<div class="panel scroll" tabindex="0" role="region" aria-label="Metrics of held-out images">'
        f'<table><thead><tr><th scope="col">Method</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
        f"{caption}"
    )


def _cell(row: Mapping[str, Any], metric: Metric, rows: Iterable[Mapping[str, Any]]) -> str:
    entry = row.get(metric.key)
    mean = _mean(entry)
    if mean is None:
        return '<td class="right">–</td>'
    means = [other for r in rows if (other := _mean(r.get(metric.key))) is not None]
    best = mean == (min(means) if metric.lower_is_better else max(means))
    interval = ""
    if isinstance(entry, Mapping) and "low" in entry and "high" in entry:
        low, high = (_value_text(entry[end], metric, unit=False) for end in ("low", "high"))
        interval = f"<small>{low} to {high}</small>" if low != high else ""
    return f"<td{_class('right best' if best else 'right')}>{_value_text(mean, metric)}{interval}</td>"


def _mean(entry: Any) -> float | None:
    """Return the mean of an entry such as `0.12` or `{"mean": 0.12, "low": …, "high": …}`; else None."""
    value = entry.get("mean") if isinstance(entry, Mapping) else entry
    return float(value) if isinstance(value, int | float) else None


def _value_text(value: float, metric: Metric, unit: bool = True) -> str:
    value *= metric.scale
    if metric.unit == "dB":
        return f"{value:.2f} dB" if unit else f"{value:.2f}"
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


# --- Curves ------------------------------------------------------------------------------------------------


def _charts(journal: Sequence[Mapping[str, Any]]) -> str:
    drawn = "".join(curves.draw(chart) for chart in chart_list(journal))
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def chart_list(journal: Sequence[Mapping[str, Any]]) -> list[Chart]:
    keys = list(dict.fromkeys(key for line in journal for key in line if "event" not in line))
    accuracies = [key for key in keys if key.startswith("d/") and key.endswith("_accuracy")]
    adaptive = [key for key in keys if key.startswith("d/") and key.endswith(("_probability", "sign_statistic"))]
    g_losses = _losses([key for key in keys if key.startswith("g/")])
    d_losses = _losses([key for key in keys if key.startswith("d/") and key not in (*accuracies, *adaptive)])
    return [
        Chart("Generator losses", "weighted loss", [_line(journal, key) for key in g_losses]),
        Chart("Discriminator losses", "weighted loss", [_line(journal, key) for key in d_losses]),
        Chart(
            "Discriminator accuracy",
            "% correct (50 = chance)",
            [_line(journal, key, scale=100, drop="_accuracy") for key in accuracies],
            y_range=(0, 100),
        ),
        Chart(
            "Adaptive augmentation",
            "probability, and mean sign of the logits of real images",
            [_line(journal, key) for key in adaptive],
            y_range=(-1, 1),
        ),
        *(_metric_chart(journal, metric) for metric in METRICS),
        Chart("Diversity of the outputs", "1 = that of the targets", [_line(journal, "outputs/diversity")]),
        Chart("Diversity of the samples", "1 = that of real images", [_line(journal, "samples/diversity")]),
        Chart(
            "Colours of the outputs",
            "mean minus that of the targets, levels of 255",
            [_line(journal, key, drop="_shift") for key in _by_channel(keys) if COLOUR_SHIFT.fullmatch(key)],
        ),
        Chart(
            "Contrast of the outputs",
            "1 = that of the targets",
            [_line(journal, key) for key in _by_channel(keys) if key.startswith("contrast/")],
        ),
        Chart("Gradient norms", "L2 norm", [_line(journal, key) for key in ("grad/g", "grad/d")]),
        Chart("Learning rates", "step size", [_line(journal, key, noisy=False) for key in ("lr/g", "lr/d")]),
    ]


def _by_channel(keys: Iterable[str]) -> list[str]:
    """Put blue, red and green first, as the colours of the lines are ordered, so that the red line is that of red."""
    order = ("blue", "red", "green")
    return sorted(keys, key=lambda key: next((place for place, name in enumerate(order) if name in key), len(order)))


def _losses(keys: Sequence[str]) -> Sequence[str]:
    """Return the keys to draw. A total of only one loss is left out, because it is the same curve."""
    return [key for key in keys if not key.endswith("/total")] if len(keys) == 2 else keys


def _line(
    journal: Sequence[Mapping[str, Any]], key: str, *, scale: float = 1, drop: str = "", noisy: bool = True
) -> Line:
    images, values = series(journal, key)
    name = key.split("/", 1)[1].removesuffix(drop)
    return Line(NETWORK_NAMES.get(name, name), images, values * scale, noisy=noisy)


def _metric_chart(journal: Sequence[Mapping[str, Any]], metric: Metric) -> Chart:
    images, values = series(journal, f"val/{metric.key}")
    _, low = series(journal, f"val/{metric.key}_low")
    _, high = series(journal, f"val/{metric.key}_high")
    has_interval = len(low) == len(high) == len(values)
    values, low, high = metric.scale * values, metric.scale * low, metric.scale * high
    line = Line(metric.key, images, values, low if has_interval else None, high if has_interval else None)
    return Chart(f"{metric.heading} of held-out images", metric.unit, [line])


# --- Images ------------------------------------------------------------------------------------------------


def _samples(run: Run) -> str:
    """Show the latest sample grid, and below it a strip of earlier ones, evenly spaced over the run."""
    if not run.samples:
        return ""
    *earlier, last = run.samples
    images_at = {line["step"]: line["images"] for line in run.journal}
    spread = np.linspace(0, len(earlier) - 1, min(STRIP_LENGTH, len(earlier))).round().astype(int)
    strip = "".join(
        figure(earlier[pick], STRIP_WIDTH_PX, "Samples", sample_caption(earlier[pick], images_at)) for pick in spread
    )
    scroller = (
        f'<div class="strip" tabindex="0" role="region" aria-label="Earlier samples">{strip}</div>' if strip else ""
    )
    latest = figure(last, IMAGE_WIDTH_PX, "Latest samples", sample_caption(last, images_at))
    return latest + scroller


def sample_caption(path: Path, images_at: Mapping[int, int]) -> str:
    step = int(path.stem.removeprefix("step-"))
    return f"Image {images_at[step]:,} (step {step:,})" if step in images_at else f"Step {step:,}"


def figure(path: Path, width_px: int, alt: str, caption: str) -> str:
    """Embed an image file. If the file is damaged or too large, return a message instead."""
    try:
        if not path.is_file():  # a pipe would never end
            raise ImageError(f"{path} is not a file")
        image = to_uint8(to_float(fit_channels(read(path, max_pixels=LARGEST_IMAGE_PX).pixels, 3)))
    except ImageError:
        return f'<p class="quiet">{escape(path.name)} could not be read.</p>'
    return embedded(image, alt, caption, width_px=width_px)


# --- Options and events ------------------------------------------------------------------------------------


def _how(config: Mapping[str, Any]) -> str:
    rows = [
        ("Task", escape(str(config.get("task", "")))),
        ("Data", escape(_pairs_text(config.get("data")))),
        ("Command", f"<code>{escape(str(config['command']))}</code>" if config.get("command") else ""),
        ("Hardware", escape(str(config.get("hardware", "")))),
        ("Versions", escape(_pairs_text(config.get("versions")))),
    ]
    items = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows if value)
    return f'<dl class="how panel">{items}</dl>' if items else ""


def _events(journal: Sequence[Mapping[str, Any]]) -> str:
    events = [line for line in journal if "event" in line]
    if not events:
        return ""
    rows = "".join(
        f'<tr><td class="time">{datetime.fromtimestamp(line["time"], tz=UTC):%Y-%m-%d %H:%M}</td>'
        f'<td class="right">{line["images"]:,}</td><td class="right">{line["step"]:,}</td>'
        f'<td>{escape(str(line["event"]))}</td><td class="details">{escape(_pairs_text(_details(line)))}</td></tr>'
        for line in events[-MOST_EVENTS:]
    )
    left_out = len(events) - MOST_EVENTS
    more = f'<p class="quiet">{left_out:,} earlier events are in journal.jsonl.</p>' if left_out > 0 else ""
    return (
        '<div class="panel scroll" tabindex="0" role="region" aria-label="Events"><table><thead><tr>'
        '<th scope="col">Time (UTC)</th><th scope="col" class="right">Image</th>'
        '<th scope="col" class="right">Step</th><th scope="col">Event</th><th scope="col">Details</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>{more}"
    )


def _details(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in ("step", "images", "time", "event")}


def _pairs_text(value: Any) -> str:
    """Format a flat mapping as "torch 2.13, numpy 2.4", and any other value as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "" if value is None else str(value)


def _config(config: Mapping[str, Any]) -> str:
    if not config:
        return ""
    text = json.dumps(config, indent=2, ensure_ascii=False)
    return (
        f"<section><details><summary><h2>Configuration</h2></summary>"
        f'<pre class="panel">{escape(text)}</pre></details></section>'
    )


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""
