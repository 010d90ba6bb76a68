"""What lies in a folder, before anything is decoded."""

from collections.abc import Sequence
from pathlib import Path

from gan_tasks.datasets.images import IMAGE_SUFFIXES
from gan_tasks.datasets.validation import Problem


def visible_files(folder: Path) -> list[Path]:
    """The folder's own files by name, hidden ones left out."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def pictures_in(folder: Path) -> tuple[list[Path], list[Problem]]:
    """The folder's pictures by name, and its files that are none by their suffix."""
    files = visible_files(folder)
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    others = [path for path in files if path.suffix.lower() not in IMAGE_SUFFIXES]
    return pictures, [Problem(path, "is not a picture by its suffix") for path in others]


def listed(problems: Sequence[Problem]) -> str:
    """One line a problem, for a person."""
    return "\n".join(f"  {problem}" for problem in problems)
