"""Which checkpoints of a run are kept, and which one is taken to go on or to use the model.

A checkpoint is good if the training was well when it was saved (see `Trainer.is_well`). One that is not is taken only
if there is no good one, and does not count when old ones are deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from gan_tasks.runs.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    hidden,
    list_checkpoints,
    load_state,
    step_of,
)

Loaded = TypeVar("Loaded")


def load_first(
    folder: Path, load: Callable[[Path], Loaded], say: Callable[[str], None], *, best: Path | None = None
) -> tuple[Path, Loaded] | None:
    """Load the best checkpoint if it is given, else the newest good one, else the newest one that is not damaged.

    Args:
        folder: the folder of the checkpoints.
        load: reads a checkpoint; it raises DamagedCheckpointError for one that is damaged.
        say: is called with a sentence if another one is taken than the best or the newest one.

    Returns None if there is no checkpoint. Raises DamagedCheckpointError if all are damaged.
    """
    newest_first = list_checkpoints(folder)[::-1]
    bad = [path for path in newest_first if is_good(path) is False]
    candidates = [*([best] if best else []), *(path for path in newest_first if path not in (best, *bad))]
    candidates += [path for path in bad if path != best]
    reasons: list[str] = []
    damage: DamagedCheckpointError | None = None
    for checkpoint in candidates:
        try:
            loaded = load(checkpoint)
        except DamagedCheckpointError as error:
            damage = error
            reasons.append(str(error))
            continue
        if checkpoint != best:
            reasons += [
                f"{path.name} was saved while steps were skipped or weights were out of range"
                for path in bad
                if step_of(path) > step_of(checkpoint)
            ]
        if reasons:
            say(f"{'; '.join(reasons)}: {checkpoint.name} is taken instead")
        return checkpoint, loaded
    if damage is not None:
        raise damage
    return None


def is_good(checkpoint: Path) -> bool | None:
    """Whether the training was well at a checkpoint; None if its state cannot be read. Its parts are not read."""
    try:
        return bool(load_state(checkpoint)["good"])
    except CheckpointError:
        return None


def newest_good(folder: Path) -> Path | None:
    return next((path for path in reversed(list_checkpoints(folder)) if is_good(path)), None)


def prune_checkpoints(folder: Path, newest: Path, *, keep: int, spare: Collection[Path] = ()) -> None:
    """Delete all checkpoints before `newest`, the one just saved, except the last of them.

    With `newest`, `keep` are kept, and beside them the newest good one and those in `spare`. Those after `newest`
    were passed over when the run was resumed; each is replaced when its step is reached again.
    """
    past = [path for path in list_checkpoints(folder) if step_of(path) <= step_of(newest)]
    good = next((path for path in reversed(past) if is_good(path)), None)
    for path in past[:-keep]:
        if path != good and path not in spare:
            # Rename first: if the process is killed during the deletion, no incomplete checkpoint is left.
            path.rename(hidden(path))
            shutil.rmtree(hidden(path))
