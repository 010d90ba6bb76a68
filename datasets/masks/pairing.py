"""A folder of mask files to the masks of pictures: each its own by name, or any to any."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.folders import listed, pictures_in
from gan_tasks.datasets.images import read
from gan_tasks.datasets.masks.draw import MaskRatios, mask_ratios
from gan_tasks.datasets.masks.files import to_mask, useless
from gan_tasks.datasets.validation import Problem, Progress, Shape

MaskPairing = Literal["auto", "stem", "random"]


@dataclass(frozen=True)
class FoundMasks:
    """The mask files in use, and those that are not."""

    by_picture: Mapping[Path, Path] | None
    """The mask of each picture that has one; None: any mask goes with any picture."""
    paths: tuple[Path, ...]
    shares: MaskRatios
    problems: tuple[Problem, ...]
    origin: str
    """Part of a line for the person: where the masks come from, and how to have them read otherwise."""


@dataclass(frozen=True)
class _Finding:
    """What a usable mask is like."""

    size: tuple[int, int]
    share: float


def find_masks(
    folder: Path,
    pictures: Mapping[Path, Shape],
    *,
    pairing: MaskPairing,
    threshold: int,
    invert: bool,
    min_mask_ratio: float,
    max_mask_ratio: float,
    all_have_pictures: bool,
    on_progress: Progress | None = None,
) -> FoundMasks:
    """Read every mask once and find those that go with the pictures.

    pairing: by "stem" a mask belongs to the picture of its name and must have its size; at "random" it may have any
        size and must cover a share between min_mask_ratio and max_mask_ratio. "auto" goes by stem if any picture
        has a mask of its name.
    all_have_pictures: whether a mask of no picture is a problem; it is none in a folder shared with other pictures.

    Raises UserError, with all problems, if no mask can be used.
    """
    files, problems = pictures_in(folder)
    if not files and not problems:
        raise UserError(
            f"{folder} holds no mask files; expected are masks in it, or in a folder of each split: train, test"
        )
    findings: dict[Path, _Finding] = {}
    for path, finding in _inspect(files, threshold, invert, on_progress):  # in the order of the files
        if isinstance(finding, Problem):
            problems.append(finding)
        else:
            findings[path] = finding

    stems = {picture.stem for picture in pictures}
    if pairing == "stem" or (pairing == "auto" and any(path.stem in stems for path in files)):
        pairs, pair_problems = _by_stem(folder, files, findings, pictures)
        problems += pair_problems
        if all_have_pictures:
            problems += [Problem(path, "is the mask of no picture") for path in files if path.stem not in stems]
        used: Mapping[Path, Path] | None = pairs
        chosen = tuple(pairs.values())
        origin = f"from the masks of the same names in {folder} (--mask-pairing random gives any to any)"
    else:
        used = None
        chosen = tuple(
            path for path, finding in findings.items() if min_mask_ratio <= finding.share <= max_mask_ratio
        )
        if findings and not chosen:
            raise UserError(
                f"none of the {len(findings)} masks in {folder} covers a share from {min_mask_ratio} to "
                f"{max_mask_ratio}; they "
                f"cover {mask_ratios([finding.share for finding in findings.values()])}: "
                "change min_mask_ratio or max_mask_ratio"
            )
        unfit = len(findings) - len(chosen)
        others = f", {unfit} with larger or smaller holes left out" if unfit else ""
        origin = f"from {len(chosen)} masks in {folder} at random{others} (--mask-pairing stem goes by names)"
    if not chosen:
        raise UserError(f"{folder} holds no usable mask. Problems:\n{listed(problems)}")
    shares = mask_ratios([findings[path].share for path in chosen])
    return FoundMasks(used, chosen, shares, tuple(problems), origin)


def _inspect(
    paths: Sequence[Path], threshold: int, invert: bool, on_progress: Progress | None
) -> Iterator[tuple[Path, _Finding | Problem]]:
    """Not remembered for the next time, as check.py does for pictures: the answers depend on the threshold."""

    def inspect(path: Path) -> _Finding | Problem:
        try:
            pixels = read(path).pixels
            mask = to_mask(pixels, threshold, invert)
        except UserError as error:
            return Problem(path, str(error).removeprefix(f"{path}: "))
        reason = useless(mask, pixels)
        height, width = mask.shape
        return Problem(path, reason) if reason else _Finding((height, width), float(mask.mean()))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (path, finding) in enumerate(zip(paths, pool.map(inspect, paths), strict=True), 1):
            if on_progress is not None:
                on_progress(done, len(paths))
            yield path, finding


def _by_stem(
    folder: Path, files: Sequence[Path], findings: Mapping[Path, _Finding], pictures: Mapping[Path, Shape]
) -> tuple[dict[Path, Path], list[Problem]]:
    """The mask of each picture that has a usable one of its name."""
    masks_by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        masks_by_stem[path.stem].append(path)
    pairs, problems = {}, []
    for picture, (height, width, _) in pictures.items():
        masks = masks_by_stem.get(picture.stem, [])
        if not masks:
            problems.append(Problem(picture, f"has no mask called {picture.stem} in {folder}"))
        elif len(masks) > 1:
            reason = f"{len(masks)} masks in {folder} are called {picture.stem}; keep one"
            problems += [Problem(path, reason) for path in masks]
        elif masks[0] not in findings:
            problems.append(Problem(picture, f"its mask {masks[0]} has a problem of its own"))
        elif findings[masks[0]].size != (height, width):
            mask_height, mask_width = findings[masks[0]].size
            reason = f"is {mask_width} × {mask_height} px but its picture {picture} is {width} × {height} px"
            problems.append(Problem(masks[0], reason))
        else:
            pairs[picture] = masks[0]
    return pairs, problems
