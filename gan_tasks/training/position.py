"""How far a run has come. It is saved in `state.json` of each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, Range
from gan_tasks.runs.checkpoint import CheckpointError, checkpoint_path, step_of
from gan_tasks.runs.folder import from_json

LARGEST_TOTAL = 10**15
Total = Annotated[int, Range(0, LARGEST_TOTAL)]


@dataclass
class Position(Checked):
    """The progress of a run. Data, schedules and random numbers depend only on it and the seed."""

    step: Total = 0
    images: Total = 0
    stage: Total = 0
    stage_images: Total = 0
    skipped: Total = 0
    skipped_in_a_row: Total = 0
    evaluated_step: Total = 0
    sampled_step: Annotated[int, Range(-1, LARGEST_TOTAL)] = -1
    acted_step: Total = 0
    """The last step whose log, samples, evaluation and checkpoint are done, as far as they were due."""
    journal_bytes: Total = 0
    history: list[float] = field(default_factory=list)
    """The metric that selects the best checkpoint at every evaluation, oldest first; negated if higher is better."""

    def state(self, *, acted: bool) -> dict[str, Any]:
        """Return the state of a checkpoint. acted: what was due at this step is done with it."""
        return {"position": asdict(replace(self, acted_step=self.step) if acted else self)}


def position_of(state: Mapping[str, Any], checkpoint: Path, stages: int) -> Position:
    """Return the position in the state of a checkpoint, for a training of so many stages. Raises CheckpointError."""
    try:
        position: Position = from_json(Position, state.get("position"))
    except UserError as error:
        raise CheckpointError(
            f"checkpoint {checkpoint}: state.json does not hold the position of a training as this version writes it "
            f"({error}). Use the version of gan-tasks that config.json names"
        ) from error
    if position.stage >= stages:
        raise CheckpointError(
            f"checkpoint {checkpoint} is of stage {position.stage + 1} of a training that has {stages} stages: "
            "config.json was changed. Restore it"
        )
    if position.step != step_of(checkpoint):
        raise CheckpointError(
            f"checkpoint {checkpoint} is of step {position.step}: its folder was renamed or copied. Remove it, or "
            f"give it the name {checkpoint_path(checkpoint.parent, position.step).name}"
        )
    return position
