"""`gan-tasks check`: list what a folder holds for a task, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.cli.arguments import Command, parse, value_of
from gan_tasks.apps.cli.console import FAILED, OK
from gan_tasks.apps.cli.help import Help
from gan_tasks.apps.cli.options import MISSING, Positional
from gan_tasks.apps.cli.train_options import group, known_task
from gan_tasks.datasets.errors import MissingSplitError, counted

if TYPE_CHECKING:
    from gan_tasks.tasks.base import Split, Task


@dataclass(frozen=True)
class NoOptions:
    """The data options of a task whose config has no `data`."""


@dataclass(frozen=True)
class Check(Command):
    """Read every file of a folder of training images, and list the files that cannot be used.

    The options that say how the data are stored are those of the task: give --task before --help to see them.
    """

    folder: Positional[Path]
    """The folder of training images."""
    task: str = "pix2pix"
    """The task that the images are for."""
    data: Any = field(default_factory=NoOptions)
    """The task's own options of its data."""

    @classmethod
    def parse(cls, arguments: Sequence[str], prog: str) -> Command:
        name = value_of("--task", arguments, cls.task)
        config = known_task(name).load().Config()
        defaults = cls(folder=MISSING, task=name, data=getattr(config, "data", NoOptions()))
        return parse(defaults, arguments, Help(prog, cls.__doc__ or "", group=group))

    def run(self) -> int:
        task_class = known_task(self.task).load()
        has_data = not isinstance(self.data, NoOptions)
        config = replace(task_class.Config(), data=self.data) if has_data else task_class.Config()
        return FAILED if check(self.folder, task_class(config)) else OK


def check(root: Path, task: Task[Any, Any]) -> bool:
    """Print each split's summary and the files that cannot be used; returns whether there are any.

    Raises UserError where there is nothing to train on, or none of a split's files can be used.
    """
    splits: tuple[Split, ...] = ("train", "val", "test")
    problems: list[Any] = []
    for split in splits:
        try:
            _, found = task.open_data(root, split, augment=False, seed=0)
        except MissingSplitError:
            if split == "train":
                raise
            continue
        print(f"{split}: {found.summary}")
        problems += found.problems
    for problem in problems:
        print(f"  {problem}")
    print(f"{counted(len(problems), 'file')} with problems" if problems else "no problems found")
    return bool(problems)
