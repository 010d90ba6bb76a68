"""`gan-tasks train TASK` and `gan-tasks train --resume RUN`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks import tasks
from gan_tasks.apps.cli.arguments import Command, asks_for_help, parse, value_of
from gan_tasks.apps.cli.config_file import read_config, values_of
from gan_tasks.apps.cli.console import BAD_INPUT, OK, say
from gan_tasks.apps.cli.help import Help
from gan_tasks.apps.cli.options import MISSING, did_you_mean, options_of
from gan_tasks.apps.cli.train_options import COMMON, group, known_task
from gan_tasks.datasets.errors import UserError, counted

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
            task_class = known_task(arguments[0]).load()
            return cls(task_class, parse_train(task_class, arguments[1:]))
        if any(argument.split("=")[0] == "--resume" for argument in arguments):
            return Resume.parse(arguments, prog)
        if not arguments or asks_for_help(arguments):
            return Overview(asked=bool(arguments))
        raise UserError(f"{prog} needs a TASK or --resume RUN before {arguments[0]}; see {prog} --help")

    def run(self) -> int:
        from gan_tasks.runs.folder import read_spec
        from gan_tasks.training.loop import train

        options = self.options
        task = self.task_class(options.task)
        if options.preview is not None:
            from gan_tasks.training.preview import preview

            written = preview(task, data=options.data, out=options.preview, config=options.loop)
            say(f"{counted(len(written), 'image')} in {options.preview}: what the networks take; nothing was trained")
            return OK
        run_folder = train(task, data=options.data, out=options.out, config=options.loop, init_from=options.init_from)
        if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts, one speaks
            use = read_spec(run_folder).use
            how = f"serve {run_folder}" if use in ("generate", "stylize") else f"apply {run_folder} IN OUT"
            say(f"done: {run_folder / 'report.html'} shows it; `gan-tasks {how}` uses the model")
        return OK


@dataclass(frozen=True)
class Resume(Command):
    """Continue a run that was stopped, bit for bit as if it had never stopped."""

    resume: Path
    """The run folder."""
    workers: int | None = None
    """The number of processes that read images. The default is that of the run."""
    device: str | None = None
    """The device to train on: auto, cpu, cuda or cuda:N. The default is that of the run."""
    max_steps: int | None = None
    """The number of steps, in total, to stop after. 0 trains to the end. The default is that of the run."""

    def run(self) -> int:
        from gan_tasks.training.loop import resume

        options = {"workers": self.workers, "device": self.device, "max_steps": self.max_steps}
        resume(self.resume, **{name: value for name, value in options.items() if value is not None})
        return OK


@dataclass(frozen=True)
class Overview(Command):
    """List the tasks."""

    asked: bool
    """Whether --help asked for it."""

    def run(self) -> int:
        width = max(len(entry.name) for entry in tasks.TASKS) + 2
        print("usage: gan-tasks train TASK --data DIR --out RUN [OPTIONS]")
        print("       gan-tasks train --resume RUN [--workers INT] [--device TEXT] [--max-steps INT]")
        print("\ntasks")
        for entry in tasks.TASKS:
            print(f"  {entry.name:<{width}}{entry.summary}")
        print("\ngan-tasks train TASK --help shows the common options of a task, and --help-all every one.")
        return OK if self.asked else BAD_INPUT


def parse_train(task_class: type[Task[Any, Any]], arguments: Sequence[str]) -> TrainOptions:
    """The options of `gan-tasks train TASK`.

    They come from the preset, then the file that --config names, then the arguments. Raises UserError for a preset
    that the task does not have, and as `read_config` and `parse` do.
    """
    from gan_tasks.training.loop import TrainConfig

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
