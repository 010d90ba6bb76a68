"""Say something to the person on stderr, which may be gone while the work goes on."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from gan_tasks.datasets.errors import visible

_GONE = (errno.EPIPE, errno.EIO, errno.ENXIO, errno.EBADF)
"""Errors of a stream that nobody reads any more. After others, such as a full disk, the next sentence may succeed."""


def say(sentence: str) -> None:
    """Print to stderr, with control characters escaped.

    If that is a closed terminal or a pipe that nobody reads any more, go on without a word.

    Ctrl-C in `gan-tasks train … 2>&1 | tee log` also ends `tee`.
    """
    with _going_on():
        print(visible(sentence), file=sys.stderr, flush=True)


class Listener:
    """A stream for a live display, which goes on when nobody is there any more, as `say` does."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with _going_on():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _going_on():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _going_on() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            _silence()


def silence_if_gone() -> None:
    """Drop what is printed to stderr from now on if it is a closed terminal."""
    with _going_on():
        os.write(2, b"")


def _silence() -> None:
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
