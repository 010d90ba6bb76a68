"""Run a model over a file or a folder of images; go on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gan_tasks import __version__
from gan_tasks.datasets import atomic
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.image import IMAGE_SUFFIXES, Picture, read, write
from gan_tasks.export.fill_files import Fills
from gan_tasks.export.model import Model
from gan_tasks.export.pipeline import pipelined
from gan_tasks.export.provenance import xmp
from gan_tasks.export.resuming import Failure, missing, sha256_of
from gan_tasks.progress import track

MARKED_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
"""Formats that can be written and carry the mark that a model made the image."""


@dataclass(frozen=True)
class Done:
    """What became of a list of images.

    written: results; tiled: how many of them were run in tiles, because memory is limited.
    kept: results of the same model, and of the same inputs, that were there already.
    failures: what could not be done.
    notes: what a person should know of how it was done, beginning with the input's path.
    """

    written: int
    tiled: int
    kept: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...] = ()


def files_to_do(source: Path, destination: Path) -> list[tuple[Path, Path]]:
    """(input, output) paths: one for a file; for a folder each image in it, subfolders included.

    Outputs keep their names; where the format cannot hold the result or its mark (.bmp, .gif, .npy), .png is added.
    A destination with an image suffix names the file, any other a folder, which is not searched for inputs. Raises
    UserError where there is nothing to do, an output would replace an input, or two inputs become one output.
    """
    if source.is_file():
        to_file = destination.suffix.lower() in IMAGE_SUFFIXES
        pairs = [(source, destination if to_file else destination / output_name(Path(source.name)))]
    elif source.is_dir():
        if destination.is_file():
            raise UserError(f"{source} is a folder but {destination} is a file: give a folder for the results")
        pairs = [
            (path, destination / output_name(path.relative_to(source))) for path in images_in(source, destination)
        ]
    else:
        raise UserError(f"{source} does not exist: give an image or a folder of images")
    if not pairs:
        raise UserError(f"{source} holds no images: expected files of {', '.join(sorted(IMAGE_SUFFIXES))}")
    inputs, made_from = {before.resolve(): before for before, _ in pairs}, dict[Path, Path]()
    for before, after in pairs:
        if lost := inputs.get(after.resolve()):
            what = "its own input" if lost == before else f"the input {lost}"
            raise UserError(f"{after} would replace {what}: give another folder for the results")
        if after in made_from:
            raise UserError(f"{made_from[after]} and {before} would both become {after}: rename one of them")
        made_from[after] = before
    return pairs


def images_in(folder: Path, results: Path) -> list[Path]:
    """Sorted; without the folder of results, where it lies in this one."""
    own = results.resolve()
    is_inside = own != folder.resolve() and own.is_relative_to(folder.resolve())
    files = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(path for path in files if not (is_inside and path.resolve().is_relative_to(own)))


def output_name(name: Path) -> Path:
    return name if name.suffix.lower() in MARKED_SUFFIXES else name.with_name(f"{name.name}.png")


@dataclass(frozen=True)
class Job:
    """One image on its way: the picture is the input, then the result."""

    before: Path
    after: Path
    picture: Picture
    source: str
    """`sha256:…` of the input file."""
    in_tiles: bool = False
    untouched: bool = False
    """The result is the input: there was nothing to do."""
    notes: tuple[str, ...] = ()


def apply_to_files(
    model: Model,
    pairs: Sequence[tuple[Path, Path]],
    *,
    model_version: str,
    fills: Fills | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Done:
    """Do all that can be done of (input, output) paths, with progress. Every file is whole or not there.

    Colours keep their ICC profile, 16-bit stays 16-bit. Each result is marked with the model and its input. Where
    that very result is there already, it is kept; older ones of this program are replaced, files of others never.
    With `overwrite` everything is made again, and replaced.

    Args:
        model_version: as `version_of` gives it.
        fills: for a model that fills holes, see `fills_of`.
    """
    source_of = sha256_of if fills is None else fills.source_of
    model_version = model_version if fills is None else fills.version(model_version)
    atomic.remove_leftovers(after for _, after in pairs)
    to_do, failures = (list(pairs), []) if overwrite else missing(pairs, model_version, source_of)
    begun = len(pairs) - len(to_do)
    kept = begun - len(failures)
    tiled: list[bool] = []
    notes: list[str] = []

    def read_input(pair: tuple[Path, Path]) -> Job:
        return Job(*pair, read(pair[0]), source_of(pair[0]))

    def run(job: Job) -> Job:
        if fills is not None:
            return filled(fills, job)
        pixels = job.picture.pixels
        in_tiles = model.runs_in_tiles(*pixels.shape[:2])
        return replace(job, picture=Picture(model(pixels), job.picture.icc_profile), in_tiles=in_tiles)

    def write_result(job: Job) -> tuple[bool, tuple[str, ...]]:
        job.after.parent.mkdir(parents=True, exist_ok=True)
        mark = xmp(
            model.title,
            __version__,
            composite=fills is not None,
            untouched=job.untouched,
            model_version=model_version,
            source=job.source,
        )
        write(job.after, job.picture, xmp=mark)
        return job.in_tiles, job.notes

    with track(len(pairs), "Applying", "images", done=begun, quiet=quiet or len(to_do) <= 1) as advance:
        results = pipelined(to_do, read_input, run, write_result)
        for (before, _), result in zip(to_do, results, strict=True):
            if isinstance(result, UserError):
                failures.append(Failure(before, str(result)))
            else:
                tiled.append(result[0])
                notes += (f"{before}: {note}" for note in result[1])
            advance(1)
    return Done(len(tiled), sum(tiled), kept, tuple(failures), tuple(notes))


def filled(fills: Fills, job: Job) -> Job:
    """Raises UserError as `Fills.run` does."""
    before = job.picture.pixels
    done = fills.run(job.before, before)
    picture = Picture(done.pixels, job.picture.icc_profile)
    return replace(job, picture=picture, untouched=done.pixels is before, notes=done.notes)
