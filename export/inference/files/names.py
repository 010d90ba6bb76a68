"""Name the results of files: each keeps the name of its input, and a suffix is added where the format needs it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import IMAGE_SUFFIXES
from gan_tasks.datasets.images.formats import UNREADABLE_SUFFIXES, format_of
from gan_tasks.export.inference.video.containers import ANY_CODEC, CONTAINERS, VIDEO_SUFFIXES, is_video

MARKED_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
"""Formats that can be written and contain the mark that a model made the image."""
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
"""Suffixes of inputs."""
JPEG_SUFFIXES = frozenset({".jfif", ".jpe", ".jif"})
"""Suffixes of JPEG files that are read and not written."""


def output_name(path: Path) -> str:
    """Return the name of an input's result.

    A suffix is added to names whose format cannot contain the result or its mark: .mkv for videos (.avi, .wmv), .jpg
    for other names of JPEG files (.jfif), and .png for other images (.bmp, .gif, .npy).
    """
    name, suffix = path.name, path.suffix.lower()
    if is_video(path):
        return name if suffix in CONTAINERS else name + ANY_CODEC
    if suffix in MARKED_SUFFIXES:
        return name
    return name + (".jpg" if suffix not in IMAGE_SUFFIXES and format_of(path) == "JPEG" else ".png")


def is_named_as_file(destination: Path, source: Path) -> bool:
    """Return whether the destination of a file or folder `source` is a file: it has the suffix of one.

    Raises UserError for a suffix of images that cannot be written, and for an unknown one that resembles a known one.
    A folder that exists may have any name.
    """
    suffix = destination.suffix.lower()
    if destination.is_dir() or not suffix:
        return False
    if source.is_dir():
        if suffix in SUFFIXES:
            raise UserError(
                f"{source} is a folder but {destination} is named like a file: give a folder for the results"
            )
        return False
    if suffix in MARKED_SUFFIXES or suffix in VIDEO_SUFFIXES:
        return True
    video = is_video(source)
    stem = destination.stem
    if suffix in SUFFIXES or suffix in UNREADABLE_SUFFIXES or suffix in JPEG_SUFFIXES:
        expected = f"{stem}.mkv, or .mp4, .mov or .webm" if video else f"{stem}.png, or .jpg, .webp or .tif"
        raise UserError(f"{suffix} files are not written: give {expected}")
    if close := get_close_matches(suffix, CONTAINERS if video else MARKED_SUFFIXES, n=1):
        raise UserError(
            f"{destination} has the unknown suffix {suffix}: did you mean {stem}{close[0]}? To write into a folder "
            "of this name, make it first"
        )
    return False
