"""End a run of a network while it runs: because its time is over, or because nobody wants its result any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Check = Callable[[], None]
"""Raises a UserError if the run has to end. It is called several times a second, also from other threads."""

_check: ContextVar[Check] = ContextVar("check", default=lambda: None)


@contextmanager
def interrupted_by(check: Check) -> Iterator[None]:
    """Let `check` end what this thread runs inside the block, with the exception that it raises."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def current_check() -> Check:
    """Return the check of the block around, which never raises if there is none."""
    return _check.get()
