"""Suffixes of video files, and containers that can be written. Imports no PyAV."""

from __future__ import annotations

from pathlib import Path

from gan_tasks.datasets.errors import UserError

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Containers that can be written: suffix and FFmpeg's name."""
READ_ONLY = (
    *(".3g2", ".3gp", ".f4v", ".flv", ".qt", ".mj2"),
    *(".m2t", ".m2ts", ".mts", ".ts", ".vob", ".mpg", ".mpe", ".mpeg", ".m1v", ".m2v", ".m2p", ".mpv"),
    *(".asf", ".avi", ".divx", ".dv", ".mxf", ".nut", ".ogm", ".ogv", ".rm", ".rmvb", ".wmv", ".wtv"),
)
"""Suffixes of containers that can only be read."""
DEMUXERS = (
    *(
        "mov",
        "matroska",
        "webm",
        "avi",
        "flv",
        "live_flv",
        "mpegts",
        "mpeg",
        "asf",
        "mxf",
        "nut",
        "ogg",
        "dv",
        "rm",
        "wtv",
    ),
    *("mpegvideo", "m4v", "h264", "hevc", "vc1"),
)
"""FFmpeg's names of the formats that are read. Others are never tried: a playlist names other files and addresses,
which FFmpeg would open."""
VIDEO_SUFFIXES = frozenset((*CONTAINERS, *READ_ONLY))
"""Suffixes of video files."""
ANY_CODEC = ".mkv"
"""Container for codecs that the others do not support."""
TRANSPORT_STREAM_SYNC = b"\x47"
"""First byte of an MPEG transport stream."""


def file_url(path: Path) -> str:
    """Return what FFmpeg opens as a file, also if the name begins like an address, such as `concat:` or `http:`."""
    return f"file:{path}"


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_typescript(path: Path) -> bool:
    """Whether a file named .ts is not an MPEG transport stream; then it usually is a TypeScript source or a
    translation of Qt."""
    if path.suffix.lower() != ".ts":
        return False
    try:
        with path.open("rb") as file:
            return file.read(1) != TRANSPORT_STREAM_SYNC
    except OSError:  # for the reader of the file to report
        return False


def require_av() -> None:
    """Raise UserError if PyAV, which reads and writes videos, is not installed."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UserError(f"videos need PyAV ({error}): python -m pip install 'gan-tasks[video]'") from error
