"""Find the mask and sketch files of image files, and identify the sources of a result. Imports no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.folders import visible_files_below
from gan_tasks.datasets.images.formats import kind_of
from gan_tasks.export.inference.inpaint_options import MaskFiles
from gan_tasks.export.models.base import Model
from gan_tasks.export.models.hashing import sha256_of

Partners = Mapping[Path, Path | UserError]
"""The mask or sketch file of each image, or an error if there is none."""


@dataclass(frozen=True)
class MasksOfFiles:
    """The masks and sketches of a list of images. Each method takes the path of one image."""

    files: MaskFiles
    by_input: Mapping[str, Partners]
    """The files by the name of the model's input."""

    def sources(self, image: Path) -> dict[str, Path]:
        """Return the files of an image by the name of the input. Raises UserError if one is missing."""
        return {name: found(partners[image]) for name, partners in self.by_input.items()}

    def source_of(self, image: Path) -> str:
        """Return the `sha256:…` of each file that a result is made from. Raises UserError if one is missing."""
        files = self.files
        reading = f" from {files.mask_threshold}" + (", inverted" if files.invert_mask else "")
        parts = [f"{name} {sha256_of(path)}" for name, path in self.sources(image).items()]
        return " ".join([sha256_of(image), *parts]) + reading

    def version(self, model_version: str) -> str:
        """Return the text that identifies results of this model with these options."""
        options = self.files.inpaint
        colour = "" if options.match_colour else ", colours not matched"
        return (
            f"{model_version}, {options.strategy}, grown by {options.dilate_px} px, feathered {options.feather_px} px"
            + colour
        )


def masks_of(model: Model, files: MaskFiles, pairs: Sequence[tuple[Path, Path]], source: Path) -> MasksOfFiles | None:
    """Find the masks for the inputs of (input, output) paths in `source`; None for a model that does not inpaint.

    Raises UserError if a mask is missing or the model takes none, if the model takes no sketch, for files that do not
    exist, and for an output that would replace a mask or sketch.
    """
    if model.spec.use != "inpaint":
        if files != MaskFiles():
            raise UserError(f"{model.title} does not inpaint: leave out --mask and the options of inpainting")
        return None
    if files.mask is None:
        raise UserError(f"{model.title} inpaints: give a mask with --mask, white where the image is to be filled")
    if files.sketch is not None and model.spec.find("sketch") is None:
        raise UserError(f"{model.title} was trained without sketches: leave out --sketch")
    images = [before for before, _ in pairs]
    by_input = {"mask": partners(files.mask, images, source, "mask")}
    if files.sketch is not None:
        by_input["sketch"] = partners(files.sketch, images, source, "sketch")
    given = {path.resolve() for each in by_input.values() for path in each.values() if isinstance(path, Path)}
    for _, after in pairs:
        if after.resolve() in given:
            raise UserError(f"{after} would replace a mask or sketch: give another folder for the results")
    return MasksOfFiles(files, by_input)


def without_masks(pairs: Sequence[tuple[Path, Path]], files: MaskFiles) -> list[tuple[Path, Path]]:
    """Leave out the masks and sketches that are in the folder of images."""
    given = [path.resolve() for path in (files.mask, files.sketch) if path is not None]
    return [pair for pair in pairs if not any(pair[0].resolve().is_relative_to(path) for path in given)]


def partners(given: Path, images: Iterable[Path], source: Path, kind: str) -> dict[Path, Path | UserError]:
    """Find the mask or sketch of each image: the given file, or the file in the given folder with the same name and
    subfolder, with any suffix. Raises UserError if the given path does not exist."""
    if given.is_file():
        return dict.fromkeys(images, given)
    if not given.is_dir():
        raise UserError(f"{given} does not exist: give a {kind} or a folder of them")
    by_name: dict[Path, list[Path]] = defaultdict(list)
    files, _ = visible_files_below(given)
    for path in files:
        if kind_of(path) == "image":
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
    """Return the path, or raise the error."""
    if isinstance(partner, UserError):
        raise partner
    return partner
