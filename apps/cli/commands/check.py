"""`gan-tasks check`: what a folder holds for a task, before any training."""

from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import MissingSplitError
from gan_tasks.tasks.base import Split, Task


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
    print(f"{len(problems)} files with problems" if problems else "no problems found")
    return bool(problems)
