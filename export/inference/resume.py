"""Find results of an earlier run that can be kept: complete ones of the same model and the same inputs."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError, is_out_of_memory
from gan_tasks.datasets.images.formats import check_length, other_name
from gan_tasks.export.inference.provenance import PROGRAM, Mark, read_xmp
from gan_tasks.progress import reported


@dataclass(frozen=True)
class Failure:
    """An input without a complete result, and the reason.

    details: the traceback of an unexpected error, else empty.
    """

    path: Path
    reason: str
    details: str = ""

    def __str__(self) -> str:
        return self.reason if str(self.path) in self.reason else f"{self.path}: {self.reason}"


def failure(path: Path, error: Exception) -> Failure:
    """Describe any error that an input has led to."""
    if isinstance(error, UserError):
        return Failure(path, str(error))
    details = "".join(traceback.format_exception(error))
    first_line = str(error).strip().partition("\n")[0]
    if is_out_of_memory(error):
        return Failure(path, "out of memory: a smaller --max-memory runs it in smaller tiles", details)
    if isinstance(error, OSError):
        return Failure(path, error.strerror or first_line, details)
    return Failure(path, f"unexpected {type(error).__name__}: {first_line} (--debug shows the traceback)", details)


def missing(
    pairs: Sequence[tuple[Path, Path]], is_done: Callable[[Path, Path], bool]
) -> tuple[list[tuple[Path, Path]], list[Failure]]:
    """Return the pairs without a result, and failures for results that would replace files of other programs.

    is_done: see `is_done`, of an input and its output.
    """
    to_do, failures = [], []
    with reported("Looking for existing results", "images") as report:
        for number, (before, after) in enumerate(pairs):
            try:
                if not is_done(before, after):
                    to_do.append((before, after))
            except Exception as error:
                failures.append(failure(before, error))
            report(number + 1, len(pairs))
    return to_do, failures


def is_done(before: Path, after: Path, model_version: str, source_of: Callable[[Path], str]) -> bool:
    """Return whether the output exists and was made by this model from the present content of the input.

    source_of: returns the text that identifies an input in the result's mark, such as `sha256_of`.

    The output may have the name that `fitting_name` gives. Raises UserError for an output of another program, for the
    output of a damaged input, and for a name that is too long.
    """
    check_length(after)
    other = other_name(after)
    mark = own_mark(other) if other is not None else None
    if mark is not None and is_current(mark, before, other, model_version, source_of):
        return True
    if not after.exists():
        return False
    return is_current(replaceable(after), before, after, model_version, source_of)


def own_mark(path: Path) -> Mark | None:
    """Return the mark of a file that this program made; None for other files and without one."""
    mark = read_xmp(path) if path.is_file() else None
    return mark if mark is not None and mark.creator_tool.startswith(PROGRAM) else None


def replaceable(after: Path) -> Mark:
    """Return the mark of an existing result. Raises UserError if another program made the file."""
    mark = own_mark(after)
    if mark is None:
        raise UserError(
            f"{after} exists already, and gan-tasks did not make it: "
            "give another folder for the results, or --overwrite to replace it"
        )
    return mark


def is_current(
    mark: Mark, before: Path, after: Path | None, model_version: str, source_of: Callable[[Path], str]
) -> bool:
    """Return whether a result with this mark was made by this model from the present content of the input."""
    if mark.creator_tool != f"{PROGRAM} {__version__}":
        return False
    if (
        mark.source_type and mark.model_version != model_version
    ):  # a result without a source type was not changed by any model
        return False
    source = source_of(before)
    if mark.source == broken(source):
        raise UserError(f"{before} is damaged: {after} contains the readable part")
    return mark.source == source


def broken(source: str) -> str:
    """Return the text for a source of which only a part could be read, for the result's mark."""
    return f"{source}, as far as it can be read"
