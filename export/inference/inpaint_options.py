"""Options of inpainting, and the files of masks and sketches. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from gan_tasks.datasets.ranges import Checked, Range

Strategy = Literal["crop", "resize", "original"]


@dataclass(frozen=True)
class InpaintOptions(Checked):
    """How masked regions are filled."""

    strategy: Strategy = "crop"
    """Input of the network: each masked region with its surroundings (crop), the downscaled image (resize), or the
    image at full size, with crop as the fallback for too little memory (original)."""
    dilate_px: Annotated[int, Range(0, 4096)] = 0
    """Number of pixels by which masks are dilated first, for masks that do not quite cover an object."""
    feather_px: Annotated[int, Range(0, 4096)] = 8
    """Width of the strip inside the boundary where the filled content fades into its surroundings; 0 = hard edge."""
    match_colour: bool = True
    """Match the colours of the filled content to those at the boundary."""


@dataclass(frozen=True)
class MaskFiles(Checked):
    """Mask and sketch files for models that inpaint, and how masked regions are filled."""

    mask: Path | None = None
    """Mask file for all inputs, or folder with a mask of the same name for each. A mask has the input's size, and is
    white, or a painted layer, where the input is to be filled."""
    sketch: Path | None = None
    """File or folder of sketches with white lines that the filled content follows, for models trained with them."""
    mask_threshold: Annotated[int, Range(1, 255)] = 128
    """Lowest gray level, 1 to 255, that counts as white in masks and sketches. If there are only two levels, the
    higher one is white."""
    invert_mask: bool = False
    """Fill the black region of masks instead of the white one."""
    inpaint: InpaintOptions = InpaintOptions()
