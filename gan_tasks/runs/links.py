"""Links in run folders that somebody else made."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gan_tasks.datasets.errors import UserError


def refuse_links(run: Path) -> None:
    """Raise UserError if a run folder holds something else than files and folders.

    A training appends to files and deletes folders in it: through a link it would do so elsewhere, and a pipe would
    make it wait for ever.
    """
    for folder, folders, files in os.walk(run):
        for path in (Path(folder) / name for name in (*folders, *files)):
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                what = "a link" if stat.S_ISLNK(mode) else "not a file"
                raise UserError(f"{path} is {what}: a run folder holds files and folders only. Remove or replace it")
