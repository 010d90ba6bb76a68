"""The run folder, which holds the options and the results of a training.

config.json     task with the place of its class, options, spec of the model, data, held-out images, command,
                versions, hardware; all paths are absolute
train.toml      the options, for `gan-tasks train TASK --config`
inputs.json     names and sizes of the files that the training reads, see inputs.py
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

import dataclasses
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from gan_tasks.datasets.errors import UserError, enumerated
from gan_tasks.runs.checkpoint import (
    CheckpointError,
    is_checkpoint_name,
    load_part,
    load_state,
    load_weights,
    write_atomically,
)
from gan_tasks.runs.checkpoint_choice import load_first
from gan_tasks.runs.inputs import input_paths, list_inputs, write_inputs
from gan_tasks.runs.json_file import read_json, read_object
from gan_tasks.runs.options_file import options_toml, with_absolute_paths
from gan_tasks.spec import ModelSpec, spec_from_json, spec_to_json
from gan_tasks.stderr import say
from gan_tasks.tasks import TASKS, UnknownTaskError, find_task
from gan_tasks.tasks.base import Task
from gan_tasks.tasks.entry import where_of
from gan_tasks.tasks.own import OPTION, module_argument, source_file
from gan_tasks.tasks.shared.size_limit import build_networks

END_OF = "end-of-"
LONGEST_POINTER_BYTES = 100
"""More than the name of a checkpoint."""


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
        if not pointer.is_file():
            return None
        with pointer.open("rb") as file:
            name = file.read(LONGEST_POINTER_BYTES).decode(errors="replace").strip()
        checkpoint = self.checkpoints / name
        return checkpoint if is_checkpoint_name(name) and checkpoint.is_dir() else None


@dataclass(frozen=True)
class RunContent:
    """The content of config.json."""

    task: str
    task_class: str
    task_file: str | None
    task_config: dict[str, Any]
    train_config: dict[str, Any]
    data: str
    init_from: str | None
    spec: dict[str, Any]
    held_out: list[list[str]]
    command: str
    versions: dict[str, str]
    hardware: str


def create_run(
    path: Path,
    task: Task[Any, Any],
    train_config: Any,
    data: Path,
    hardware: str,
    *,
    init_from: Path | None = None,
    trained_with: Sequence[str] = (),
    held_out: Sequence[Sequence[str]] = (),
) -> RunFolder:
    """Create the run folder of a built task. Raises UserError if the folder already holds a run.

    trained_with: the pretrained networks of the model that the training starts from, see `ModelSpec`.
    held_out: the names of the images of the training folder that are not trained on; of unpaired data, of each side.
    """
    run = RunFolder(path)
    if run.config.exists():
        raise UserError(
            f"{path} holds a run already: resume it with `gan-tasks train --resume {path}`, or give another --out"
        )
    check_name(type(task))
    path.mkdir(parents=True, exist_ok=True)
    content = {
        "task": task.name,
        "task_class": where_of(type(task)),
        "task_file": source_file(type(task)),
        "spec": spec_to_json(with_trained_with(task.spec(), trained_with)),
        "held_out": held_out,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": versions(),
        "hardware": hardware,
    }
    write_inputs(path, list_inputs(input_paths(task.config, data, init_from)))
    write_options(run, content, task, train_config, data, init_from)
    return run


def check_name(task_class: type[Task[Any, Any]]) -> None:
    """Raise UserError if the class has the name of another one, which would then open its runs."""
    other = next((entry.where for entry in TASKS if entry.name == task_class.name), "")
    if "name" not in vars(task_class):
        other = other or "its base class"
    if other and other != where_of(task_class):
        raise UserError(
            f"the class {task_class.__name__} has the name {task_class.name!r} of {other}, which would be used for "
            f'its runs: give it a name of its own, such as `name = "{task_class.__name__.lower()}"`'
        )


def write_options(
    run: RunFolder,
    content: Mapping[str, Any],
    task: Task[Any, Any],
    train_config: Any,
    data: Path,
    init_from: Path | None,
) -> None:
    """Write the options of a training to train.toml, and to config.json beside its other `content`.

    Paths are written absolute, so that a run can be resumed from any folder.
    """
    options = {
        "task_config": to_json(with_absolute_paths(task.config)),
        "train_config": to_json(train_config),
        "data": str(data.absolute()),
        "init_from": None if init_from is None else str(init_from.absolute()),
    }
    text = options_toml(task, train_config, data, init_from)
    write_atomically(run.options, text.encode("utf-8", "surrogateescape"))
    write_atomically(run.config, json.dumps({**content, **options}, indent=1).encode())


def read_run(path: Path) -> tuple[Task[Any, Any], dict[str, Any]]:
    """Return the task of a run, which is not built yet, and the content of its config.json.

    The class of the task is found by its name (`find_task`). config.json says where it was defined, but nothing is
    imported for that: a run folder may come from somebody else.

    Raises UserError if the folder is not a run folder, if its task is not known here, or if its options do not fit
    this version.
    """
    run = RunFolder(path)
    if not run.config.is_file():
        raise UserError(
            f"{path} is not a run folder: it has no config.json. Name a folder that `gan-tasks train --out` wrote"
        )
    try:
        content = read_json(run.config)
        checked(RunContent, content)
        task_class = find_task(content["task"]).load()
        config = from_json(task_class.Config, content["task_config"])
        check_paths(input_paths(config, Path(content["data"]), Path(content["init_from"] or "")))
    except UnknownTaskError as error:
        name = str(content["task"])
        raise UserError(
            f"{path} is a run of the task {name!r}, which is not known here. {how_to_name(content)}"
        ) from error
    except UserError as error:
        raise UserError(f"{run.config} cannot be used: {error}") from error
    return task_class(config), content


def check_paths(paths: Mapping[str, Path]) -> None:
    """Raise UserError for a path that no system takes."""
    for option, path in paths.items():
        try:
            is_path = b"\0" not in os.fsencode(path)
        except UnicodeEncodeError:
            is_path = False
        if not is_path:
            raise UserError(f"{option}: {str(path)[:100]!r} is no path")


def how_to_name(content: dict[str, Any]) -> str:
    """Return what to do to open a run whose task is not known here."""
    where, file = content.get("task_class"), content.get("task_file")
    argument = module_argument(str(where or ""), str(file) if file else None)
    class_name = str(where).rpartition(":")[2]
    made_by = f"It was trained with the class {class_name!r} of {argument!r}, and a" if argument else "A"
    return (
        f"{made_by} run never imports code by itself. If you trust that code, add "
        f"{OPTION} {shlex.quote(argument or 'FILE.py')} to the command; in Python, import the class before"
    )


def read_spec(path: Path) -> ModelSpec:
    """What the model of a run takes and gives. Raises UserError where the folder has no spec that can be read."""
    try:
        return spec_from_json(read_object(RunFolder(path).config)["spec"])
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} has no spec of a model in its config.json: {error}") from error


def spec_of(task: Task[Any, Any], path: Path) -> ModelSpec:
    """Return the spec of a built task of a run.

    To the pretrained networks of its own training are added those of the model that the run started from.

    Raises UserError where the run has no spec that can be read.
    """
    return with_trained_with(task.spec(), read_spec(path).trained_with)


def with_trained_with(spec: ModelSpec, more: Sequence[str]) -> ModelSpec:
    """Return the spec with more pretrained networks that the model was trained with."""
    return dataclasses.replace(spec, trained_with=tuple(dict.fromkeys((*spec.trained_with, *more))))


def load_trained(path: Path, *, direction: str = "") -> tuple[Task[Any, Any], Path]:
    """Return the task of a run with its trained generators, and the checkpoint that they come from.

    Args:
        path: a run folder or a checkpoint folder. Of a run, the best checkpoint is taken, else the newest one. If the
            checkpoint has an average of the weights, the generators get the average.
        direction: the direction of the model, for a task with several directions.

    Raises UserError if no checkpoint can be read, its weights do not fit the network, or the direction is unknown.
    """
    is_checkpoint = (path / "state.json").is_file()
    run_path = path.parent.parent if is_checkpoint else path
    task, _ = read_run(run_path)
    if direction:
        if not task.directions:  # the model has one direction, although its data can be read in both
            raise UserError(f"{run_path} has one direction only: leave out --direction")
        task = task.in_direction(direction)
    build_networks(task, for_training=False)
    run = RunFolder(run_path)
    if is_checkpoint:
        checkpoint, weights = path, weights_for_use(path)
    else:
        found = load_first(run.checkpoints, weights_for_use, say, best=run.best)
        if found is None:
            raise CheckpointError(
                f"{path} has no checkpoint yet: continue the training with `gan-tasks train --resume {path}`"
            )
        checkpoint, weights = found
    for name, generator in task.generators.items():
        own = {key.removeprefix(f"{name}."): w for key, w in weights.items() if key.startswith(f"{name}.")}
        load_weights(generator, own, checkpoint)
    task.generators.eval().requires_grad_(False)
    return task, checkpoint


def weights_for_use(checkpoint: Path) -> dict[str, Tensor]:
    """Load the weights of the generators: their average if there is one."""
    state = load_state(checkpoint)
    return load_part(checkpoint, "average" if "average" in state["parts"] else "generators", state)


def to_json(config: Any) -> Any:
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def from_json(config_type: type[Any], content: Any) -> Any:
    """Build a config dataclass from JSON. Raises UserError, which names each option that does not fit."""
    try:
        return checked(config_type, content)
    except UserError as error:
        raise UserError(f"options do not fit this version of gan-tasks: {error}. Start a new run") from error


def checked(content_type: Any, content: Any) -> Any:
    """Return content of JSON as a type. Raises UserError, which names unknown keys and values that do not fit."""
    if dataclasses.is_dataclass(content_type) and (unknown := unknown_keys(content_type, content)):
        raise UserError(f"{enumerated(unknown)} {'is' if len(unknown) == 1 else 'are'} unknown")
    try:
        return TypeAdapter(content_type).validate_python(content)
    except ValidationError as error:
        wrong = (": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))) for e in error.errors())
        raise UserError("; ".join(wrong).replace("Value error, ", "")) from error


def unknown_keys(config_type: Any, content: Any, route: str = "") -> list[str]:
    """Return the keys of a JSON object, and of those in it, that are no fields of a dataclass."""
    if not isinstance(content, dict):
        return []
    hints = get_type_hints(config_type)
    found = [f"{route}{key}" for key in content if key not in hints]
    for name, hint in hints.items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found += unknown_keys(hint, content.get(name), f"{route}{name}.")
    return found


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("gan-tasks", "torch", "albumentations", "kornia", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
