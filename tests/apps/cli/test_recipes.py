"""Test the training recipes of the models that ship: each is a valid file of options for its task."""

import tomllib
from pathlib import Path

import pytest

from gan_tasks.apps.cli.commands.train import parse_train
from gan_tasks.tasks import find_task

ROOT = Path(__file__).resolve().parents[3]
RECIPES = sorted((ROOT / "examples" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_sets_options_of_its_task(path: Path) -> None:
    task = tomllib.loads(path.read_text())["task"]
    options = parse_train(find_task(task).load(), ["--config", str(path), "--data", "in", "--out", "out"])
    assert options.out == Path("out")
    assert f"gan-tasks train {task} --config {path.relative_to(ROOT)} " in path.read_text()


@pytest.mark.parametrize(
    "file", sorted((ROOT / "models" / "gan_tasks_models").glob("*.onnx")), ids=lambda path: path.stem
)
def test_each_model_that_ships_has_its_recipe(file: Path) -> None:
    name = {"winter2summer": "summer2winter"}.get(file.stem, file.stem)
    assert name in [path.stem for path in RECIPES]
