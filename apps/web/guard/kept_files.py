"""The folder of uploads and results: the oldest are deleted first, by age and by size."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

KEPT_S = 3600.0
"""Uploads and results are deleted when they are older."""
SMALLEST_BYTES = 256 * 1024
"""What a file counts at least, so that the number of files is bounded too."""


@dataclass(frozen=True)
class KeptFiles:
    """Files of a folder that take at most `max_bytes` together, after each `trim`."""

    folder: Path
    max_bytes: int

    def trim(self, *, kept_s: float = KEPT_S) -> None:
        """Delete what is too old, and of the rest the oldest until it fits."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        oldest = time.time() - kept_s
        for modified, size, path in files:
            if modified >= oldest and total <= self.max_bytes:
                break
            with suppress(OSError):
                path.unlink()
            total -= size
        self._remove_empty_folders(oldest)

    def _files(self) -> list[tuple[float, int, Path]]:
        """(time of the last change, counted bytes, path) of each."""
        found = []
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names):
                with suppress(OSError):  # deleted meanwhile
                    status = path.lstat()
                    found.append((status.st_mtime, max(status.st_size, SMALLEST_BYTES), path))
        return found

    def _remove_empty_folders(self, oldest: float) -> None:
        for name, _, _ in os.walk(self.folder, topdown=False):
            folder = Path(name)
            with suppress(OSError):  # most are not empty
                if folder != self.folder and folder.stat().st_mtime < oldest:
                    folder.rmdir()
