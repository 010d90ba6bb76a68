"""Curves as inline SVG: a smoothed line over the faint raw one, with axes, a legend and a text alternative.

Colours come from the page's style: line k has the class `line-k`, for k from 0 to 7 and round again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH, HEIGHT = 340, 214  # of the drawing; the page scales it to its column
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 24, 40  # margins for tick labels and axis titles
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
COLOURS = 8
LOG_SCALE_SPREAD = 100  # largest over smallest value from which a linear axis would hide the small ones
SMOOTHING_SHARE = 25  # the moving average spans 1/25 of the curve
MOST_POINTS = 400  # more than the drawing has pixels is only weight
TINY = 1e-30  # stands for zero on a log scale
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Line:
    """One curve: `images` and `values` float64 of shape (points,), and where known its interval.

    A `noisy` curve is shown smoothed over its faint raw self.
    """

    label: str
    images: Array
    values: Array
    low: Array | None = None
    high: Array | None = None
    noisy: bool = True


@dataclass(frozen=True)
class Chart:
    """Lines that share one y axis. `unit` is that axis's title; `y_range` fixes its ends."""

    title: str
    unit: str
    lines: Sequence[Line]
    y_range: tuple[float, float] | None = None


def draw(chart: Chart) -> str:
    """An HTML `<figure>` with a heading, the drawing and a legend; non-finite points are left out.

    The empty string if no line has a finite point.
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
        f'aria-label="{escape(f"{chart.title} ({unit}) over training images: {changes}")}">'
        f'<text x="{LEFT}" y="13">{escape(unit)}</text>{plot.axes()}'
        # A nested svg cuts off what leaves the plot: spikes that would flatten everything else.
        f'<svg x="{LEFT}" y="{TOP}" width="{PLOT_WIDTH}" height="{PLOT_HEIGHT}">{drawn}</svg>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">training images</text>'
        f"</svg>{_legend(lines)}</figure>"
    )


def count_text(count: float) -> str:
    """1500 → "1.5k", 2000000 → "2M"."""
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:g}{suffix}"
    return f"{count:g}"


def number_text(value: float, digits: int = 3) -> str:
    """`digits` significant figures, very small and large ones with powers of ten: 0.0002 → "2×10⁻⁴"."""
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0 or 1e-3 <= abs(rounded) < 1e5:
        return f"{rounded:g}"
    mantissa, exponent = f"{rounded:e}".split("e")
    factor = "" if float(mantissa) == 1 else f"{float(mantissa):g}×"
    return f"{factor}10{str(int(exponent)).translate(SUPERSCRIPTS)}"


@dataclass(frozen=True)
class _Plot:
    """The plotting area: what its edges stand for. With `log`, y values are powers of ten."""

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
    """A centred moving average; at the ends over what there is. Short curves stay as they are."""
    count = len(line.values)
    reach = count // (2 * SMOOTHING_SHARE)
    if reach == 0 or not line.noisy:
        return line.values
    sums = np.concatenate([[0.0], np.cumsum(line.values)])  # a difference of sums, however wide the window
    first = np.maximum(np.arange(count) - reach, 0)
    after = np.minimum(np.arange(count) + reach + 1, count)
    means: Array = (sums[after] - sums[first]) / (after - first)
    return means


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    """At most about `MOST_POINTS` points: the least and the greatest of each stretch, so that spikes stay."""
    if len(x) <= MOST_POINTS:
        return x, y
    stretches = np.array_split(np.arange(len(x)), MOST_POINTS // 2)
    kept = np.sort([part[pick(y[part])] for part in stretches for pick in (np.argmin, np.argmax)])
    return x[kept], y[kept]


def _y_ends(lines: Sequence[Line]) -> tuple[float, float]:
    """Room for every smoothed line and interval, and for all but the wildest hundredth of the raw values."""
    raw = np.concatenate([line.values for line in lines])
    intervals = [end for line in lines for end in (line.low, line.high) if end is not None]
    seen = np.concatenate([*map(_smoothed, lines), *intervals, np.percentile(raw, (1, 99))])
    low, high = float(np.nanmin(seen)), float(np.nanmax(seen))
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return (low if low == 0 else low - room), high + room


def _round_numbers(low: float, high: float, most: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 × a power of ten between `low` and `high`, at most `most` + 1 of them."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * most >= (high - low) * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * index for index in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Whole exponents between `low` and `high`, at most six."""
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
