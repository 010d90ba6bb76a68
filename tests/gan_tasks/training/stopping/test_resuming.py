"""Resuming with what the run began with, with other options, and with other data."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from random_vgg import write_vgg16
from tiny import photo, tiny_task, write_pairs

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.runs.checkpoint import list_checkpoints, load_checkpoint
from gan_tasks.runs.journal import read_journal
from gan_tasks.runs.reports.diagnosis import planned_images
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import resume, train

CONFIG = TrainConfig(
    device="cpu",
    precision="fp32",
    workers=0,
    max_steps=2,
    checkpoint_every_steps=0,
    log_every_steps=1,
    sample_every_steps=0,
    evaluate_every_steps=0,
    quiet=True,
)


@pytest.fixture(scope="module")
def began(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `data`, and beside it a run that has taken two of its twelve steps. Tests must not change them."""
    folder = tmp_path_factory.mktemp("began")
    shutil.copytree(pairs, folder / "data")
    train(tiny_task("pix2pix"), data=folder / "data", out=folder / "run", config=CONFIG)
    return folder


@pytest.fixture
def run(began: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(began / "run", tmp_path / "run"))


@pytest.fixture
def data(began: Path, tmp_path: Path) -> Path:
    """The data, moved."""
    return Path(shutil.copytree(began / "data", tmp_path / "moved"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    parts, _ = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def changes(run: Path) -> list[dict[str, Any]]:
    return [line for line in read_journal(run / "journal.jsonl") if line.get("event") == "changed"]


def config_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "config.json").read_bytes())
    return content


# --- What the run began with ------------------------------------------------------------------------------------


def test_relative_paths_mean_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, folders of the same names hold other images."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    write_pairs(here / "data")
    write_pairs(here / "extra", train=2)
    write_vgg16(here / "vgg.safetensors")
    for name in ("data", "extra"):
        write_pairs(elsewhere / name, train=1)
    options = ("--extra-data", "extra", "--extra-weight", "0.5", "--perceptual-weights", "vgg.safetensors")
    task = tiny_task("pix2pix", *options, "--perceptual", "1", "--perceptual-network", "vgg16")
    monkeypatch.chdir(here)
    whole = train(task, data="data", out=tmp_path / "whole", config=replace(CONFIG, max_steps=3)).absolute()
    run = train(task, data="data", out=tmp_path / "run", config=CONFIG).absolute()
    assert config_of(run)["task_config"]["data"]["extra_data"] == str(here / "extra")
    assert f'perceptual-weights = "{here / "vgg.safetensors"}"' in (run / "train.toml").read_text()
    monkeypatch.chdir(elsewhere)
    resume(run, max_steps=3)
    assert same(run, whole)


