"""Catch the signals that stop a training."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENOUGH = 3


@contextmanager
def ends_at_sigterm() -> Iterator[None]:
    """Raise SystemExit(143) at SIGTERM, for the time in which there is nothing to save, so that files are closed.

    SIGINT raises KeyboardInterrupt anyway. Outside the main thread signals cannot be caught.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT, so that the loop can save a checkpoint before it ends.

    Further signals do not disturb the save. Only the third SIGINT raises KeyboardInterrupt, for a step that hangs.
    Outside the main thread signals cannot be caught, and the list stays empty.
    """
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if number == signal.SIGINT and caught.count(number) >= ENOUGH:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, catch) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
