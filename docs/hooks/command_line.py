"""The reference of the command line: each command of the table, and each task's training options."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from typing import Any

from options import changed_options, groups, options_table, own_group
from text import from_docstring, inline

from gan_tasks.apps.cli.main import COMMANDS
from gan_tasks.apps.cli.train_options import Train
from gan_tasks.tasks import TASKS


def commands() -> list[str]:
    """Each command with its arguments; `train` has a page of its own."""
    lines: list[str] = []
    for name, entry in COMMANDS.items():
        lines += [f"## gan-tasks {name}", ""]
        command = load(entry)
        if name == "train" or command is None:
            lines += ["See [training options](training-options.md).", ""]
            continue
        lines += from_docstring(command.__doc__ or "")
        lines += tables(command)
    return lines


def training_options() -> list[str]:
    """The options of `train` that all tasks share, then those of each task."""
    lines = ["## All tasks", "", *from_docstring(Train.__doc__ or "")]
    lines += options_table(own_group(Train))
    for hint in typing.get_type_hints(Train).values():
        if dataclasses.is_dataclass(hint):
            lines += tables(hint)
    for entry in TASKS:
        task = entry.load()
        default = task.Config()
        lines += [f"## {entry.name}", "", f"`gan-tasks train {entry.name}`: {inline(entry.summary)}.", ""]
        lines += [f"The defaults are those of the preset `{task.default_preset}`. Other presets:", ""]
        for name, preset in task.presets.items():
            lines += [f"- `--preset {name}` is the same as `{' '.join(changed_options(preset, default))}`"]
        lines += ["", *tables(task.Config, default, heading=f"{entry.name}: ")]
    return lines


def tables(config: Any, default: Any = None, *, heading: str = "") -> list[str]:
    lines: list[str] = []
    for group in groups(config, default):
        if group.title:
            lines += [f"### {heading}{group.title}" if heading else f"**{group.title}**", "", inline(group.doc), ""]
        lines += options_table(group)
    return lines


def load(entry: Any) -> Any:
    """A command's class: the table holds it, or `module:class`, or something that loads it."""
    if isinstance(entry, str):
        module, name = entry.split(":")
        return getattr(importlib.import_module(module), name)
    return entry if entry is None or isinstance(entry, type) else entry.load()
