"""Read lists of seeds as people write them: `0-63,70`. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.folders import visible_files
from gan_tasks.export.inference.synthesis.points import LARGEST_SEED, SUFFIX, Point, is_point_file, read_point

MOST_SEEDS = 1_000_000
"""A longer list is a typing error."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a list such as `0-63,70`, in its order. Raises UserError for anything else."""
    seeds = list[int]()
    for part in parts_of(text):
        seeds += seeds_of(part, text)
        check_count(len(seeds), text)
    return tuple(seeds)


def parse_points(text: str, *, label: int | None = None, truncation: float = 1.0) -> dict[str, Point]:
    """Return points by the names of their results: `seed0003` for a seed, and for a file the file's own name.

    Args:
        text: seeds as `parse_seeds` takes them, and paths of .npz files and of generated images, between commas.
        label, truncation: of the seeds. A file has its own.

    Raises UserError for anything else, for files that hold no latent, and for two files of one name.
    """
    points = dict[str, Point]()
    for part in parts_of(text):
        if not is_point_file(part):
            points |= {
                seed_name(seed): Point(seed, label=label, truncation=truncation) for seed in seeds_of(part, text)
            }
            check_count(len(points), text)
            continue
        if (name := Path(part).stem) in points:
            raise UserError(f"two results would be called {name}: give each name once, or rename a file")
        points[name] = read_point(Path(part))
    return points


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
