"""How far a run has come. It is saved in `state.json` of each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gan_tasks.runs.checkpoint import CheckpointError


@dataclass
class Position:
    """The progress of a run. Data, schedules and random numbers depend only on it and the seed."""

    step: int = 0
    images: int = 0
    stage: int = 0
    stage_images: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    evaluated_step: int = 0
    sampled_step: int = -1
    acted_step: int = 0
    """The last step whose log, samples, evaluation and checkpoint are done, as far as they were due."""
    journal_bytes: int = 0
    history: list[float] = field(default_factory=list)
    """The metric that selects the best checkpoint at every evaluation, oldest first; negated if higher is better."""

    def state(self, *, acted: bool) -> dict[str, Any]:
        """Return the state of a checkpoint. acted: what was due at this step is done with it."""
        return {"position": asdict(replace(self, acted_step=self.step) if acted else self)}


def position_of(state: Mapping[str, Any], checkpoint: Path, stages: int) -> Position:
    """Return the position in the state of a checkpoint, for a training of so many stages. Raises CheckpointError."""
    try:
        position = Position(**state["position"])
        fits = 0 <= position.stage < stages
    except (TypeError, KeyError) as error:
        raise CheckpointError(
            f"checkpoint {checkpoint}: state.json does not hold the position of a training as this version writes it "
            f"({error}). Use the version of gan-tasks that config.json names"
        ) from error
    if not fits:
        raise CheckpointError(
            f"checkpoint {checkpoint} is of stage {position.stage + 1} of a training that has {stages} stages: "
            "config.json was changed. Restore it"
        )
    return position
