"""Errors in the middle of a training lose nothing: the state is saved, and one sentence says what to do."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_task, write_pairs

import gan_tasks.runs.checkpoint
from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.checkpoint import (
    CheckpointError,
    described,
    list_checkpoints,
    load_checkpoint,
    load_state,
    state_bytes,
)
from gan_tasks.runs.folder import load_trained
from gan_tasks.runs.journal import Journal, read_journal
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import Interrupted, resume, train
from gan_tasks.training.step import Trainer
from gan_tasks.training.stopping.failures import StoppedError
from gan_tasks.training.stopping.lock import locked

CONFIG = TrainConfig(
    device="cpu",
    precision="fp32",
    workers=0,
    max_steps=0,
    checkpoint_every_steps=0,
    log_every_steps=1,
    sample_every_steps=0,
    evaluate_every_steps=2,
    quiet=True,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "data", val=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The state after a training that no error stopped."""
    folder = tmp_path_factory.mktemp("whole")
    data = write_pairs(folder / "data", val=1)
    return state(train(tiny_task("pix2pix"), data=data, out=folder / "run", config=CONFIG))


def state(run: Path) -> dict[str, torch.Tensor]:
    parts, _ = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def before_step(patch: pytest.MonkeyPatch, number: int, work: Callable[[], object]) -> None:
    """Do something once, when step `number` (from 1) is to be taken."""
    step = Trainer.step

    def worked(self: Trainer, batch: Any, *, index: int, **more: Any) -> Any:
        if index == number - 1:
            work()
        return step(self, batch, index=index, **more)

    patch.setattr(Trainer, "step", worked)


def stopped(data: Path, out: Path, **changes: Any) -> str:
    """Train until the error; returns the sentence."""
    with pytest.raises(StoppedError) as error:
        train(tiny_task("pix2pix"), data=data, out=out, config=replace(CONFIG, **changes))
    return str(error.value)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("spoil", [Path.unlink, empty])
