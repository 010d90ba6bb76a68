"""Open the data of a training, and check the options that follow held-out images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.tasks.base import BestBy, Data, Split, Stage, Task


@dataclass(frozen=True)
class DataSets:
    """The training data of a run, and its held-out data."""

    train: Data
    held_out: Data | None
    shown: Data
    """Whole images for the sample grids: held-out images if there are any, else training images."""


def open_data(task: Task[Any, Any], root: Path, seed: int, *, quiet: bool) -> tuple[Task[Any, Any], DataSets]:
    """Open the data of a run. Returns them with the task, whose options that depend on the data are resolved.

    Only `val` images select the best checkpoint and control the plateau schedule. `test` images are only shown.
    """
    train_data, found = task.open_data(root, "train", augment=True, seed=seed)
    task = task.resolved(train_data)
    held_out = open_split(task, root, "val", seed)
    shown = held_out or open_split(task, root, "test", seed) or open_split(task, root, "train", seed)
    assert shown is not None  # the train split was opened above
    if not quiet:
        for problem in found.problems:
            print(f"left out: {problem}", file=sys.stderr)
        print(found.summary, file=sys.stderr)
    return task, DataSets(train_data, held_out, shown)


def open_split(task: Task[Any, Any], root: Path, split: Split, seed: int) -> Data | None:
    """Open the whole images of a split. Returns None if the split does not exist."""
    try:
        return task.open_data(root, split, augment=False, seed=seed)[0]
    except MissingSplitError:
        return None


def check_best_by(
    task: Task[Any, Any],
    data: DataSets,
    stage: Stage,
    *,
    chosen: BestBy | None,
    patience: int,
    evaluate_every_steps: int,
) -> None:
    """Check the options that follow a metric. Raises UserError if that metric cannot be computed."""
    best_by = chosen or stage.best_by
    if best_by not in (None, "kernel-distance") and not task.evaluation().has_target:
        raise UserError(
            f"{best_by} compares outputs with targets, and {task.name} has no targets: give --best-by kernel-distance"
        )
    follows = [f"--best-by {chosen}"] if chosen else []
    follows += [f"--patience {patience}"] if patience else []
    follows += ["--schedule plateau"] if stage.schedule.schedule == "plateau" else []
    if not follows:
        return
    if data.held_out is None:
        raise UserError(
            f"{follows[0]} follows held-out images, and there are none: put some into val/, or leave the option out"
        )
    if best_by is None:
        raise UserError(
            f"{follows[0]} follows a metric, and stage {stage.name} of {task.name} has none of its own: "
            "give --best-by kernel-distance"
        )
    if "--schedule plateau" not in follows and not evaluate_every_steps:
        raise UserError(f"{follows[0]} needs evaluations: give --evaluate-every-steps")
