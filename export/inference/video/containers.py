"""Which files are videos, and which containers are written. Imports no PyAV, so that every path can be asked."""

from __future__ import annotations

from pathlib import Path

from gan_tasks.datasets.errors import UserError

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""What can be written: the suffix, and FFmpeg's name of the container."""
VIDEO_SUFFIXES = frozenset({*CONTAINERS, ".avi", ".mpg", ".mpeg", ".m2ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv"})
"""What is taken for a video. Not .ts, which is as often a program."""
ANY_CODEC = ".mkv"
"""The container for what the others cannot hold."""


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def require_av() -> None:
    """Raises UserError where PyAV, which reads and writes videos, is not installed."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UserError(f"videos need PyAV ({error}): python -m pip install 'gan-tasks[video]'") from error
