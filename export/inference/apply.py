"""Run a model on a file or a folder of images and videos. Results of an earlier run are kept."""

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
from gan_tasks.export.inference.video.containers import (
    ANY_CODEC,
    CONTAINERS,
    VIDEO_SUFFIXES,
    is_typescript,
    is_video,
    require_av,
)
from gan_tasks.export.inference.video.parts import remove_parts
from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.progress import track

MARKED_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
"""Formats that can be written and contain the mark that a model made the image."""
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
"""Suffixes of inputs."""


@dataclass(frozen=True)
class Summary:
    """The results of `apply_to_files`.

    written: number of written results.
    tiled: number of results that were run in tiles, because memory is limited.
    kept: number of existing results of the same model and the same inputs.
    failures: inputs without a result, and inputs of which only a part could be read.
    videos: a description of each written video.
    notes: remarks for the user about images; each begins with the input's path.
    """

    written: int
    tiled: int
    kept: int
    failures: tuple[Failure, ...]
    videos: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def files_to_do(source: Path, destination: Path) -> list[tuple[Path, Path]]:
    """Return (input, output) paths: one for a file; for a folder one for each image and video, also in subfolders.

    Outputs keep the names of the inputs. If a format cannot contain the result or its mark (.bmp, .gif, .npy), .png
    is appended to the name; for video formats that are not written (.avi, .wmv), .mkv is appended.
    A destination with a suffix of images or videos is a file, any other is a folder, which is not searched for
    inputs. Raises UserError if there are no inputs, if input and output are not both images or both videos, if an
    output would replace an input, and if two inputs have the same output.
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
    """Return the sorted files of a folder, without those in the folder of results."""
    own = results.resolve()
    is_inside = own != folder.resolve() and own.is_relative_to(folder.resolve())
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    files = (path for path in files if not is_typescript(path))
    return sorted(path for path in files if not (is_inside and path.resolve().is_relative_to(own)))


def output_name(name: Path) -> Path:
    """Return the name of an input's result."""
    suffix = name.suffix.lower()
    if is_video(name):
        return name if suffix in CONTAINERS else name.with_name(name.name + ANY_CODEC)
    return name if suffix in MARKED_SUFFIXES else name.with_name(f"{name.name}.png")


@dataclass(frozen=True)
class Recipe:
    """How to read, run and write each image. `version` identifies the model and its options in the mark."""

    predictor: Predictor
    options: PredictOptions
    version: str
    masks: MasksOfFiles | None

    def source_of(self, before: Path) -> str:
        """Return the `sha256:…` of each file that a result is made from."""
        return sha256_of(before) if self.masks is None else self.masks.source_of(before)

    def read(self, pair: tuple[Path, Path]) -> Job:
        before, after = pair
        image = self.predictor.spec.image
        assert image is not None  # see `check_inputs`
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
    """A decoded image and the path of its result. source: `sha256:…` of the input files."""

    after: Path
    opened: Opened
    source: str


@dataclass(frozen=True)
class Done:
    """The result of a job, not yet written."""

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
    """Run a model on all (input, output) paths, images first, with progress. A result is never left incomplete.

    Results keep the ICC profile and the bit depth. Each result is marked with the model and its input. An existing
    result of the same model, options and input is kept, other results of this program are replaced, and files of
    other programs are not replaced. With `overwrite` all results are made again and replaced.

    Args:
        options: how to use the model.
        masks: the masks for an inpainting model, see `masks_of`. Its inpainting options replace those of `options`.

    Raises UserError if the options do not fit the model. An input that fails is listed in the result instead.
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
        remove_parts(after)  # left by a run that was killed at the very end
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
    """Raise UserError if the model needs inputs other than an image and masks."""
    spec = predictor.spec
    given = {spec.image.name if spec.image else "", *(masks.by_input if masks else ())}
    missing_inputs = [each.name for each in spec.inputs if each.name not in given and not each.optional]
    if missing_inputs:
        raise UserError(
            f"{predictor.title} needs {' and '.join(missing_inputs)}, which cannot be read from image files: "
            "use it in the web page (`gan-tasks serve`) or from Python (`gan_tasks.load`)"
        )


def apply_to_images(recipe: Recipe, pairs: Sequence[tuple[Path, Path]], *, begun: int, quiet: bool) -> Summary:
    """Run a model on images. `begun` is the number of images that were kept, for the progress."""
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
    """Run a model on videos, one after the other. Of a damaged video the readable part is written, as a failure."""
    tiled, failures, summaries = list[bool](), list[Failure](), list[str]()
    for before, after in pairs:
        try:
            if recipe.masks is not None or recipe.options != PredictOptions():
                raise UserError("masks, --scale and --blend-weight are for images: leave them out for videos")
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
            failures.append(Failure(before, f"{video.damage}: {after} contains the readable part"))
    return Summary(len(tiled), sum(tiled), 0, tuple(failures), tuple(summaries))
