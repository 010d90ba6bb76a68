"""Signals at any moment of a training end it in seconds, and lose nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_task, write_pairs

import gan_tasks.training.loop
import gan_tasks.training.validation
from gan_tasks.runs.checkpoint import list_checkpoints, load_checkpoint
from gan_tasks.runs.journal import read_journal
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import Interrupted, resume, train
from gan_tasks.training.step import Trainer
from gan_tasks.training.stopping.signals import CutShortError, ends_at_once, stop_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of POSIX")

CONFIG = TrainConfig(
    device="cpu",
    precision="fp32",
    workers=0,
    max_steps=6,
    checkpoint_every_steps=0,
    log_every_steps=1,
    sample_every_steps=4,
    evaluate_every_steps=2,
    report_every_s=0,
    quiet=True,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data"), val=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A training that was never stopped."""
    return train(tiny_task("pix2pix"), data=data, out=tmp_path_factory.mktemp("whole") / "run", config=CONFIG)


def weights(run: Path) -> dict[str, torch.Tensor]:
    parts, _ = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def logged(run: Path) -> list[dict[str, Any]]:
    lines = read_journal(run / "journal.jsonl")
    times = {"time", "speed/images_per_second"}
    return [{key: line[key] for key in line.keys() - times} for line in lines if "event" not in line]


def check_equal(run: Path, whole: Path) -> None:
    ours, theirs = weights(run), weights(whole)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert logged(run) == logged(whole)
    assert (run / "best").read_text() == (whole / "best").read_text()
    grids = [sorted((path / "samples").iterdir()) for path in (run, whole)]
    assert [path.name for path in grids[0]] == [path.name for path in grids[1]]


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def saved(run: Path) -> list[str]:
    return [path.name for path in list_checkpoints(run / "checkpoints")]


# Every evaluation is of three images, and every grid of three rows, which are drawn before the evaluation.
@pytest.mark.parametrize(
    ("image", "step", "number"),
    [
        (5, 4, signal.SIGTERM),  # in the grid of step 4
        (8, 4, signal.SIGHUP),  # in the evaluation of step 4
        (11, 6, signal.SIGINT),  # in that of the last step
    ],
)
def test_a_signal_ends_an_evaluation_which_is_done_after_a_resume(
    data: Path, tmp_path: Path, whole: Path, image: int, step: int, number: signal.Signals, monkeypatch: Any
) -> None:
    run, translate, count = tmp_path / "run", gan_tasks.training.validation.translate, 0

    def translated(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == image:
            send(number)
        return translate(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Interrupted) as interrupted:
        patch.setattr(gan_tasks.training.validation, "translate", translated)
        train(tiny_task("pix2pix"), data=data, out=run, config=CONFIG)
    assert interrupted.value.code == 128 + number
    assert count == image  # no other image was translated
    assert saved(run)[-1] == f"step-{step:08d}"
    resume(run)
    check_equal(run, whole)


def test_a_signal_in_the_evaluation_at_the_end_of_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage ends after the resume, and not before its evaluation."""
    data = write_pairs(tmp_path / "data", val=1) / "train"
    for place in ("train", "val"):
        (tmp_path / "photos" / place).mkdir(parents=True)
        for path in sorted((data.parent / place / "B").iterdir()):
            path.rename(tmp_path / "photos" / place / path.name)
    config = replace(CONFIG, max_steps=4, sample_every_steps=0, evaluate_every_steps=3)
    task, data = tiny_task("super-resolution", "--batch-size", "2"), tmp_path / "photos"
    whole = train(task, data=data, out=tmp_path / "whole", config=config)

    def signalled(*_: Any, signals: Any, **__: Any) -> None:
        send(signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(gan_tasks.training.loop, "evaluate_images", signalled)
        train(tiny_task("super-resolution", "--batch-size", "2"), data=data, out=tmp_path / "run", config=config)
    assert saved(tmp_path / "run") == ["step-00000003"]
    resume(tmp_path / "run")
    ours, theirs = weights(tmp_path / "run"), weights(whole)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert [line["step"] for line in logged(tmp_path / "run") if "val/psnr" in line] == [3]


def test_a_wait_for_a_batch_is_cut_short(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = gan_tasks.training.loop.load_batches

    def slow(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield next(load(*arguments, **options))
        send(signal.SIGTERM)
        raise AssertionError("the wait went on")

    monkeypatch.setattr(gan_tasks.training.loop, "load_batches", slow)
    with pytest.raises(Interrupted):
        train(tiny_task("pix2pix"), data=data, out=tmp_path / "run", config=CONFIG)
    assert saved(tmp_path / "run") == ["step-00000001"]


@pytest.mark.parametrize("at_step", [1, 3])
def test_the_first_step_is_cut_short(
    data: Path, tmp_path: Path, whole: Path, at_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a start or of a resume: it may compile for minutes, and there is nothing to save."""
    run, step = tmp_path / "run", Trainer.step
    if at_step > 1:
        train(tiny_task("pix2pix"), data=data, out=run, config=replace(CONFIG, max_steps=at_step - 1))

    def signalled(self: Trainer, batch: Any, *, index: int, **more: Any) -> Any:
        step(self, batch, index=index, **more)
        send(signal.SIGTERM)
        raise AssertionError("the step went on")

    before = saved(run) if at_step > 1 else []
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as interrupted:
        patch.setattr(Trainer, "step", signalled)
        if at_step == 1:
            train(tiny_task("pix2pix"), data=data, out=run, config=CONFIG)
        resume(run, max_steps=CONFIG.max_steps)
    assert interrupted.value.code == 143
    assert saved(run) == before
    resume(run)
    ours, theirs = weights(run), weights(whole)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("number", "ends", "code"),
    [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143), (signal.SIGHUP, SystemExit, 129)],
)
def test_a_signal_at_the_start_ends_at_once(
    data: Path, tmp_path: Path, number: signal.Signals, ends: type[BaseException], code: int | None, monkeypatch: Any
) -> None:
    def opened(*_: Any, **__: Any) -> None:
        send(number)
        raise AssertionError("the start went on")

    monkeypatch.setattr(gan_tasks.training.loop, "open_data", opened)
    with pytest.raises(ends) as ended:
        train(tiny_task("pix2pix"), data=data, out=tmp_path / "run", config=CONFIG)
    assert getattr(ended.value, "code", None) == code
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("context", [stop_signals, ends_at_once])
def test_a_signal_that_is_ignored_stays_so(context: Callable[[], Any]) -> None:
    """`nohup` ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with context() as signals:
            send(signal.SIGHUP)
            assert not signals
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_process_does_not_raise() -> None:
    """One that was just forked has the handlers of the training, until it has its own."""
    with stop_signals() as signals, suppress(CutShortError), signals.cutting_short():
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                send(signal.SIGTERM)
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not signals
