"""The steps that restore an old photograph, and the models that take them. It imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from gan_tasks.datasets.errors import UserError, enumerated
from gan_tasks.pretrained.shipped import INSTALL, located

Step = Literal["descratch", "restore", "colourise", "upscale"]
STEPS: tuple[Step, ...] = get_args(Step)
"""In the order in which they run: later ones need clean input, and enlarging first would make all of them slow."""
PhotoScale = Literal[1, 2, 4]
DEFAULT_SCALE: PhotoScale = 2
ColouriseIf = Literal["gray", "toned", "any"]
"""Which photographs are colourised, see `tones.steps_for`."""


def default_model(step: Step, scale: PhotoScale = DEFAULT_SCALE) -> str:
    """Return the name of the model that takes a step."""
    return {"restore": "restore-x1", "upscale": f"upscale-x{scale}"}.get(step, step)


@dataclass(frozen=True)
class ChosenModels:
    """The model of each step, in their order, and the steps that are left out because their model is missing."""

    paths: Mapping[Step, Path]
    missing: tuple[str, ...] = ()
    """The names of these models."""


def choose_models(
    asked: Sequence[Step] | None, given: Mapping[Step, Path], scale: PhotoScale | None = None
) -> ChosenModels:
    """Choose the model of each step.

    Args:
        asked: the steps; None takes all whose model is installed.
        given: models in place of the default ones.
        scale: of the result. 1 leaves out `upscale`.

    Raises UserError for a model that is asked for and not installed, for options that contradict each other, and if
    no step is left.
    """
    check_steps(asked, given, scale)
    paths: dict[Step, Path] = {}
    missing = []
    for step in STEPS:
        if (asked is not None and step not in asked) or (step == "upscale" and scale == 1):
            continue
        name = default_model(step, scale or DEFAULT_SCALE)
        if step in given:
            paths[step] = given[step]
        elif is_there(name):
            paths[step] = Path(name)
        elif asked is not None or (step == "upscale" and scale is not None):
            raise UserError(f"the model {name} is not installed: {INSTALL}, or give one with --{step} MODEL")
        else:
            missing.append(name)
    if not paths:
        raise UserError(
            f"the models {enumerated(missing)} are not installed: {INSTALL}, or give others, such as --restore MODEL"
        )
    return ChosenModels(paths, tuple(missing))


def check_steps(asked: Sequence[Step] | None, given: Mapping[Step, Path], scale: PhotoScale | None) -> None:
    """Raise UserError for options that contradict each other."""
    if asked is not None and not asked:
        raise UserError(f"--steps names no step: expected any of {', '.join(STEPS)}")
    for step in given:
        if asked is not None and step not in asked:
            raise UserError(f"--{step} gives a model, and {step} is not among --steps: add it, or leave out --{step}")
    upscales = "upscale" in given or (asked is not None and "upscale" in asked)
    if scale == 1 and upscales:
        raise UserError("--scale 1 leaves out upscale, which is asked for: leave out one of them")
    if asked is not None and "upscale" not in asked and scale not in (None, 1):
        raise UserError(f"--scale {scale} needs the step upscale: add it to --steps, or leave out --scale")


def is_there(name: str) -> bool:
    """Return whether the model of this name is installed, or a file or folder has the name."""
    return located(Path(name)).exists()
