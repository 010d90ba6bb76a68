"""A model from one ONNX file, run without torch (see providers.py for with what)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.base import MAX_MEMORY_BYTES, FloatImages
from gan_tasks.export.models.tiled import TiledModel, pad_to_multiple
from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError, read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.provider_cache import recall
from gan_tasks.export.onnx.providers import (
    OPENVINO,
    Configuration,
    Session,
    core_count,
    find_provider,
    start_default,
    start_session,
)

OUTPUT = "output"
"""Name of the graph's output; ONNX does not allow it to be that of the input, `image`."""


class OnnxModel(TiledModel):
    """See `TiledModel`.

    card: what the file says of itself.
    providers: what really runs it, the preferred first; such as CUDAExecutionProvider or OpenVINO.
    runs_on: the same for people, with what there is to say of the choice.
    max_memory_bytes: of the network's features; the image and its result come on top.

    Args:
        device: cpu, cuda or cuda:N; auto leaves it to `provider`.
        provider: one of `providers.PROVIDERS` by its name; auto takes what `gan-tasks doctor --bench` found best
            for this model, else CUDA where it works, else the CPU.

    Raises UserError for a file that cannot or must not be opened, and a device or provider that is not there.
    """

    def __init__(
        self, path: Path, *, device: str = "auto", provider: str = "auto", max_memory_bytes: int = MAX_MEMORY_BYTES
    ) -> None:
        file = read_onnx(path)
        self.metadata = OnnxMetadata.of(file)
        picked = pick_session(file, device=device, provider=provider)
        self.session = picked.session
        check_fit(file, self.metadata, self.session)
        self.max_memory_bytes = max_memory_bytes
        self.providers: tuple[str, ...] = tuple(self.session.get_providers())
        self.inputs = tuple(value.name for value in self.session.get_inputs())
        self.runs_on = str(picked)
        self.name = self.metadata.task
        self.title = self.metadata.model_name
        self.in_channels, self.out_channels = self.metadata.in_channels, self.metadata.out_channels
        self.scale = self.metadata.scale
        self.task_options = self.metadata.task_options
        self.source, self.training_data = self.metadata.source, self.metadata.training_data
        self.direction = self.metadata.direction
        self.size_multiple, self.minimum_size = self.metadata.size_multiple, self.metadata.minimum_size

    @property
    def overlap(self) -> int:
        return self.metadata.overlap

    @property
    def bytes_per_pixel(self) -> int:
        return self.metadata.bytes_per_pixel

    def run_network(self, *inputs: FloatImages) -> FloatImages:
        height, width = inputs[0].shape[-2:]
        image, *masks = (pad_to_multiple(each, self.size_multiple, self.minimum_size) for each in inputs)
        feeds = zip(self.inputs, (image * np.float32(0.5) + np.float32(0.5), *masks), strict=True)
        output = run_session(self.session, dict(feeds)) * 2 - 1
        return output[..., : height * self.scale, : width * self.scale]


def check_fit(file: OnnxFile, metadata: OnnxMetadata, session: Session) -> None:
    """Raises OnnxFileError where the graph has other inputs, outputs or channels than its card says."""
    channels_in = {value.name: value.shape[1] for value in session.get_inputs() if len(value.shape) == 4}
    channels_out = {value.name: value.shape[1] for value in session.get_outputs() if len(value.shape) == 4}
    if channels_in.get("image") != metadata.in_channels or channels_out != {OUTPUT: metadata.out_channels}:
        raise OnnxFileError(
            f"{file.name} takes channels {channels_in} and gives {channels_out}, but its metadata say "
            f"{metadata.in_channels} and {metadata.out_channels}. Export it again"
        )


def open_session(file: OnnxFile, *, device: str = "auto", provider: str = "auto") -> Session:
    """A session of a file that `read_onnx` found safe; see `OnnxModel` for the arguments and what is raised."""
    return pick_session(file, device=device, provider=provider).session


@dataclass(frozen=True)
class Picked:
    """A session, what it runs on, and how that came to be chosen, where there is something to be said of it."""

    session: Session
    configuration: Configuration
    why: str

    def __str__(self) -> str:
        provider = self.configuration.provider
        engine = self.session.get_providers()[0].removesuffix("ExecutionProvider")
        runtime = "" if provider.engine == OPENVINO else ", ONNX Runtime"
        how = f"{provider.precision} with Winograd" if provider.winograd else provider.precision
        return f"{engine} {how}{runtime}" + (f" ({self.why})" if self.why else "")


def pick_session(file: OnnxFile, *, device: str, provider: str) -> Picked:
    """A session on what was asked for; else on what is remembered for this model; else CUDA or the CPU."""
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise UserError(f"no device is called {device!r}: expected auto, cpu, cuda or cuda:N")
    if kind == provider == "auto":
        remembered, remark = recall(file)
        if remembered is not None:
            try:
                return Picked(start_session(file, remembered), remembered, "remembered from doctor --bench")
            except UserError as error:
                remark = f"the choice remembered for this model is ignored: {error}"
        configuration, session = start_default(file)
        return Picked(session, configuration, remark)
    asked_for = find_provider(kind if provider == "auto" else provider)
    if kind != "auto" and (kind == "cuda") != asked_for.on_gpu:
        raise UserError(f"the provider {provider} does not run on {device}: leave out one of the two")
    configuration = Configuration(asked_for, core_count(), int(index or 0))
    return Picked(start_session(file, configuration), configuration, "")


def run_session(session: Session, feeds: Mapping[str, FloatImages]) -> FloatImages:
    """The graph's output for its inputs by name; all are N×C×H×W float32, images in [0, 1]."""
    (output,) = session.run([OUTPUT], feeds)
    return output
