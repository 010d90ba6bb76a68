"""Catch the signals that stop a training."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

from gan_tasks.stderr import silence_if_gone

ENOUGH = 3
"""The number of SIGINT that ends a step that hangs."""
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class CutShortError(BaseException):
    """A signal ended a wait in which nothing can be lost. No handler of errors takes it for one."""


@dataclass
class StopSignals:
    """The signals that were caught, oldest first. It is true if there is one."""

    caught: list[int] = field(default_factory=list)
    _cuts: bool = False

    def __bool__(self) -> bool:
        return bool(self.caught)

    def catch(self, number: int) -> None:
        self.caught.append(number)
        silence_if_gone()
        if self._cuts:
            self._cuts = False
            raise CutShortError
        if number == signal.SIGINT and self.caught.count(number) >= ENOUGH:
            raise KeyboardInterrupt

    @contextmanager
    def cutting_short(self, *, when: bool = True) -> Iterator[None]:
        """Raise CutShortError at a signal within the context, if `when`: nothing that happens in it is kept then."""
        self._cuts = when
        try:
            if when and self.caught:
                raise CutShortError
            yield
        finally:
            self._cuts = False


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Raise SystemExit at SIGTERM and SIGHUP, so that files are closed, while there is nothing to save.

    SIGINT raises KeyboardInterrupt anyway. Outside the main thread signals cannot be caught.
    """

    def end(number: int) -> NoReturn:
        silence_if_gone()
        raise SystemExit(128 + number)

    with _handled(end, [number for number in STOPPING if number != signal.SIGINT]):
        yield


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Collect SIGTERM, SIGINT and SIGHUP, so that the loop can save a checkpoint before it ends.

    Further signals do not disturb the save. Only the third SIGINT raises KeyboardInterrupt, for a step that hangs.
    Outside the main thread signals cannot be caught, and none is collected.
    """
    signals = StopSignals()
    with _handled(signals.catch, STOPPING):
        yield signals


@contextmanager
def _handled(handle: Callable[[int], object], numbers: list[int] | tuple[int, ...]) -> Iterator[None]:
    """Call a function with the number of each of these signals, in this process.

    Those that the caller of the program ignores, as `nohup` and `&` do, stay so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def handler(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:  # a process that is just forked has the handlers of its parent
            handle(number)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    caught = [number for number, was in before.items() if was is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])
