"""Finished parts of a video that is being written, in a hidden folder beside the result. Imports no PyAV."""

from __future__ import annotations

import shutil
from itertools import count, takewhile
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import atomic

PART_FRAMES = 48
"""Number of frames of a part, which begins with a keyframe. An interrupted run loses at most this many frames."""
PART_FORMAT = "nut"
"""FFmpeg's NUT container, which keeps any time base exactly."""
RECIPE = "recipe.json"
"""File in the folder that identifies the source, the model and the encoder of the parts."""


def parts_folder(result: Path) -> Path:
    """Return the folder for the parts of a result."""
    return atomic.hidden(result, ".parts")


def part_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.{PART_FORMAT}"


def finished_parts(folder: Path) -> list[Path]:
    """Return the parts from the first one up to the first gap."""
    return list(takewhile(Path.is_file, (part_path(folder, number) for number in count())))


def open_parts(result: Path, recipe: str, *, overwrite: bool) -> Path:
    """Return the folder for parts, after parts of another recipe are removed; with `overwrite`, all are removed.

    Raises UserError if the folder has files of another program.
    """
    folder = parts_folder(result)
    if folder.is_dir():
        foreign = [
            path for path in folder.iterdir() if path.name != RECIPE and path.suffix[1:] not in (PART_FORMAT, "tmp")
        ]
        if foreign:
            raise UserError(f"{folder} exists already, and gan-tasks did not make {foreign[0].name}: move it away")
        file = folder / RECIPE
        if overwrite or not file.is_file() or file.read_text(encoding="utf-8") != recipe:
            shutil.rmtree(folder)
    if not folder.is_dir():
        folder.mkdir()
        atomic.write_bytes(folder / RECIPE, recipe.encode())
    return folder


def remove_parts(result: Path) -> None:
    """Remove the parts of a result."""
    folder = parts_folder(result)
    if (folder / RECIPE).is_file():
        shutil.rmtree(folder)
