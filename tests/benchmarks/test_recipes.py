"""`benchmarks/recipes.py` begins trainings, and continues those that were stopped."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import recipes
from tiny import TINY, write_pairs

from gan_tasks.apps.cli.commands.train import Resume, Train
from gan_tasks.tasks import find_task

FACADES = ("facades", "--minutes", "0.1", "--seeds", "0")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The trainings, which are not run: each is parsed, and leaves a run folder."""
    begun: list[list[str]] = []

    def train(arguments: Sequence[str], seconds: float | None = None) -> None:
        assert isinstance(Train.parse(arguments[1:], "gan-tasks train"), Train)
        begun.append(list(arguments))
        out = Path(arguments[arguments.index("--out") + 1])
        out.mkdir()
        lines = [{"step": n, "images": 10.0 * n, "time": n} for n in (1, 3)]
        (out / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    monkeypatch.setattr(recipes, "train", train)
    return begun


def test_every_recipe_gets_the_epochs_for_the_minutes(tmp_path: Path, trained: list[list[str]]) -> None:
    """Ten images in a second for six seconds are ten epochs of six images."""
    write_pairs(tmp_path / "data")
    (tmp_path / "out" / "pix2pix-paper-calibration").mkdir(parents=True)  # of a calibration that was stopped
    arguments = [*FACADES, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--", "--width", "4"]
    found = list(recipes.train_all(recipes.parsed(arguments)))
    names = ["pix2pix-paper", "pix2pix-modern", "pix2pix-projected", "cut-paper"]
    assert [(recipe.name, seed, run.name) for recipe, seed, run in found] == [(n, 0, f"{n}-0") for n in names]
    assert len(trained) == 8
    for words in trained[4:]:
        assert "--epochs 10 --decay-epochs 5" in shlex.join(words) and words[words.index("--width") + 1] == "4"


def test_a_begun_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it runs is a command line of gan-tasks, which continues the run of the first recipe."""
    data, out = write_pairs(tmp_path / "data"), tmp_path / "out"
    options = recipes.parsed([*FACADES, "--data", str(data), "--out", str(out)])
    out.mkdir()
    for recipe in recipes.recipes_of("facades"):
        (out / f"{recipe.name}-images-per-s.json").write_text("10")
    config = ("--data", str(data), "--out", str(out / "pix2pix-paper-0"), *TINY["pix2pix"], "--max-steps", "1")
    task = Train.parse(["pix2pix", *config, "--workers", "0", "--device", "cpu", "--quiet"], "gan-tasks train")
    assert task.run() == 0
    words: list[str] = []
    monkeypatch.setattr(recipes, "train", words.extend)
    next(recipes.train_all(options))
    resumed = Resume.parse(words[1:], "gan-tasks train")
    assert isinstance(resumed, Resume) and resumed.task_class is find_task("pix2pix").load()


def test_a_training_is_stopped_in_time_and_its_failure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(code: str) -> None:
        monkeypatch.setattr(recipes, "PROGRAM", (sys.executable, "-c", code))

    program("import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); time.sleep(60)")
    recipes.train(["train"], seconds=1)
    program("raise SystemExit(2)")
    for seconds in (None, 20):
        with pytest.raises(SystemExit, match="`gan-tasks train pix2pix` ended with exit code 2"):
            recipes.train(["train", "pix2pix"], seconds)
