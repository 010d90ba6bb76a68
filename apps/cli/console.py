"""Exit codes, and messages to the person."""

from __future__ import annotations

import sys

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def say(sentence: str) -> None:
    """Print to stderr, so that stdout holds only results."""
    print(sentence, file=sys.stderr)
