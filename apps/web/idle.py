"""Memory that a server gives back to the system. Imports no web framework and no torch."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")

IDLE_S = 10.0
"""Without a job, after which memory is given back. Jobs in a row keep it, as fetching it again takes time."""

M_ARENA_MAX = -8
"""Of malloc.h."""


class IdleTimer:
    """Calls `then`, in a thread of its own, when no job has run for `seconds`."""

    def __init__(self, seconds: float, then: Callable[[], None]) -> None:
        self.seconds, self.then = seconds, then
        self._timer: threading.Timer | None = None

    def around(self, job: Callable[[], Made]) -> Made:
        """Run a job; the time counts from its end."""
        self.cancel()
        try:
            return job()
        finally:
            self._timer = threading.Timer(self.seconds, self.then)
            self._timer.daemon = True
            self._timer.start()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def limit_arenas(count: int) -> None:
    """Let all threads share so many heaps of the C library of GNU/Linux, where each may keep what it freed."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_ARENA_MAX, count)
