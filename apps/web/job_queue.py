"""Models behind one bounded queue: what the page and the HTTP endpoint share.

Imports no web framework and no torch.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, fit_channels, read, write
from gan_tasks.export.inference.provenance import xmp
from gan_tasks.export.inference.upscale import Enlarging, enlarge_with
from gan_tasks.export.models.base import NCNN_SUFFIX, SUPER_RESOLUTION, WEIGHTS_SUFFIXES, Model, load
from gan_tasks.export.models.tiling import reporting_tiles
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.test_vectors import test_vectors_of
from gan_tasks.pretrained.bundled import find_bundled

Made = TypeVar("Made")


class BusyError(UserError):
    """The queue is full, or the server is stopping: the same request may work later."""


class StoppedError(UserError):
    """Whoever asked for the job has stopped it."""


@dataclass(frozen=True)
class Limits:
    """What is refused before any of it is decoded."""

    max_pixels: int = 4096 * 4096
    """Of a picture that comes; one that is made of it may have four times as many."""
    max_upload_bytes: int = 64 * 2**20
    queue_size: int = 5
    """Jobs that may wait for the one that runs."""

    def max_pixels_at(self, scale: int) -> int:
        """Of a picture that becomes `scale` times as large along a side."""
        return min(self.max_pixels, 4 * self.max_pixels // scale**2)


@dataclass(frozen=True)
class ServedModel:
    """A model in use. `key` names it in addresses: lower-case letters, digits and hyphens."""

    key: str
    path: Path
    model: Model
    examples: tuple[Picture, ...] = ()
    """Inputs that came with the model."""
    options: tuple[str, ...] = ()
    """What `gan-tasks apply` has to be told beside the path, to do the same."""


@dataclass(frozen=True)
class Tab:
    """What the page shows as one: a model, the ways of one that was trained to go several, or all that enlarge."""

    title: str
    ways: tuple[ServedModel, ...]
    """At least one. Several are of one training and go in different directions, or are of SUPER_RESOLUTION."""


@dataclass(frozen=True)
class Result:
    """before: what the model was given; after: what it made, also in `file`; seconds: the model alone."""

    before: Picture
    after: Picture
    file: Path
    seconds: float


@dataclass
class JobProgress:
    """How far a job is, and a way to stop it. The job's thread writes what others read."""

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

    def submit(
        self,
        served: ServedModel,
        source: Path | bytes,
        file: Path,
        *,
        on_white: bool = False,
        scale: int = 0,
        progress: JobProgress | None = None,
    ) -> Future[Result]:
        """Queue a job: read the source, run the model, write the result to `file`, marked as made by the model.

        Args:
            source: an encoded picture; untrusted.
            file: its suffix names the format. Its folder must exist.
            on_white: lay the picture on white where it is transparent.
            scale: sides of the result over those of the picture; 0 is the model's own.
            watch: is told how far the job is, and may stop it.

        Raises BusyError at once where the queue is full. The future raises UserError for a picture that cannot
        be read, is over the limits, or does not fit the model, and StoppedError where the watch stopped it. While
        the job waits, cancelling the future gives its place free.
        """
        return self.enqueue(partial(self._run, served, source, file, on_white, scale, progress or JobProgress()))

    def enqueue(self, job: Callable[[], Made]) -> Future[Made]:
        """Queue any job that decodes pictures or runs a model. Raises BusyError at once where the queue is full."""
        if not self._places.acquire(blocking=False):
            raise BusyError(f"{self.limits.queue_size} pictures are waiting already: try again in a few seconds")
        try:
            future = self._worker.submit(job)
        except RuntimeError as error:  # closed
            self._places.release()
            raise BusyError("the server is stopping and takes no more pictures") from error
        future.add_done_callback(lambda _: self._places.release())
        return future

    def close(self) -> None:
        """Take no more jobs, and return when all that were taken are done."""
        self._worker.shutdown(wait=True)

    def _run(
        self, served: ServedModel, source: Path | bytes, file: Path, on_white: bool, scale: int, progress: JobProgress
    ) -> Result:
        progress.begin()
        # A path is read here: in a message it would tell the person where the server keeps its files.
        data = source.read_bytes() if isinstance(source, Path) else source
        model = served.model
        before = read(data, max_pixels=self.limits.max_pixels_at(max(scale, model.scale)))
        if on_white:
            before = lay_on_white(before)
        start = time.perf_counter()
        with reporting_tiles(progress.on_tile):
            pixels = enlarge_with(model, before.pixels, Enlarging(scale or None))
        seconds = time.perf_counter() - start
        progress.check()  # for what did not run in tiles
        after = Picture(pixels, before.icc_profile)
        write(file, after, xmp=xmp(model.title, __version__))
        return Result(before, after, file, seconds)


