"""Resuming a run with changed options: which may change, what changes then, and what changed in the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import UserError
from gan_tasks.optim import lr_schedules as schedules
from gan_tasks.runs.checkpoint import list_checkpoints
from gan_tasks.runs.folder import RunFolder, write_options
from gan_tasks.runs.inputs import Input, difference, input_paths, list_inputs, read_inputs, write_inputs
from gan_tasks.runs.options_file import key, leaves, with_values
from gan_tasks.stderr import say as tell
from gan_tasks.tasks.base import Stage, Task
from gan_tasks.training.position import Position

LOOP_OPTIONS = frozenset(
    (
        *(
            "device",
            "precision",
            "compile",
            "recompute",
            "workers",
            "quiet",
            "max_steps",
            "patience",
            "max_skipped_steps",
        ),
        *("log_every_steps", "sample_every_steps", "evaluate_every_steps", "checkpoint_every_steps"),
        *("keep_checkpoints", "report_every_s", "checkpoint_every_s"),
    )
)
"""The options of the training loop that may change; others are part of what the weights were trained with."""
WHY_NOT = {
    "hold_out": "the images that are held out were chosen when the run began",
    "seed": "the order of the images and all random numbers come from it",
    "best_by": "the evaluations so far were compared by the metric that the run began with",
    "max_evaluated_images": "the evaluations so far would be compared with those of other images",
}
WHY_NOT_OTHERS = "the weights were trained with the value that the run began with"


@dataclass(frozen=True)
class RunOptions:
    """Everything that a training was told."""

    task: Task[Any, Any]
    config: Any
    """The TrainConfig."""
    data: Path
    init_from: Path | None

    def items(self) -> dict[str, Any]:
        """Return the values by the name of the option, with underscores."""
        values = {fields[-1]: value for fields, value in (*leaves(self.task.config), *leaves(self.config))}
        return {"data": self.data, "init_from": self.init_from, **values}

    def inputs(self) -> dict[str, Path]:
        return input_paths(self.task.config, self.data, self.init_from)


def may_change(option: str, value: Any) -> bool:
    """Whether an option that has this value may change: numbers of epochs, paths, and some options of the loop."""
    return option in LOOP_OPTIONS or option.endswith("epochs") or isinstance(value, Path)


def with_changes(run: Path, before: RunOptions, changes: Mapping[str, Any]) -> RunOptions:
    """Return the options with those that are given replaced.

    Raises UserError for an option that does not exist or that cannot change.
    """
    values = before.items()
    now: dict[str, Any] = {}
    for option, value in changes.items():
        if option not in values:
            raise UserError(f"a run of {before.task.name} has no option --{key(option)}")
        is_moved = value is not None and isinstance(values[option], Path)
        now[option] = Path(value).absolute() if is_moved else value
        if now[option] != values[option] and not may_change(option, now[option] if is_moved else None):
            raise UserError(
                f"--{key(option)} cannot change in a resumed run: {WHY_NOT.get(option, WHY_NOT_OTHERS)}. For another "
                f"value start a new run from this one: `gan-tasks train {before.task.name} --config "
                f"{run / 'train.toml'} --init-from {run} --out NEW --{key(option)} …`"
            )
    return RunOptions(
        type(before.task)(with_values(before.task.config, now)),
        with_values(before.config, now),
        now.get("data", before.data),
        now.get("init_from", before.init_from),
    )


@dataclass(frozen=True)
class Resumption:
    """A run that is resumed: its options before and now, and the files that it reads."""

    run: RunFolder
    before: RunOptions
    now: RunOptions
    inputs_before: Mapping[str, Input]
    inputs: Mapping[str, Input]

    @property
    def init_from(self) -> Path | None:
        """The model that the training starts from; None if it has begun already."""
        return self.now.init_from if "init-from" in self.inputs else None

    @property
    def options(self) -> dict[str, str]:
        """`before → now` of each option that differs, by its name without the dashes before it."""
        now = self.now.items()
        return {key(name): f"{old} → {now[name]}" for name, old in self.before.items().items() if old != now[name]}

    @property
    def files(self) -> dict[str, str]:
        """What changed in the files of each option, in words."""
        before = self.inputs_before
        texts = {option: difference(before[option], now) for option, now in self.inputs.items() if option in before}
        return {option: text for option, text in texts.items() if text}

    @property
    def epochs_text(self) -> str:
        """The changed numbers of epochs."""
        return ", ".join(f"--{name} {text}" for name, text in self.options.items() if name.endswith("epochs"))

    def described(self) -> dict[str, str]:
        """Return all changes, for the journal."""
        return self.options | {f"files of {option}": text for option, text in self.files.items()}

    def write(self, content: Mapping[str, Any]) -> None:
        """Write the options and the files of now; `content` is the former content of config.json."""
        write_inputs(self.run.path, {**self.inputs_before, **self.inputs})
        write_options(self.run, content, self.now.task, self.now.config, self.now.data, self.now.init_from)

    def check_stages(self, stages: Sequence[Stage], position: Position, dataset_size: int, *, say: bool) -> None:
        """Check the lengths of the stages against those before, and say how a changed schedule goes on.

        Raises UserError if a stage that is over has another length.
        """
        before = self.before.task.stages(dataset_size)
        for old, new in zip(before[: position.stage], stages, strict=False):
            if (old.images, old.schedule) != (new.images, new.schedule):
                raise UserError(
                    f"{self.epochs_text} changes the stage {old.name}, which is over: the run is in the stage "
                    f"{stages[position.stage].name}. Leave the option out"
                )
        old, new = before[position.stage], stages[position.stage]
        if old.schedule != new.schedule and say:
            tell(schedule_text(old, new, position, dataset_size))


def schedule_text(old: Stage, new: Stage, position: Position, dataset_size: int) -> str:
    """Say how a changed schedule of the current stage goes on."""
    last = max(0, position.stage_images - 1) // dataset_size + 1
    following = position.stage_images // dataset_size + 1
    was = old.optimisation.lr * schedules.factor(old.schedule, last, position.history)
    now = new.optimisation.lr * schedules.factor(new.schedule, following, position.history)
    return (
        f"the {new.schedule.schedule} schedule has {new.schedule.epochs} epochs instead of {old.schedule.epochs}: "
        f"the learning rate was {was:.3g} in epoch {last}, and is {now:.3g} in epoch {following}"
    )


def check_resumption(run: RunFolder, before: RunOptions, now: RunOptions, *, say: bool) -> Resumption:
    """Check that a run can be resumed with the options of now, and say which files have changed since it began.

    Raises UserError if a file or folder is not there, or if the number of stages differs.
    """
    paths = now.inputs()
    if list_checkpoints(run.checkpoints):
        paths.pop("init-from", None)
    for option, path in paths.items():
        if not path.exists():
            raise UserError(
                f"{path} is not there, which the run read as --{option}: put it back, or give its new place with "
                f"`gan-tasks train --resume {run.path} --{option} PATH`"
            )
    resumption = Resumption(run, before, now, read_inputs(run.path), list_inputs(paths))
    counts = [len(options.task.stages(1)) for options in (before, now)]
    if counts[0] != counts[1]:
        raise UserError(
            f"{resumption.epochs_text} gives the training {counts[1]} stages instead of {counts[0]}, and the "
            "networks of a stage cannot be added or removed: start a new run with --init-from"
        )
    for option, text in resumption.files.items() if say else ():
        tell(f"--{option} has changed since the run last read it: {text} ({paths[option]})")
    return resumption
