"""The training loop: exact resume, killed processes, damaged checkpoints, non-finite losses, signals and ranks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_vgg import write_vgg16
from tiny import adversarial_stage, built, tiny_batch, tiny_task, write_pairs

from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.checkpoint import CheckpointError, list_checkpoints, load_checkpoint
from gan_tasks.runs.folder import RunFolder
from gan_tasks.runs.journal import read_journal
from gan_tasks.runs.reports.report import write_report
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import Interrupted, TrainingError, resume, train
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer

HELPERS = Path(__file__).parents[2] / "helpers"
CONFIG = TrainConfig(
    device="cpu",
    precision="fp32",
    workers=0,
    max_steps=4,
    checkpoint_every_steps=2,
    log_every_steps=1,
    sample_every_steps=0,
    evaluate_every_steps=0,
    quiet=True,
)


def environment(**more: str) -> dict[str, str]:
    paths = [str(HELPERS), str(HELPERS.parents[1] / "examples"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module", params=["pix2pix", "super-resolution"])
def killed(request: pytest.FixtureRequest, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of killed trainings, of a task with one stage and of one with two."""
    folder = tmp_path_factory.mktemp("killed")
    program = [sys.executable, str(HELPERS / "killed_training.py"), str(pairs), str(folder), request.param]
    done = subprocess.run(program, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kind", ["points", "moments"])
def test_a_run_killed_at_any_moment_ends_as_an_uninterrupted_one(killed: dict[str, Any], kind: str) -> None:
    """The moments are every write, sync and rename of a checkpoint, and five random ones."""
    results = killed[kind]
    assert len(results) >= {"points": 10, "moments": 5}[kind]
    if (kind, killed["task"]) == ("points", "super-resolution"):
        assert any("end-of-reconstruction" in point for point in results)
    expected = {"code": 0, "different": [], "leftovers": [], "journal": True}
    assert {name: {key: result[key] for key in expected} for name, result in results.items()} == dict.fromkeys(
        results, expected
    )
    assert sum(result["death"] == -9 for result in results.values()) >= len(results) // 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_run_resumed_with_another_number_of_workers_is_the_same(killed: dict[str, Any]) -> None:
    assert set(killed["workers"]) == {"0 → 2", "2 → 0"}
    for result in killed["workers"].values():
        assert result["code"] == 0
        assert result["different"] == []


def weights(run: Path) -> dict[str, torch.Tensor]:
    parts, _ = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def run(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with checkpoints after two and four. Tests must not change it."""
    return train(tiny_task("pix2pix"), data=pairs, out=tmp_path_factory.mktemp("run") / "run", config=CONFIG)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def newest(run: Path) -> Path:
    return list_checkpoints(run / "checkpoints")[-1]


def test_resume_skips_a_truncated_checkpoint(copy: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (newest(copy) / "generators.safetensors").open("rb+") as file:
        file.truncate(1000)
    broken = newest(copy)
    resume(copy, max_steps=3)  # stop before the step of the damaged checkpoint
    printed = capsys.readouterr().err
    assert broken.name in printed and "generators.safetensors" in printed and "step-00000002 is taken" in printed
    assert newest(copy) == broken  # the damaged checkpoint is not deleted
    steps = [line["step"] for line in read_journal(copy / "journal.jsonl") if "g/total" in line]
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("checkpoint_every_steps", [2, 3])
def test_a_run_that_has_taken_its_steps_is_resumed_without_a_change(
    pairs: Path, tmp_path: Path, checkpoint_every_steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last checkpoint is a periodic one, or that of the end, which is saved after the last sample grid."""

    def values() -> list[dict[str, Any]]:
        lines = read_journal(run / "journal.jsonl")
        return [{key: line[key] for key in line.keys() - {"time"}} for line in lines if "event" not in line]

    config = replace(CONFIG, checkpoint_every_steps=checkpoint_every_steps)
    run = train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=config)
    before = values()
    resume(run, max_steps=4)
    assert "has taken its 4 steps already" in capsys.readouterr().err
    assert values() == before and [line["step"] for line in before if "outputs/diversity" in line] == [0, 4]


@pytest.mark.parametrize("part", ["generators", "discriminators", "optimizer-g", "optimizer-d", "task", "state.json"])
def test_resume_names_a_missing_part_of_a_checkpoint(copy: Path, part: str) -> None:
    name = part if part.endswith(".json") else f"{part}.safetensors"
    (newest(copy) / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        resume(copy, max_steps=6)


def test_resume_refuses_a_run_with_only_damaged_checkpoints(copy: Path) -> None:
    for checkpoint in list_checkpoints(copy / "checkpoints"):
        (checkpoint / "generators.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="generators"):
        resume(copy, max_steps=6)


def test_a_full_disk_keeps_the_older_checkpoint(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gan_tasks.runs.checkpoint

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = newest(copy)
    monkeypatch.setattr(gan_tasks.runs.checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        resume(copy, max_steps=6)
    assert newest(copy) == before
    load_checkpoint(before)
    assert not list((copy / "checkpoints").glob(".*"))


def test_a_run_is_not_overwritten(run: Path, pairs: Path) -> None:
    with pytest.raises(UserError, match="--resume"):
        train(tiny_task("pix2pix"), data=pairs, out=run, config=CONFIG)


def test_another_seed_gives_another_result(run: Path, pairs: Path, tmp_path: Path) -> None:
    other = train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=replace(CONFIG, seed=1))
    assert any(not torch.equal(tensor, weights(other)[name]) for name, tensor in weights(run).items())


def test_the_same_seed_gives_the_same_result(run: Path, pairs: Path, tmp_path: Path) -> None:
    other = train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=CONFIG)
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(run).items())


def test_a_finished_run_has_all_its_files(pairs: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, max_steps=0, sample_every_steps=5, keep_checkpoints=1)
    path = train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=config)
    run = RunFolder(path)
    assert [checkpoint.name for checkpoint in list_checkpoints(run.checkpoints)] == ["step-00000012"]
    assert sorted(grid.name for grid in run.samples.iterdir()) == [f"step-{step:08d}.png" for step in (0, 5, 10, 12)]
    assert "<html" in (path / "report.html").read_text() and "# Model card" in (path / "model-card.md").read_text()
    lines = [line for line in read_journal(run.journal) if "lr/g" in line]
    assert [line["lr/g"] for line in lines] == [2e-4] * 6 + [1e-4] * 6
    resume(path)  # the run has finished: resuming does nothing
    assert [line for line in read_journal(run.journal) if "lr/g" in line] == lines


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now_s, self.step_s = 0.0, 45

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock for what is done by time. Each step of a training takes `step_s`, and drawing the report 1 s."""
    clock = Clock()
    step, report = Trainer.step, write_report

    def slow_step(self: Trainer, *batch: Any, **more: Any) -> Any:
        clock.now_s += clock.step_s
        return step(self, *batch, **more)

    def slow_report(*run: Any, **more: Any) -> Path:
        clock.now_s += 1
        return report(*run, **more)

    monkeypatch.setattr("gan_tasks.training.pace.monotonic", clock)
    monkeypatch.setattr("gan_tasks.training.log.write_report", slow_report)
    monkeypatch.setattr(Trainer, "step", slow_step)
    return clock


SLOW = replace(CONFIG, log_every_steps=50, checkpoint_every_steps=1000, sample_every_steps=1000, keep_checkpoints=9)


def logged(run: Path) -> list[dict[str, Any]]:
    """The lines of losses, without the values that depend on time."""
    lines = [line for line in read_journal(run / "journal.jsonl") if "lr/g" in line]
    return [{key: line[key] for key in line.keys() - {"time", "speed/images_per_second"}} for line in lines]


def test_a_slow_training_shows_itself_from_the_start(
    pairs: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool, bool]] = []
    step = Trainer.step

    def look(self: Trainer, *batch: Any, index: int, **more: Any) -> Any:
        page = (tmp_path / "run" / "report.html").read_text()
        seen.append((page.count("<img"), 'http-equiv="refresh"' in page, "is running" in page))
        return step(self, *batch, index=index, **more)

    monkeypatch.setattr(Trainer, "step", look)
    run = train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=replace(SLOW, max_steps=6))
    assert seen[:5] == [(images, True, True) for images in (1, 1, 2, 2, 3)]  # drawn at the steps 0, 2 and 4
    page = (run / "report.html").read_text()
    assert 'http-equiv="refresh"' not in page and "is running" not in page
    assert [line["step"] for line in logged(run)] == [1, 2, 4, 6]  # the first lines come before step 50
    assert list_checkpoints(run / "checkpoints")[0].name == "step-00000002"  # after a minute


def test_what_is_done_by_time_changes_no_result(pairs: Path, tmp_path: Path, clock: Clock) -> None:
    """A run that is resumed from a checkpoint by time ends as one without any, with the same lines of losses."""
    clock.step_s = 25  # so that the first checkpoint by time is between two lines of losses, those of steps 2 and 4
    config = replace(SLOW, max_steps=7)
    plain = replace(config, report_every_s=0, checkpoint_every_s=0)
    whole = train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "whole", config=plain)
    run = train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=config)
    assert logged(run) == logged(whole) and [line["step"] for line in logged(run)] == [1, 2, 4, 7]
    last = newest(run)
    shutil.rmtree(last)
    early = newest(run)
    assert early.name == "step-00000003"
    resume(run)
    assert newest(run) == last
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in weights(whole).items())
    assert logged(run) == logged(whole)


def test_a_report_that_cannot_be_drawn_does_not_stop_the_training(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, refresh_s: int = 0, **__: Any) -> None:
        if refresh_s:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("gan_tasks.training.log.write_report", full)
    run = train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=replace(CONFIG, max_steps=1))
    assert newest(run).name == "step-00000001" and "No space left" in capsys.readouterr().err


def test_a_training_that_fails_leaves_no_report_of_a_running_one(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TrainingError("broken")

    monkeypatch.setattr(Trainer, "step", broken)
    with pytest.raises(TrainingError):
        train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=CONFIG)
    assert "is running" not in (tmp_path / "run" / "report.html").read_text()


def test_the_best_checkpoint_is_kept_and_used(tmp_path: Path) -> None:
    import gan_tasks

    data = write_pairs(tmp_path / "data", val=2)
    config = replace(CONFIG, max_steps=6, evaluate_every_steps=1, checkpoint_every_steps=1, keep_checkpoints=1)
    # The high learning rate soon ruins the model, so that the best checkpoint is not the newest.
    path = train(tiny_task("pix2pix", "--lr", "0.3"), data=data, out=tmp_path / "run", config=config)
    values = {line["step"]: line["val/l1"] for line in read_journal(path / "journal.jsonl") if "val/l1" in line}
    best = min(values, key=lambda step: values[step])
    run = RunFolder(path)
    assert run.best is not None and run.best.name == f"step-{best:08d}"
    model = gan_tasks.load(path).model
    assert model.checkpoint == run.best  # type: ignore[attr-defined]


def test_best_by_selects_the_best_checkpoint(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data", val=4)
    config = replace(CONFIG, max_steps=6, evaluate_every_steps=1, checkpoint_every_steps=1)
    for best_by, key, sign in (("psnr", "val/psnr", -1), ("kernel-distance", "val/kernel_distance", 1)):
        out = tmp_path / best_by
        task = tiny_task("pix2pix", "--lr", "0.002")
        path = train(task, data=data, out=out, config=replace(config, best_by=best_by))  # type: ignore[arg-type]
        lines = read_journal(path / "journal.jsonl")
        values = {line["step"]: sign * line[key] for line in lines if key in line}
        best, worst = (choose(values, key=lambda step: values[step]) for choose in (min, max))
        assert values[best] < values[worst]
        run = RunFolder(path)
        assert run.best is not None and run.best.name == f"step-{best:08d}"
        events = [line for line in lines if line.get("event") == "best"]
        assert events[-1]["step"] == best and events[-1]["metric"] == best_by
    assert "Best Kernel distance" in (path / "report.html").read_text()


@pytest.mark.parametrize("pause", [False, True])
def test_patience_ends_a_run_without_improvement(tmp_path: Path, pause: bool) -> None:
    """Evaluations before a pause count too."""
    data = write_pairs(tmp_path / "data", val=1)
    config = replace(CONFIG, max_steps=0, evaluate_every_steps=1, patience=3)
    task = tiny_task("pix2pix", "--lr", "0.3", "--epochs", "50")
    first = replace(config, max_steps=2) if pause else config
    path = train(task, data=data, out=tmp_path / "run", config=first)
    if pause:
        resume(path, max_steps=0)
    held_out = [line["val/l1"] for line in read_journal(path / "journal.jsonl") if "val/l1" in line]
    assert len(held_out) < 300 and min(held_out[-3:]) >= min(held_out[:-3])
    assert all(min(held_out[i - 3 : i]) < min(held_out[: i - 3]) for i in range(4, len(held_out)))
    (event,) = [line for line in read_journal(path / "journal.jsonl") if line.get("event") == "stopped-early"]
    assert event["step"] == len(held_out) and "stopped early" in (path / "report.html").read_text()
    resume(path)  # the run has finished
    assert newest(path).name == f"step-{len(held_out):08d}"


@pytest.mark.parametrize("name", ["cyclegan", "noise-to-image"])
def test_the_kernel_distance_selects_the_best_checkpoint_without_pairs(name: str, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data", val=4)
    config = replace(CONFIG, max_steps=2, evaluate_every_steps=1, best_by="kernel-distance")
    path = train(tiny_task(name), data=data, out=tmp_path / "run", config=config)
    values = [line for line in read_journal(path / "journal.jsonl") if "val/kernel_distance" in line]
    assert len(values) == 2 and "val/l1" not in values[0]
    assert RunFolder(path).best is not None


@pytest.mark.parametrize(
    ("task", "val", "changes", "message"),
    [
        ("pix2pix", 0, {"best_by": "ssim"}, "--best-by ssim follows held-out images.*val/"),
        ("pix2pix", 0, {"patience": 2}, "--patience 2 follows held-out images.*val/"),
        ("pix2pix", 2, {"best_by": "kernel-distance"}, "2 held-out images"),
        ("pix2pix", 2, {"patience": 2, "evaluate_every_steps": 0}, "--evaluate-every-steps"),
        ("cyclegan", 2, {"best_by": "l1"}, "no targets.*--best-by kernel-distance"),
        ("cyclegan", 2, {"patience": 2}, "has none of its own.*--best-by kernel-distance"),
    ],
)
def test_options_without_their_metric_are_refused_before_the_run_folder_exists(
    task: str, val: int, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    data = write_pairs(tmp_path / "data", val=val)
    with pytest.raises(UserError, match=message):
        config = replace(CONFIG, **{"evaluate_every_steps": 1, **changes})
        train(tiny_task(task), data=data, out=tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


def test_plateau_lowers_the_learning_rate_by_held_out_images(tmp_path: Path, pairs: Path) -> None:
    options = ("--schedule", "plateau", "--plateau-patience-epochs", "1", "--lr", "0.3", "--epochs", "4")
    with pytest.raises(UserError, match="val/"):
        train(tiny_task("pix2pix", *options), data=pairs, out=tmp_path / "no", config=CONFIG)
    data = write_pairs(tmp_path / "data", train=2, val=1)
    config = replace(CONFIG, max_steps=0)
    path = train(tiny_task("pix2pix", *options), data=data, out=tmp_path / "run", config=config)
    lines = read_journal(path / "journal.jsonl")
    held_out = [line["val/l1"] for line in lines if "val/l1" in line]
    rates = [line["lr/g"] for line in lines if "lr/g" in line][1::2]
    cuts = [0]
    for index in range(1, 4):
        cuts.append(sum(held_out[i] >= min(held_out[:i], default=np.inf) for i in range(index)))
    assert rates == pytest.approx([0.3 * 0.1**cut for cut in cuts])


def test_non_finite_losses_stop_the_run_and_keep_the_last_good_checkpoint(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan_tasks.tasks.pix2pix import Pix2Pix

    losses = Pix2Pix.g_losses

    def poisoned(self: Pix2Pix, x: Any, y: Any) -> Any:
        found = losses(self, x, y)
        return {**found, "l1": found["l1"] * torch.nan} if self.step.index >= 3 else found

    monkeypatch.setattr(Pix2Pix, "g_losses", poisoned)
    config = replace(CONFIG, max_steps=0, max_skipped_steps=3)
    with pytest.raises(TrainingError, match="3 steps in a row"):
        train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=config)
    kept = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert [checkpoint.name for checkpoint in kept] == ["step-00000002", "step-00000004"]
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path / "run").values())
    events = [line["event"] for line in read_journal(tmp_path / "run" / "journal.jsonl") if "event" in line]
    assert events.count("skipped-step") == 3


def test_a_signal_saves_a_checkpoint_and_sets_the_exit_code(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    step = Trainer.step

    def signalled(self: Trainer, batch: Any, *, index: int, **more: Any) -> Any:
        if index == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, index=index, **more)

    monkeypatch.setattr(Trainer, "step", signalled)
    config = replace(CONFIG, max_steps=6, checkpoint_every_steps=0)
    with pytest.raises(Interrupted) as stopped:
        train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "run", config=config)
    assert stopped.value.code == 143
    assert newest(tmp_path / "run").name == "step-00000003"
    monkeypatch.undo()
    resume(tmp_path / "run")
    whole = train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "whole", config=config)
    assert all(torch.equal(tensor, weights(tmp_path / "run")[name]) for name, tensor in weights(whole).items())


RELATIVISTIC = ("--adversarial", "relativistic", "--r1", "1", "--r2", "1")
AUGMENTED = ("--d-augment", "colour", "translation", "cutout")
ADAPTIVE = ("--d-augment-adaptive", "--d-adaptive-images", "100", "--d-adaptive-target", "-0.9")
STYLEGAN2 = ("--network", "stylegan2", "--style-width", "8", "--mapping-layers", "2")
STYLEGAN3 = ("--network", "stylegan3-t", *STYLEGAN2[2:], "--crop-size", "16", "16")
RANKS = {
    "paper, instance norm": ("pix2pix", "--norm", "instance", "--dropout-off"),
    "lsgan": ("pix2pix", "--adversarial", "lsgan"),
    "hinge, spectral": ("pix2pix", "--adversarial", "hinge", "--d-spectral"),
    "wgan-gp": ("pix2pix", "--adversarial", "wasserstein", "--gradient-penalty", "10"),
    "wgan, clipped": ("pix2pix", "--adversarial", "wasserstein", "--clip-weights", "0.05"),
    "relativistic, r1, r2": ("pix2pix", *RELATIVISTIC),
    "feature matching, two scales": ("pix2pix", "--feature-matching", "10", "--d-scales", "2", "--d-layers", "1"),
    # Each rank has its own image pool. A pool returns the images unchanged until it is full.
    "cyclegan": ("cyclegan", "--pool-images", "50"),
    "cyclegan, relativistic, r1, r2": ("cyclegan", "--pool-images", "0", *RELATIVISTIC),
    "cut": ("cut",),
    "fastcut": ("cut", "--preset", "fastcut", *AUGMENTED),
    "on features, augmented": ("pix2pix", "--discriminator", "features", "--no-d-conditional", *AUGMENTED),
    # Without a fixed zero of the logits, the sign statistic uses a mean over the batch of one rank.
    "adaptive": ("pix2pix", "--adversarial", "hinge", *AUGMENTED, "flip", "geometry", "--d-pseudo-real", *ADAPTIVE),
    # Its default, relativistic-average, uses the mean over the batch of one rank.
    "super-resolution": ("super-resolution", "--adversarial", "vanilla", "--d-scales", "2", "--crop-size", "48"),
    "super-resolution, relativistic, U-Net": ("super-resolution", "--discriminator", "unet", *RELATIVISTIC),
    "fifth task": ("crisp",),
    "synthesis": ("synthesis", "--network", "r3gan"),
    # The minibatch deviation is that of the batch of one rank.
    "stylegan2": ("synthesis", *STYLEGAN2, "--path-length", "2", "--style-mixing", "0.9", "--d-group", "1"),
    "stylegan3": ("synthesis", *STYLEGAN3, "--d-group", "1"),
    "began": (
        "synthesis",
        "--network",
        "r3gan",
        "--energy",
        "began",
        "--diversity-ratio",
        "1",
        "--balance-rate",
        "0.5",
    ),
}


def ranks_options(case: tuple[str, ...], vgg: Path) -> tuple[str, ...]:
    """Return the options of a case without batch norm and dropout, which depend on the whole batch."""
    name, *options = case
    if "features" in options:
        options += ["--perceptual-network", "vgg16", "--perceptual-weights", str(vgg)]
    if name == "pix2pix":
        kept = [option for option in options if option != "--dropout-off"]
        return (name, "--no-dropout", "--norm", "instance", *kept)
    return case


@pytest.fixture(scope="module")
def two_ranks(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train three steps of each case in two processes; rank 0 writes its networks to files."""
    folder = tmp_path_factory.mktemp("ranks")
    cases = folder / "cases.json"
    vgg = write_vgg16(folder / "vgg16.safetensors")
    cases.write_text(json.dumps({name: ranks_options(case, vgg) for name, case in RANKS.items()}))
    program = [sys.executable, str(HELPERS / "ranks.py"), str(pairs), str(cases), str(folder)]
    port = str(free_port())
    processes = [
        subprocess.Popen(
            program,
            env=environment(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return folder


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.parametrize("name", RANKS)
def test_two_processes_equal_one_with_twice_the_batch_size(two_ranks: Path, name: str, pairs: Path) -> None:
    from ranks import take_steps

    case = ranks_options(RANKS[name], two_ranks / "vgg16.safetensors")
    with start_runtime("cpu", "fp32") as runtime:
        one = take_steps(case, pairs, runtime, batch_size=4)
    two = torch.load(two_ranks / f"{name}.pth", weights_only=True)
    for networks in ("generators", "discriminators"):
        # A bias before an instance norm has no effect. Its gradient is a rounding error, which Adam scales up.
        names = [name for name, tensor in one.items() if name.startswith(networks) and tensor.ndim > 1]
        ours, theirs = (torch.cat([weights[name].flatten() for name in names]) for weights in (one, two))
        assert float(torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(ours)) <= 1e-12, networks
    for key in (key for key in one if key.startswith("adaptive/")):
        torch.testing.assert_close(one[key], two[key], rtol=1e-6, atol=1e-6)
        if key == "adaptive/d":  # that of the augmentation, which changed
            assert one[key][0] not in (0, 0.5) and one[key][2] == 2


def test_the_ema_depends_on_the_number_of_images(pairs: Path) -> None:
    task = built(tiny_task("pix2pix", "--ema-halflife-images", "4", "--batch-size", "2"))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        assert trainer.average is not None
        expected = [p.detach().clone().double() for p in task.generators.parameters()]
        for index in range(3):
            trainer.step(tiny_batch(task, pairs), index=index)
            for kept, parameter in zip(expected, task.generators.parameters(), strict=True):
                kept.mul_(0.5**0.5).add_(parameter.detach().double() * (1 - 0.5**0.5))
        for kept, averaged in zip(expected, trainer.average.parameters(), strict=True):
            torch.testing.assert_close(averaged.double(), kept, rtol=1e-5, atol=1e-7)


def test_gradients_are_clipped_to_the_given_norm(pairs: Path) -> None:
    """Adam's first moment after one step is 0.5 × the clipped gradient."""
    task = built(tiny_task("pix2pix", "--clip-grad-norm", "0.01"))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        log = trainer.step(tiny_batch(task, pairs), index=0)
        moments = [state["exp_avg"] / 0.5 for state in trainer.optimizers["g"].state.values()]
    assert float(log["grad/g"]) > 0.01
    assert float(torch.stack([m.square().sum() for m in moments]).sum().sqrt()) == pytest.approx(0.01, rel=1e-3)


def test_a_resumed_optimiser_keeps_its_memory_layout() -> None:
    task = built(tiny_task("pix2pix"))
    with start_runtime("cpu", "bf16") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        trainer.load_parts(trainer.parts())
        for parameter in task.generators.parameters():
            for name in ("exp_avg", "exp_avg_sq"):
                state = trainer.optimizers["g"].state.get(parameter, {})
                assert name not in state or state[name].stride() == parameter.stride()


def test_unknown_devices_are_refused() -> None:
    for name in ("gpu", "mps", "cuda:99"):
        with pytest.raises(UserError, match="device"), start_runtime(name):
            pass
