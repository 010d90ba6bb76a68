"""The run folder, which holds the options and the results of a training.

config.json     task, options, spec of the model, data, held-out images, command, versions, hardware
train.toml      the options, for `gan-tasks train TASK --config`
journal.jsonl   every logged number and event
samples/        step-NNNNNNNN.png, grids of sample images, always of the same images
checkpoints/    step-NNNNNNNN/, see checkpoint.py
best            the name of the checkpoint with the best metric on held-out images
end-of-STAGE    the name of the last checkpoint of a stage that is followed by another stage
report.html     a report of the run on one page
model-card.md   the model card
evaluation.*    the results of the last `gan-tasks evaluate`, as .json, .csv and .html
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    list_checkpoints,
    load_part,
    load_state,
    write_atomically,
)
from gan_tasks.runs.options_file import options_toml
from gan_tasks.spec import ModelSpec, spec_from_json, spec_to_json
from gan_tasks.tasks import find_task
from gan_tasks.tasks.base import Task

END_OF = "end-of-"


@dataclass(frozen=True)
class RunFolder:
    """The paths within a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def options(self) -> Path:
        return self.path / "train.toml"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path | None:
        """The checkpoint with the best metric on held-out images; None if there is none."""
        return self._pointed_at(self.path / "best")

    @property
    def stage_ends(self) -> dict[str, Path]:
        """The last checkpoints of finished stages, by the name of the stage."""
        ends = {path.name.removeprefix(END_OF): self._pointed_at(path) for path in self.path.glob(f"{END_OF}*")}
        return {name: checkpoint for name, checkpoint in ends.items() if checkpoint}

    def kept(self) -> set[Path]:
        """Return the checkpoints that are never deleted: the best one and the last one of each finished stage."""
        return {*self.stage_ends.values(), *([self.best] if self.best else [])}

    def set_best(self, checkpoint: Path) -> None:
        write_atomically(self.path / "best", checkpoint.name.encode())

    def end_stage(self, name: str, checkpoint: Path) -> None:
        """Mark the last checkpoint of a stage, and forget the best one: the next stage uses another metric."""
        (self.path / "best").unlink(missing_ok=True)
        write_atomically(self.path / f"{END_OF}{name}", checkpoint.name.encode())

    def _pointed_at(self, pointer: Path) -> Path | None:
        checkpoint = self.checkpoints / pointer.read_text().strip() if pointer.is_file() else None
        return checkpoint if checkpoint and checkpoint.is_dir() else None


def create_run(
    path: Path,
    task: Task[Any, Any],
    train_config: Any,
    data: Path,
    hardware: str,
    *,
    init_from: Path | None = None,
    held_out: Sequence[Sequence[str]] = (),
) -> RunFolder:
    """Create the run folder of a built task. Raises UserError if the folder already holds a run.

    held_out: the names of the images of the training folder that are not trained on; of unpaired data, of each side.
    """
    run = RunFolder(path)
    if run.config.exists():
        raise UserError(
            f"{path} holds a run already: resume it with `gan-tasks train --resume {path}`, or give another --out"
        )
    path.mkdir(parents=True, exist_ok=True)
    content = {
        "task": task.name,
        "task_config": to_json(task.config),
        "spec": spec_to_json(task.spec()),
        "train_config": to_json(train_config),
        "data": str(data.absolute()),
        "init_from": None if init_from is None else str(init_from),
        "held_out": held_out,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": versions(),
        "hardware": hardware,
    }
    options = options_toml(task, train_config, data, init_from)
    write_atomically(run.options, options.encode("utf-8", "surrogateescape"))
    write_atomically(run.config, json.dumps(content, indent=1).encode())
    return run


def read_run(path: Path) -> tuple[Task[Any, Any], dict[str, Any]]:
    """Return the task of a run, which is not built yet, and the content of its config.json.

    Raises UserError if the folder is not a run folder, or if its options do not fit this version.
    """
    run = RunFolder(path)
    if not run.config.is_file():
        raise UserError(
            f"{path} is not a run folder: it has no config.json. Name a folder that `gan-tasks train --out` wrote"
        )
    try:
        content = json.loads(run.config.read_bytes())
        task_class = find_task(content["task"]).load()
        config = from_json(task_class.Config, content["task_config"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run.config} cannot be used: {error}") from error
    return task_class(config), content


def read_spec(path: Path) -> ModelSpec:
    """What the model of a run takes and gives. Raises UserError where the folder has no spec that can be read."""
    try:
        return spec_from_json(read_object(RunFolder(path).config)["spec"])
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} has no spec of a model in its config.json: {error}") from error


def load_trained(path: Path, *, direction: str = "") -> tuple[Task[Any, Any], Path]:
    """Return the task of a run with its trained generators, and the checkpoint that they come from.

    Args:
        path: a run folder or a checkpoint folder. Of a run, the best checkpoint is taken, else the newest one. If the
            checkpoint has an average of the weights, the generators get the average.
        direction: the direction of the model, for a task with several directions.

    Raises UserError if no checkpoint can be read or the direction is unknown.
    """
    if (path / "state.json").is_file():
        run_path, candidates = path.parent.parent, [path]
    else:
        run_path, run = path, RunFolder(path)
        candidates = [run.best] if run.best else list_checkpoints(run.checkpoints)[::-1]
    task, _ = read_run(run_path)
    if direction:
        if not task.directions:  # the model has one direction, although its data can be read in both
            raise UserError(f"{run_path} has one direction only: leave out --direction")
        task = task.in_direction(direction)
    task.build(for_training=False)
    for checkpoint in candidates:
        try:
            part = "average" if "average" in load_state(checkpoint)["parts"] else "generators"
            weights = load_part(checkpoint, part)
            for name, generator in task.generators.items():
                own = {key.removeprefix(f"{name}."): w for key, w in weights.items() if key.startswith(f"{name}.")}
                generator.load_state_dict(own)
        except DamagedCheckpointError as error:
            damage = error
            continue
        task.generators.eval().requires_grad_(False)
        return task, checkpoint
    if candidates:
        raise damage
    raise CheckpointError(
        f"{run_path} has no checkpoint yet: continue the training with `gan-tasks train --resume {run_path}`"
    )


def read_object(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file. Returns an empty dict if the file does not exist."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}). Restore it, or move it away.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, expected an object. Restore it, or move it away.")
    return content


def to_json(config: Any) -> Any:
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def from_json(config_type: type[Any], content: Any) -> Any:
    """Build a config dataclass from JSON. Raises UserError, which names each option that does not fit."""
    try:
        return TypeAdapter(config_type).validate_python(content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UserError(f"options do not fit this version of gan-tasks: {wrong}. Start a new run") from error


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("gan-tasks", "torch", "albumentations", "kornia", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
