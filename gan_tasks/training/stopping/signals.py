"""Catch the signals that stop a training."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENOUGH = 3


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
