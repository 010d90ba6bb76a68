"""Errors in a user's input, which are shown as a message without a traceback."""

import difflib
import errno
import re
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """The user's input is wrong. The message says what came, what was expected and what to do next.

    The command line prints it without a traceback and exits with code 2.
    """


class MissingSplitError(UserError):
    """A data folder does not hold the requested split, such as `val`."""


class DoubtfulDataError(UserError):
    """A split can be read, but it does not look like what it is taken for; the message says how to insist."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, of the system, of torch or of CUDA says that the memory does not suffice."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    is_of_opencv = type(error).__module__ == "cv2"
    return (is_of_opencv or isinstance(error, RuntimeError)) and says_out_of_memory(str(error))


def says_out_of_memory(text: str) -> bool:
    """Return whether a message of torch, CUDA, ONNX Runtime or OpenCV says that the memory does not suffice.

    torch says that a size overflows if not even an address space holds it.
    """
    words = (
        "out of memory",
        "outofmemory",
        "insufficient memory",
        "allocate memory",
        "not enough memory",
        "bad_alloc",
    )
    overflows = ("storage size calculation overflowed", "integer multiplication overflow")
    return any(word in text.lower() for word in (*words, "cudnn_status_alloc_failed", *overflows))


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun, such as "1 image" and "1,200 images"."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def enumerated(words: Sequence[str]) -> str:
    """Return one or more words as a sentence has them: "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return `: did you mean X?` with the known word nearest to a misspelt one, else `otherwise`.

    Upper and lower case are the same.
    """
    by_lower = {each.lower(): each for each in known}
    nearest = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return f": did you mean {by_lower[nearest[0]]}?" if nearest else otherwise


def printable(text: object) -> str:
    r"""Return text that can be encoded as UTF-8: a byte of a file name that is not UTF-8 becomes `\xNN`.

    Python reads such a byte as a surrogate, U+DC80 to U+DCFF, which no file, page or terminal takes.
    """
    return re.sub("[\ud800-\udfff]", lambda found: _escape(ord(found[0])), str(text))


def visible(text: object) -> str:
    r"""Return text for a terminal: control characters become `\xNN`, so that a name cannot command the terminal.

    Ends of lines and tabs are kept. Marks that turn the direction of writing round are escaped too.
    """
    return _CONTROLS.sub(lambda found: _escape_control(ord(found[0])), printable(text))


def on_one_line(text: object) -> str:
    r"""Return text as `visible` does, with ends of lines and tabs escaped too, so that a title adds no line."""
    return re.sub("[\t\n\u2028\u2029]", lambda found: _escape_control(ord(found[0])), visible(text))


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _escape_control(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _escape(surrogate: int) -> str:
    return f"\\x{surrogate - 0xDC00:02x}" if 0xDC80 <= surrogate <= 0xDCFF else f"\\u{surrogate:04x}"
