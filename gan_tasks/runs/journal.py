"""The journal of a run: every logged number and event, one JSON object a line, in `RUN/journal.jsonl`.

A line of numbers:  {"step": 200, "images": 3200, "time": 1730000000.0, "g/l1": 0.12, "d/total": 0.69}
A line of an event: {"step": 200, "images": 3200, "time": 1730000000.0, "event": "resumed", …details}

Keys are `group/name`: `d/*` and `g/*` are weighted losses, `lr/*` learning rates, `grad/*` gradient norms,
`val/*` held-out measures, `speed/*` rates.
"""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError

NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # JSON has no word for these


class Journal:
    """Appends to one `journal.jsonl`; each line reaches the operating system before the call returns.

    Only one process may write. `tensorboard_dir` mirrors the numbers, with images as the x axis, where
    TensorBoard is installed; where it is not, nothing happens.
    """

    def __init__(self, path: Path, *, tensorboard_dir: Path | None = None) -> None:
        self.path = path
        self._tensorboard = None if tensorboard_dir is None else _tensorboard_writer(tensorboard_dir)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _drop_torn_line(path)

    def write(self, step: int, images: int, values: Mapping[str, float]) -> None:
        """Log `values` at optimiser step `step`, after `images` training images. NaN and ±inf are kept."""
        self._append(step, images, {key: float(value) for key, value in values.items()})
        if self._tensorboard is not None:
            for key, value in values.items():
                self._tensorboard.add_scalar(key, float(value), global_step=images)

    def event(self, step: int, images: int, kind: str, **details: Any) -> None:
        """Log something that happened once: "resumed", "skipped-step", "checkpoint", "stage" …

        `details` are anything JSON can hold.
        """
        self._append(step, images, {"event": kind, **details})

    def size_bytes(self) -> int:
        """What `rewind` takes to come back to this moment."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, size_bytes: int) -> None:
        """Forget every line written since the journal had this size, so that a resumed run logs nothing twice."""
        if self.size_bytes() > size_bytes:
            os.truncate(self.path, size_bytes)

    def _append(self, step: int, images: int, fields: Mapping[str, Any]) -> None:
        line = {"step": step, "images": images, "time": round(time.time(), 3)}
        line |= {key: _to_json(value) for key, value in fields.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Every line of a journal, oldest first; "nan", "inf" and "-inf" come back as floats.

    A last line that a crash cut short is left out, and so this may be called on a run that is still training.
    Raises `UserError` if there is no journal, or if a line before the last is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: expected the journal of a run. Name a run folder.") from None
    *whole, _torn = text.split("\n")
    lines = []
    for number, line in enumerate(whole, start=1):
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}, line {number}: expected one JSON object, got {line[:60]!r} ({error.msg}). "
                "Delete that line to read the rest."
            ) from None
        lines.append({key: _from_json(value) for key, value in fields.items()})
    return lines


def series(journal: Sequence[Mapping[str, Any]], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One curve, from the lines that hold `key`: (images, values), each float64 of shape (points,).

    Values may be NaN or ±inf. A key that was never logged gives two empty arrays.
    """
    points = [(line["images"], line[key]) for line in journal if key in line]
    images, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return images, values


def _to_json(value: Any) -> Any:
    """Non-finite floats as the words Python prints for them; everything else as it is."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(value: Any) -> Any:
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _drop_torn_line(path: Path) -> None:
    """Cut off what follows the last newline: the half-written line of a process that was killed."""
    with path.open("rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def _tensorboard_writer(folder: Path) -> Any:
    """TensorBoard's writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
