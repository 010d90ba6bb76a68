"""Say something to the person on stderr, which may be gone while the work goes on."""

import os
import sys
from pathlib import Path


def say(sentence: str) -> None:
    """Print to stderr. If that is a closed terminal or a pipe that nobody reads any more, go on without a word.

    Ctrl-C in `gan-tasks train … 2>&1 | tee log` also ends `tee`.
    """
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        _silence()


def silence_if_gone() -> None:
    """Drop what is printed to stderr from now on if it is a closed terminal."""
    try:
        os.write(2, b"")
    except OSError:
        _silence()


def _silence() -> None:
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
