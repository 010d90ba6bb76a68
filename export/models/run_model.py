"""A model from a run folder, or from one of its checkpoints, run with torch."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.export.models.torch_model import Mode, TorchModel
from gan_tasks.runs.folder import load_trained, read_run, spec_of
from gan_tasks.tasks.base import Task
from gan_tasks.tasks.own import option_for


class TrainedModel(TorchModel):
    """A `Model` of a run folder. Its title is the names of the run, the checkpoint and the direction, if any.

    Attributes:
        task: the task with the trained generators.
        checkpoint: folder of the checkpoint.
    """

    def __init__(self, path: Path, *, device: str = "auto", mode: Mode = "eval", direction: str = "") -> None:
        self.task, self.checkpoint = load_trained(path, direction=direction)
        run = self.checkpoint.resolve().parent.parent
        self.spec = spec_of(self.task, run)
        self.start(TaskNetwork(self.task), device, mode)
        self.place = str(path)
        self.command_options = option_for(type(self.task))
        self.source = f"{run.name} {self.checkpoint.name}"
        self.run_content = read_run(run)[1]
        self.training_data = Path(self.run_content["data"]).name
        self.title = f"{self.source} {self.spec.direction}".rstrip()
        self.task_options = json.dumps(without_paths(self.task.config))

    def version(self) -> str:
        weights = (self.checkpoint / f"{part}.safetensors" for part in ("generators", "average"))
        mode = ", mode train" if self.is_in_train_mode else ""
        return " ".join(sha256_of(file) for file in weights if file.is_file()) + mode


class TaskNetwork(nn.Module):
    """A task's `infer` as a module, so that its generators can be moved and copied together."""

    def __init__(self, task: Task[Any, Any]) -> None:
        super().__init__()
        self.task = task
        self.generators = task.generators

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.task.infer(*inputs)


def without_paths(config: Any) -> dict[str, Any]:
    """Convert a config dataclass to a dict, without paths, which are valid on this machine only."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {
        name: without_paths(value) if is_dataclass(value) else value
        for name, value in values.items()
        if not isinstance(value, Path)
    }
