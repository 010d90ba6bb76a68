"""Run a model on a file or a folder of images and videos. Results of an earlier run are kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gan_tasks.datasets.errors import UserError, enumerated
from gan_tasks.datasets.images import atomic
from gan_tasks.datasets.images.formats import check_length, fitting_name, other_name, unreadable_reason
from gan_tasks.export.inference.files.step_files import KeptSteps, StepFiles
from gan_tasks.export.inference.inpaint_files import MasksOfFiles
from gan_tasks.export.inference.pipeline import pipelined
from gan_tasks.export.inference.predictor import (
    MaskReading,
    Opened,
    Prediction,
    PredictOptions,
    Predictor,
    Source,
    result_shape,
)
from gan_tasks.export.inference.resume import Failure, failure, is_done, missing, replaceable
from gan_tasks.export.inference.stylization.files import StyleOfFiles
from gan_tasks.export.inference.video.containers import is_video, require_av
from gan_tasks.export.inference.video.parts import remove_parts
from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.export.models.tiling import reporting_tiles
from gan_tasks.progress import reported, track
from gan_tasks.spec import Use

IMAGES_ONLY: Mapping[Use, str] = {"inpaint": "inpaints", "stylize": "stylizes"}
"""The uses that take no video, with their verbs."""


@dataclass(frozen=True)
class Summary:
    """The results of `apply_to_files`.

    written: number of written results.
    tiled: number of results that were run in tiles, because memory is limited.
    kept: number of existing results of the same model and the same inputs.
    failures: inputs without a result, and inputs of which only a part could be read.
    videos: a description of each written video.
    notes: remarks for the user about images and style pictures; each begins with the file's path.
    """

    written: int
    tiled: int
    kept: int
    failures: tuple[Failure, ...]
    videos: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How to read, run and write each image.

    version: identifies the model and its options in the mark.
    max_pixels: the most pixels of an image; None is the default of `read`.
    taken: the inputs and outputs of the run, which a result of another name must not replace.
    steps: the steps of a chain whose results are written too; None writes none.
    """

    predictor: Predictor
    options: PredictOptions
    version: str
    masks: MasksOfFiles | None
    style: StyleOfFiles | None = None
    overwrite: bool = False
    max_pixels: int | None = None
    taken: frozenset[Path] = frozenset()
    steps: KeptSteps | None = None

    def is_done(self, before: Path, after: Path) -> bool:
        """Return whether the result and those of its steps can be kept. Raises the errors of `resume.is_done`."""
        if not is_done(before, after, self.version, self.source_of):
            return False
        return self.steps is None or is_video(before) or self.steps.are_done(before, after, self.source_of)

    def source_of(self, before: Path) -> str:
        """Return the `sha256:…` of each file that a result is made from."""
        return sha256_of(before) if self.masks is None else self.masks.source_of(before)

    def read(self, pair: tuple[Path, Path]) -> Job:
        before, after = pair
        if reason := unreadable_reason(before):
            raise UserError(f"{before}: {reason}")
        check_writable(after.parent)
        image = self.predictor.spec.image
        assert image is not None  # see `check_inputs`
        sources: dict[str, Source] = {image.name: before}
        reading = None
        if self.masks is not None:
            sources |= self.masks.sources(before)
            files = self.masks.files
            reading = MaskReading(files.mask_threshold, files.invert_mask)
        opened = self.predictor.read(sources, max_pixels=self.max_pixels, masks=reading)
        if self.style is not None:
            opened = replace(opened, inputs={**opened.inputs, **self.style.inputs})
        shape = result_shape(self.predictor.spec, opened.inputs[image.name], self.options)
        name, reason = fitting_name(after, shape)
        steps = () if self.steps is None else self.steps.files_of(after)
        for other in (*steps, *([name] if name != after else [])):
            self.check_free(other)
        note = f"written as {name.name}: {reason}" if reason else ""
        return Job(name, opened, self.source_of(before), note, steps)

    def check_free(self, after: Path) -> None:
        """Raise UserError if a result must not have this name, which is not among those of `pairs`."""
        if after in self.taken:
            raise UserError(f"its result would replace {after}, which is of another image: rename one of them")
        if after.exists() and not self.overwrite:
            replaceable(after)

    def run(self, job: Job) -> Done:
        options = self.options
        if self.steps is not None:  # each is written when it is there: the next one may fail, or be interrupted
            on_step = self.steps.writer(job.steps, like=job.opened.image, source=job.source)
            options = replace(options, on_step=on_step)
        prediction = self.predictor.predict(job.opened.inputs, options)
        return Done(job, replace(prediction, notes=job.opened.notes + prediction.notes))

    def write(self, done: Done) -> Prediction:
        job = done.job
        try:
            self.predictor.write(
                job.after, done.prediction, like=job.opened.image, version=self.version, source=job.source
            )
        except OSError as error:
            raise UserError(f"{job.after} cannot be written: {error.strerror or error}") from error
        return replace(done.prediction, notes=(*done.prediction.notes, job.note)) if job.note else done.prediction


