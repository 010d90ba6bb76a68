"""Files of any name are written completely or not at all, and leftovers of long names are recognised."""

import os
import stat
from pathlib import Path

import pytest

from gan_tasks.datasets.images.atomic import hidden, remove_leftovers, replaced, write_bytes

LONG = ["x" * 255, "é" * 127, "写" * 85, os.fsdecode(b"\xff" * 255)]


@pytest.mark.parametrize("name", ["a.png", *LONG])
def test_a_name_of_any_length_is_written(name: str, tmp_path: Path) -> None:
    write_bytes(tmp_path / name, b"old")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / name) as temporary:
        temporary.write_bytes(b"ne")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"old"


@pytest.mark.parametrize("name", ["a.png", *LONG])
def test_leftovers_are_those_of_the_name(name: str, tmp_path: Path) -> None:
    ours, other = (hidden(tmp_path / each, ".0123abcd.tmp") for each in (name, f"z{name[:-1]}"))
    for path in (ours, other):
        path.write_bytes(b"half a fi")
    remove_leftovers([tmp_path / name])
    assert list(tmp_path.iterdir()) == [other]


def test_the_folder_is_written_to_the_disk_after_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "a").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_bytes(tmp_path / "a", b"new")
    assert synced == [(False, False), (True, True)]
