"""Models behind one bounded queue: what the page and the HTTP endpoint share.

Imports no web framework and no torch.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from gan_tasks.apps.web.decoding.decoder import Decoder
from gan_tasks.apps.web.idle import IDLE_S, IdleTimer
from gan_tasks.apps.web.served_models import ServedModel, Sources, tabs_of
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, fit_channels, kinds_with_profile
from gan_tasks.export.inference.predictor import PredictOptions, Source, result_like
from gan_tasks.export.inference.synthesis.points import to_text
from gan_tasks.export.inference.synthesis.sources import point_of_sources
from gan_tasks.export.inference.upscale import UpscaleOptions, scaled_size
from gan_tasks.export.models.interruption import interrupted_by
from gan_tasks.export.models.tiling import reporting_tiles
from gan_tasks.export.onnx.apart.limits import trim_memory

Made = TypeVar("Made")


class BusyError(UserError):
    """The queue is full, or the server is stopping: the same request may work later."""


class StoppedError(UserError):
    """Whoever asked for the job has stopped it."""


@dataclass(frozen=True)
class Limits:
    """What is refused before the model runs, and, where the input's own size decides, before it is decoded."""

    max_pixels: int = 50_000_000
    """Of an image that comes: the photos of a camera of 48 megapixels have 48.8. What is made of one may have four
    times as many."""
    max_upload_bytes: int = 200_000_000
    """Of a request. A photo of 48 megapixels has about 100 MB as PNG."""
    queue_size: int = 5
    """Jobs that may wait for the one that runs."""
    max_seconds: float = 3600
    """Of a job, from when it begins."""
    max_disk_bytes: int = 4_000_000_000
    """Of uploads and results on the disk; of more, the oldest are deleted."""

    def check_result(self, model_scale: int, size: tuple[int, int], options: UpscaleOptions) -> None:
        """Raise UserError where the result would have too many pixels.

        size: (height, width) of the first image.
        """
        height, width = scaled_size(size, model_scale, options)
        if height * width > 4 * self.max_pixels:
            raise UserError(
                f"the result would have {width} × {height} px and is over the limit of {4 * self.max_pixels:,} px: "
                "choose a smaller scale or image, or start the server with a larger --max-pixels"
            )


@dataclass(frozen=True)
class JobRequest:
    """What a model is run with.

    sources: encoded inputs by name; untrusted.
    on_white: lay the first image on white where it is transparent.
    choose: chooses the model by the first image, its only input; None runs `served`. It raises UserError where none
        fits.
    keep_steps: whether the result has what each step of a chain made.
    """

    served: ServedModel
    sources: Sources
    options: PredictOptions = PredictOptions()
    on_white: bool = False
    choose: Callable[[Pixels], ServedModel] | None = None
    keep_steps: bool = False


@dataclass(frozen=True)
class Result:
    """before: the first image; None where the model takes none. after: what the model made, which `file` holds too.
    seconds: the model alone. notes: remarks for the user. models: the names of the models that ran. runs_on: what
    ran them. steps: what the steps of a chain made before the last one, if they are kept."""

    before: Picture | None
    after: Picture
    file: Path
    seconds: float
    notes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    runs_on: str = ""
    steps: tuple[Picture, ...] = ()


@dataclass(eq=False)
class JobProgress:
    """How far a job is. `stop` stops it. The job's thread writes what others read."""

    tiles_done: int = 0
    tiles: int = 0
    """0 while it does not run in tiles."""
    part: str = "tile"
    """What a person calls a tile of this job: an image, or a step."""
    remark: str = ""
    """What there is to say of the job so far."""
    began_s: float | None = None
    """When the job or its first tile did, on time.monotonic's clock; None while it waits for others."""
    stopped: bool = False
    max_seconds: float = math.inf
    """After which it is stopped, from its begin."""
    ends_s: float = math.inf
    """When that is, on the same clock."""

    def stop(self) -> None:
        """Let the job end with a StoppedError, also while the network runs."""
        self.stopped = True

    def begin(self) -> None:
        self.check()
        self.began_s = time.monotonic()
        self.ends_s = self.began_s + self.max_seconds

    def on_tile(self, done: int, count: int) -> None:
        """See `tiling.OnTile`."""
        self.check()
        if done < count:
            self.check_time()
        if done == 0:
            self.began_s = time.monotonic()
        self.tiles_done, self.tiles = done, count

    def check_run(self) -> None:
        """Raises StoppedError where it was stopped, and UserError where it has taken too long."""
        self.check()
        self.check_time()

    def check(self) -> None:
        """Raises StoppedError where it was stopped."""
        if self.stopped:
            raise StoppedError("the job was stopped")

    def check_time(self) -> None:
        """Raises UserError where it has taken too long."""
        if time.monotonic() > self.ends_s:
            raise UserError(
                f"the job took longer than {self.max_seconds:,g} s and was stopped: choose a smaller image, or start "
                "the server with a larger --max-seconds"
            )

    def left_s(self) -> float | None:
        """Seconds until the last tile is done, if they all take the same; None before the first is."""
        if self.began_s is None or self.tiles_done == 0:
            return None
        return (time.monotonic() - self.began_s) * (self.tiles - self.tiles_done) / self.tiles_done


