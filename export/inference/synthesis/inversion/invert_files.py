"""Invert photographs: the latent of each, its image, and a picture of how close it came."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import read
from gan_tasks.export.inference.apply import check_writable
from gan_tasks.export.inference.provenance import PROGRAM
from gan_tasks.export.inference.resume import own_mark
from gan_tasks.export.inference.synthesis.generated_files import MarkedFiles
from gan_tasks.export.inference.synthesis.inversion.feature_distance import load_features
from gan_tasks.export.inference.synthesis.inversion.invert import Inversion, invert
from gan_tasks.export.inference.synthesis.inversion.invert_options import InvertConfig
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import SUFFIX, load_point, save_point, to_text
from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.progress import track
from gan_tasks.runs.image_grid import grid


@dataclass(frozen=True)
class Inverted:
    """The files of an inversion.

    latent: the .npz file. psnr: how close it came, in dB; None if an earlier run has made it.
    """

    photo: Path
    latent: Path
    psnr: float | None = None


def invert_files(
    space: LatentSpace,
    photos: Sequence[Path],
    out: Path,
    config: InvertConfig,
    *,
    label: int | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> list[Inverted]:
    """Invert photographs with progress, and write three files of each into the folder `out`.

    `NAME.npz` is the latent, `NAME.png` its image, and `NAME-comparison.png` shows photograph, image and difference.
    The files of an earlier run with the same photograph, model and options are kept.

    Raises UserError for two photographs whose results have one name, for a result in the place of a photograph, and
    for files of other programs in the place of results, which `overwrite` replaces.
    """
    targets = {photo: out / f"{photo.stem}{SUFFIX}" for photo in photos}
    check_names(targets)
    check_writable(out)
    files = MarkedFiles(space.model, overwrite)
    for latent in targets.values():
        files.check_arrays(latent, load_point)
        for image in images_of(latent):
            files.check(image)
    features = None
    results = list[Inverted]()
    for number, (photo, latent) in enumerate(targets.items(), start=1):
        source = source_of(photo, config, label)
        if not overwrite and is_done(latent, files.version, source):
            results.append(Inverted(photo, latent))
            continue
        features = features or load_features(config)
        pixels = read(photo).pixels
        title = f"Inverting {number} of {len(targets)}" if len(targets) > 1 else "Inverting"
        with track(config.steps, title, "steps", quiet=quiet) as advance:
            found = invert(
                space,
                pixels,
                config,
                label=label,
                features=features,
                on_step=lambda done, total, psnr: advance(1, dB=psnr),
            )
        save(files, latent, found, source)
        results.append(Inverted(photo, latent, found.psnr))
    return results


def save(files: MarkedFiles, latent: Path, found: Inversion, source: str) -> None:
    """Write the three files of an inversion; the image, which says that they are complete, comes last."""
    text = to_text(found.point)
    save_point(latent, found.point)
    rows, titles = found.rows()
    image, comparison = images_of(latent)
    files.write(comparison, grid(rows, titles), text)
    files.write(image, found.pixels, text, source=source)


def images_of(latent: Path) -> tuple[Path, Path]:
    """Return the files of the image and of the comparison beside a latent."""
    return latent.with_name(f"{latent.stem}.png"), latent.with_name(f"{latent.stem}-comparison.png")


def check_names(targets: Mapping[Path, Path]) -> None:
    """Raise UserError if two photographs would share a result, or if a result would replace a photograph."""
    sources, made_from = {photo.resolve() for photo in targets}, dict[Path, Path]()
    for photo, latent in targets.items():
        for path in (latent, *images_of(latent)):
            if path.resolve() in sources:
                raise UserError(f"{path} would replace a photograph: give another folder for the results")
            if path in made_from:
                raise UserError(f"{made_from[path]} and {photo} would both become {path}: rename one of them")
            made_from[path] = photo


def is_done(latent: Path, version: str, source: str) -> bool:
    """Return whether an earlier run has made the latent of the same photograph with the same model and options."""
    mark = own_mark(latent.with_suffix(".png"))
    if mark is None or (mark.creator_tool, mark.model_version, mark.source) != (
        f"{PROGRAM} {__version__}",
        version,
        source,
    ):
        return False
    try:
        return to_text(load_point(latent)) == mark.generated_from
    except UserError:
        return False


def source_of(photo: Path, config: InvertConfig, label: int | None) -> str:
    """Return the text that identifies a photograph and the options, for the mark."""
    options = json.dumps([asdict(config), label], default=str)
    return f"{sha256_of(photo)} options:{hashlib.sha256(options.encode()).hexdigest()[:16]}"