def test_a_training_image_that_cannot_be_read_any_more(
    data: Path,
    tmp_path: Path,
    whole: dict[str, torch.Tensor],
    workers: int,
    spoil: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = {path: path.read_bytes() for path in (data / "train" / "B").iterdir()}

    def spoil_all() -> None:
        for path in images:
            spoil(path)

    before_step(monkeypatch, 2, spoil_all)
    run = tmp_path / "run"
    sentence = stopped(data, run, workers=workers)
    step = int(list_checkpoints(run / "checkpoints")[-1].name.removeprefix("step-"))
    assert f"the training stopped at step {step}, and its state is saved" in sentence and 2 <= step < 12
    assert str(data / "train" / "B") in sentence and f"--resume {run}" in sentence
    assert "Traceback" not in sentence and "\n" not in sentence
    for path, content in images.items():
        path.write_bytes(content)
    resume(run, workers=0)
    assert equal(state(run), whole)


def test_a_validation_image_that_cannot_be_read_any_more(
    data: Path, tmp_path: Path, whole: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluation that failed is done when the run is resumed."""
    image = data / "val" / "A" / "000.png"
    content = image.read_bytes()
    before_step(monkeypatch, 4, image.unlink)
    sentence = stopped(data, tmp_path / "run")
    assert str(image) in sentence and "step 4, and its state is saved" in sentence
    image.write_bytes(content)
    resume(tmp_path / "run")
    assert equal(state(tmp_path / "run"), whole)
    lines = read_journal(tmp_path / "run" / "journal.jsonl")
    assert [line["step"] for line in lines if "val/l1" in line] == [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in lines if "g/total" in line] == list(range(1, 13))


def test_a_full_disk_keeps_the_last_good_checkpoint(
    data: Path, tmp_path: Path, whole: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        before_step(patch, 4, lambda: patch.setattr(gan_tasks.runs.checkpoint, "write_synced", full))
        sentence = stopped(data, tmp_path / "run", checkpoint_every_steps=2)
    assert "the disk is full: the training stopped at step 4, and goes on from step-00000002" in sentence
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]
    resume(tmp_path / "run")
    assert equal(state(tmp_path / "run"), whole)


def test_a_journal_that_cannot_be_written(
    data: Path, tmp_path: Path, whole: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "journal.jsonl")

    with monkeypatch.context() as patch:
        before_step(patch, 3, lambda: patch.setattr(Journal, "_append", refused))
        sentence = stopped(data, tmp_path / "run")
    assert "Permission denied (journal.jsonl): the training stopped at step 3, and its state is saved" in sentence
    resume(tmp_path / "run")
    assert equal(state(tmp_path / "run"), whole)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_memory_before_the_first_update_of_a_step(
    data: Path, tmp_path: Path, whole: dict[str, torch.Tensor], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forward pass has changed running statistics by then."""
    from gan_tasks.tasks.pix2pix import Pix2Pix

    losses = Pix2Pix.d_losses

    def failed(self: Pix2Pix, x: Any, y: Any) -> Any:
        if self.step.index == 3:
            losses(self, x, y)
            raise error
        return losses(self, x, y)

    with monkeypatch.context() as patch:
        patch.setattr(Pix2Pix, "d_losses", failed)
        sentence = stopped(data, tmp_path / "run")
    assert "the memory does not suffice: the training stopped at step 3, and its state is saved" in sentence
    assert "--batch-size" in sentence and "--crop-size" in sentence
    resume(tmp_path / "run")
    assert equal(state(tmp_path / "run"), whole)


def test_an_error_between_the_updates_of_a_step_undoes_the_first(
    data: Path, tmp_path: Path, whole: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The discriminator has learned from the batch, and the generator has not."""
    from gan_tasks.tasks.pix2pix import Pix2Pix

    losses = Pix2Pix.g_losses

    def failed(self: Pix2Pix, x: Any, y: Any) -> Any:
        if self.step.index == 3:
            raise MemoryError
        return losses(self, x, y)

    with monkeypatch.context() as patch:
        patch.setattr(Pix2Pix, "g_losses", failed)
        sentence = stopped(data, tmp_path / "run", checkpoint_every_steps=2)
    assert "the training stopped at step 3, and its state is saved" in sentence
    resume(tmp_path / "run")
    assert equal(state(tmp_path / "run"), whole)


def test_the_image_pool_is_undone_with_the_step(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_tasks.tasks.cyclegan import CycleGAN

    config = replace(CONFIG, max_steps=5, evaluate_every_steps=0)

    def failed(self: Trainer, role: str, *_: Any) -> Any:
        if role == "d" and self.task.step.index == 3:
            raise MemoryError
        return update(self, role, *_)  # type: ignore[arg-type]

    update = Trainer._update
    monkeypatch.setattr(CycleGAN, "stages", d_first(CycleGAN.stages))
    with monkeypatch.context() as patch, pytest.raises(StoppedError, match="step 3, and its state is saved"):
        patch.setattr(Trainer, "_update", failed)
        train(tiny_task("cyclegan"), data=data, out=tmp_path / "run", config=config)
    resume(tmp_path / "run")
    expected = state(train(tiny_task("cyclegan"), data=data, out=tmp_path / "whole", config=config))
    assert any(name.startswith("task/") for name in expected)
    assert equal(state(tmp_path / "run"), expected)


def d_first(stages: Callable[..., Any]) -> Callable[..., Any]:
    """Stages that update the discriminators first, so that the pools have changed before the first update."""
    return lambda self, size: tuple(replace(stage, update_order=("d", "g")) for stage in stages(self, size))


def test_a_bug_is_shown_as_such_after_the_state_is_saved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    before_step(monkeypatch, 3, bug)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        train(tiny_task("pix2pix"), data=data, out=tmp_path / "run", config=CONFIG)
    assert "the training stopped at step 2, and its state is saved" in capsys.readouterr().err
    assert list_checkpoints(tmp_path / "run" / "checkpoints")[-1].name == "step-00000002"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_worker(
    data: Path, tmp_path: Path, whole: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill() -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    with monkeypatch.context() as patch:
        before_step(patch, 2, kill)
        sentence = stopped(data, tmp_path / "run", workers=1)
    assert "a process that loads images was ended by SIGKILL" in sentence and "its state is saved" in sentence
    assert sentence.endswith(f"resume with `gan-tasks train --resume {tmp_path / 'run'} --workers 0`")


# --- Signals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_while_a_checkpoint_is_written_wait_for_it(
    data: Path, tmp_path: Path, first: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = gan_tasks.runs.checkpoint.write_synced

    def signalled(path: Path, content: bytes) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        written(path, content)

    def stop() -> None:
        monkeypatch.setattr(gan_tasks.runs.checkpoint, "write_synced", signalled)
        os.kill(os.getpid(), first)

    before_step(monkeypatch, 2, stop)
    with pytest.raises(Interrupted) as interrupted:
        train(tiny_task("pix2pix"), data=data, out=tmp_path / "run", config=CONFIG)
    assert interrupted.value.code == code
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]


# --- Two processes ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks of POSIX")
def test_a_second_process_in_the_same_folder_is_refused(data: Path, tmp_path: Path) -> None:
    """The lock ends with its process, however that ends."""
    run = tmp_path / "run"
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with locked(run):
            os.write(ready[1], b"x")
            os.read(done[0], 1)
            os.kill(os.getpid(), signal.SIGKILL)
    os.read(ready[0], 1)
    with pytest.raises(UserError, match="another process trains in"):
        train(tiny_task("pix2pix"), data=data, out=run, config=replace(CONFIG, max_steps=1))
    assert not (run / "config.json").exists()
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    train(tiny_task("pix2pix"), data=data, out=run, config=replace(CONFIG, max_steps=1))


@pytest.mark.parametrize("place", ["file", "file/run", "run/lock"])
def test_a_run_folder_that_cannot_be_written_to_is_a_sentence(data: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "run" / "lock").mkdir(parents=True)
    out = tmp_path / place.removesuffix("/lock")
    with pytest.raises(UserError, match=f"{out} cannot be written to .*--out"):
        train(tiny_task("pix2pix"), data=data, out=out, config=replace(CONFIG, max_steps=1))


# --- Checkpoints of other networks ------------------------------------------------------------------------------


def renamed(tensors: dict[str, torch.Tensor]) -> None:
    tensors["another.name"] = tensors.pop(min(tensors))


def cut(tensors: dict[str, torch.Tensor]) -> None:
    name = max(tensors, key=lambda name: tensors[name].ndim)
    tensors[name] = tensors[name][:1].clone()


@pytest.mark.parametrize("part", ["generators", "discriminators", "average", "optimizer-g"])
@pytest.mark.parametrize("spoil", [renamed, cut])
def test_weights_that_do_not_fit_are_a_sentence(
    tmp_path: Path, trained: Path, part: str, spoil: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (checkpoint,) = list_checkpoints(run / "checkpoints")
    path = checkpoint / f"{part}.safetensors"
    tensors = load_file(path)
    spoil(tensors)
    save_file(tensors, path)
    content = load_state(checkpoint)
    content["parts"][part] = described(path.read_bytes())
    (checkpoint / "state.json").write_bytes(state_bytes(content))
    if (part, spoil) == ("optimizer-g", renamed):
        return  # a weight without a gradient has no state: nothing can be missing
    with pytest.raises(CheckpointError, match=f"{checkpoint}.*version"):
        resume(run, max_steps=2)
    if part == "average":  # what is used where there is one
        with pytest.raises(CheckpointError, match=f"{checkpoint}.*version"):
            load_trained(run)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    task = tiny_task("pix2pix", "--ema-halflife-images", "3")
    return train(task, data=pairs, out=out, config=replace(CONFIG, max_steps=1))


# --- The run folder ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [False, True])
def test_a_run_folder_that_is_gone_is_not_made_again(
    data: Path, tmp_path: Path, whole: dict[str, torch.Tensor], moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        before_step(patch, 4, lambda: run.rename(tmp_path / "new") if moved else shutil.rmtree(run))
        sentence = stopped(data, run, log_every_steps=1000, checkpoint_every_steps=2, sample_every_steps=2)
    assert f"the run folder {run} was moved or deleted: the training stopped at step 4" in sentence
    assert not run.exists()
    if moved:
        resume(tmp_path / "new")
        assert equal(state(tmp_path / "new"), whole)
