"""`benchmarks/synthesis.py` trains its recipes for the same time, and writes what comes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import recipes
import synthesis
from PIL import Image
from tiny import write_pairs

from gan_tasks.apps.cli.commands.train import Train, TrainOptions


def options_of(arguments: Sequence[str]) -> TrainOptions:
    training = Train.parse(arguments[1:], "gan-tasks train")
    assert isinstance(training, Train)
    return training.options


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The trainings, which are parsed and not run. Each leaves a run with five checkpoints."""
    begun: list[Any] = []

    def train(arguments: Sequence[str], seconds: float | None = None) -> None:
        begun.append(options_of(arguments))
        run = Path(arguments[arguments.index("--out") + 1])
        lines = [{"step": step, "images": 8.0 * step, "time": 0.1 * step} for step in (1, 20, 40)]
        run.mkdir()
        (run / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        for step in (0, 10, 20, 30, 40):
            (run / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)

    monkeypatch.setattr(recipes, "train", train)
    monkeypatch.setattr(synthesis, "train", train)
    return begun


def figures(distance: float, diversity: float) -> dict[str, Any]:
    kernel = {"mean": distance, "low": distance - 0.01, "high": distance + 0.01}
    shares = {"precision": 0.5, "recall": 0.25, "density": 0.5, "coverage": 0.5}
    return {"kernel_distance": kernel, "diversity": diversity, "pixel_diversity": diversity, **shares}


def test_the_recipes_are_trained_for_the_minutes_and_followed(
    tmp_path: Path, trainings: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """80 images in a second for six seconds are 80 epochs of six images."""
    data = write_pairs(tmp_path / "data")
    for folder in (data / "train" / "A", data / "train" / "B"):
        for path in folder.iterdir():
            path.unlink()
    out = tmp_path / "out"
    arguments = ["--data", str(data), "--out", str(out), "--minutes", "0.1", "--checkpoints", "3"]
    monkeypatch.setattr(synthesis, "samples_of", lambda run: [np.zeros((32, 32, 3), np.uint8)] * 9)
    steps: list[str] = []

    def measured(checkpoint: Path, options: Any, kept: Path) -> dict[str, Any]:
        steps.append(f"{checkpoint.parents[1].name} {checkpoint.name}")
        collapsed = checkpoint.parents[1].name == "dcgan-0" and checkpoint.name.endswith("40")
        return figures(0.4 if collapsed else 0.1, 0.1 if collapsed else 0.8)

    monkeypatch.setattr(synthesis, "measured", measured)
    monkeypatch.setattr(
        "sys.argv", ["synthesis.py", *arguments, "--recipes", "dcgan", "small-ada", "--", "--lr", "1e-3"]
    )
    synthesis.main()

    calibration, dcgan, _, ada = trainings
    assert dcgan.task.schedule.epochs == ada.task.schedule.epochs == 80
    assert dcgan.task.network == "dcgan" and dcgan.task.optimisation.lr == 1e-3
    assert ada.task.adversarial.d_augment_adaptive and calibration.loop.log_every_steps == 5
    assert dcgan.loop.checkpoint_every_s == 2 and dcgan.loop.checkpoint_every_steps == 0
    assert steps[:2] == ["dcgan-0 step-00000020", "dcgan-0 step-00000040"]

    found = json.loads((out / "results.json").read_text())
    last = found["dcgan"]["0"][-1]
    assert last["images"] == 320 and last["minutes"] == pytest.approx(320 / 80 / 60)
    printed = capsys.readouterr().out
    assert "| dcgan | 0.32 | 400 | 100 | 0.5 | 0.25 | 0.5 | 0.5 | 0.1 | 0.1 | 1 of 1 |" in printed
    assert "| small-ada | 0.32 | 100 | 100 | 0.5 | 0.25 | 0.5 | 0.5 | 0.8 | 0.8 | 0 of 1 |" in printed
    page = (out / "results.html").read_text()
    assert "small-ada" in page and page.count("<svg viewBox") == 3 and "minutes of training" in page
    for name in ("kernel-distance", "diversity", "coverage"):
        drawing = ElementTree.parse(out / f"{name}.svg").getroot()
        assert {"dcgan", "small-ada"} <= {each.text for each in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert Image.open(out / "dcgan-0.png").width == 8 * 134 + 6


def test_every_recipe_is_a_training_of_the_task(tmp_path: Path) -> None:
    options = synthesis.parsed(["--data", str(tmp_path), "--out", str(tmp_path)])
    found: dict[str, Any] = {
        name: options_of(synthesis.command(name, options, tmp_path / "run", 0)) for name in synthesis.RECIPES
    }
    assert found["wgan-gp"].task.adversarial.gradient_penalty == 10
    assert not found["small-plain"].task.adversarial.d_augment and found["small"].task.adversarial.d_augment
    assert all(each.task.data.size == (64, 64) for each in found.values())
