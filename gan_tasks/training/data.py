"""Open the data of a training, and check the options that follow held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.stderr import say
from gan_tasks.tasks.base import BestBy, Data, Split, Stage, Task
from gan_tasks.training.hold_out import FEWEST_IMAGES, Names, choose, names_of, only, without


@dataclass(frozen=True)
class DataSets:
    """The training data of a run, and its held-out data."""

    train: Data
    held_out: Data | None
    shown: Data
    """Whole images for the sample grids: held-out images if there are any, else training images."""
    taken_out: Names = ()
    """The names of the images that were taken from the training images to be held out."""


def open_data(
    task: Task[Any, Any],
    root: Path,
    seed: int,
    *,
    hold_out: int | None = 0,
    taken_out: Names | None = None,
    quiet: bool,
) -> tuple[Task[Any, Any], DataSets]:
    """Open the data of a run. Returns them with the task, whose options that depend on the data are resolved.

    Only `val` images select the best checkpoint and control the plateau schedule. `test` images are only shown.
    Without either, some training images are held out and take the place of `val` images.

    Args:
        hold_out: the number of images to hold out, see `hold_out.choose`.
        taken_out: the names of the images to hold out, for a run that began with them.
    """
    train_data, found = task.open_data(root, "train", augment=True, seed=seed)
    task = task.resolved(train_data)
    held_out = open_split(task, root, "val", seed)
    shown = held_out or open_split(task, root, "test", seed)
    said = ""
    if taken_out is None:
        taken_out = [] if shown else choose(train_data, hold_out)
        said = "" if shown else hold_out_sentence(train_data, taken_out, hold_out)
    if taken_out or not shown:
        shown, _ = task.open_data(root, "train", augment=False, seed=seed)
    training: Data | None = train_data
    if taken_out:
        shown = held_out = only(shown, taken_out)
        training = without(train_data, taken_out)
    if training is None or shown is None:
        raise UserError(f"{root} no longer has the images that the run holds out, or no others: restore them")
    if not quiet:
        for problem in found.problems:
            say(f"left out: {problem}")
        for sentence in filter(None, (found.summary, said)):
            say(sentence)
    return task, DataSets(training, held_out, shown, taken_out)


def hold_out_sentence(data: Data, taken_out: Names, hold_out: int | None) -> str:
    """Say which images are held out, or why none are."""
    if taken_out:
        count, total, first = sum(map(len, taken_out)), sum(map(len, names_of(data))), sorted(taken_out[0])[:3]
        return (
            f"held out, because there is no folder val/ or test/: {count} of {total} images ({', '.join(first)}"
            f"{' …' if count > len(first) else ''}). They are not trained on, but measured, also by "
            "`gan-tasks evaluate`. --hold-out 0 trains on all"
        )
    if hold_out is None:
        return (
            f"no images are held out to measure the model: {min(map(len, names_of(data)))} are fewer than "
            f"{FEWEST_IMAGES}. Put some into a folder val/, or give their number with --hold-out"
        )
    return ""


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
            f"{follows[0]} follows held-out images, and there are none: put some into val/, give --hold-out, or "
            "leave the option out"
        )
    if best_by is None:
        raise UserError(
            f"{follows[0]} follows a metric, and stage {stage.name} of {task.name} has none of its own: "
            "give --best-by kernel-distance"
        )
    if "--schedule plateau" not in follows and not evaluate_every_steps:
        raise UserError(f"{follows[0]} needs evaluations: give --evaluate-every-steps")
