"""Options of inpainting, and the files of masks and sketches. Imports no torch."""

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
    """Input of the network: each masked region with its surroundings (crop), the downscaled image (resize), or the
    image at full size, with crop as the fallback for too little memory (original)."""
    dilate_px: int = 0
    """Number of pixels by which masks are dilated first, for masks that do not quite cover an object."""
    feather_px: int = 8
    """Width of the strip inside the boundary where the filled content fades into its surroundings; 0 = hard edge."""
    match_colour: bool = True
    """Match the colours of the filled content to those at the boundary."""

    def __post_init__(self) -> None:
        """Raises UserError for a value out of range."""
        for name in ("dilate_px", "feather_px"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}: give 0 or more")


@dataclass(frozen=True)
class MaskFiles:
    """Mask and sketch files for models that inpaint, and how masked regions are filled."""

    mask: Path | None = None
    """Mask file for all inputs, or folder with a mask of the same name for each. A mask has the input's size, and is
    white, or a painted layer, where the input is to be filled."""
    sketch: Path | None = None
    """File or folder of sketches with white lines that the filled content follows, for models trained with them."""
    mask_threshold: int = 128
    """Lowest gray level, 1 to 255, that counts as white in masks and sketches. If there are only two levels, the
    higher one is white."""
    invert_mask: bool = False
    """Fill the black region of masks instead of the white one."""
    inpaint: InpaintOptions = InpaintOptions()
