"""The finished parts of a video that is being made: a hidden folder beside the result. Imports no PyAV."""

from __future__ import annotations

import shutil
from itertools import count, takewhile
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import atomic

PART_FRAMES = 48
"""Frames of a part, which begins with a keyframe: what an interrupted run loses at most."""
PART_FORMAT = "nut"
"""FFmpeg's own container, which keeps any time base exactly."""
RECIPE = "recipe.json"
"""In the folder: what the parts are made of, and with what."""


def parts_folder(result: Path) -> Path:
    return result.with_name(f".{result.name}.parts")


def part_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.{PART_FORMAT}"


def finished_parts(folder: Path) -> list[Path]:
    """Those that follow one another from the first on."""
    return list(takewhile(Path.is_file, (part_path(folder, number) for number in count())))


def open_parts(result: Path, recipe: str, *, overwrite: bool) -> Path:
    """The folder, without what was made by another recipe, or with `overwrite` without anything.

    Raises UserError for one of that name that another program made.
    """
    folder = parts_folder(result)
    if folder.is_dir():
        foreign = [
            path for path in folder.iterdir() if path.name != RECIPE and path.suffix[1:] not in (PART_FORMAT, "tmp")
        ]
        if foreign:
            raise UserError(f"{folder} is there already, and gan-tasks did not make {foreign[0].name}: move it away")
        file = folder / RECIPE
        if overwrite or not file.is_file() or file.read_text(encoding="utf-8") != recipe:
            shutil.rmtree(folder)
    if not folder.is_dir():
        folder.mkdir()
        atomic.write_bytes(folder / RECIPE, recipe.encode())
    return folder


def remove_parts(result: Path) -> None:
    """Once the result is whole."""
    folder = parts_folder(result)
    if (folder / RECIPE).is_file():
        shutil.rmtree(folder)
