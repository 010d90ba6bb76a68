"""Options of inpainting, and the files that say what is masked. Imports nothing that is slow to start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gan_tasks.datasets.errors import UserError

Strategy = Literal["crop", "resize", "original"]


@dataclass(frozen=True)
class InpaintOptions:
    """How masked regions are filled."""

    strategy: Strategy = "crop"
    """What the network sees. crop: each masked region with its surroundings. resize: the whole image, made smaller.
    original: the image as it is, where memory allows, else crop."""
    dilate_px: int = 0
    """Pixels by which masks are grown first, for masks that leave a boundary of what they should cover."""
    feather_px: int = 8
    """Width of the strip inside the boundary in which the fill fades into its surroundings. 0 gives a hard edge."""
    match_colour: bool = True
    """Make the fill's colours agree with those at the boundary."""

    def __post_init__(self) -> None:
        """Raises UserError for a value out of range."""
        for name in ("dilate_px", "feather_px"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}: give 0 or more")


@dataclass(frozen=True)
class MaskFiles:
    """For models that inpaint: what is masked, and how it is filled."""

    mask: Path | None = None
    """The mask: an image of the input's size that is white where it is to be filled, or a layer that is painted there
    and transparent elsewhere. Give one file for all inputs, or a folder with a file of the same name for each."""
    sketch: Path | None = None
    """White lines that the fill follows, for models that have learned it. A file or a folder, as for --mask."""
    mask_threshold: int = 128
    """The darkest gray level, 1 to 255, that counts as white in masks and sketches."""
    invert_mask: bool = False
    """Fill what is black in the mask instead of what is white."""
    inpaint: InpaintOptions = InpaintOptions()
