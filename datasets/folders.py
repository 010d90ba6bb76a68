"""List the image files of a folder, without decoding them."""

import os
from collections.abc import Sequence
from pathlib import Path

from gan_tasks.datasets.checks.validation import Problem
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import IMAGE_SUFFIXES
from gan_tasks.datasets.images.formats import kind_of, unreadable_reason

MADE_BY_SYSTEMS = frozenset({"__MACOSX", "@eaDir"})
"""Folders with copies and thumbnails that macOS and network drives make."""


def is_visible(name: str) -> bool:
    """Return whether a file or folder of this name is listed: it is not hidden, such as `._photo.png` of macOS."""
    return not name.startswith(".") and name not in MADE_BY_SYSTEMS


def visible_files(folder: Path) -> list[Path]:
    """Return the files directly in the folder, sorted by name, without hidden files."""
    return sorted(path for path in folder.iterdir() if is_visible(path.name) and path.is_file())


def visible_folders(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, sorted by name, without hidden ones; none if it is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if is_visible(entry.name) and entry.is_dir())


def visible_files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the sorted files of a folder and its subfolders, without hidden ones, and subfolders that do not open.

    Links to files that do not exist are listed; links to folders are not followed. Raises UserError if the folder
    itself does not open.
    """
    files, closed = list[Path](), list[Path]()
    for parent, names_of_folders, names in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        names_of_folders[:] = filter(is_visible, names_of_folders)
        paths = (Path(parent, name) for name in names if is_visible(name))
        files += (path for path in paths if is_file_or_unknown(path))
    if folder in closed:
        raise UserError(f"{folder} cannot be opened: allow reading it, or give another folder")
    return sorted(files), sorted(closed)


def is_file_or_unknown(path: Path) -> bool:
    """Return False for devices and pipes. What cannot be looked at is for the reader of the file to report."""
    try:
        return path.is_file() or not path.exists()
    except OSError:
        return True


def images_in(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Return the folder's image files, sorted by name, and a Problem for each other file that is not hidden.

    A file is an image by its suffix, or, if that is not the suffix of an image, by its content.
    """
    images, problems = list[Path](), list[Problem]()
    for path in visible_files(folder):
        match kind_of(path):
            case "image":
                images.append(path)
            case "unreadable":
                problems.append(Problem(path, unreadable_reason(path)))
            case "other":
                suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
                problems.append(Problem(path, f"does not have the suffix of an image ({suffixes})"))
    return images, problems


def listed(problems: Sequence[Problem]) -> str:
    """Format problems for a message, one line each."""
    return "\n".join(f"  {problem}" for problem in problems)


def refuse_problems(problems: Sequence[Problem]) -> None:
    """Raise UserError with the list of problems, if there are any, for a data set that is `strict`."""
    if problems:
        raise UserError(
            f"{listed(problems)}\nfix or remove these files, or leave them out by running without --strict"
        )
