"""Test that each file is read once, and that its problems are listed."""

import os
from pathlib import Path

import numpy as np
import pytest

from gan_tasks.datasets.checks.validation import Problem, Progress, inspect_files
from gan_tasks.datasets.images import Picture, write


def check_files(files: list[Path], *, on_progress: Progress | None = None) -> tuple[Problem, ...]:
    """Return the findings that are problems."""
    findings = inspect_files(files, on_progress=on_progress).values()
    return tuple(finding for finding in findings if isinstance(finding, Problem))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        write(folder / f"{number}.png", Picture(np.full((5, 6 + number, 3), number, np.uint8)))
    (folder / "2.png").write_bytes(b"text, not an image")
    (folder / "4.png").write_bytes(b"")
    return folder


def paths(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def disguise(path: Path, data: bytes) -> None:
    """Change a file's content but neither its size nor its modification time."""
    status = path.stat()
    path.write_bytes(data.ljust(status.st_size, b"\0")[: status.st_size])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_problems_hold_path_and_reason_in_order(folder: Path) -> None:
    problems = check_files(paths(folder))
    assert [problem.path.name for problem in problems] == ["2.png", "4.png"]
    assert "format" in problems[0].reason
    assert "empty" in problems[1].reason
    assert str(problems[1]).count("4.png") == 1


def test_shapes_are_returned(folder: Path) -> None:
    findings = inspect_files(paths(folder))
    assert findings[folder / "3.png"] == (5, 9, 3)
    assert isinstance(findings[folder / "2.png"], Problem)


def test_second_check_uses_the_cache(folder: Path) -> None:
    first = inspect_files(paths(folder))
    for path in paths(folder):
        disguise(path, b"now none of them can be read")
    assert inspect_files(paths(folder)) == first


def test_only_changed_files_are_read_again(folder: Path) -> None:
    inspect_files(paths(folder))
    disguise(folder / "0.png", b"not read again")
    write(folder / "4.png", Picture(np.zeros((7, 8, 1), np.uint8)))
    findings = inspect_files(paths(folder))
    assert findings[folder / "4.png"] == (7, 8, 1)
    assert findings[folder / "0.png"] == (5, 6, 3)


def test_gray_images_are_problems_where_colour_is_needed_and_are_not_read_again(folder: Path) -> None:
    write(folder / "0.png", Picture(np.full((5, 6, 3), (9, 90, 9), np.uint8)))
    assert isinstance(inspect_files(paths(folder))[folder / "1.png"], tuple)
    for path in paths(folder):
        disguise(path, b"not read again")
    findings = inspect_files(paths(folder), in_colour=True)
    assert findings[folder / "0.png"] == (5, 6, 3)
    assert findings[folder / "1.png"] == Problem(folder / "1.png", "is gray: it has no colour to learn")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 1, "files": {"0.png": [1]}}'])
def test_damaged_cache_is_ignored(folder: Path, cache: Path, content: bytes) -> None:
    expected = inspect_files(paths(folder))
    (manifest,) = (cache / "gan-tasks").iterdir()
    manifest.write_bytes(content)
    assert inspect_files(paths(folder)) == expected
    assert manifest.read_bytes() != content


def test_unwritable_cache_is_ignored(folder: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert len(check_files(paths(folder))) == 2


def test_missing_file_is_a_problem_until_it_exists(folder: Path) -> None:
    path = folder / "new.png"
    assert "no such file" in check_files([path])[0].reason
    write(path, Picture(np.zeros((2, 2, 3), np.uint8)))
    assert check_files([path]) == ()


def test_progress_counts_all_files(folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    check_files(paths(folder), on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 6) for done in range(1, 7)]


def test_folders_of_the_same_name_have_separate_caches(tmp_path: Path) -> None:
    for number, parent in enumerate(("one", "two"), start=1):
        (tmp_path / parent / "A").mkdir(parents=True)
        write(tmp_path / parent / "A" / "x.png", Picture(np.zeros((number, 1, 1), np.uint8)))
    both = [tmp_path / parent / "A" / "x.png" for parent in ("one", "two")]
    assert list(inspect_files(both).values()) == list(inspect_files(both).values()) == [(1, 1, 1), (2, 1, 1)]