def test_relative_masks_and_a_relative_model_to_start_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    write_pairs(here / "data", train=2, test=0, size=(80, 80))
    (here / "masks").mkdir()
    write(here / "masks" / "one.png", Picture((photo(80, 80, 1, channels=1) // 128) * 255))
    monkeypatch.chdir(here)
    first = train(tiny_task("inpainting"), data="data", out="first", config=replace(CONFIG, max_steps=1))
    task = tiny_task("inpainting", "--masks", "masks")
    run = train(task, data="data", out="run", init_from=first, config=replace(CONFIG, max_steps=1)).absolute()
    shutil.rmtree(run / "checkpoints")  # as if it had been killed before the first one
    os.chdir(tmp_path)
    resume(run)
    assert config_of(run)["init_from"] == str(here / "first")
    assert config_of(run)["task_config"]["data"]["masks"] == str(here / "masks")
    assert any(line.get("event") == "initialised" for line in read_journal(run / "journal.jsonl"))


def test_changed_data_are_said_once(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume(run, data=data, max_steps=3)
    assert "has changed" not in capsys.readouterr().err
    for side in ("A", "B"):
        (data / "train" / side / "000.png").unlink()
        write(data / "train" / side / "900.png", Picture(photo(40, 36, 9)))
        write(data / "train" / side / "901.png", Picture(photo(40, 36, 10)))
        write(data / "train" / side / "001.png", Picture(photo(48, 40, 11)))
    resume(run, max_steps=4)
    assert "--data has changed since the run last read it: of 24 files 4 added, 2 missing and 2 of another size" in (
        capsys.readouterr().err
    )
    assert changes(run)[-1]["files of data"] == "of 24 files 4 added, 2 missing and 2 of another size"
    resume(run, max_steps=5)
    assert "has changed" not in capsys.readouterr().err


def test_missing_files_are_named_with_their_option(tmp_path: Path, pairs: Path) -> None:
    for name in ("data", "extra"):
        shutil.copytree(pairs, tmp_path / name)
    task = tiny_task("pix2pix", "--extra-data", str(tmp_path / "extra"))
    run = train(task, data=tmp_path / "data", out=tmp_path / "run", config=replace(CONFIG, max_steps=1))
    for name, option in (("data", "data"), ("extra", "extra-data")):
        moved = (tmp_path / name).rename(tmp_path / f"moved-{name}")
        with pytest.raises(UserError, match=f"{tmp_path / name} is not there.*--{option} PATH"):
            resume(run)
        resume(run, **{option.replace("-", "_"): moved})
        assert changes(run)[-1][option] == f"{tmp_path / name} → {moved}"
    assert "files of" not in str(changes(run))


# --- Other options ----------------------------------------------------------------------------------------------


def test_new_options_hold_for_later_resumes_too(run: Path, data: Path) -> None:
    before = config_of(run)
    resume(run, data=data, max_steps=3, keep_checkpoints=7)
    now = config_of(run)
    assert (now["data"], now["train_config"]["keep_checkpoints"]) == (str(data), 7)
    changed = {"data", "train_config"}
    assert {key: now[key] for key in now.keys() - changed} == {key: before[key] for key in before.keys() - changed}
    toml = (run / "train.toml").read_text()
    assert f'data = "{data}"' in toml and "keep-checkpoints = 7" in toml
    (event,) = changes(run)
    assert (event["max-steps"], event["keep-checkpoints"]) == ("2 → 3", "2 → 7")
    resume(run)
    assert len(changes(run)) == 1


def test_the_event_of_a_change_outlives_a_return_to_an_earlier_checkpoint(run: Path) -> None:
    """As for a run that was killed before its next checkpoint."""
    resume(run, max_steps=3)
    shutil.rmtree(run / "checkpoints" / "step-00000003")
    resume(run)
    assert [event["max-steps"] for event in changes(run)] == ["2 → 3"]
    assert [line["step"] for line in read_journal(run / "journal.jsonl") if "g/total" in line] == [1, 2, 3]


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("seed", 1, "order of the images"),
        ("best_by", "ssim", "evaluations so far"),
        ("lr", 0.1, "weights were trained with"),
        ("crop_size", (64, 64), "weights were trained with"),
        ("extra_data", Path("more"), "weights were trained with"),
        ("data", None, "weights were trained with"),
        ("no_such_option", 1, "no option --no-such-option"),
    ],
)
def test_options_that_cannot_change_are_refused_with_the_reason(
    run: Path, option: str, value: Any, reason: str
) -> None:
    files = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(UserError, match=f"--{option.replace('_', '-')}.*|{reason}") as refused:
        resume(run, **{option: value})
    assert reason in str(refused.value)
    assert files == {path: path.read_bytes() for path in run.iterdir() if path.is_file()}


def test_the_values_that_the_run_has_are_no_change(run: Path) -> None:
    resume(run, seed=0, lr=2e-4, max_steps=2)
    assert changes(run) == []


def test_the_command_line_takes_the_same_options(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def code(*arguments: str | Path) -> int:
        with pytest.raises(SystemExit) as exited:
            main(["train", "--resume", str(run), *map(str, arguments)])
        assert isinstance(exited.value.code, int)
        return exited.value.code

    assert code("--data", data, "--epochs", "3", "--max-steps", "3", "--log-every-steps", "2") == 0
    now = config_of(run)
    assert now["task_config"]["schedule"]["epochs"] == 3 and now["train_config"]["log_every_steps"] == 2
    capsys.readouterr()
    assert code("--lr", "1") == 2
    assert "--lr cannot change in a resumed run" in capsys.readouterr().err
    assert code("--epoch", "9") == 2
    assert "did you mean --epochs?" in capsys.readouterr().err


def test_a_resumed_run_with_max_steps_says_what_to_give(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume(run)
    assert "has taken its 2 steps already: to go on, give a larger --max-steps, or 0" in capsys.readouterr().err


# --- More epochs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch. Tests must not change it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    task = tiny_task("pix2pix", "--epochs", "1", "--decay-epochs", "1")
    return train(task, data=pairs, out=out, config=replace(CONFIG, max_steps=0))


def rates(run: Path) -> list[float]:
    return [line["lr/g"] for line in read_journal(run / "journal.jsonl") if "lr/g" in line]


def test_more_epochs_continue_a_finished_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    resume(run)
    assert "has finished its training: to go on, give a larger --epochs" in capsys.readouterr().err
    assert len(rates(run)) == 6
    resume(run, epochs=3)
    assert "linear schedule has 3 epochs instead of 1: the learning rate was 0.0001 in epoch 1, and is 0.0002 in" in (
        capsys.readouterr().err
    )
    assert rates(run) == [1e-4] * 6 + [2e-4] * 6 + [1e-4] * 6
    assert planned_images(read_journal(run / "journal.jsonl")) == 18
    again = Path(shutil.copytree(finished, tmp_path / "again"))
    resume(again, epochs=3, max_steps=8)  # stopped in between
    resume(again, max_steps=0)
    assert same(run, again)


def test_constant_schedules_make_more_epochs_equal_to_a_longer_run(pairs: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, max_steps=0)
    longer, run = (
        train(tiny_task("pix2pix", "--schedule", "constant", "--epochs", epochs), data=pairs, out=out, config=config)
        for epochs, out in (("2", tmp_path / "longer"), ("1", tmp_path / "run"))
    )
    resume(run, epochs=2)
    assert same(run, longer)


def test_the_length_of_a_finished_stage_cannot_change(pairs: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, max_steps=7)
    run = train(tiny_task("super-resolution"), data=pairs, out=tmp_path / "run", config=config)
    with pytest.raises(UserError, match="--epochs 1 → 2 changes the stage reconstruction, which is over"):
        resume(run, epochs=2)
    with pytest.raises(UserError, match="--adversarial-epochs 1 → 0 gives the training 1 stages instead of 2"):
        resume(run, adversarial_epochs=0)
    assert changes(run) == []
    resume(run, adversarial_epochs=2, max_steps=0)
    assert list_checkpoints(run / "checkpoints")[-1].name == "step-00000018"


def test_a_longer_patience_continues_a_run_that_stopped_early(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data", val=1)
    config = replace(CONFIG, max_steps=0, evaluate_every_steps=1, patience=1)
    run = train(tiny_task("pix2pix", "--lr", "0.3"), data=data, out=tmp_path / "run", config=config)
    steps = len(rates(run))
    assert steps < 12
    resume(run)
    assert len(rates(run)) == steps
    resume(run, patience=0)
    assert len(rates(run)) == 12
