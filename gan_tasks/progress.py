"""Show the progress of long operations on stderr, with the rate and the remaining time."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import IO, Protocol, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from gan_tasks.stderr import Listener, say

PATIENCE_S = 2.0  # operations that are shorter show no progress
PLAIN_INTERVAL_S = 10.0  # time between two lines in a log file


class Advance(Protocol):
    """The function that reports progress."""

    def __call__(self, n: int = 1, **shown: float | str) -> None:
        """Add `n` finished units, and show the values `shown` beside the bar, as in `advance(16, l1=0.21)`."""


@contextmanager
def track(total: int, description: str, unit: str, *, done: int = 0, quiet: bool = False) -> Iterator[Advance]:
    """Show progress over `total` units ("images", "files" …). The body calls the yielded `Advance`.

    On a terminal it is a live bar. Otherwise a plain line is printed at most every 10 s, and one at the end, also if
    the body fails. `done` units were finished earlier (a resumed run) and do not count for the rate. `quiet` shows
    nothing.

        with track(total_images, "Training", "images") as advance:
            for batch in batches:
                advance(len(batch), l1=loss)
    """
    console = Console(file=cast(IO[str], Listener(sys.stderr)))
    if quiet:
        yield _ignore
    elif console.is_terminal:
        with _bar(console, unit) as progress:
            task = progress.add_task(description, total=total, completed=done, shown="")

            def advance_bar(n: int = 1, **shown: float | str) -> None:
                progress.update(task, advance=n, shown=_shown_text(shown))

            yield advance_bar
    else:
        lines = _PlainLines(total, description, unit, done)
        try:
            yield lines.advance
        finally:
            lines.print()


@contextmanager
def reported(description: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show the progress of an operation that reports (done, total), such as a download, after two seconds."""
    start_s, shown_up_to = time.monotonic(), 0
    advance: Advance | None = None
    with ExitStack() as stack:

        def report(done: int, total: int | None) -> None:
            nonlocal advance, shown_up_to
            if time.monotonic() - start_s < PATIENCE_S:
                return
            if advance is None:
                advance = stack.enter_context(track(total or done, description, unit, done=done))
                shown_up_to = done
            advance(done - shown_up_to)
            shown_up_to = done

        yield report


def _ignore(n: int = 1, **shown: float | str) -> None:
    """Show nothing: an `Advance` for `quiet`."""


def _bar(console: Console, unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _RateColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}", markup=False, style="dim"),
        console=console,
        redirect_stdout=sys.stdout.isatty(),  # a piped stdout is data and must stay out of the bar
    )


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(_rate_text(task.finished_speed or task.speed, self.unit), style="progress.data.speed")


class _PlainLines:
    """Print progress as plain lines, if stderr is a file or a pipe."""

    def __init__(self, total: int, description: str, unit: str, done: int) -> None:
        self.total, self.description, self.unit = total, description, unit
        self.done, self.started_at = done, done
        self.start_s = self.printed_s = time.monotonic()
        self.shown = ""

    def advance(self, n: int = 1, **shown: float | str) -> None:
        self.done += n
        self.shown = _shown_text(shown)
        if time.monotonic() - self.printed_s >= PLAIN_INTERVAL_S:
            self.print()

    def print(self) -> None:
        self.printed_s = time.monotonic()
        elapsed_s = self.printed_s - self.start_s
        rate = (self.done - self.started_at) / elapsed_s if elapsed_s > 0 else 0.0
        parts = [f"{self.description}: {self.done}/{self.total} {self.unit}", _rate_text(rate, self.unit)]
        if rate > 0 and self.done < self.total:
            parts.append(f"{_duration_text((self.total - self.done) / rate)} left")
        else:
            parts.append(f"{_duration_text(elapsed_s)} taken")
        say(", ".join([*parts, self.shown] if self.shown else parts))


def _shown_text(shown: dict[str, float | str]) -> str:
    return "  ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()
    )


def _rate_text(rate: float | None, unit: str) -> str:
    if not rate:
        return f"– {unit}/s"
    return f"{rate:,.0f} {unit}/s" if rate >= 100 else f"{rate:.3g} {unit}/s"


def _duration_text(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
