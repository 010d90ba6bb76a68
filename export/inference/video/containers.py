"""Suffixes of video files, and containers that can be written. Imports no PyAV."""

from __future__ import annotations

from pathlib import Path

from gan_tasks.datasets.errors import UserError

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Containers that can be written: suffix and FFmpeg's name."""
VIDEO_SUFFIXES = frozenset({*CONTAINERS, ".avi", ".mpg", ".mpeg", ".m2ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv"})
"""Suffixes of video files. Not .ts, which is often a TypeScript file."""
ANY_CODEC = ".mkv"
"""Container for codecs that the others do not support."""


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def require_av() -> None:
    """Raise UserError if PyAV, which reads and writes videos, is not installed."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UserError(f"videos need PyAV ({error}): python -m pip install 'gan-tasks[video]'") from error
