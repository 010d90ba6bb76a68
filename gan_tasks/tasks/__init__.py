"""The list of tasks. A new task needs its file and one line here.

A line holds the module of the task, so that listing the tasks imports neither them nor torch.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gan_tasks.datasets.errors import UserError

if TYPE_CHECKING:
    from gan_tasks.tasks.base import Task


@dataclass(frozen=True)
class TaskEntry:
    """A line of the list of tasks."""

    name: str
    summary: str
    where: str
    """The place of the class, as `module:class`."""

    def load(self) -> type[Task[Any, Any]]:
        module, class_name = self.where.split(":")
        task: type[Task[Any, Any]] = getattr(importlib.import_module(module), class_name)
        return task


TASKS: tuple[TaskEntry, ...] = (
    TaskEntry("pix2pix", "translate images, learned from pairs", "gan_tasks.tasks.pix2pix:Pix2Pix"),
    TaskEntry(
        "cyclegan", "translate images in both directions, learned without pairs", "gan_tasks.tasks.cyclegan:CycleGAN"
    ),
    TaskEntry(
        "super-resolution",
        "enlarge images, learned from sharp images",
        "gan_tasks.tasks.super_resolution:SuperResolution",
    ),
    TaskEntry("inpainting", "fill masked regions, learned from images", "gan_tasks.tasks.inpainting:Inpainting"),
)


def find_task(name: str) -> TaskEntry:
    """Return the entry of a task. Raises UserError if the name is not in TASKS."""
    for entry in TASKS:
        if entry.name == name:
            return entry
    raise UserError(f"no task is called {name!r}: expected {' or '.join(entry.name for entry in TASKS)}")
