"""Run a model over a file or a folder of images and videos; go on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import IMAGE_SUFFIXES, atomic
from gan_tasks.export.inference.inpaint_files import MasksOfFiles
from gan_tasks.export.inference.pipeline import pipelined
from gan_tasks.export.inference.predictor import MaskReading, Opened, Prediction, PredictOptions, Predictor, Source
from gan_tasks.export.inference.resume import Failure, missing
from gan_tasks.export.inference.video.containers import ANY_CODEC, CONTAINERS, VIDEO_SUFFIXES, is_video, require_av
from gan_tasks.export.inference.video.parts import remove_parts
from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.progress import track

MARKED_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
"""Formats that can be written and carry the mark that a model made the image."""
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True)
class Summary:
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
class Recipe:
    """What is done to each image. `version` tells results of other models and options apart."""

    predictor: Predictor
    options: PredictOptions
    version: str
    masks: MasksOfFiles | None

    def source_of(self, before: Path) -> str:
        """What a result is made from, as `sha256:…` of each file."""
        return sha256_of(before) if self.masks is None else self.masks.source_of(before)

    def read(self, pair: tuple[Path, Path]) -> Job:
        before, after = pair
        image = self.predictor.spec.image
        assert image is not None  # `check_inputs` has seen to it
        sources: dict[str, Source] = {image.name: before}
        reading = None
        if self.masks is not None:
            sources |= self.masks.sources(before)
            files = self.masks.files
            reading = MaskReading(files.mask_threshold, files.invert_mask)
        return Job(after, self.predictor.read(sources, masks=reading), self.source_of(before))

    def run(self, job: Job) -> Done:
        return Done(job, self.predictor.predict(job.opened.inputs, self.options))

    def write(self, done: Done) -> Prediction:
        job = done.job
        self.predictor.write(
            job.after,
            done.prediction,
            icc_profile=job.opened.icc_profile,
            version=self.version,
            source=job.source,
        )
        return done.prediction


@dataclass(frozen=True)
class Job:
    """An image that was read. source: `sha256:…` of the files that it was read from."""

    after: Path
    opened: Opened
    source: str


@dataclass(frozen=True)
class Done:
    job: Job
    prediction: Prediction


def apply_to_files(
    predictor: Predictor,
    pairs: Sequence[tuple[Path, Path]],
    *,
    options: PredictOptions | None = None,
    masks: MasksOfFiles | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Summary:
    """Do all that can be done of (input, output) paths, images first, with progress. Files are whole or not there.

    Colours keep their ICC profile, 16-bit stays 16-bit. Each result is marked with the model and its input. Where
    that very result is there already, it is kept; older ones of this program are replaced, files of others never.
    With `overwrite` everything is made again, and replaced.

    Args:
        options: how the model is used; results of other options are not kept.
        masks: for a model that inpaints, see `masks_of`. The options of inpainting are those of its files.

    Raises UserError where the model cannot be used so.
    """
    options = options or PredictOptions()
    if masks is not None:
        options = replace(options, inpaint=masks.files.inpaint)
    options.check(predictor.model)
    check_inputs(predictor, masks)
    version = predictor.model.version() + str(options.upscale)
    recipe = Recipe(predictor, options, version if masks is None else masks.version(version), masks)
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
    return Summary(
        written=of_images.written + of_videos.written,
        tiled=of_images.tiled + of_videos.tiled,
        kept=kept,
        failures=(*failures, *of_images.failures, *of_videos.failures),
        videos=of_videos.videos,
        notes=of_images.notes,
    )


def check_inputs(predictor: Predictor, masks: MasksOfFiles | None) -> None:
    """Raises UserError for a model that needs more than an image and what `masks` has."""
    spec = predictor.spec
    given = {spec.image.name if spec.image else "", *(masks.by_input if masks else ())}
    missing_inputs = [each.name for each in spec.inputs if each.name not in given and not each.optional]
    if missing_inputs:
        raise UserError(
            f"{predictor.title} needs {' and '.join(missing_inputs)}, and files are no such inputs: "
            "use it in the page (`gan-tasks serve`) or from Python (`gan_tasks.load`)"
        )


def apply_to_images(recipe: Recipe, pairs: Sequence[tuple[Path, Path]], *, begun: int, quiet: bool) -> Summary:
    """All of them; `begun` is how many more were there to begin with, for the progress."""
    tiled, failures, notes = list[bool](), list[Failure](), list[str]()
    quiet = quiet or len(pairs) <= 1
    with track(begun + len(pairs), "Applying", "images", done=begun, quiet=quiet) as advance:
        results = pipelined(pairs, recipe.read, recipe.run, recipe.write)
        for (before, _), result in zip(pairs, results, strict=True):
            if isinstance(result, UserError):
                failures.append(Failure(before, str(result)))
            else:
                tiled.append(result.in_tiles)
                notes += (f"{before}: {note}" for note in result.notes)
            advance(1)
    return Summary(len(tiled), sum(tiled), 0, tuple(failures), notes=tuple(notes))


def apply_to_videos(recipe: Recipe, pairs: Sequence[tuple[Path, Path]], *, overwrite: bool, quiet: bool) -> Summary:
    """One after the other. One that is broken is written as far as it can be read, and is a failure all the same."""
    tiled, failures, summaries = list[bool](), list[Failure](), list[str]()
    for before, after in pairs:
        try:
            if recipe.masks is not None or recipe.options != PredictOptions():
                raise UserError("a video is run as it is: masks, --scale and --blend-weight are for images")
            require_av()
            from gan_tasks.export.inference.video.process import apply_to_video

            video = apply_to_video(
                recipe.predictor, before, after, model_version=recipe.version, overwrite=overwrite, quiet=quiet
            )
        except UserError as error:
            failures.append(Failure(before, str(error)))
            continue
        tiled.append(video.in_tiles)
        summaries.append(f"{after}: {video.summary}")
        if video.damage:
            failures.append(Failure(before, f"{video.damage}: {after} has what can be read of it"))
    return Summary(len(tiled), sum(tiled), 0, tuple(failures), tuple(summaries))
