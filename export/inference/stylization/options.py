"""Options of stylization, and the files of style pictures. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gan_tasks.datasets.ranges import Checked, Fraction, Weight

STYLE, STYLE_STRENGTH = "style", "style_strength"
"""Names of the inputs of a model that stylizes."""


@dataclass(frozen=True)
class StylizeOptions(Checked):
    """What of the input image a restyled image keeps."""

    preserve_colour: bool = False
    """Keep the colours of the input image, and take only the luminance of the restyled one."""


@dataclass(frozen=True)
class StyleFiles(Checked):
    """Style pictures for models that stylize, and how they are used."""

    style: tuple[Path, ...] = ()
    """Picture, of any size, in whose style all inputs are restyled. Of several pictures the styles are mixed."""
    style_weights: tuple[Weight, ...] = ()
    """Share of each of several style pictures in the mixture, in any unit. Without it, all have the same share."""
    style_strength: Fraction = 1.0
    """Style strength: 1 restyles fully, and 0 gives the decoder the input image's own features."""
    stylize: StylizeOptions = StylizeOptions()
