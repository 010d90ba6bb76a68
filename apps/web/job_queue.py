"""Models behind one bounded queue: what the page and the HTTP endpoint share.

Imports no web framework and no torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from gan_tasks.apps.web.served_models import ServedModel, Sources, tabs_of
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, fit_channels
from gan_tasks.export.inference.predictor import PredictOptions, Source, result_like
from gan_tasks.export.models.tiling import reporting_tiles

Made = TypeVar("Made")


class BusyError(UserError):
    """The queue is full, or the server is stopping: the same request may work later."""


class StoppedError(UserError):
    """Whoever asked for the job has stopped it."""


@dataclass(frozen=True)
class Limits:
    """What is refused before any of it is decoded."""

    max_pixels: int = 4096 * 4096
    """Of an image that comes; one that is made of it may have four times as many."""
    max_upload_bytes: int = 64 * 2**20
    queue_size: int = 5
    """Jobs that may wait for the one that runs."""

    def max_pixels_at(self, scale: float) -> int:
        """Of an image that becomes `scale` times as large along a side."""
        return min(self.max_pixels, int(4 * self.max_pixels / scale**2))


@dataclass(frozen=True)
class JobRequest:
    """What a model is run with.

    sources: encoded inputs by name; untrusted.
    on_white: lay the first image on white where it is transparent.
    """

    served: ServedModel
    sources: Sources
    options: PredictOptions = PredictOptions()
    on_white: bool = False


@dataclass(frozen=True)
class Result:
    """before: the first image; None where the model takes none. after: what the model made, which `file` holds too.
    seconds: the model alone. notes: remarks for the user."""

    before: Picture | None
    after: Picture
    file: Path
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass
class JobProgress:
    """How far a job is. `stop` stops it. The job's thread writes what others read."""

    tiles_done: int = 0
    tiles: int = 0
    """0 while it does not run in tiles."""
    began_s: float | None = None
    """When the job or its first tile did, on time.monotonic's clock; None while it waits for others."""
    stopped: bool = False

    def stop(self) -> None:
        """Let the job end with a StoppedError before its next tile."""
        self.stopped = True

    def begin(self) -> None:
        self.check()
        self.began_s = time.monotonic()

    def on_tile(self, done: int, count: int) -> None:
        """See `tiling.OnTile`."""
        self.check()
        if done == 0:
            self.began_s = time.monotonic()
        self.tiles_done, self.tiles = done, count

    def check(self) -> None:
        """Raises StoppedError where it was stopped."""
        if self.stopped:
            raise StoppedError("the job was stopped")

    def left_s(self) -> float | None:
        """Seconds until the last tile is done, if they all take the same; None before the first is."""
        if self.began_s is None or self.tiles_done == 0:
            return None
        return (time.monotonic() - self.began_s) * (self.tiles - self.tiles_done) / self.tiles_done


class Service:
    """Runs the models in one thread, one job after another, so that a web server's own thread stays free."""

    def __init__(self, models: Sequence[ServedModel], limits: Limits) -> None:
        self.models = {served.key: served for served in models}
        self.tabs = tabs_of(models)
        self.limits = limits
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
        return self.enqueue(partial(self._run, request, file, progress or JobProgress()))

    def enqueue(self, job: Callable[[], Made]) -> Future[Made]:
        """Queue any job that decodes images or runs a model. Raises BusyError at once where the queue is full."""
        if not self._places.acquire(blocking=False):
            raise BusyError(f"{self.limits.queue_size} jobs are waiting already: try again in a few seconds")
        try:
            future = self._worker.submit(job)
        except RuntimeError as error:  # closed
            self._places.release()
            raise BusyError("the server is stopping and takes no more jobs") from error
        future.add_done_callback(lambda _: self._places.release())
        return future

    def close(self) -> None:
        """Take no more jobs, and return when all that were taken are done."""
        self._worker.shutdown(wait=True)

    def _run(self, request: JobRequest, file: Path, progress: JobProgress) -> Result:
        progress.begin()
        predictor = request.served.predictor
        scale = max(request.options.upscale.scale or 0, predictor.spec.scale)
        opened = predictor.read(without_paths(request.sources), max_pixels=self.limits.max_pixels_at(scale))
        inputs, image = dict(opened.inputs), predictor.spec.image
        if request.on_white and image is not None:
            inputs[image.name] = lay_on_white(inputs[image.name])
        start = time.perf_counter()
        with reporting_tiles(progress.on_tile):
            prediction = predictor.predict(inputs, request.options)
        seconds = time.perf_counter() - start
        progress.check()  # for what did not run in tiles
        predictor.write(file, prediction, like=opened.image)
        before = None if image is None else result_like(opened.image, inputs[image.name])
        after = result_like(opened.image, prediction.pixels)
        return Result(before, after, file, seconds, opened.notes + prediction.notes)


def without_paths(sources: Sources) -> dict[str, Source]:
    """What the files hold: a path in a message would tell people where the server keeps its files."""
    given = {name: source for name, source in sources.items() if source is not None}
    return {name: source.read_bytes() if isinstance(source, Path) else source for name, source in given.items()}


def lay_on_white(pixels: Pixels) -> Pixels:
    """Drop the alpha of 8-bit pixels, blending them with white where they are transparent."""
    rgba = fit_channels(pixels, 4).astype(np.float32)
    opacity = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
