"""Which images of a folder are evaluated, and which are those of the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from gan_tasks.datasets.errors import MissingSplitError, counted, enumerated
from gan_tasks.export.evaluation.masks import with_drawn_masks
from gan_tasks.export.models.base import Model
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.tasks.base import Data, Split, Task
from gan_tasks.training.data import open_split
from gan_tasks.training.hold_out import Names, names_of, only, without

HELD_OUT, ALL = "held-out", "all"
"""What is evaluated of a folder that has no test images: those that the training held out, or all images."""


@dataclass(frozen=True)
class EvaluationData:
    """The images to evaluate models on."""

    images: Data
    train: Data | None
    """The training images, without those to evaluate; None if the folder has none."""
    split: str
    """train, val, test, HELD_OUT or ALL."""
    summary: str
    notes: tuple[str, ...] = ()
    """Remarks for the reader."""


def open_images(models: Mapping[str, Model], task: Task[Any, Any], root: Path, split: str) -> EvaluationData:
    """Open the images of a folder to evaluate models on.

    If the folder has no such split, these are the images that the training of the models held out of it, or, of a
    folder without splits, such as a benchmark, all images. `split` may be HELD_OUT or ALL, too.

    Raises MissingSplitError if there are no such images, or only those that a model was trained on.
    """
    missing: MissingSplitError | None = None
    if split not in (HELD_OUT, ALL):
        try:
            images, found = task.open_data(root, cast(Split, split), augment=False, seed=0)
            return EvaluationData(images, open_train(task, root), split, found.summary)
        except MissingSplitError as error:
            missing = error
    try:
        whole, found = task.open_data(root, "train", augment=False, seed=0)
    except MissingSplitError:
        raise missing or MissingSplitError(f"{root} holds no images") from None
    names = held_out_names(models, root, sides=len(names_of(whole)))
    if names and split != ALL and (held_out := only(whole, names)):
        train = open_train(task, root)
        note = (
            f"Evaluated on what the training held out of {root}: {counted(len(held_out), 'image')}. They may have "
            "chosen the best checkpoint: images in a folder test/ measure it without that advantage."
        )
        return EvaluationData(held_out, train and without(train, names), HELD_OUT, found.summary, (note,))
    if any(is_trained_on(model, root) for model in models.values()):
        raise MissingSplitError(
            f"{missing}. The model was trained on all images of {root}: give a folder of other images, or "
            "--split train to measure with training images"
        )
    if splits := sorted(name for name in ("train", "val", "test") if any(root.glob(f"{name}*/"))):
        raise MissingSplitError(f"{missing}. There is {enumerated(splits)}: give --split {splits[-1]}")
    note = f"The whole folder {root} was evaluated, {counted(len(whole), 'sample')}, because it has no folder test/."
    if not all(isinstance(model, TrainedModel) for model in models.values()):
        note += " Images that a model was trained on say nothing about it."
    return EvaluationData(whole, None, ALL, found.summary, (note,))


def open_train(task: Task[Any, Any], root: Path) -> Data | None:
    """Open the training split; return None if there is none."""
    return open_split(with_drawn_masks(task), root, "train", 0)


def held_out_names(models: Mapping[str, Model], root: Path, *, sides: int = 1) -> Names:
    """Return the names of the images of a folder that every run among the models held out of its training.

    sides: the sides of the data that are evaluated: 2 for unpaired data, else 1.
    """
    runs = [model for model in models.values() if isinstance(model, TrainedModel)]
    held_out = [model.run_content["held_out"] for model in runs if is_trained_on(model, root)]
    if not all(held_out) or not len(held_out) == len(runs) > 0:
        return []
    fitted = [in_sides(names, sides) for names in held_out]
    return [sorted(set.intersection(*map(set, side))) for side in zip(*fitted, strict=True)]


def in_sides(names: Names, sides: int) -> Names:
    """Return the held-out names for data of so many sides: of other data, what all sides hold out."""
    return names if len(names) == sides else [sorted(set.intersection(*map(set, names)))] * sides


def is_trained_on(model: Model, root: Path) -> bool:
    """Return whether a run was trained on this folder. If its folder was moved away, any folder may be it."""
    if not isinstance(model, TrainedModel):
        return False
    data = Path(model.run_content["data"])
    return data.resolve() == root.resolve() or (not data.exists() and data.name == root.name)
