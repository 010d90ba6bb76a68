"""What a part is told, and what it gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

Row = dict[str, str | float | None]
"""A line of a table by column. `error` says why a line has no figures."""


@dataclass(frozen=True)
class Options:
    """device: cuda, cuda:N or cpu.

    end_s: when the part is ended, as time.monotonic() counts, which is the same in all processes of a machine.
    tiny: small images and few steps, to try the script on a CPU.
    tasks: names of rows of train_step.py.
    facades: a folder of pairs; without it, pairs are drawn.
    """

    device: str
    end_s: float
    tiny: bool = False
    tasks: tuple[str, ...] = ()
    facades: str = ""

    def lasting(self, seconds: float) -> Options:
        return replace(self, end_s=time.monotonic() + seconds)


Part = Callable[[Options], Iterator[Row]]


def attempt(row: Row, measured: Callable[[], Row]) -> Row:
    """Return the row with what was measured, or with the error in its place."""
    try:
        return row | measured()
    except Exception as error:
        return row | {"error": in_a_line(error)}


def in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def repository() -> Path:
    return Path(__file__).parents[2]
