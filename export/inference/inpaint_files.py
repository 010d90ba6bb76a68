"""Filling the holes of files: which mask and which sketch belong to which image, and what a result was made from.

Imports no torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import IMAGE_SUFFIXES, ImageError, Pixels, read
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.datasets.masks.files import check_threshold, fillable, to_mask
from gan_tasks.export.inference.inpaint import Inpainted, fill
from gan_tasks.export.inference.inpaint_options import MaskFiles
from gan_tasks.export.inference.resume import sha256_of
from gan_tasks.export.models.base import Model


@dataclass(frozen=True)
class FileInpainting:
    """How a model fills the holes of some images. Each call is for one, by its path."""

    model: Model
    files: MaskFiles
    masks: dict[Path, Path | UserError]
    """Of each image, or why there is none."""
    sketches: dict[Path, Path | UserError]
    """The same; empty where nothing was sketched."""

    def run(self, image: Path, pixels: Pixels) -> Inpainted:
        """Raises UserError where the image's mask or sketch is missing, does not fit or is hole all over."""
        mask_file = found(self.masks[image])
        mask_pixels = read(mask_file).pixels
        mask = fillable(
            mask_pixels,
            pixels.shape[:2],
            threshold=self.files.mask_threshold,
            invert=self.files.invert_mask,
            name=mask_file,
        )
        return fill(self.model, pixels, mask, self._sketch(image, mask.shape), self.files.fill)

    def _sketch(self, image: Path, size: tuple[int, ...]) -> Mask | None:
        if not self.sketches:
            return None
        file = found(self.sketches[image])
        lines = to_mask(read(file).pixels, self.files.mask_threshold)
        if lines.shape != size:
            (height, width), (rows, columns) = lines.shape, size
            raise ImageError(f"{file}: is {width} × {height} px but its picture is {columns} × {rows} px")
        return lines

    def source_of(self, image: Path) -> str:
        """What a result is made from, as `sha256:…` of each file. Raises UserError where one is missing."""
        files = self.files
        which = f" from {files.mask_threshold}" + (", inverted" if files.invert_mask else "")
        source = f"{sha256_of(image)} mask {sha256_of(found(self.masks[image]))}{which}"
        return source + (f" sketch {sha256_of(found(self.sketches[image]))}" if self.sketches else "")

    def version(self, model_version: str) -> str:
        """What tells results of this model with these options from others."""
        options = self.files.fill
        colour = "" if options.match_colour else ", colours not matched"
        return (
            f"{model_version}, {options.strategy}, grown by {options.dilate_px} px, feathered {options.feather_px} px"
            + colour
        )


def inpainting_of(
    model: Model, files: MaskFiles, pairs: Sequence[tuple[Path, Path]], source: Path
) -> FileInpainting | None:
    """How the model fills the inputs of (input, output) paths, found in `source`; None for one that fills no holes.

    Raises UserError for what does not go together: a mask and a model that takes none, a model that needs one and
    none, a sketch and a model that has not learned to follow it; for files that are not there, and an output that
    would replace a mask or sketch.
    """
    check_threshold(files.mask_threshold)
    if "mask" not in model.inputs:
        if files != MaskFiles():
            raise UserError(f"{model.title} fills no holes: leave out --mask and what goes with it")
        return None
    if files.mask is None:
        raise UserError(f"{model.title} fills holes: say where they are with --mask, white in the hole")
    if files.sketch is not None and "sketch" not in model.inputs:
        raise UserError(f"{model.title} has not learned to follow a sketch: leave out --sketch")
    images = [before for before, _ in pairs]
    masks = partners(files.mask, images, source, "mask")
    sketches = {} if files.sketch is None else partners(files.sketch, images, source, "sketch")
    given = {path.resolve() for path in (*masks.values(), *sketches.values()) if isinstance(path, Path)}
    for _, after in pairs:
        if after.resolve() in given:
            raise UserError(f"{after} would replace a mask or sketch: give another folder for the results")
    return FileInpainting(model, files, masks, sketches)


def without_masks(pairs: Sequence[tuple[Path, Path]], files: MaskFiles) -> list[tuple[Path, Path]]:
    """Leave out the masks and sketches, where they lie among the images."""
    given = [path.resolve() for path in (files.mask, files.sketch) if path is not None]
    return [pair for pair in pairs if not any(pair[0].resolve().is_relative_to(path) for path in given)]


def partners(given: Path, images: Iterable[Path], source: Path, kind: str) -> dict[Path, Path | UserError]:
    """The mask or sketch of each image: the file given, or in a folder the one of the same name and subfolder, with
    any suffix. Raises UserError where nothing is given there."""
    if given.is_file():
        return dict.fromkeys(images, given)
    if not given.is_dir():
        raise UserError(f"{given} does not exist: give a {kind} or a folder of them")
    by_name: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(given.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            by_name[path.relative_to(given).with_suffix("")].append(path)

    def partner(image: Path) -> Path | UserError:
        name = (image.relative_to(source) if source.is_dir() else Path(image.name)).with_suffix("")
        match by_name.get(name, []):
            case [only]:
                return only
            case []:
                return UserError(f"{image}: has no {kind}; expected {given / name}.png or with another suffix")
            case several:
                names = " and ".join(path.name for path in several)
                return UserError(f"{image}: has {len(several)} files for a {kind}, {names} in {given}; keep one")

    return {image: partner(image) for image in images}


def found(partner: Path | UserError) -> Path:
    if isinstance(partner, UserError):
        raise partner
    return partner
