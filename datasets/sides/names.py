"""Recognise A and B by the names that people give to folders and files: before and after, input and target."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from gan_tasks.datasets.checks.validation import Problem
from gan_tasks.datasets.errors import MissingSplitError, UserError, counted, enumerated
from gan_tasks.datasets.folders import images_in, visible_folders

SIDES = (
    *(("a", "b"), ("before", "after"), ("input", "target"), ("input", "output"), ("source", "target")),
    *(("in", "out"), ("src", "dst"), ("src", "tgt"), ("x", "y"), ("lr", "hr"), ("low", "high"), ("noisy", "clean")),
)
"""Names of A and of B, in lower case."""

_SEPARATORS = re.compile(r"[-_. ]+")
_SIDE_LAST = r"^(?P<rest>.*\d|.+?[-_. (]+){side}\)?$"  # 1a, x_before, x (before)
_SIDE_FIRST = r"^{side}[-_. ]+(?P<rest>.+)$"  # before_x


def find_side_folders(
    root: Path, split: str, a: Path | None = None, b: Path | None = None
) -> tuple[Path, Path] | None:
    """Return the folders of A and of B for a split; None if there are none. Letter case makes no difference.

    They are, in this order: a/<split> and b/<split>, or for "train" a and b; folders with the names of SIDES in
    root/<split>; <split>A and <split>B in root, or with other names of SIDES; for "train" the names of SIDES in root.

    Raises UserError if a or b is not a folder.
    """
    _check_folders(a, b)
    if a is not None and b is not None:
        in_split = child(a, split), child(b, split)
        if all(folder.is_dir() for folder in in_split):
            return in_split
        if split == "train":
            return a, b
    places = [(child(root, split), ""), (root, split)]
    if split == "train":
        places.append((root, ""))
    return next((found for folder, prefix in places if (found := _named_sides(folder, prefix))), None)


def check_both_or_neither(a: Path | None, b: Path | None) -> None:
    """Raise UserError if only one of the two folders is given."""
    if (a is None) != (b is None):
        raise UserError("--a and --b name the folders of A and of B: give both, or neither")


def _check_folders(a: Path | None, b: Path | None) -> None:
    """Raise UserError if a or b is given and is not a folder."""
    for folder in (a, b):
        if folder is not None and not folder.is_dir():
            raise UserError(f"{folder} is not a folder; give a folder of images with --a and --b")


def child(folder: Path, name: str) -> Path:
    """Return the folder of this name in `folder`, in upper or lower case; folder/name if there is none."""
    exact = folder / name
    if exact.is_dir() or not folder.is_dir():
        return exact
    return next((path for path in visible_folders(folder) if path.name.lower() == name.lower()), exact)


def images_of_split(root: Path, split: str) -> tuple[Path, list[Path], list[Problem]]:
    """Return the folder of a split, its images, and the problems of other files: root/<split>, for "train" also root.

    Raises UserError if root is not a folder, and MissingSplitError if no folder of the split has images.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the folder that holds the images")
    for folder in (child(root, split), root) if split == "train" else (child(root, split),):
        images, problems = images_in(folder) if folder.is_dir() else ([], [])
        if images:
            return folder, images, problems
    also = f" or in {root}" if split == "train" else ""
    raise MissingSplitError(f"{root} holds no {split} images; expected images in {root / split}{also}")


def suggest_sides(root: Path, split: str) -> str:
    """Return a sentence that names the folders of images which may be A and B, and how to use them, or ""."""
    for parent in (child(root, split), root):
        folders = {path: len(images_in(path)[0]) for path in visible_folders(parent)}
        folders = {path: count for path, count in folders.items() if count}
        if len(folders) >= 2:
            listed = enumerated([f"{path} ({counted(count, 'image')})" for path, count in folders.items()])
            a, b = list(folders)[:2]
            return (
                f". There are the folders {listed}: to use two of them as A and B, give for example --a {a} --b {b}"
            )
    return ""


def pair_files(images: Sequence[Path]) -> tuple[tuple[str, str], dict[str, tuple[Path, Path]]] | None:
    """Pair the files of one folder by the names of SIDES in their stems, such as x_before.jpg and x_after.jpg.

    Returns the names of the two sides, and the files (A, B) of each pair by the rest of their stem. Returns None if
    less than half of the files have a partner. If a stem occurs in two files of one side, they are not paired.
    """
    for sides in SIDES:
        by_rest: dict[str, tuple[list[Path], list[Path]]] = defaultdict(lambda: ([], []))
        for path in images:
            for number, side in enumerate(sides):
                if rest := _rest(path.stem, side):
                    by_rest[rest][number].append(path)
        pairs = {rest: (a[0], b[0]) for rest, (a, b) in sorted(by_rest.items()) if len(a) == len(b) == 1}
        if pairs and 4 * len(pairs) >= len(images):
            return sides, pairs
    return None


def _rest(stem: str, side: str) -> str:
    lower = stem.lower()
    if not (lower.startswith(side) or lower.removesuffix(")").endswith(side)):
        return ""
    for pattern in (_SIDE_LAST, _SIDE_FIRST):
        if found := re.match(pattern.format(side=side), stem, re.IGNORECASE):
            return found["rest"].rstrip("-_. (").lower()
    if found := re.match(rf"^(.*[a-z]){side.capitalize()}$", stem):  # photoBefore
        return found[1].lower()
    return ""


def _named_sides(folder: Path, prefix: str) -> tuple[Path, Path] | None:
    """Return the subfolders that SIDES names; None if there are none, or several pairs besides A and B."""
    folders = visible_folders(folder)
    by_name = {_SEPARATORS.sub("", path.name.lower()): path for path in folders}
    by_name |= {path.name: path for path in folders}
    found = []
    for a, b in SIDES:
        exact = (f"{prefix}{a.upper()}", f"{prefix}{b.upper()}")
        for names in (exact, (prefix + a, prefix + b)):
            if all(name in by_name for name in names):
                found.append((by_name[names[0]], by_name[names[1]]))
                break
        if found and (a, b) == SIDES[0]:
            return found[0]
    return found[0] if len(found) == 1 else None
