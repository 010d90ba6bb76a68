"""A stream for the log that hostile clients cannot fill the disk with."""

from __future__ import annotations

import io
import threading
import time
from typing import TextIO

from gan_tasks.datasets.errors import visible

MAX_LINES = 200
"""In each span of WINDOW_S; more are counted only."""
MAX_LINE_CHARACTERS = 2000
WINDOW_S = 10.0


class BoundedLog(io.TextIOBase):
    """Writes lines to another stream, at most `max_lines` in each span of time, without control characters."""

    def __init__(self, stream: TextIO, *, max_lines: int = MAX_LINES, window_s: float = WINDOW_S) -> None:
        self.stream, self.max_lines, self.window_s = stream, max_lines, window_s
        self._began_s = time.monotonic()
        self._lines = self._left_out = 0
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        with self._lock:
            if time.monotonic() - self._began_s >= self.window_s:
                self._begin()
            for line in visible(text).splitlines(keepends=True):
                if self._lines >= self.max_lines:
                    self._left_out += line.endswith("\n")
                    continue
                end = "\n" if line.endswith("\n") else ""
                self.stream.write(
                    line if len(line) <= MAX_LINE_CHARACTERS else line[:MAX_LINE_CHARACTERS] + "…" + end
                )
                self._lines += 1
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def _begin(self) -> None:
        if self._left_out:
            self.stream.write(f"{self._left_out} lines of the log were left out\n")
        self._began_s, self._lines, self._left_out = time.monotonic(), 0, 0
