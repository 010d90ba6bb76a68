"""Folders that hold the files of one public model. Imports no torch."""

from __future__ import annotations

from pathlib import Path

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".pkl")
"""Suffixes of public checkpoints, which `pretrained/load.py` reads."""
MOST_FILES = 8
"""Most checkpoints in a folder that is taken for a model."""


def weights_files(folder: Path) -> list[Path]:
    """Return the checkpoints directly in a folder, sorted; none if it is no folder, or holds too many for a model."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in WEIGHTS_SUFFIXES and path.is_file())
    return files if len(files) <= MOST_FILES else []
