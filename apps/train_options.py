"""`gan-tasks train TASK`: the options of the task and of the loop on one command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from gan_tasks.training import TrainConfig

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
