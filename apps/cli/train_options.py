"""`gan-tasks train TASK`: the options of the task and of the loop on one command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro

from gan_tasks.datasets.errors import UserError
from gan_tasks.tasks.base import Task
from gan_tasks.training.loop import TrainConfig

TaskConfig = TypeVar("TaskConfig")


@dataclass(frozen=True)
class Train(Generic[TaskConfig]):
    """Train on a folder of images. A run that was stopped goes on with `gan-tasks train --resume RUN`."""

    data: Path
    """The folder of images."""
    out: Path
    """The run folder to make: checkpoints, journal, samples, report."""
    task: TaskConfig
    loop: TrainConfig
    preset: str = ""
    """Where the task's options start from; those given beside it change it."""
    init_from: Path | None = None
    """Start from what fits of this model: a run of any task, one of its checkpoints, or a published file."""
    preview: Path | None = None
    """Write what the networks will see of the first 16 samples into this folder, as pictures, and train nothing."""


def parse_train(task_class: type[Task[Any, Any]], arguments: list[str]) -> Train[Any]:
    """The options of `gan-tasks train TASK`. Raises UserError for a preset that the task does not have."""
    presets = {task_class.default_preset: task_class.Config(), **task_class.presets}
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--preset", default=task_class.default_preset)
    preset = finder.parse_known_args(arguments)[0].preset
    if preset not in presets:
        raise UserError(f"{task_class.name} has no preset {preset!r}: expected {' or '.join(presets)}")
    default = Train(data=tyro.MISSING, out=tyro.MISSING, task=presets[preset], loop=TrainConfig(), preset=preset)
    options: Train[Any] = tyro.cli(
        Train[task_class.Config],  # type: ignore[name-defined]
        args=arguments,
        default=default,
        prog=f"gan-tasks train {task_class.name}",
        description=f"{Train.__doc__} Presets: {', '.join(presets)}; the defaults below are those of {preset}.",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return options
