"""Run a model over a file or a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.image import IMAGE_SUFFIXES, Picture, read, write
from gan_tasks.export.model import Model
from gan_tasks.export.provenance import xmp

MARKED_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
"""Formats that can be written and carry the mark that a model made the image."""


@dataclass(frozen=True)
class Failure:
    """A file that could not be done, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return self.reason if str(self.path) in self.reason else f"{self.path}: {self.reason}"


def files_to_do(source: Path, destination: Path) -> list[tuple[Path, Path]]:
    """(input, output) paths: one for a file; for a folder each image in it, subfolders included.

    Outputs keep their names; where the format cannot hold the result or its mark (.bmp, .gif, .npy), .png is added.
    A destination with an image suffix names the file, any other a folder. Raises UserError where there is nothing
    to do or an output would replace its input.
    """
    if source.is_file():
        to_file = destination.suffix.lower() in IMAGE_SUFFIXES
        pairs = [(source, destination if to_file else destination / output_name(Path(source.name)))]
    elif source.is_dir():
        if destination.is_file():
            raise UserError(f"{source} is a folder but {destination} is a file: give a folder for the results")
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
        pairs = [(path, destination / output_name(path.relative_to(source))) for path in files]
    else:
        raise UserError(f"{source} does not exist: give an image or a folder of images")
    if not pairs:
        raise UserError(f"{source} holds no images: expected files of {', '.join(sorted(IMAGE_SUFFIXES))}")
    for before, after in pairs:
        if before.resolve() == after.resolve():
            raise UserError(f"{after} would replace its own input: give another folder for the results")
    return pairs


def output_name(name: Path) -> Path:
    return name if name.suffix.lower() in MARKED_SUFFIXES else name.with_name(f"{name.name}.png")


def apply_to_file(model: Model, source: Path, destination: Path) -> None:
    """Read, run, write, marked as made by this model. Colours keep their ICC profile, 16-bit stays 16-bit.

    Raises ImageError.
    """
    picture = read(source)
    result = Picture(model(picture.pixels), picture.icc_profile)
    destination.parent.mkdir(parents=True, exist_ok=True)
    write(destination, result, xmp=xmp(model.title, __version__))


def apply_to_files(model: Model, pairs: Sequence[tuple[Path, Path]], *, quiet: bool = False) -> tuple[Failure, ...]:
    """Do all that can be done, with progress; returns what could not."""
    from gan_tasks.progress import track

    failures = []
    with track(len(pairs), "Applying", "images", quiet=quiet or len(pairs) == 1) as advance:
        for source, destination in pairs:
            try:
                apply_to_file(model, source, destination)
            except UserError as error:
                failures.append(Failure(source, str(error)))
            advance(1)
    return tuple(failures)
