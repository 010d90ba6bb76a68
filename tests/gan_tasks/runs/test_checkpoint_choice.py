"""Which checkpoint is taken, and which ones are kept."""

from pathlib import Path

import pytest
import torch

from gan_tasks.runs.checkpoint import DamagedCheckpointError, list_checkpoints, load_checkpoint, save_checkpoint
from gan_tasks.runs.checkpoint_choice import load_first, newest_good, prune_checkpoints


def save(folder: Path, step: int, *, good: bool = True, damaged: bool = False) -> Path:
    path = save_checkpoint(folder, step, {"part": {"weight": torch.full((4,), step)}}, {}, good=good)
    if damaged:
        (path / "part.safetensors").write_bytes(b"")
    return path


def taken(folder: Path, *, best: Path | None = None) -> tuple[str, str]:
    """The name of the checkpoint that is taken, and what is said about it."""
    said: list[str] = []
    found = load_first(folder, load_checkpoint, said.append, best=best)
    assert found is not None and len(said) <= 1
    return found[0].name, " ".join(said)


def test_the_newest_is_taken_without_a_word(tmp_path: Path) -> None:
    assert load_first(tmp_path, load_checkpoint, print) is None
    for step in (1, 99_999_999, 100_000_000):
        save(tmp_path, step)
    assert taken(tmp_path) == ("step-100000000", "")


def test_a_damaged_one_is_passed_over_and_named(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2, damaged=True)
    name, said = taken(tmp_path)
    assert name == "step-00000001" and "step-00000002: part.safetensors has 0 bytes" in said
    assert said.endswith("step-00000001 is taken instead")


def test_one_that_is_not_good_is_passed_over_and_named(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2, good=False)
    name, said = taken(tmp_path)
    assert name == "step-00000001" and "step-00000002 was saved while steps were skipped" in said


def test_one_that_is_not_good_is_better_than_none(tmp_path: Path) -> None:
    save(tmp_path, 1, damaged=True)
    save(tmp_path, 2, good=False)
    assert taken(tmp_path)[0] == "step-00000002"


def test_the_best_is_taken_unless_it_is_damaged(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, damaged=step == 2, good=step != 3)
    assert taken(tmp_path, best=tmp_path / "step-00000001") == ("step-00000001", "")
    name, said = taken(tmp_path, best=tmp_path / "step-00000002")
    assert name == "step-00000001" and "step-00000002" in said


def test_only_damaged_ones_are_refused(tmp_path: Path) -> None:
    save(tmp_path, 1, damaged=True)
    with pytest.raises(DamagedCheckpointError):
        taken(tmp_path)


def names(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in list_checkpoints(folder)]


def test_the_newest_good_one_is_never_deleted(tmp_path: Path) -> None:
    for step in range(1, 7):
        newest = save(tmp_path, step, good=step < 3)
        prune_checkpoints(tmp_path, newest, keep=2)
    assert names(tmp_path) == [2, 5, 6]
    assert newest_good(tmp_path) == tmp_path / "step-00000002"
    prune_checkpoints(tmp_path, save(tmp_path, 7), keep=2)
    assert names(tmp_path) == [6, 7]


def test_those_after_the_one_just_saved_do_not_count(tmp_path: Path) -> None:
    for step in (1, 2, 8, 9):
        save(tmp_path, step, damaged=step > 2)
    prune_checkpoints(tmp_path, save(tmp_path, 3), keep=2)
    assert names(tmp_path) == [2, 3, 8, 9]
