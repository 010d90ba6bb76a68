"""The journal of a run, `RUN/journal.jsonl`: logged numbers and events, one JSON object per line.

A line of numbers:  {"step": 200, "images": 3200, "time": 1730000000.0, "g/l1": 0.12, "d/total": 0.69}
A line of an event: {"step": 200, "images": 3200, "time": 1730000000.0, "event": "resumed", …details}

Keys are `group/name`: `d/*` and `g/*` are weighted losses, `lr/*` learning rates, `grad/*` gradient norms,
`val/*` metrics of held-out images, `speed/*` rates. `outputs/*`, `samples/*` (of generators of noise → image),
`colour/*` and `contrast/*` are logged with each sample grid; some grids are drawn by time, so that these lines differ
between two runs that are otherwise equal.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.json_file import parse_json

LONGEST_LINE_BYTES = 1_000_000
LARGEST = 1e11
"""Largest number of steps, of images, and of seconds since 1970 (the year 5138)."""
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # JSON has no values for these


class Journal:
    """Append lines to a `journal.jsonl`. Each line reaches the operating system before the call returns.

    The times of one process are those of a clock that is never set, so that their differences are right.

    Only one process may write. The numbers are also written to `tensorboard_dir`, with images as the x axis, if
    TensorBoard is installed.
    """

    def __init__(self, path: Path, *, tensorboard_dir: Path | None = None) -> None:
        self.path = path
        self._began_s = time.time() - time.monotonic()
        self._tensorboard = None if tensorboard_dir is None else _tensorboard_writer(tensorboard_dir)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _remove_incomplete_line(path)

    def write(self, step: int, images: int, values: Mapping[str, float]) -> None:
        """Log `values` at optimiser step `step`, after `images` training images. Values may be NaN or ±inf."""
        self._append(step, images, {key: float(value) for key, value in values.items()})
        if self._tensorboard is not None:
            for key, value in values.items():
                self._tensorboard.add_scalar(key, float(value), global_step=images)

    def event(self, step: int, images: int, kind: str, **details: Any) -> None:
        """Log an event of a kind such as "resumed", "changed", "skipped-step" or "stage".

        `details` are any values that JSON can represent.
        """
        self._append(step, images, {"event": kind, **details})

    def size_bytes(self) -> int:
        """Return the current size, which `rewind` takes to restore this state."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, size_bytes: int) -> None:
        """Delete the lines written since the journal had this size, so that a resumed run logs nothing twice.

        Events of the kind "changed" stay: they say what was changed from outside when the run was resumed.
        """
        if self.size_bytes() > size_bytes:
            with self.path.open("rb") as file:
                file.seek(size_bytes)
                kept = [line for line in _lines(file) if b'"event": "changed"' in line]
            os.truncate(self.path, size_bytes)
            with self.path.open("ab") as file:
                file.writelines(kept)

    def _append(self, step: int, images: int, fields: Mapping[str, Any]) -> None:
        line = {"step": step, "images": images, "time": round(self._began_s + time.monotonic(), 3)}
        line |= {key: _to_json(value) for key, value in fields.items()}
        size_bytes = self.size_bytes()
        try:
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:  # `\udcNN` is JSON, too
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        except OSError:  # the disk is full: the next line must not follow a half one
            with contextlib.suppress(OSError):
                os.truncate(self.path, size_bytes)
            raise


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read every line of a journal, oldest first. "nan", "inf" and "-inf" become floats.

    An incomplete last line is left out, so that the journal can be read during the training.

    Raises UserError if there is no journal, if a line before the last one is damaged, or if one is too long.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: expected the journal of a run. Name a run folder.")
    if not path.is_file():  # a pipe would never end
        raise UserError(f"{path} is not a file: expected the journal of a run. Remove it.")
    with path.open("rb") as file:
        lines = enumerate(_lines(file), start=1)
        return [
            parsed_line(path, number, line.decode("utf-8", "replace").rstrip("\n"))
            for number, line in lines
            if line.endswith(b"\n") or len(line) > LONGEST_LINE_BYTES
        ]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file with their ends. A line that is too long comes in pieces, which are too long, too."""
    return iter(lambda: file.readline(LONGEST_LINE_BYTES + 1), b"")


def parsed_line(path: Path, number: int, line: str) -> dict[str, Any]:
    """Return the fields of a line. Raises UserError if they are not those of a line that `Journal` writes."""
    try:
        if len(line) > LONGEST_LINE_BYTES:
            raise ValueError(f"it is longer than {LONGEST_LINE_BYTES:,} bytes")
        fields = parse_json(line)
        if not isinstance(fields, dict):
            raise ValueError(f"it is a {type(fields).__name__}")
        fields = {key: _from_json(value) for key, value in fields.items()}
        for key in ("step", "images", "time"):
            if not _is_count(fields.get(key)):
                raise ValueError(f"{key} is {str(fields.get(key))[:20]!r}")
        if "event" not in fields and (wrong := [key for key, value in fields.items() if not _is_number(value)]):
            raise ValueError(f"{wrong[0]} is not a number")
        if not _is_count(fields.get("total_images", 0)):
            raise ValueError("total_images is not a number")
    except ValueError as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise UserError(
            f"{path}, line {number}: expected one JSON object, got {line[:60]!r} ({why}). "
            "Delete that line to read the rest."
        ) from None
    return fields


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)


def _is_count(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= LARGEST


def series(journal: Sequence[Mapping[str, Any]], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the curve of `key` as (images, values), each float64 of shape (points,).

    Values may be NaN or ±inf. A key that was never logged gives two empty arrays.
    """
    points = [(line["images"], line[key]) for line in journal if key in line]
    images, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return images, values


def _to_json(value: Any) -> Any:
    """Convert non-finite floats to the strings "nan", "inf" and "-inf". Other values stay unchanged."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(value: Any) -> Any:
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _remove_incomplete_line(path: Path) -> None:
    """Remove what follows the last newline: the incomplete line of a process that was killed."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - LONGEST_LINE_BYTES)
            file.seek(start)
            if (newline := file.read(end - start).rfind(b"\n")) >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)


def _tensorboard_writer(folder: Path) -> Any:
    """Return TensorBoard's writer, or None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
