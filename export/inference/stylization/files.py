"""Style pictures for a list of files. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import read
from gan_tasks.export.inference.stylization.mix import mix_styles
from gan_tasks.export.inference.stylization.options import STYLE, STYLE_STRENGTH, StyleFiles
from gan_tasks.export.models.base import Model
from gan_tasks.export.models.hashing import sha256_of


@dataclass(frozen=True)
class StyleOfFiles:
    """The style of all results.

    inputs: the inputs of the model beside the image.
    notes: remarks for the user about the style pictures; each begins with the picture's path.
    """

    files: StyleFiles
    inputs: Mapping[str, NDArray[Any]]
    notes: tuple[str, ...] = ()

    def version(self, model_version: str) -> str:
        """Return the text that identifies results of this model with this style."""
        files = self.files
        weights = (
            f", shares {' '.join(f'{weight:g}' for weight in files.style_weights)}" if files.style_weights else ""
        )
        colour = ", colours of the image" if files.stylize.preserve_colour else ""
        pictures = " ".join(map(sha256_of, files.style))
        return f"{model_version}, style {pictures}{weights}, style strength {files.style_strength:g}{colour}"


def style_of(
    model: Model, files: StyleFiles, pairs: Sequence[tuple[Path, Path]], *, max_pixels: int | None = None
) -> StyleOfFiles | None:
    """Read the style pictures, in sRGB; None for a model that does not stylize.

    pairs: (input, output) paths. max_pixels: the most pixels of a picture.

    Raises UserError if the model takes no style or no style strength, if there is no picture or one cannot be read,
    for weights that do not fit, and for an output that would replace a picture.
    """
    if model.spec.use != "stylize":
        if files != StyleFiles():
            raise UserError(f"{model.title} does not stylize: leave out --style and the options of stylization")
        return None
    if not files.style:
        raise UserError(f"{model.title} stylizes: give a style picture with --style")
    if files.style_strength != 1 and model.spec.find(STYLE_STRENGTH) is None:
        raise UserError(f"{model.title} has no style strength: leave out --style-strength")
    given = {path.resolve() for path in files.style}
    for _, after in pairs:
        if after.resolve() in given:
            raise UserError(f"{after} would replace a style picture: give another name for the result")
    pictures = [read(path, max_pixels=max_pixels, keep_profiles=()) for path in files.style]
    style = mix_styles([picture.pixels for picture in pictures], files.style_weights)
    strength = {STYLE_STRENGTH: np.array([files.style_strength])} if model.spec.find(STYLE_STRENGTH) else {}
    notes = (f"{path}: {note}" for path, picture in zip(files.style, pictures, strict=True) for note in picture.notes)
    return StyleOfFiles(files, {STYLE: style, **strength}, tuple(notes))


def without_styles(pairs: Sequence[tuple[Path, Path]], files: StyleFiles) -> list[tuple[Path, Path]]:
    """Leave out the style pictures that are in the folder of images."""
    given = {path.resolve() for path in files.style}
    return [pair for pair in pairs if pair[0].resolve() not in given] if len(pairs) > 1 else list(pairs)
