"""`gan-tasks check`: list what a folder holds for a task, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.cli.arguments import Command, parse, value_of
from gan_tasks.apps.cli.console import FAILED, OK, print_line
from gan_tasks.apps.cli.help import Help
from gan_tasks.apps.cli.options import MISSING, Positional
from gan_tasks.apps.cli.train_options import group
from gan_tasks.datasets.errors import DoubtfulDataError, MissingSplitError, counted
from gan_tasks.tasks import find_task

if TYPE_CHECKING:
    from gan_tasks.tasks.base import Split, Task


@dataclass(frozen=True)
class NoOptions:
    """The data options of a task whose config has no `data`."""


@dataclass(frozen=True)
class Check(Command):
    """Read every file of a folder of training images, and list the files that cannot be used and what looks wrong.

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
        config = find_task(name).load().Config()
        defaults = cls(folder=MISSING, task=name, data=getattr(config, "data", NoOptions()))
        return parse(defaults, arguments, Help(prog, cls.__doc__ or "", group=group))

    def run(self) -> int:
        task_class = find_task(self.task).load()
        has_data = not isinstance(self.data, NoOptions)
        config = replace(task_class.Config(), data=self.data) if has_data else task_class.Config()
        return FAILED if check(self.folder, task_class(config)) else OK


def check(root: Path, task: Task[Any, Any]) -> bool:
    """Print each split's summary, what looks wrong in it, and the files that cannot be used; returns whether any do.

    Raises UserError where there is nothing to train on, or none of a split's files can be used.
    """
    from gan_tasks.datasets.checks.doubts import find_doubts

    splits: tuple[Split, ...] = ("train", "val", "test")
    problems: list[Any] = []
    doubts: list[str] = []
    for split in splits:
        try:
            data, found = task.open_data(root, split, augment=False, seed=0)
        except MissingSplitError:
            if split == "train":
                raise
            continue
        except DoubtfulDataError as doubt:
            doubts.append(f"{split}: {doubt}")
            continue
        print_line(f"{split}: {found.summary}")
        problems += found.problems
        doubts += [f"{split}: {doubt}" for doubt in find_doubts(data)]
    for line in (*doubts, *problems):
        print_line(f"  {line}")
    counts = [f"{counted(len(problems), 'file')} with problems"] if problems else []
    counts += ["the data look wrong, see above"] if doubts else []
    print_line("; ".join(counts) or "no problems found")
    return bool(problems or doubts)
