"""A model from one ONNX file, run without torch by one of the providers in providers.py."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gan_tasks.datasets.errors import UserError, did_you_mean
from gan_tasks.export.models.base import (
    MAX_MEMORY_BYTES,
    FloatImages,
    check_output,
    output_shape,
)
from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.export.models.tiled import TiledModel, pad_to_multiple
from gan_tasks.export.onnx.apart.limits import Limit, run_limit
from gan_tasks.export.onnx.apart.run import run_session, shrink_arena
from gan_tasks.export.onnx.apart.session import ApartSession
from gan_tasks.export.onnx.contract import OUTPUT
from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError, graph_sha256, read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.provider_cache import read_cached
from gan_tasks.export.onnx.providers import (
    CPU,
    OPENVINO,
    Configuration,
    Session,
    Start,
    core_count,
    find_provider,
    start_default,
    start_session,
)
from gan_tasks.spec import InputSpec

SHRINK_S = 5.0
"""Time to give memory back. Over it the process is killed, which gives back all."""


class OnnxModel(TiledModel):
    """A `TiledModel` of an ONNX file.

    metadata: the metadata of the file.
    providers: the providers in use, the preferred one first, such as CUDAExecutionProvider or OpenVINO.
    runs_on: description of the provider, and of the reason for its choice.
    max_memory_bytes: limit for the network's features; the image and its result need more memory.

    Args:
        apart: whether a process of its own opens and runs the file, and is killed if it takes too much time or memory
            (see apart/). Otherwise a file of unknown origin may never end.
        device: cpu, cuda or cuda:N; auto leaves the choice to `provider`.
        provider: name of one of `providers.PROVIDERS`; auto takes the fastest that `gan-tasks doctor --bench` found
            for this model, else CUDA if it works, else the CPU.

    Raises UserError for a file that is damaged or not safe to open, and for an unavailable device or provider.
    """

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        provider: str = "auto",
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        apart: bool = False,
    ) -> None:
        self.max_memory_bytes = max_memory_bytes
        self._open(self._prepare(path, device=device, provider=provider, apart=apart))

    def _prepare(self, path: Path, *, device: str, provider: str, apart: bool) -> OnnxFile:
        """Read the file and what it says of itself; return it, not opened by a runtime yet."""
        file = read_onnx(path)
        self.metadata = OnnxMetadata.of(file)
        check_unchanged(file, self.metadata)
        self._device, self._provider, self._is_apart = device, provider, apart
        self.path, self.spec, self.place = path, self.metadata.spec, str(path)
        self.title = self.metadata.model_name
        self.task_options = self.metadata.task_options
        self.source, self.training_data = self.metadata.source, self.metadata.training_data
        self.licence = self.metadata.licence
        self._keeps_memory = False
        return file

    def _open(self, file: OnnxFile) -> None:
        """Let a runtime open the file."""
        start = ApartSession if self._is_apart else start_session
        picked = pick_session(file, device=self._device, provider=self._provider, start=start)
        self.session = picked.session
        check_fit(file, self.metadata, self.session)
        self.providers: tuple[str, ...] = tuple(self.session.get_providers())
        self.runs_on = str(picked)

    def __reduce__(self) -> tuple[Any, ...]:
        """A session cannot be pickled: another process opens the file."""
        again = partial(OnnxModel, device=self._device, provider=self._provider, apart=self._is_apart)
        return partial(again, self.path.absolute(), max_memory_bytes=self.max_memory_bytes), ()

    @property
    def parameter_count(self) -> int:
        return self.metadata.parameters

    def version(self) -> str:
        return sha256_of(self.path)

    @property
    def bytes_per_pixel(self) -> int:
        return self.metadata.bytes_per_pixel

    def run_network(self, *inputs: FloatImages) -> FloatImages:
        spec, self._keeps_memory = self.spec, True
        feeds = {given.name: self._to_feed(given, x) for given, x in zip(spec.inputs, inputs, strict=True)}
        limits = (self._limit(feeds),) if self._is_apart else ()
        output = run_session(self.session, feeds, *limits, name=self.place)
        expected = output_shape(spec, tuple(feeds.values()))
        check_output(output, expected, self.place, "export the model again, and check it with `gan-tasks verify`")
        *_, rows, columns = output_shape(spec, inputs)
        return output[..., :rows, :columns] * 2 - 1

    def release_memory(self) -> None:
        if self._keeps_memory:
            feeds = {each.name: self._to_feed(each, smallest(each)) for each in self.spec.inputs}
            with suppress(UserError):  # the next image gets the error
                if isinstance(self.session, ApartSession):
                    self.session.shrink(feeds, replace(self._limit(feeds), seconds=SHRINK_S))
                elif self.providers[0] == CPU.engine:
                    shrink_arena(self.session, feeds)
        self._keeps_memory = False

    def _limit(self, feeds: Mapping[str, FloatImages]) -> Limit:
        on_gpu = self.providers[0] not in (CPU.engine, OPENVINO)
        return run_limit(self.spec, self.bytes_per_pixel, feeds, on_gpu=on_gpu, seconds=self.max_run_seconds)

    def _to_feed(self, given: InputSpec, x: FloatImages) -> FloatImages:
        if given.kind == "image":
            x = x * np.float32(0.5) + np.float32(0.5)
        return pad_to_multiple(x, self.spec.size_multiple, self.spec.minimum_size) if given.is_spatial else x


def check_unchanged(file: OnnxFile, metadata: OnnxMetadata) -> None:
    """Check the hash of the graph and its weights. Raises OnnxFileError if a byte of them has changed."""
    if graph_sha256(file) != metadata.graph_sha256:
        raise OnnxFileError(
            f"{file.name} is damaged, or another program has changed it: its graph or its weights are not those that "
            "were exported. Copy or download it again, or export the model again"
        )


def check_fit(file: OnnxFile, metadata: OnnxMetadata, session: Session) -> None:
    """Check that inputs, outputs and channels of the graph match its metadata. Raises OnnxFileError if not."""
    spec = metadata.spec
    expected = {given.name: (4 if given.is_spatial else 2, given.channels) for given in spec.inputs}
    inputs, outputs = (
        {value.name: (len(value.shape), value.shape[1] if len(value.shape) > 1 else 0) for value in values}
        for values in (session.get_inputs(), session.get_outputs())
    )
    if inputs != expected or outputs != {OUTPUT: (4, spec.out_channels)}:
        raise OnnxFileError(
            f"{file.name} takes {describe(inputs)} and gives {describe(outputs)}, but its metadata say "
            f"{describe(expected)} and {spec.out_channels} channels. Export it again"
        )


def describe(shapes: Mapping[str, tuple[int, object]]) -> str:
    return ", ".join(f"{name} of {channels} channels" for name, (_, channels) in shapes.items()) or "nothing"


def open_session(
    file: OnnxFile, *, device: str = "auto", provider: str = "auto", start: Start = start_session
) -> Session:
    """Start a session of a checked file. Arguments and errors are those of `OnnxModel`."""
    return pick_session(file, device=device, provider=provider, start=start).session


@dataclass(frozen=True)
class Picked:
    """A session, its configuration, and the reason for the choice; empty for no reason."""

    session: Session
    configuration: Configuration
    why: str

    def __str__(self) -> str:
        provider = self.configuration.provider
        engine = self.session.get_providers()[0].removesuffix("ExecutionProvider")
        runtime = "" if provider.engine == OPENVINO else ", ONNX Runtime"
        how = f"{provider.precision} with Winograd" if provider.winograd else provider.precision
        return f"{engine} {how}{runtime}" + (f" ({self.why})" if self.why else "")


def pick_session(file: OnnxFile, *, device: str, provider: str, start: Start = start_session) -> Picked:
    """Start a session on the requested provider, else on the cached one for this model, else on CUDA or the CPU."""
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        hint = did_you_mean(device, ("auto", "cpu", "cuda"))
        raise UserError(f"no device is called {device!r}, expected auto, cpu, cuda or cuda:N{hint}")
    if kind == provider == "auto":
        cached, remark = read_cached(file)
        if cached is not None:
            try:
                return Picked(start(file, cached), cached, "cached by doctor --bench")
            except UserError as error:
                remark = f"the cached provider of this model is ignored: {error}"
        configuration, session = start_default(file, start)
        return Picked(session, configuration, remark)
    requested = find_provider(kind if provider == "auto" else provider)
    if kind != "auto" and (kind == "cuda") != requested.on_gpu:
        raise UserError(f"the provider {provider} does not run on {device}: leave out one of the two")
    configuration = Configuration(requested, core_count(), int(index or 0))
    return Picked(start(file, configuration), configuration, "")


def smallest(given: InputSpec) -> FloatImages:
    """Return zeros for an input: one pixel, or a latent or label."""
    return np.zeros((1, given.channels, *(1, 1) * given.is_spatial), np.float32)
