"""The reference of the command line: each command of the table, and each task's training options."""

from __future__ import annotations

from options import changed_options, option_tables
from text import from_docstring, inline

from gan_tasks.apps.cli.commands.train import ResumeOptions, TrainOptions, resume_options
from gan_tasks.apps.cli.help import Help
from gan_tasks.apps.cli.main import COMMANDS
from gan_tasks.apps.cli.options import MISSING, defaults_of, options_of
from gan_tasks.apps.cli.train_options import group
from gan_tasks.tasks import TASKS
from gan_tasks.training.config import TrainConfig


def commands() -> list[str]:
    """Each command with its arguments; `train` has a page of its own."""
    lines: list[str] = []
    for name, command in COMMANDS.items():
        lines += [f"## gan-tasks {name}", "", *from_docstring(command.__doc__ or "")]
        if name == "train":
            lines += ["See [training options](training-options.md).", ""]
        else:
            lines += option_tables(options_of(defaults_of(command)), Help("", "", titles=command.titles).title)
    return lines


def training_options() -> list[str]:
    """The options of `train` that all tasks share, then those of each task, then those of `train --resume`."""
    shared = TrainOptions(data=MISSING, out=MISSING, task=None, loop=TrainConfig())
    lines = ["## All tasks", "", *from_docstring(TrainOptions.__doc__ or "")]
    lines += option_tables([option for option in options_of(shared) if option.field != "task"], group)
    for entry in TASKS:
        task = entry.load()
        default = task.Config()
        lines += [f"## {entry.name}", "", f"`gan-tasks train {entry.name}`: {inline(entry.summary)}.", ""]
        lines += [f"The defaults are those of the preset `{task.default_preset}`. Other presets:", ""]
        for name, preset in task.presets.items():
            lines.append(f"- `--preset {name}` is the same as `{' '.join(changed_options(preset, default))}`")
        own = options_of(default, ("task",))
        lines += ["", *option_tables(own, group, heading=f"### {entry.name}: {{}}")]
    lines += ["## gan-tasks train --resume", "", *from_docstring(ResumeOptions.__doc__ or "")]
    return lines + option_tables(resume_options(), group)
