"""How holes are filled, and the files that say where they are: options. Imports nothing that is slow to start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gan_tasks.datasets.errors import UserError

Strategy = Literal["crop", "resize", "original"]


@dataclass(frozen=True)
class InpaintOptions:
    """How holes are filled."""

    strategy: Strategy = "crop"
    """What the network sees: each hole with its surroundings, the whole picture made smaller, or the picture as it is
    (where memory allows; else crop)."""
    dilate_px: int = 0
    """Pixels by which holes are grown first, for masks that leave a rim of what they should cover."""
    feather_px: int = 8
    """Width of the band inside a hole's edge in which the fill is led over to what is around it; 0 = a hard edge."""
    match_colour: bool = True
    """Make the fill's colours agree with those at the hole's edge."""

    def __post_init__(self) -> None:
        """Raises UserError for a value out of range."""
        for name in ("dilate_px", "feather_px"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}: give 0 or more")


@dataclass(frozen=True)
class MaskFiles:
    """For models that fill holes, such as those of inpainting: where the holes are, and how they are filled."""

    mask: Path | None = None
    """An image of the input's size that is white in the hole, or a layer that is painted there and else see-through.
    One for all inputs, or a folder with one of the same name for each."""
    sketch: Path | None = None
    """White lines that the fill is to follow, where the model has learned that; a file or folder, as --mask."""
    mask_threshold: int = 128
    """The darkest that counts as white, in masks and sketches, 1 to 255."""
    invert_mask: bool = False
    """Fill what is black in the mask."""
    fill: InpaintOptions = InpaintOptions()
