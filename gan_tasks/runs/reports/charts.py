"""Draw curves as inline SVG: raw and smoothed lines with axes, a legend and a text alternative.

The page's style sheet sets the colours. Line k has the class `line-(k mod 8)`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH, HEIGHT = 340, 214  # size of the drawing; the page scales it to the width of its column
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 24, 40  # margins for tick labels and axis titles
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
COLOURS = 8
LOG_SCALE_SPREAD = 100  # ratio of largest to smallest value above which the y axis is logarithmic
SMOOTHING_SHARE = 25  # the moving average spans 1/25 of the curve
MOST_POINTS = 400  # more points than the drawing has pixels would only make the file larger
TINY = 1e-30  # replaces zero on a logarithmic scale
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Line:
    """One curve. `images`, `values` and the interval `low` to `high`, if known, are float64 of shape (points,).

    A `noisy` curve is drawn twice: raw and pale, and smoothed on top.
    """

    label: str
    images: Array
    values: Array
    low: Array | None = None
    high: Array | None = None
    noisy: bool = True


@dataclass(frozen=True)
class Chart:
    """Lines with common axes. `unit` and `x_unit` are the titles of the axes. `y_range` sets the limits of y."""

    title: str
    unit: str
    lines: Sequence[Line]
    y_range: tuple[float, float] | None = None
    x_unit: str = "training images"


def draw(chart: Chart) -> str:
    """Return an HTML `<figure>` with a heading, the drawing and a legend. Non-finite points are left out.

    Returns the empty string if no line has a finite point.
    """
    lines = [finite for line in chart.lines if len((finite := _finite(line)).values)]
    if not lines:
        return ""
    log = chart.y_range is None and _wants_log_scale(lines)
    scaled = [_log10(line) for line in lines] if log else lines
    x_ends = 0.0, max(float(line.images.max()) for line in lines) or 1.0
    plot = _Plot(x_ends, chart.y_range or _y_ends(scaled), log)
    unit = f"{chart.unit}, log scale" if log else chart.unit
    drawn = "".join(plot.line(line, index % COLOURS) for index, line in enumerate(scaled))
    changes = "; ".join(
        f"{line.label} from {number_text(line.values[0])} to {number_text(line.values[-1])}" for line in lines
    )
    return (
        f'<figure class="chart panel"><h3>{escape(chart.title)}</h3>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{chart.title} ({unit}) over {chart.x_unit}: {changes}")}">'
        f'<text x="{LEFT}" y="13">{escape(unit)}</text>{plot.axes()}'
        # A nested svg clips the curves to the plot: spikes would otherwise leave it.
        f'<svg x="{LEFT}" y="{TOP}" width="{PLOT_WIDTH}" height="{PLOT_HEIGHT}">{drawn}</svg>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{escape(chart.x_unit)}</text>'
        f"</svg>{_legend(lines)}</figure>"
    )


def count_text(count: float) -> str:
    """Format a count: 1500 → "1.5k", 2000000 → "2M"."""
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:g}{suffix}"
    return f"{count:g}"


def number_text(value: float, digits: int = 3) -> str:
    """Format a number with `digits` significant figures, and a power of ten if needed: 0.0002 → "2×10⁻⁴"."""
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0 or 1e-3 <= abs(rounded) < 1e5:
        return f"{rounded:g}"
    mantissa, exponent = f"{rounded:e}".split("e")
    factor = "" if float(mantissa) == 1 else f"{float(mantissa):g}×"
    return f"{factor}10{str(int(exponent)).translate(SUPERSCRIPTS)}"


@dataclass(frozen=True)
class _Plot:
    """The plotting area. `x_ends` and `y_ends` are its limits. With `log`, y values are exponents of ten."""

    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    log: bool

    def x(self, images: Array) -> Array:
        return (images - self.x_ends[0]) / (self.x_ends[1] - self.x_ends[0]) * PLOT_WIDTH

    def y(self, values: Array) -> Array:
        return (self.y_ends[1] - values) / (self.y_ends[1] - self.y_ends[0]) * PLOT_HEIGHT

    def line(self, line: Line, colour: int) -> str:
        x, raw, smooth = self.x(line.images), self.y(line.values), self.y(_smoothed(line))
        shapes = []
        if line.low is not None and line.high is not None:
            low, high = self.y(line.low), self.y(line.high)
            outline = _points(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
            shapes.append(f'<polygon class="interval" points="{outline}"/>')
        if not np.array_equal(raw, smooth):
            shapes.append(f'<polyline class="raw" points="{_points(*_thinned(x, raw))}"/>')
        if len(x) == 1:
            shapes.append(f'<circle cx="{x[0]:.1f}" cy="{raw[0]:.1f}" r="3"/>')
        shown = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int))
        shapes.append(f'<polyline points="{_points(x[shown], smooth[shown])}"/>')
        return f'<g class="line-{colour}">{"".join(shapes)}</g>'

    def axes(self) -> str:
        y_ticks = _powers(*self.y_ends) if self.log else _round_numbers(*self.y_ends)
        parts = []
        for tick, y in zip(y_ticks, self.y(np.array(y_ticks)) + TOP, strict=True):
            text = number_text(10**tick if self.log else tick, digits=5)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
            )
        x_ticks = _round_numbers(*self.x_ends)
        for tick, x in zip(x_ticks, self.x(np.array(x_ticks)) + LEFT, strict=True):
            anchor = "middle" if x < WIDTH - RIGHT - 12 else "end"
            at = f'x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}"'
            parts.append(f'<text {at} text-anchor="{anchor}">{count_text(tick)}</text>')
        return "".join(parts)


def _finite(line: Line) -> Line:
    kept = np.isfinite(line.values)
    low = None if line.low is None else line.low[kept]
    high = None if line.high is None else line.high[kept]
    return replace(line, images=line.images[kept], values=line.values[kept], low=low, high=high)


def _wants_log_scale(lines: Sequence[Line]) -> bool:
    values = np.concatenate([line.values for line in lines])
    return bool(values.min() > 0 and values.max() > LOG_SCALE_SPREAD * values.min())


def _log10(line: Line) -> Line:
    low = None if line.low is None else np.log10(np.maximum(line.low, TINY))
    high = None if line.high is None else np.log10(np.maximum(line.high, TINY))
    return replace(line, values=np.log10(line.values), low=low, high=high)


def _smoothed(line: Line) -> Array:
    """Return a centred moving average, with a shorter window at both ends. Short curves are not smoothed."""
    count = len(line.values)
    radius = count // (2 * SMOOTHING_SHARE)
    if radius == 0 or not line.noisy:
        return line.values
    sums = np.concatenate([[0.0], np.cumsum(line.values)])  # the cost does not depend on the window
    first = np.maximum(np.arange(count) - radius, 0)
    after = np.minimum(np.arange(count) + radius + 1, count)
    means: Array = (sums[after] - sums[first]) / (after - first)
    return means


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    """Reduce a curve to about `MOST_POINTS` points: the minimum and the maximum of each segment, to keep spikes."""
    if len(x) <= MOST_POINTS:
        return x, y
    segments = np.array_split(np.arange(len(x)), MOST_POINTS // 2)
    kept = np.sort([part[pick(y[part])] for part in segments for pick in (np.argmin, np.argmax)])
    return x[kept], y[kept]


def _y_ends(lines: Sequence[Line]) -> tuple[float, float]:
    """Return y limits for all smoothed lines, all intervals and the 1st to 99th percentile of the raw values."""
    raw = np.concatenate([line.values for line in lines])
    intervals = [end for line in lines for end in (line.low, line.high) if end is not None]
    visible = np.concatenate([*map(_smoothed, lines), *intervals, np.percentile(raw, (1, 99))])
    low, high = float(np.nanmin(visible)), float(np.nanmax(visible))
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return (low if low == 0 else low - margin), high + margin


def _round_numbers(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most `most` + 1 tick values from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * most >= (high - low) * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * index for index in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Return at most six integer exponents between `low` and `high`."""
    exponents = range(math.ceil(low), math.floor(high) + 1)
    return [float(exponent) for exponent in exponents[:: 1 + len(exponents) // 6]]


def _points(x: Array, y: Array) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _legend(lines: Sequence[Line]) -> str:
    items = (
        f'<li class="line-{index % COLOURS}"><span class="swatch"></span>{escape(line.label)} '
        f'<span class="number">{number_text(_smoothed(line)[-1])}</span></li>'
        for index, line in enumerate(lines)
    )
    return f'<ul class="legend" aria-label="Lines and their last values">{"".join(items)}</ul>'
