"""Exit codes, and messages to the person."""

from __future__ import annotations

import codecs
import io
import sys
from contextvars import ContextVar

from gan_tasks import stderr
from gan_tasks.datasets.errors import printable, visible

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
LONGEST_ERROR = 4_000
"""Characters that are shown of an error. Names in files and on the command line may have millions."""

_shows_details = ContextVar("shows_details", default=False)
"""Whether `--debug` is given."""


def set_up(*, debug: bool) -> None:
    """Show tracebacks only with `debug`, and never fail for a character that the terminal cannot show."""
    _shows_details.set(debug)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="escaped")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Escape characters that a stream cannot encode, and the bytes of names that are not UTF-8."""
    assert isinstance(error, UnicodeEncodeError)
    text = printable(error.object[error.start : error.end])
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error("escaped", _escaped)


def say_details(traceback: str) -> None:
    """Print the traceback of an error to stderr, with `--debug`."""
    if traceback and _shows_details.get():
        say(traceback)


def say(sentence: str) -> None:
    """Print to stderr, so that stdout holds only results."""
    stderr.say(sentence)


def say_error(sentence: object) -> None:
    """Print an error to stderr, without its middle if it is very long."""
    text = str(sentence)
    if len(text) > LONGEST_ERROR:
        text = f"{text[: LONGEST_ERROR // 2]} … {text[-LONGEST_ERROR // 2 :]}"
    say(f"error: {text}")


def print_line(line: str) -> None:
    """Print a line of a result to stdout. Names and metadata of files may be in it."""
    print(visible(line))
