"""Which task reads the data for a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.evaluation.generation.draws import label_of
from gan_tasks.export.load import load_model
from gan_tasks.export.models.base import Model
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.runs.folder import from_json, to_json
from gan_tasks.runs.json_file import parse_json
from gan_tasks.tasks import UnknownTaskError, find_task
from gan_tasks.tasks.base import Task


def open_model(path: Path, *, device: str, mode: Literal["eval", "train"], direction: str | None) -> Model:
    """Load a model as `load_model` does; for a run with several directions, load the requested one."""
    model = load_model(path, device=device, mode=mode, apart=True)
    if direction and direction in model.spec.directions and isinstance(model, TrainedModel):
        return load_model(path, device=device, mode=mode, direction=direction)
    return model


def task_of(model: Model, name: str = "", *, direction: str | None = None) -> Task[Any, Any]:
    """Return the task that reads data for a model, with the options of its training if they are known.

    Args:
        name: name of the task, if not the model's own.
        direction: a-to-b or b-to-a; by default the direction of the training.

    Raises UserError for an unknown task, a direction that the task does not have, and a model of another direction.
    """
    try:
        task_class = find_task(name or model.spec.task).load()
    except UnknownTaskError as error:
        if name:
            raise
        raise UserError(
            f"{model.title} is a model of {model.spec.task!r}, which no task is called: give the task that reads the "
            "data with --task, such as --task super-resolution for a chain that enlarges"
        ) from error
    is_known = bool(model.task_options) and name in ("", model.spec.task)
    if is_known:
        try:
            options = to_json(task_class.Config()) | parse_json(model.task_options)
        except (ValueError, TypeError) as error:
            raise UserError(f"{model.title} has damaged task_options: {error}. Export it again") from error
        task = task_class(from_json(task_class.Config, options))
    else:
        task = task_class() if model.task_options else task_class.for_model(model.spec)
    if not direction:
        return task
    if is_known and model.spec.direction not in ("", direction):
        raise UserError(
            f"{model.title} has the direction {model.spec.direction}: for {direction}, give the run or the file of "
            "that direction"
        )
    return task.in_direction(direction)


def common_task(models: Mapping[str, Model]) -> Task[Any, Any]:
    """Return the task of the first model, or of the first that has classes, because it reads those of the images.

    Raises UserError if another model has another direction, or if only some of the models have targets.
    """
    found = {name: task_of(model) for name, model in models.items()}
    (first_name, first), *others = found.items()
    for name, task in others:
        are_known = models[name].task_options and models[first_name].task_options
        if are_known and task.direction != first.direction:
            raise UserError(
                f"{first_name} has the direction {first.direction or 'none'} and {name} has "
                f"{task.direction or 'none'}: compare models of one direction, or give the direction with --direction"
            )
        if task.evaluation().has_target != first.evaluation().has_target:
            raise UserError(
                f"{first_name} is a model of {first.name} and {name} of {task.name}: give the task that reads the "
                "data with --task"
            )
    return next((task for name, task in found.items() if label_of(models[name].spec) is not None), first)
