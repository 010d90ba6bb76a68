"""Checkpoints: folders of any name, files that have changed on disk, and one of a step that is saved again."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gan_tasks.runs.checkpoint import (
    DamagedCheckpointError,
    load_checkpoint,
    save_checkpoint,
    write_atomically,
)

PARTS = {"first": {"weight": torch.arange(600.0).reshape(2, 300)}, "second": {"bias": torch.ones(3)}}


@pytest.mark.parametrize("name", [b"run", "läuf".encode(), b"l\xe4uf", b"x" * 250])
def test_a_run_folder_may_have_any_name(name: bytes, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / os.fsdecode(name), 3, PARTS, {"step": 3})
    parts, state = load_checkpoint(path)
    assert torch.equal(parts["first"]["weight"], PARTS["first"]["weight"]) and state["step"] == 3


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["first.safetensors", "second.safetensors", "state.json"])
def test_a_flipped_bit_is_damage(tmp_path: Path, name: str) -> None:
    path = save_checkpoint(tmp_path, 3, PARTS, {"step": 3, "history": [0.25, 0.5]})
    load_checkpoint(path)
    flip_a_bit(path / name)
    with pytest.raises(DamagedCheckpointError, match=name):
        load_checkpoint(path)


def unlink(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("name", ["first.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [flip_a_bit, unlink])
def test_a_damaged_checkpoint_is_replaced_when_its_step_is_saved_again(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    path = save_checkpoint(tmp_path, 3, PARTS, {"step": 3})
    damage(path / name)
    assert save_checkpoint(tmp_path, 3, PARTS, {"step": 3}) == path
    load_checkpoint(path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_checkpoint_of_another_training_is_replaced(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 3, PARTS, {"step": 3})
    other = {**PARTS, "second": {"bias": torch.zeros(3)}}
    parts, _ = load_checkpoint(save_checkpoint(tmp_path, 3, other, {"step": 3}))
    assert torch.equal(parts["second"]["bias"], torch.zeros(3))


def test_the_state_of_a_step_is_that_of_the_last_save(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, PARTS, {"evaluated": 0})
    before = (path / "first.safetensors").stat().st_ino
    save_checkpoint(tmp_path, 3, PARTS, {"evaluated": 3})
    assert load_checkpoint(path)[1]["evaluated"] == 3
    assert (path / "first.safetensors").stat().st_ino == before  # nothing is written twice


def test_no_link_is_followed_by_a_write(tmp_path: Path) -> None:
    """Links of a run folder that somebody else made, in the places of the file and of its temporary file."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("best", ".best"):
        (tmp_path / name).symlink_to(victim)
    write_atomically(tmp_path / "best", b"new")
    assert victim.read_text() == "mine" and (tmp_path / "best").read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_file_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "best"
    write_atomically(path, b"step-00000002")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="large"):
            write_atomically(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [each.name for each in tmp_path.iterdir()] == ["best"] and path.read_bytes() == b"step-00000002"
