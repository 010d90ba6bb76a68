"""A model straight from its training: a run folder, or one checkpoint of it, run with torch."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gan_tasks.export.models.torch_model import Mode, TorchModel
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.inpainting import Inpainter
from gan_tasks.runs.folder import load_trained, read_run
from gan_tasks.tasks.base import Task


class TrainedModel(TorchModel):
    """See `Model`. `direction` is one of the task's, where it has several.

    `checkpoint` is where the weights are from; the title is the run's name, the checkpoint's and the direction.
    """

    def __init__(self, path: Path, *, device: str = "auto", mode: Mode = "eval", direction: str = "") -> None:
        self.task, self.checkpoint = load_trained(path, direction=direction)
        self.start(TaskNetwork(self.task), device, mode)
        self.name, self.inputs = self.task.name, self.task.inputs
        run = self.checkpoint.resolve().parent.parent
        self.source = f"{run.name} {self.checkpoint.name}"
        self.training_data = Path(read_run(run)[1]["data"]).name
        self.directions = self.task.directions
        self.direction = self.task.config.direction if self.directions else ""
        self.title = f"{self.source} {self.direction}".rstrip()
        self.in_channels, self.out_channels = self.task.channels()
        self.scale = self.task.scale
        self.task_options = json.dumps(without_paths(self.task.config))
        parts = [part for part in self.network.modules() if isinstance(part, Generator | Inpainter)]
        self.size_multiple = math.lcm(*(part.size_multiple for part in parts))
        self.minimum_size = max((part.minimum_size for part in parts), default=1)
        self.receptive_field = max((part.receptive_field for part in parts), default=self.receptive_field)


class TaskNetwork(nn.Module):
    """A task's `infer` as a module, so that its generators can be moved and copied as one."""

    def __init__(self, task: Task[Any, Any]) -> None:
        super().__init__()
        self.task = task
        self.generators = task.generators

    def forward(self, *images: Tensor) -> Tensor:
        return self.task.infer(*images)


def without_paths(config: Any) -> dict[str, Any]:
    """A config dataclass as a dict. Paths are left out: they lead nowhere elsewhere, and tell of this machine."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {
        name: without_paths(value) if is_dataclass(value) else value
        for name, value in values.items()
        if not isinstance(value, Path)
    }