def open_models(
    paths: Sequence[Path], *, provider: str = "auto", device: str = "auto", max_memory_bytes: int | None = None
) -> list[ServedModel]:
    """Load ONNX files, which the provider is to run, and run folders, these in every direction that they learned.

    device: of run folders, such as cuda:1. max_memory_bytes: of a network's features; None keeps the model's default.

    Raises UserError for a path that holds no model, and for none at all.
    """
    if not paths:
        raise UserError("no model to serve: give one or more .onnx files or run folders")
    opened: list[ServedModel] = []
    for path in paths:
        if find_bundled(path) or (path.suffix.lower() in (*WEIGHTS_SUFFIXES, NCNN_SUFFIX) and path.is_file()):
            exported = path.with_suffix(".onnx").name
            raise UserError(
                f"{path} is a published checkpoint: export it first, `gan-tasks export {path} {exported}`, and serve "
                f"{exported}"
            )
        model = load(path, provider=provider, device=device)
        others = (
            load(path, device=device, direction=other) for other in model.directions if other != model.direction
        )
        for way in (model, *others):
            if max_memory_bytes is not None:
                way.max_memory_bytes = max_memory_bytes
            name = path.stem if path.suffix == ".onnx" else path.name
            options = () if provider == "auto" else ("--provider", provider)
            if model.directions:
                name, options = f"{name} {way.direction}", ("--direction", way.direction)
            key = free_key(name, {served.key for served in opened})
            opened.append(ServedModel(key, path, way, examples_of(path), options))
    return opened


def tabs_of(models: Sequence[ServedModel]) -> tuple[Tab, ...]:
    """A tab for each model, in order; those of one source that go in different directions share one, and those of
    SUPER_RESOLUTION do."""
    groups: list[list[ServedModel]] = []
    for served in models:
        model = served.model
        for group in groups:
            first = group[0].model
            taken = {way.model.direction for way in group}
            same = (model.name, model.source, model.training_data) == (first.name, first.source, first.training_data)
            opposite = same and model.direction and first.direction and model.direction not in taken
            if opposite or model.name == first.name == SUPER_RESOLUTION:
                group.append(served)
                break
        else:
            groups.append([served])
    return tuple(Tab(title_of(group), tuple(group)) for group in groups)


def title_of(ways: Sequence[ServedModel]) -> str:
    """The name that the ways share, or else their task or where they are from."""
    titles = {way.model.title for way in ways}
    if len(titles) == 1:
        return titles.pop()
    first = ways[0].model
    return "Super-resolution" if first.name == SUPER_RESOLUTION else first.source


def direction_label(model: Model) -> str:
    """The direction for people: by the sides' names where the data's name is like horse2zebra, else A to B."""
    sides = {"a": "A", "b": "B"}
    if named := re.match(r"([A-Za-z]{2,})2([A-Za-z]{2,})", model.training_data):
        sides = {"a": named[1], "b": named[2]}
    return " to ".join(sides.get(side, side) for side in model.direction.split("-to-"))


def free_key(name: str, taken: set[str]) -> str:
    """The name as it may stand in an address; with a number where that is taken."""
    key = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
    number, free = 1, key
    while free in taken:
        number += 1
        free = f"{key}-{number}"
    return free


def examples_of(path: Path) -> tuple[Picture, ...]:
    """The inputs of the test cases that an ONNX file carries; none for a run folder."""
    if path.suffix.lower() != ".onnx":
        return ()
    images = (vector.inputs["image"].transpose(1, 2, 0) for vector in test_vectors_of(read_onnx(path)))
    return tuple(Picture(np.ascontiguousarray(image)) for image in images)


def lay_on_white(picture: Picture) -> Picture:
    """Drop the alpha of an 8-bit picture, blending it with white where it is transparent."""
    rgba = fit_channels(picture.pixels, 4).astype(np.float32)
    opacity = rgba[..., 3:] / 255
    blended = np.rint(rgba[..., :3] * opacity + 255 * (1 - opacity))
    return Picture(blended.astype(np.uint8), picture.icc_profile)
