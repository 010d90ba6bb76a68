"""Pair the mask files of a folder with images, by file name or at random."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gan_tasks.datasets.checks.validation import Problem, Progress, Shape
from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.folders import images_in, listed
from gan_tasks.datasets.images import read
from gan_tasks.datasets.masks.draw import MaskRatios, summarize_mask_ratios
from gan_tasks.datasets.masks.files import to_mask, unusable_reason

MaskPairing = Literal["auto", "stem", "random"]


@dataclass(frozen=True)
class FoundMasks:
    """The mask files that are used, and the problems of the others."""

    by_image: Mapping[Path, Path] | None
    """The mask of each image that has one; None if masks are paired at random."""
    paths: tuple[Path, ...]
    """The mask files that are used."""
    mask_ratios: MaskRatios
    problems: tuple[Problem, ...]
    origin: str
    """Part of a message for the user: where the masks come from, and the option that changes the pairing."""


@dataclass(frozen=True)
class _Finding:
    """The (height, width) and the mask ratio of a usable mask."""

    size: tuple[int, int]
    mask_ratio: float


def find_masks(
    folder: Path,
    images: Mapping[Path, Shape],
    *,
    pairing: MaskPairing,
    threshold: int,
    invert: bool,
    min_mask_ratio: float,
    max_mask_ratio: float,
    every_mask_has_image: bool,
    on_progress: Progress | None = None,
) -> FoundMasks:
    """Read every mask once and pair the usable ones with the images.

    pairing: "stem" pairs a mask with the image of the same name, which must have the same size. "random" pairs any
        mask with any image: the mask may have any size, but its mask ratio must be from min_mask_ratio to
        max_mask_ratio. "auto" is "stem" if any mask has the name of an image, else "random".
    every_mask_has_image: whether a mask without an image is a problem; it is not in a folder that serves several
        splits.

    Raises UserError, with all problems, if no mask can be used.
    """
    files, problems = images_in(folder)
    if not files and not problems:
        raise UserError(
            f"{folder} holds no mask files; put masks into it, or into one subfolder per split: train, val, test"
        )
    findings: dict[Path, _Finding] = {}
    for path, finding in _inspect(files, threshold, invert, on_progress):  # in the order of the files
        if isinstance(finding, Problem):
            problems.append(finding)
        else:
            findings[path] = finding

    stems = {image.stem for image in images}
    if pairing == "stem" or (pairing == "auto" and any(path.stem in stems for path in files)):
        pairs, pair_problems = _by_stem(folder, files, findings, images)
        problems += pair_problems
        if every_mask_has_image:
            problems += [Problem(path, "no image has this name") for path in files if path.stem not in stems]
        used: Mapping[Path, Path] | None = pairs
        chosen = tuple(pairs.values())
        origin = f"from the files of the same names in {folder} (--mask-pairing random picks them at random)"
    else:
        used = None
        chosen = tuple(
            path for path, finding in findings.items() if min_mask_ratio <= finding.mask_ratio <= max_mask_ratio
        )
        if findings and not chosen:
            raise UserError(
                f"none of the {len(findings)} masks in {folder} has a mask ratio from {min_mask_ratio} to "
                f"{max_mask_ratio}; their mask ratio is "
                f"{summarize_mask_ratios([finding.mask_ratio for finding in findings.values()])}: "
                "change min_mask_ratio or max_mask_ratio"
            )
        unfit = len(findings) - len(chosen)
        others = f", {unfit} with other mask ratios left out" if unfit else ""
        drawn_from = counted(len(chosen), "file")
        origin = f"picked at random from {drawn_from} in {folder}{others} (--mask-pairing stem goes by names)"
    if not chosen:
        raise UserError(f"{folder} holds no usable mask; fix or replace these files:\n{listed(problems)}")
    ratios = summarize_mask_ratios([findings[path].mask_ratio for path in chosen])
    return FoundMasks(used, chosen, ratios, tuple(problems), origin)


def _inspect(
    paths: Sequence[Path], threshold: int, invert: bool, on_progress: Progress | None
) -> Iterator[tuple[Path, _Finding | Problem]]:
    """Read and check each mask. The results are not cached, unlike those of images: they depend on the threshold."""

    def inspect(path: Path) -> _Finding | Problem:
        try:
            pixels = read(path).pixels
            mask = to_mask(pixels, threshold, invert)
        except UserError as error:
            return Problem(path, str(error).removeprefix(f"{path}: "))
        reason = unusable_reason(mask, pixels)
        height, width = mask.shape
        return Problem(path, reason) if reason else _Finding((height, width), float(mask.mean()))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (path, finding) in enumerate(zip(paths, pool.map(inspect, paths), strict=True), 1):
            if on_progress is not None:
                on_progress(done, len(paths))
            yield path, finding


def _by_stem(
    folder: Path, files: Sequence[Path], findings: Mapping[Path, _Finding], images: Mapping[Path, Shape]
) -> tuple[dict[Path, Path], list[Problem]]:
    """Return the usable mask of the same name for each image, and the problems of the other images and masks."""
    masks_by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        masks_by_stem[path.stem].append(path)
    pairs, problems = {}, []
    for image, (height, width, _) in images.items():
        masks = masks_by_stem.get(image.stem, [])
        if not masks:
            problems.append(Problem(image, f"has no mask called {image.stem} in {folder}"))
        elif len(masks) > 1:
            reason = f"{len(masks)} masks in {folder} are called {image.stem}; keep one"
            problems += [Problem(path, reason) for path in masks]
        elif masks[0] not in findings:
            problems.append(Problem(image, f"its mask {masks[0]} cannot be used"))
        elif findings[masks[0]].size != (height, width):
            mask_height, mask_width = findings[masks[0]].size
            reason = f"is {mask_width} × {mask_height} px but its image {image} is {width} × {height} px"
            problems.append(Problem(masks[0], reason))
        else:
            pairs[image] = masks[0]
    return pairs, problems
