"""The list of tasks. A new task of gan-tasks needs its file and one line here; for others see `own.py`.

A line holds the module of the task, so that listing the tasks imports neither them nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gan_tasks.datasets.errors import UserError, did_you_mean
from gan_tasks.tasks.entry import TaskEntry
from gan_tasks.tasks.own import OPTION, imported_tasks, installed_tasks, named_tasks

TASKS: tuple[TaskEntry, ...] = (
    TaskEntry("pix2pix", "translate images, learned from pairs", "gan_tasks.tasks.pix2pix:Pix2Pix"),
    TaskEntry(
        "cyclegan", "translate images in both directions, learned without pairs", "gan_tasks.tasks.cyclegan:CycleGAN"
    ),
    TaskEntry("cut", "translate images in one direction, learned without pairs", "gan_tasks.tasks.cut:CUT"),
    TaskEntry(
        "super-resolution",
        "enlarge images, learned from sharp images",
        "gan_tasks.tasks.super_resolution:SuperResolution",
    ),
    TaskEntry(
        "restoration",
        "repair photographs, learned from good ones",
        "gan_tasks.tasks.restoration:Restoration",
    ),
    TaskEntry("inpainting", "fill masked regions, learned from images", "gan_tasks.tasks.inpainting:Inpainting"),
    TaskEntry(
        "colourisation",
        "colour gray photographs, learned from colour photographs",
        "gan_tasks.tasks.colourisation:Colourisation",
    ),
    TaskEntry(
        "stylization",
        "restyle photographs by any style picture, learned from a folder of each",
        "gan_tasks.tasks.stylization:Stylization",
    ),
    TaskEntry(
        "synthesis", "generate images, learned from a folder of images", "gan_tasks.tasks.synthesis.task:Synthesis"
    ),
)

# Where a name is looked for, in order.
SOURCES: tuple[Callable[[], Iterable[TaskEntry]], ...] = (
    lambda: TASKS,
    lambda: named_tasks().values(),
    imported_tasks,
    installed_tasks,
)


class UnknownTaskError(UserError):
    """No task has this name."""


def find_task(name: str) -> TaskEntry:
    """Return the entry of a task.

    Raises UnknownTaskError for an unknown name, and UserError for one that two tasks have. Tasks of gan-tasks come
    first, then those of modules that the user named, then imported classes, then installed packages.
    """
    for source in SOURCES:
        found = [entry for entry in source() if entry.name == name]
        if len(found) > 1:
            places = " and ".join(f"{e.where}{f' of the package {e.package}' * bool(e.package)}" for e in found)
            raise UserError(f"{len(found)} tasks are called {name!r}: {places}. Give {OPTION} the one that you mean")
        if found:
            return found[0]
    names = [entry.name for entry in all_tasks()]
    otherwise = f": expected {' or '.join(names)}. For a task of your own, give its module with {OPTION}"
    raise UnknownTaskError(f"no task is called {name!r}{did_you_mean(name, names, otherwise)}")


def all_tasks() -> tuple[TaskEntry, ...]:
    """Return every task that can be found by its name here. Of installed packages nothing is imported."""
    found: dict[str, TaskEntry] = {}
    for source in SOURCES:
        for entry in source():
            found.setdefault(entry.name, entry)
    return tuple(found.values())
