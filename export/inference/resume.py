"""Results of an earlier run that are kept: those of the same model and the same inputs, and whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.provenance import PROGRAM, read_xmp
from gan_tasks.progress import reported


@dataclass(frozen=True)
class Failure:
    """A file that could not be done, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return self.reason if str(self.path) in self.reason else f"{self.path}: {self.reason}"


def missing(
    pairs: Sequence[tuple[Path, Path]], model_version: str, source_of: Callable[[Path], str]
) -> tuple[list[tuple[Path, Path]], list[Failure]]:
    """The pairs whose results are not there yet, and those whose results would replace another program's files.

    source_of: what is noted of an input in the result's mark, such as `sha256_of`.
    """
    to_do, failures = [], []
    with reported("Looking for what is done", "images") as report:
        for number, (before, after) in enumerate(pairs):
            try:
                if not is_done(before, after, model_version, source_of):
                    to_do.append((before, after))
            except (UserError, OSError) as error:
                failures.append(Failure(before, str(error)))
            report(number + 1, len(pairs))
    return to_do, failures


def is_done(before: Path, after: Path, model_version: str, source_of: Callable[[Path], str]) -> bool:
    """Whether the output is this model's, of this input as it is now.

    Raises UserError for one of another program, and for all that can be made of a broken input.
    """
    if not after.exists():
        return False
    mark = read_xmp(after) if after.is_file() else None
    if mark is None or not mark.creator_tool.startswith(PROGRAM):
        raise UserError(
            f"{after} is there already, and gan-tasks did not make it: "
            "give another place for the results, or --overwrite to replace it"
        )
    if mark.creator_tool != f"{PROGRAM} {__version__}":
        return False
    if mark.source_type and mark.model_version != model_version:  # what no model has touched is of every one
        return False
    source = source_of(before)
    if mark.source == broken(source):
        raise UserError(f"{before} is broken: {after} has what can be read of it")
    return mark.source == source


def broken(source: str) -> str:
    """What stands for a source in the mark of a result that could not be made of all of it."""
    return f"{source}, as far as it can be read"
