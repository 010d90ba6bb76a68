"""The folder of uploads and results takes a bounded share of the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

from gan_tasks.apps.web.guard.kept_files import SMALLEST_BYTES, KeptFiles


def write(path: Path, size: int, age_s: float) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    changed = time.time() - age_s
    os.utime(path, (changed, changed))
    os.utime(path.parent, (changed, changed))
    return path


def test_the_oldest_files_go_first_until_the_rest_fits(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{age}" / "a.png", 2 * SMALLEST_BYTES, age) for age in (5, 4, 3, 2)]
    outside = write(tmp_path.parent / "outside" / "a.png", 1, 10**6)
    (tmp_path / "link").symlink_to(outside.parent)
    KeptFiles(tmp_path, 5 * SMALLEST_BYTES).trim()
    assert [file.exists() for file in files] == [False, False, True, True]
    assert outside.exists(), "links are not followed"


def test_many_small_files_count_too(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"{number}.png", 1, 40 - number)
    KeptFiles(tmp_path, 10 * SMALLEST_BYTES).trim()
    assert sorted(int(file.stem) for file in tmp_path.iterdir()) == [*range(30, 40)]


def test_what_is_old_is_deleted_with_its_folder(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old" / "a.png", 1, 100), write(tmp_path / "new" / "a.png", 1, 1)
    empty = tmp_path / "being-filled"
    empty.mkdir()
    files = KeptFiles(tmp_path, 10**9)
    files.trim(kept_s=50)
    assert (old.exists(), new.exists(), empty.exists()) == (False, True, True)
    os.utime(old.parent, (0, 0))
    files.trim(kept_s=50)
    assert (old.parent.exists(), new.parent.exists()) == (False, True)
    KeptFiles(tmp_path / "missing", 1).trim()
