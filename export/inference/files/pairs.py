"""Find the inputs of a command, and name the result of each."""

from __future__ import annotations

from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.folders import visible_files_below
from gan_tasks.datasets.images.formats import kind_of
from gan_tasks.export.inference.files.names import SUFFIXES, is_named_as_file, output_name
from gan_tasks.export.inference.video.containers import is_typescript, is_video, require_av


def files_to_do(source: Path, destination: Path) -> list[tuple[Path, Path]]:
    """Return (input, output) paths: one for a file; for a folder one for each image and video, also in subfolders.

    Images in formats that cannot be read are listed too, and fail when they are read. Hidden files and other files
    are not. For the names of outputs, see `output_name`. A destination with a suffix of images or videos is a file,
    any other is a folder, which is not searched for inputs.

    Raises UserError if there are no inputs, if input and output are not both images or both videos, for a suffix that
    cannot be written or is misspelled, if an output would replace an input, and if two inputs have the same output.
    """
    if source.is_file():
        if is_video(source):
            require_av()
        to_file = is_named_as_file(destination, source)
        if to_file and is_video(source) != is_video(destination):
            kinds = ("a video", "an image") if is_video(source) else ("an image", "a video")
            raise UserError(f"{source} is {kinds[0]} and {destination} {kinds[1]}: give a name of the same kind")
        pairs = [(source, destination if to_file else destination / output_name(source))]
    elif source.is_dir():
        if destination.is_file():
            raise UserError(f"{source} is a folder but {destination} is a file: give a folder for the results")
        is_named_as_file(destination, source)
        pairs = [
            (path, destination / path.relative_to(source).with_name(output_name(path)))
            for path in files_in(source, destination)
        ]
    else:
        raise UserError(f"{source} does not exist: give an image, a video or a folder of them")
    if not pairs:
        raise UserError(f"{source} has no images or videos: expected files of {', '.join(sorted(SUFFIXES))}")
    inputs, made_from = {before.resolve(): before for before, _ in pairs}, dict[Path, Path]()
    for before, after in pairs:
        if lost := inputs.get(after.resolve()):
            what = "its own input" if lost == before else f"the input {lost}"
            raise UserError(f"{after} would replace {what}: give another folder for the results")
        if after in made_from:
            raise UserError(f"{made_from[after]} and {before} would both become {after}: rename one of them")
        made_from[after] = before
    return pairs


def files_in(folder: Path, results: Path) -> list[Path]:
    """Return the sorted images and videos of a folder, without those in the folder of results.

    A subfolder that cannot be opened is in the list, so that it is reported as an input that cannot be read.
    """
    own = results.resolve()
    is_inside = own != folder.resolve() and own.is_relative_to(folder.resolve())
    files, closed = visible_files_below(folder)
    used = [path for path in files if (is_video(path) and not is_typescript(path)) or kind_of(path) != "other"]
    return sorted(path for path in used + closed if not (is_inside and path.resolve().is_relative_to(own)))
