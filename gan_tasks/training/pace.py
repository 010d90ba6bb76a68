"""Repeat an action by time, at a bounded cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

LARGEST_SHARE = 0.05
"""The largest share of the time that a repeated action may take."""


class Pace:
    """Says when a repeated action is due: `every_s` after its last end, and later if the action takes long.

    An action that takes 6 s is due again after two minutes, so that it takes at most LARGEST_SHARE of the time.

    Args:
        every_s: seconds between two actions; 0 = never due.
        first_s: seconds until the first one, if that is sooner.
    """

    def __init__(self, every_s: float, *, first_s: float | None = None) -> None:
        self.every_s = every_s
        self.wait_s = every_s if first_s is None else min(first_s, every_s)
        self.ended_s = monotonic()

    def is_due(self) -> bool:
        return self.every_s > 0 and monotonic() - self.ended_s >= self.wait_s

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure an action, which also counts if it fails."""
        started_s = monotonic()
        try:
            yield
        finally:
            self.ended_s = monotonic()
            self.wait_s = max(self.every_s, (self.ended_s - started_s) / LARGEST_SHARE)