class Service:
    """Runs the models in one thread, one job after another, so that a web server's own thread stays free.

    idle_s: how long after the last job the memory that runtimes keep for the next one is given back.
    is_closed: whether no more jobs are taken.
    decoder: decodes what comes, in a process of its own.
    """

    def __init__(self, models: Sequence[ServedModel], limits: Limits, *, idle_s: float = IDLE_S) -> None:
        self.models = {served.key: served for served in models}
        for served in models:
            served.model.max_run_seconds = limits.max_seconds
        self.tabs = tabs_of(models)
        self.limits = limits
        self.is_closed = False
        self.decoder = Decoder(limits.max_pixels)
        self._taken: set[JobProgress] = set()
        self._idle = IdleTimer(idle_s, self._release_memory)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._places = threading.BoundedSemaphore(limits.queue_size + 1)  # those that wait, and the one that runs

    def submit(self, request: JobRequest, file: Path, *, progress: JobProgress | None = None) -> Future[Result]:
        """Queue a job: read the inputs, run the model, write the result to `file`, marked as made by the model.

        Args:
            file: its suffix names the format. Its folder must exist.
            progress: is told how far the job is, and may stop it.

        Raises BusyError at once where the queue is full. The future raises UserError for inputs that cannot be read,
        are over the limits, or do not fit the model, and StoppedError where `progress` stopped it. While the job
        waits, cancelling the future gives its place free.
        """
        progress = progress or JobProgress()
        return self.enqueue(partial(self._run, request, file, progress), progress=progress)

    def enqueue(self, job: Callable[[], Made], *, progress: JobProgress | None = None) -> Future[Made]:
        """Queue any job that decodes images or runs a model. Raises BusyError at once where the queue is full.

        The future raises UserError for a job that takes longer than the limit.
        """
        progress = progress or JobProgress()
        progress.max_seconds = self.limits.max_seconds

        def timed() -> Made:
            progress.begin()
            with reporting_tiles(progress.on_tile), interrupted_by(progress.check_run):
                return job()

        if not self._places.acquire(blocking=False):
            raise BusyError(f"{self.limits.queue_size} jobs are waiting already: try again in a few seconds")
        try:
            future = self._worker.submit(self._idle.around, timed)
        except RuntimeError as error:  # closed
            self._places.release()
            raise BusyError("the server is stopping and takes no more jobs") from error
        self._taken.add(progress)
        future.add_done_callback(lambda _: self._taken.discard(progress))
        future.add_done_callback(lambda _: self._places.release())
        return future

    def close(self) -> None:
        """Take no more jobs, and return when all that were taken are done."""
        self.is_closed = True
        self._worker.shutdown(wait=True)
        self._idle.cancel()
        self.decoder.close()

    def stop_jobs(self) -> None:
        """Let the jobs that were taken end with a StoppedError."""
        for progress in tuple(self._taken):
            progress.stop()

    def _release_memory(self) -> None:
        """In the models' own thread, as no model may run at that time."""
        with suppress(RuntimeError):  # closed
            for served in self.models.values():
                self._worker.submit(served.model.release_memory)
            self._worker.submit(trim_memory)

    def _run(self, request: JobRequest, file: Path, progress: JobProgress) -> Result:
        predictor = request.served.predictor
        sources = without_paths(request.sources)
        opened = predictor.read(
            sources,
            max_pixels=self.limits.max_pixels,
            decode=self.decoder.read,
            keep_profiles=kinds_with_profile(file.suffix),
        )
        inputs, image = dict(opened.inputs), predictor.spec.image
        if request.choose is not None and image is not None:
            pixels = inputs.pop(image.name)
            predictor = request.choose(pixels).predictor
            image = predictor.spec.image
            assert image is not None  # what is chosen takes the image too
            inputs[image.name] = pixels
        if image is not None and image.name in inputs:
            height, width = inputs[image.name].shape[:2]
            self.limits.check_result(predictor.spec.scale, (height, width), request.options.upscale)
            if request.on_white:
                inputs[image.name] = lay_on_white(inputs[image.name])
        start = time.perf_counter()
        kept = list[Pixels]()
        options = replace(request.options, on_step=kept.append) if request.keep_steps else request.options
        prediction = predictor.predict(inputs, options)
        seconds = time.perf_counter() - start
        progress.check()  # for what did not run in tiles
        point = point_of_sources(predictor.spec, sources, inputs) if predictor.spec.use == "generate" else None
        predictor.write(file, prediction, like=opened.image, generated_from="" if point is None else to_text(point))
        before = None if image is None else result_like(opened.image, inputs[image.name])
        after = result_like(opened.image, prediction.pixels)
        steps = tuple(result_like(opened.image, step) for step in kept)
        models = tuple(model.title for model in predictor.model.steps or (predictor.model,))
        notes = opened.notes + prediction.notes
        return Result(before, after, file, seconds, notes, models, predictor.model.runs_on, steps)


def without_paths(sources: Sources) -> dict[str, Source]:
    """What the files hold: a path in a message would tell people where the server keeps its files."""
    given = {name: source for name, source in sources.items() if source is not None}
    return {name: source.read_bytes() if isinstance(source, Path) else source for name, source in given.items()}


def lay_on_white(pixels: Pixels) -> Pixels:
    """Drop the alpha of 8-bit pixels, blending them with white where they are transparent; gray stays gray."""
    values = fit_channels(pixels, 2 if pixels.shape[2] <= 2 else 4).astype(np.float32)
    opacity = values[..., -1:] / 255
    return np.rint(values[..., :-1] * opacity + 255 * (1 - opacity)).astype(np.uint8)
