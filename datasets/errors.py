"""Errors in a user's input, which are shown as a message without a traceback."""

from collections.abc import Sequence


class UserError(ValueError):
    """The user's input is wrong. The message says what came, what was expected and what to do next.

    The command line prints it without a traceback and exits with code 2.
    """


class MissingSplitError(UserError):
    """A data folder does not hold the requested split, such as `val`."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun, such as "1 image" and "1,200 images"."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def enumerated(words: Sequence[str]) -> str:
    """Return one or more words as a sentence has them: "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
