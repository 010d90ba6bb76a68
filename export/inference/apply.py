"""Run a model over a file or a folder of images and videos; go on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import IMAGE_SUFFIXES, Picture, atomic, read, write
from gan_tasks.export.inference.inpaint_files import FileInpainting
from gan_tasks.export.inference.pipeline import pipelined
from gan_tasks.export.inference.provenance import xmp
from gan_tasks.export.inference.resume import Failure, missing, sha256_of
from gan_tasks.export.inference.upscale import Enlarging, enlarge_with
from gan_tasks.export.inference.video.containers import ANY_CODEC, CONTAINERS, VIDEO_SUFFIXES, is_video, require_av
from gan_tasks.export.inference.video.parts import remove_parts
from gan_tasks.export.models.base import Model
from gan_tasks.progress import track

MARKED_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
"""Formats that can be written and carry the mark that a model made the image."""
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True)
class Done:
    """What became of a list of images and videos.

    written: results; tiled: how many of them were run in tiles, because memory is limited.
    kept: results of the same model, and of the same inputs, that were there already.
    failures: what could not be done, or not of all of the input.
    videos: what was written of each, for people.
    notes: what a person should know of how images were done, beginning with the input's path.
    """

    written: int
    tiled: int
    kept: int
    failures: tuple[Failure, ...]
    videos: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def files_to_do(source: Path, destination: Path) -> list[tuple[Path, Path]]:
    """(input, output) paths: one for a file; for a folder each image and video in it, subfolders included.

    Outputs keep their names; where the format cannot hold the result or its mark (.bmp, .gif, .npy), .png is added,
    and to videos that are not written (.avi, .wmv) .mkv.
    A destination with a suffix of images or videos names the file, any other a folder, which is not searched for
    inputs. Raises UserError where there is nothing to do, an image would become a video or a video an image, an
    output would replace an input, or two inputs become one output.
    """
    if source.is_file():
        if is_video(source):
            require_av()
        to_file = destination.suffix.lower() in SUFFIXES
        if to_file and is_video(source) != is_video(destination):
            kinds = ("a video", "an image") if is_video(source) else ("an image", "a video")
            raise UserError(f"{source} is {kinds[0]} and {destination} {kinds[1]}: give a name of the same kind")
        pairs = [(source, destination if to_file else destination / output_name(Path(source.name)))]
    elif source.is_dir():
        if destination.is_file():
            raise UserError(f"{source} is a folder but {destination} is a file: give a folder for the results")
        pairs = [
            (path, destination / output_name(path.relative_to(source))) for path in files_in(source, destination)
        ]
    else:
        raise UserError(f"{source} does not exist: give an image, a video or a folder of them")
    if not pairs:
        raise UserError(f"{source} holds no images or videos: expected files of {', '.join(sorted(SUFFIXES))}")
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
    """Sorted; without the folder of results, where it lies in this one."""
    own = results.resolve()
    is_inside = own != folder.resolve() and own.is_relative_to(folder.resolve())
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in files if not (is_inside and path.resolve().is_relative_to(own)))


def output_name(name: Path) -> Path:
    suffix = name.suffix.lower()
    if is_video(name):
        return name if suffix in CONTAINERS else name.with_name(name.name + ANY_CODEC)
    return name if suffix in MARKED_SUFFIXES else name.with_name(f"{name.name}.png")


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


@dataclass(frozen=True)
class Recipe:
    """What is done to each image. `version` tells results of other models and options apart."""

    model: Model
    version: str
    enlarging: Enlarging
    fills: FileInpainting | None

    def source_of(self, before: Path) -> str:
        return sha256_of(before) if self.fills is None else self.fills.source_of(before)

    def run(self, job: Job) -> Job:
        pixels, icc_profile = job.picture.pixels, job.picture.icc_profile
        if self.fills is not None:
            done = self.fills.run(job.before, pixels)
            picture = Picture(done.pixels, icc_profile)
            return replace(job, picture=picture, untouched=done.pixels is pixels, notes=done.notes)
        in_tiles = self.model.runs_in_tiles(*pixels.shape[:2])
        made = Picture(enlarge_with(self.model, pixels, self.enlarging), icc_profile)
        return replace(job, picture=made, in_tiles=in_tiles)

    def mark(self, job: Job) -> bytes:
        return xmp(
            self.model.title,
            __version__,
            composite=self.fills is not None,
            untouched=job.untouched,
            model_version=self.version,
            source=job.source,
        )


def apply_to_files(
    model: Model,
    pairs: Sequence[tuple[Path, Path]],
    *,
    model_version: str,
    enlarging: Enlarging | None = None,
    fills: FileInpainting | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Done:
    """Do all that can be done of (input, output) paths, images first, with progress. Files are whole or not there.

    Colours keep their ICC profile, 16-bit stays 16-bit. Each result is marked with the model and its input. Where
    that very result is there already, it is kept; older ones of this program are replaced, files of others never.
    With `overwrite` everything is made again, and replaced.

    Args:
        model_version: as `version_of` gives it.
        enlarging: of a model of super-resolution; results of other options are not kept.
        fills: for a model that fills holes, see `inpainting_of`.

    Raises UserError where the model cannot be used so.
    """
    enlarging = enlarging or Enlarging()
    enlarging.check(model)
    model_version += str(enlarging)
    recipe = Recipe(model, model_version if fills is None else fills.version(model_version), enlarging, fills)
    atomic.remove_leftovers(after for _, after in pairs)
    to_do, failures = (list(pairs), []) if overwrite else missing(pairs, recipe.version, recipe.source_of)
    kept = len(pairs) - len(to_do) - len(failures)
    for _, after in set(pairs) - set(to_do):
        remove_parts(after)  # of a run that was killed at its very end
    images = [pair for pair in to_do if not is_video(pair[0])]
    videos = [pair for pair in to_do if is_video(pair[0])]
    begun = sum(not is_video(before) for before, _ in pairs) - len(images)
    of_images = apply_to_images(recipe, images, begun=begun, quiet=quiet)
    of_videos = apply_to_videos(recipe, videos, overwrite=overwrite, quiet=quiet)
    return Done(
        written=of_images.written + of_videos.written,
        tiled=of_images.tiled + of_videos.tiled,
        kept=kept,
        failures=(*failures, *of_images.failures, *of_videos.failures),
        videos=of_videos.videos,
        notes=of_images.notes,
    )


def apply_to_images(recipe: Recipe, pairs: Sequence[tuple[Path, Path]], *, begun: int, quiet: bool) -> Done:
    """All of them; `begun` is how many more were there to begin with, for the progress."""
    tiled, failures, notes = list[bool](), list[Failure](), list[str]()

    def read_input(pair: tuple[Path, Path]) -> Job:
        return Job(*pair, read(pair[0]), recipe.source_of(pair[0]))

    def write_result(job: Job) -> Job:
        job.after.parent.mkdir(parents=True, exist_ok=True)
        write(job.after, job.picture, xmp=recipe.mark(job))
        return job

    quiet = quiet or len(pairs) <= 1
    with track(begun + len(pairs), "Applying", "images", done=begun, quiet=quiet) as advance:
        results = pipelined(pairs, read_input, recipe.run, write_result)
        for (before, _), result in zip(pairs, results, strict=True):
            if isinstance(result, UserError):
                failures.append(Failure(before, str(result)))
            else:
                tiled.append(result.in_tiles)
                notes += (f"{before}: {note}" for note in result.notes)
            advance(1)
    return Done(len(tiled), sum(tiled), 0, tuple(failures), notes=tuple(notes))


def apply_to_videos(recipe: Recipe, pairs: Sequence[tuple[Path, Path]], *, overwrite: bool, quiet: bool) -> Done:
    """One after the other. One that is broken is written as far as it can be read, and is a failure all the same."""
    tiled, failures, summaries = list[bool](), list[Failure](), list[str]()
    for before, after in pairs:
        try:
            if recipe.fills is not None or recipe.enlarging != Enlarging():
                raise UserError("a video is run as it is: masks, --scale and --blend-weight are for images")
            require_av()
            from gan_tasks.export.inference.video.process import apply_to_video

            video = apply_to_video(
                recipe.model, before, after, model_version=recipe.version, overwrite=overwrite, quiet=quiet
            )
        except UserError as error:
            failures.append(Failure(before, str(error)))
            continue
        tiled.append(video.in_tiles)
        summaries.append(f"{after}: {video.summary}")
        if video.damage:
            failures.append(Failure(before, f"{video.damage}: {after} has what can be read of it"))
    return Done(len(tiled), sum(tiled), 0, tuple(failures), tuple(summaries))
