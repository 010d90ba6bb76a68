"""Read lists of seeds as people write them: `0-63,70`. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.folders import visible_files
from gan_tasks.export.inference.synthesis.points import (
    LARGEST_SEED,
    SUFFIX,
    Point,
    is_point_file,
    read_point,
    to_text,
)

MOST_SEEDS = 1_000_000
"""A longer list is a typing error."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a list such as `0-63,70`, in its order. Raises UserError for anything else."""
    seeds = list[int]()
    for part in parts_of(text):
        seeds += seeds_of(part, text)
        check_count(len(seeds), text)
    return tuple(seeds)


def parse_points(text: str, *, label: int | None = None, truncation: float = 1.0) -> list[Point]:
    """Return the points of a list, in its order, in which a point may stand more than once.

    Args:
        text: seeds as `parse_seeds` takes them, and paths of .npz files and of generated images, between commas.
        label, truncation: of the seeds. A file has its own.

    Raises UserError for anything else, and for files that hold no latent.
    """
    return [point for _, point in with_names(text, label, truncation)]


def named_points(text: str, *, label: int | None = None, truncation: float = 1.0) -> dict[str, Point]:
    """Return the points of a list as `parse_points` does, each once, by the names of their results.

    These are `seed0003` for a seed, and for a file the file's own name. Raises UserError for two points of one name.
    """
    points = dict[str, Point]()
    for name, point in with_names(text, label, truncation):
        if name in points and to_text(points[name]) != to_text(point):
            raise UserError(f"two results would be called {name}: give each name once, or rename a file")
        points[name] = point
    return points


def with_names(text: str, label: int | None, truncation: float) -> Iterator[tuple[str, Point]]:
    """Yield the points of a list with the names of their results."""
    count = 0
    for part in parts_of(text):
        seeds = () if is_point_file(part) else seeds_of(part, text)
        count += max(1, len(seeds))
        check_count(count, text)
        if not seeds:
            yield Path(part).stem, read_point(Path(part))
        for seed in seeds:
            yield seed_name(seed), Point(seed, label=label, truncation=truncation)


def points_in(folder: Path) -> list[Point]:
    """Return the points of the .npz files of a folder, or of its generated images if it has none.

    Raises UserError for files that hold no latent, and for a folder without files of points.
    """
    names = [path for path in visible_files(folder) if is_point_file(path.name)]
    latents = [path for path in names if path.suffix.lower() == SUFFIX] or names
    if not latents:
        raise UserError(f"{folder} holds no latents: expected .npz files of `gan-tasks invert`, or generated images")
    return [read_point(path) for path in latents]


def seed_name(seed: int) -> str:
    """Return the name of a seed's image, without suffix."""
    return f"seed{seed:04d}"


def parts_of(text: str) -> Iterator[str]:
    parts = [part.strip() for part in text.split(",")]
    if not any(parts):
        raise UserError(f"no seeds in {text!r}: expected numbers and ranges such as 0-63,70")
    return filter(None, parts)


def seeds_of(part: str, text: str) -> range:
    """Return the seeds of one number or range."""
    first, dash, last = part.partition("-")
    if not (is_seed(first) and (is_seed(last) if dash else not last)):
        raise UserError(
            f"{part[:40]!r} in the seeds {text[:80]!r} is no seed: expected numbers from 0 on and ranges, such as "
            "0-63,70"
        )
    seeds = range(int(first), int(last or first) + 1)
    if not seeds:
        raise UserError(f"the range {part} is empty: give the smaller seed first, {last}-{first}")
    check_count(seeds.stop - seeds.start, text)
    return seeds


def is_seed(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 20 and int(word) <= LARGEST_SEED


def check_count(count: int, text: str) -> None:
    if count > MOST_SEEDS:
        raise UserError(f"the seeds {text[:80]!r} are {count:,}: expected at most {MOST_SEEDS:,} at once")
