"""List the image files of a folder, without decoding them."""

from collections.abc import Sequence
from pathlib import Path

from gan_tasks.datasets.images import IMAGE_SUFFIXES
from gan_tasks.datasets.validation import Problem


def visible_files(folder: Path) -> list[Path]:
    """Return the files directly in the folder, sorted by name, without hidden files."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def images_in(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Return the folder's image files, sorted by name, and a Problem for each file without an image suffix."""
    files = visible_files(folder)
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    others = [path for path in files if path.suffix.lower() not in IMAGE_SUFFIXES]
    suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
    return images, [Problem(path, f"does not have the suffix of an image ({suffixes})") for path in others]


def listed(problems: Sequence[Problem]) -> str:
    """Format problems for a message, one line each."""
    return "\n".join(f"  {problem}" for problem in problems)
