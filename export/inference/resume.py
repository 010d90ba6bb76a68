"""Find results of an earlier run that can be kept: complete ones of the same model and the same inputs."""

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
    """An input without a complete result, and the reason."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return self.reason if str(self.path) in self.reason else f"{self.path}: {self.reason}"


def missing(
    pairs: Sequence[tuple[Path, Path]], model_version: str, source_of: Callable[[Path], str]
) -> tuple[list[tuple[Path, Path]], list[Failure]]:
    """Return the pairs without a result, and failures for results that would replace files of other programs.

    source_of: returns the text that identifies an input in the result's mark, such as `sha256_of`.
    """
    to_do, failures = [], []
    with reported("Looking for existing results", "images") as report:
        for number, (before, after) in enumerate(pairs):
            try:
                if not is_done(before, after, model_version, source_of):
                    to_do.append((before, after))
            except (UserError, OSError) as error:
                failures.append(Failure(before, str(error)))
            report(number + 1, len(pairs))
    return to_do, failures


def is_done(before: Path, after: Path, model_version: str, source_of: Callable[[Path], str]) -> bool:
    """Return whether the output exists and was made by this model from the present content of the input.

    Raises UserError for an output of another program, and for the output of a damaged input.
    """
    if not after.exists():
        return False
    mark = read_xmp(after) if after.is_file() else None
    if mark is None or not mark.creator_tool.startswith(PROGRAM):
        raise UserError(
            f"{after} exists already, and gan-tasks did not make it: "
            "give another folder for the results, or --overwrite to replace it"
        )
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
