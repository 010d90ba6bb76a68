"""`gan-tasks train TASK` and `gan-tasks train --resume RUN`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks import tasks
from gan_tasks.apps.cli.arguments import Command, asks_for_help, parse, read_arguments, value_of
from gan_tasks.apps.cli.config_file import read_config, values_of
from gan_tasks.apps.cli.console import BAD_INPUT, OK, say
from gan_tasks.apps.cli.help import Help
from gan_tasks.apps.cli.options import MISSING, Option, options_of
from gan_tasks.apps.cli.train_options import COMMON, group
from gan_tasks.apps.suggestions import use_command
from gan_tasks.datasets.errors import UserError, counted, did_you_mean
from gan_tasks.tasks.own import option_for

if TYPE_CHECKING:
    from gan_tasks.tasks.base import Task


@dataclass(frozen=True)
class TrainOptions:
    """Train on a folder of images. `gan-tasks train --resume RUN` continues a run that was stopped."""

    data: Path
    """The folder of training images."""
    out: Path
    """The run folder to make. It gets checkpoints, the journal, sample images, the report and train.toml."""
    task: Any
    """The config of the task."""
    loop: Any
    """The TrainConfig."""
    preset: str = ""
    """The named set of options to start from. Options given beside it override it."""
    config: Path | None = None
    """A TOML file of options, such as the train.toml of a run. Options on the command line override it."""
    init_from: Path | None = None
    """The model to take initial weights from: a run of any task, a checkpoint, or a published file. Every layer that
    fits is taken."""
    preview: Path | None = None
    """The folder to write the first 16 training samples into, as the networks see them. Nothing is trained then."""


@dataclass(frozen=True)
class Train(Command):
    """Train a task on a folder of images, or continue a run."""

    task_class: type[Task[Any, Any]]
    options: TrainOptions

    @classmethod
    def parse(cls, arguments: Sequence[str], prog: str) -> Command:
        if arguments and not arguments[0].startswith("-"):
            task_class = tasks.find_task(arguments[0]).load()
            return cls(task_class, parse_train(task_class, arguments[1:]))
        if any(argument.split("=")[0] == "--resume" for argument in arguments):
            return Resume.parse(arguments, prog)
        if not arguments or asks_for_help(arguments):
            return Overview(asked=bool(arguments))
        hint = did_you_mean(arguments[0], ("--resume", "--help"), f"; see {prog} --help")
        raise UserError(f"{prog} needs a TASK or --resume RUN before {arguments[0]}{hint}")

    def run(self) -> int:
        from gan_tasks.training.loop import train

        options = self.options
        task = self.task_class(options.task)
        if options.preview is not None:
            from gan_tasks.training.preview import preview

            written = preview(task, data=options.data, out=options.preview, config=options.loop)
            say(f"{counted(len(written), 'image')} in {options.preview}: what the networks take; nothing was trained")
            return OK
        run_folder = train(task, data=options.data, out=options.out, config=options.loop, init_from=options.init_from)
        say_done(run_folder, self.task_class)
        return OK


def say_done(run_folder: Path, task_class: type[Task[Any, Any]]) -> None:
    """Say where the report is, and how the model is used."""
    from gan_tasks.runs.folder import read_spec

    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts, one speaks
        command = use_command(run_folder, read_spec(run_folder), option_for(task_class))
        say(f"done: {run_folder / 'report.html'} shows it; `{command}` uses the model")


@dataclass(frozen=True)
class ResumeOptions:
    """Continue a run that was stopped, bit for bit as if it had never stopped.

    An option that is given replaces that of the run, now and when it is resumed again. Beside these, all options of
    the task that are paths or numbers of epochs may be given.
    """

    resume: Path
    """The run folder."""
    data: Path | None = None
    """The new place of the training images, if they were moved."""
    init_from: Path | None = None
    """The new place of the model to take initial weights from. It is needed until the first checkpoint."""
    task: Any = None
    """The config of the task."""
    loop: Any = None
    """The TrainConfig."""


@dataclass(frozen=True)
class Resume(Command):
    """Continue a run that was stopped."""

    resume: Path
    """The run folder."""
    changes: dict[str, Any]
    """The options that were given, by name with underscores."""
    task_class: type[Task[Any, Any]]

    @classmethod
    def parse(cls, arguments: Sequence[str], prog: str) -> Command:
        from gan_tasks.runs.folder import from_json, read_run
        from gan_tasks.training.config import TrainConfig

        if asks_for_help(arguments):
            Help(prog, ResumeOptions.__doc__ or "", group=group).print(resume_options(), everything=True)
            sys.exit(OK)
        run = Path(value_of("--resume", arguments))
        task, content = read_run(run)
        # All options are known here, so that one that cannot change is refused with its reason.
        known = ResumeOptions(run, task=task.config, loop=from_json(TrainConfig, content["train_config"]))
        given = read_arguments(list(options_of(known)), arguments, f"{prog} --resume")
        changes = {route[-1]: value for route, value in given.items() if route != ("resume",)}
        return cls(run, changes, type(task))

    def run(self) -> int:
        from gan_tasks.training.loop import resume

        say_done(resume(self.resume, **self.changes), self.task_class)
        return OK


def resume_options() -> list[Option]:
    """The options of `train --resume` that every task has, without defaults, which are those of the run."""
    from gan_tasks.optim.lr_schedules import ScheduleConfig
    from gan_tasks.training.config import TrainConfig
    from gan_tasks.training.stopping.resuming import may_change

    own = [option for option in options_of(ResumeOptions(MISSING)) if option.field not in ("task", "loop")]
    others = [*options_of(ScheduleConfig(), ("task", "schedule")), *options_of(TrainConfig(), ("loop",))]
    return own + [replace(each, default=None) for each in others if may_change(each.field, each.default)]


@dataclass(frozen=True)
class Overview(Command):
    """List the tasks."""

    asked: bool
    """Whether --help asked for it."""

    def run(self) -> int:
        entries = tasks.all_tasks()
        width = max(len(entry.name) for entry in entries) + 2
        print("usage: gan-tasks train TASK --data DIR --out RUN [OPTIONS]")
        print("       gan-tasks train --resume RUN [OPTIONS]")
        print("\ntasks")
        for entry in entries:
            print(f"  {entry.name:<{width}}{entry.summary}")
        print("\ngan-tasks train TASK --help shows the common options of a task, and --help-all every one.")
        print("gan-tasks train --resume --help shows the options that may change when a run is resumed.")
        return OK if self.asked else BAD_INPUT


def parse_train(task_class: type[Task[Any, Any]], arguments: Sequence[str]) -> TrainOptions:
    """The options of `gan-tasks train TASK`.

    They come from the preset, then the file that --config names, then the arguments. Raises UserError for a preset
    that the task does not have, and as `read_config` and `parse` do.
    """
    from gan_tasks.training.config import TrainConfig

    file = value_of("--config", arguments)
    content = read_config(Path(file), task_class.name) if file else {}
    presets = {task_class.default_preset: task_class.Config(), **task_class.presets}
    preset = value_of("--preset", arguments, str(content.get("preset") or task_class.default_preset))
    if preset not in presets:
        hint = did_you_mean(preset, presets, f": expected {' or '.join(presets)}")
        raise UserError(f"{task_class.name} has no preset {preset!r}{hint}")
    defaults = TrainOptions(data=MISSING, out=MISSING, task=presets[preset], loop=TrainConfig(), preset=preset)
    page = Help(
        f"gan-tasks train {task_class.name}",
        f"{TrainOptions.__doc__}\n\nPresets: {', '.join(presets)}; the defaults below are those of {preset}.",
        common=COMMON,
        group=group,
    )
    values = values_of(Path(file), content, options_of(defaults))
    return parse(defaults, arguments, page, values)