@dataclass(frozen=True)
class Job:
    """A decoded image and the path of its result.

    source: `sha256:…` of the input files.
    note: a remark for the user.
    steps: the files of the steps, see `KeptSteps`.
    """

    after: Path
    opened: Opened
    source: str
    note: str = ""
    steps: tuple[Path, ...] = ()


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
    style: StyleOfFiles | None = None,
    overwrite: bool = False,
    max_pixels: int | None = None,
    quiet: bool = False,
    step_files: StepFiles | None = None,
) -> Summary:
    """Run a model on all (input, output) paths, images first, with progress. A result is never left incomplete.

    Results keep the ICC profile and the bit depth. Each result is marked with the model and its input. An existing
    result of the same model, options and input is kept, other results of this program are replaced, and files of
    other programs are not replaced. With `overwrite` all results are made again and replaced. If the format of an
    output cannot hold the result, .png is added to the name, see `fitting_name`.

    Args:
        options: how to use the model.
        masks: the masks for an inpainting model, see `masks_of`. Its inpainting options replace those of `options`.
        style: the style for a model that stylizes, see `style_of`. Its options replace those of `options`.
        max_pixels: the most pixels (height × width) of an image; the default is that of `datasets.images.read`.
        step_files: where the results of the steps of a chain are written, for images. None writes none.

    Raises UserError if the options do not fit the model. An input that fails is listed in the result instead, for
    whatever reason, and the others are done.
    """
    options = options or PredictOptions()
    if masks is not None:
        options = replace(options, inpaint=masks.files.inpaint)
    if style is not None:
        options = replace(options, stylize=style.files.stylize)
    if step_files is not None:
        check_writable(step_files.folder, "give another folder for the steps")
    options.check(predictor.model)
    check_inputs(predictor, {*(masks.by_input if masks else ()), *(style.inputs if style else ())})
    version = predictor.model.version() + str(options.upscale)
    version = version if style is None else style.version(version)
    recipe = Recipe(
        predictor,
        options,
        version if masks is None else masks.version(version),
        masks,
        style,
        overwrite=overwrite,
        max_pixels=max_pixels,
        taken=frozenset(path for pair in pairs for path in pair),
        steps=None if step_files is None else KeptSteps.of(predictor.model, step_files),
    )
    atomic.remove_leftovers(names_of(pairs))
    to_do, failures = (list(pairs), []) if overwrite else missing(pairs, recipe.is_done)
    kept = len(pairs) - len(to_do) - len(failures)
    for before, after in set(pairs) - set(to_do):
        if is_video(before):
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
        notes=(*(style.notes if style is not None and images else ()), *of_images.notes),
    )


def check_writable(folder: Path, advice: str = "give another folder for the results") -> None:
    """Raise UserError, before the work, if a folder does not exist and cannot be made, or cannot be written to."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written to" if there.is_dir() else "is not a folder"
        raise UserError(f"{there} {what}: {advice}")


def names_of(pairs: Iterable[tuple[Path, Path]]) -> Iterator[Path]:
    """Yield every name that a result may get."""
    for _, after in pairs:
        yield after
        if (other := other_name(after)) is not None:
            yield other


def check_inputs(predictor: Predictor, more: Iterable[str]) -> None:
    """Raise UserError if the model needs inputs other than an image and `more`."""
    spec = predictor.spec
    given = {spec.image.name if spec.image else "", *more}
    missing_inputs = [each.name for each in spec.inputs if each.name not in given and not each.optional]
    if missing_inputs:
        raise UserError(
            f"{predictor.title} needs {enumerated(missing_inputs)}, which cannot be read from image files: "
            "use it in the web page (`gan-tasks serve`) or from Python (`gan_tasks.load`)"
        )


def apply_to_images(recipe: Recipe, pairs: Sequence[tuple[Path, Path]], *, begun: int, quiet: bool) -> Summary:
    """Run a model on images. `begun` is the number of images that were kept, for the progress."""
    tiled, failures, notes = list[bool](), list[Failure](), list[str]()
    only_one = len(pairs) == 1
    with (
        tile_progress(quiet=quiet or not only_one),
        track(begun + len(pairs), "Applying", "images", done=begun, quiet=quiet or len(pairs) <= 1) as advance,
    ):
        results = pipelined(pairs, recipe.read, recipe.run, recipe.write)
        for (before, _), result in zip(pairs, results, strict=True):
            if isinstance(result, Exception):
                failures.append(failure(before, result))
            else:
                tiled.append(result.in_tiles)
                notes += (f"{before}: {note}" for note in result.notes)
            advance(1)
    return Summary(len(tiled), sum(tiled), 0, tuple(failures), notes=tuple(notes))


@contextmanager
def tile_progress(*, quiet: bool) -> Iterator[None]:
    """Show the progress by tiles, if it takes longer than two seconds."""
    if quiet:
        yield
        return
    with reported("Applying", "tiles") as report, reporting_tiles(report):
        yield


def apply_to_videos(recipe: Recipe, pairs: Sequence[tuple[Path, Path]], *, overwrite: bool, quiet: bool) -> Summary:
    """Run a model on videos, one after the other. Of a damaged video the readable part is written, as a failure."""
    tiled, failures, summaries = list[bool](), list[Failure](), list[str]()
    for before, after in pairs:
        try:
            if (verb := IMAGES_ONLY.get(recipe.predictor.spec.use)) is not None:
                raise UserError(f"{recipe.predictor.title} {verb} images only: give images")
            if recipe.options != PredictOptions():
                raise UserError("--scale and --blend-weight are for images: leave them out for videos")
            require_av()
            check_length(after)
            check_writable(after.parent)
            from gan_tasks.export.inference.video.process import apply_to_video

            video = apply_to_video(
                recipe.predictor, before, after, model_version=recipe.version, overwrite=overwrite, quiet=quiet
            )
        except Exception as error:
            failures.append(failure(before, error))
            continue
        tiled.append(video.in_tiles)
        summaries.append(f"{after}: {video.summary}")
        if video.damage:
            failures.append(Failure(before, f"{video.damage}: {after} contains the readable part"))
    return Summary(len(tiled), sum(tiled), 0, tuple(failures), tuple(summaries))
