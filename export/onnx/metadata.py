"""What an exported model says of itself: the `metadata_props` of its ONNX file. Imports no torch."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError

Count = Annotated[int, Field(ge=1, le=4096)]


@dataclass(frozen=True)
class OnnxMetadata:
    """The metadata of an exported model; each field is one entry, as text."""

    task: str
    model_name: str
    licence: str
    training_data: str
    """In the exporter's own words, as the licence is."""
    gan_tasks: str
    """Version that exported it."""
    in_channels: Count
    out_channels: Count
    scale: Count
    """Output pixels to an input pixel, along a side."""
    size_multiple: Count
    """Height and width given to the graph must divide by this,"""
    minimum_size: Count
    """and be at least this, in pixels."""
    overlap: Count
    """Pixels that neighbouring tiles share: a multiple of `size_multiple` and at least half of `minimum_size`."""
    bytes_per_pixel: Annotated[int, Field(ge=1)]
    """Estimate of the memory in use while it runs, to a pixel of input."""
    weights: Literal["float32", "float16"]
    """How they are stored; the arithmetic is of float32 in both."""
    graph_sha256: str
    """Of the graph with its weights; not a signature, for whoever changes it can change this too."""
    max_error: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Largest difference to the network in torch when it was exported, of values in [0, 1]."""
    source: str = ""
    """Where the weights are from: the name of a published file, or of the run and its checkpoint."""
    source_sha256: str = ""
    """Of the published file."""
    family: str = ""
    """The projects that publish the network; empty for one that was trained here."""
    architecture: str = ""
    """What it is called there."""
    width: Annotated[int, Field(ge=0)] = 0
    """Channels of its first layer; 0 where it is not stated."""
    direction: str = ""
    """Which way it goes, such as a-to-b, where its task learns several; files of one source belong together."""
    task_options: str = ""
    """Options of the task that it was trained with, paths left out, as JSON; empty where they are not known."""
    model_card: str = ""
    """What the model is, for people, as Markdown (see `gan_tasks.runs.model_card`)."""

    def __post_init__(self) -> None:
        if self.overlap % self.size_multiple or 2 * self.overlap < self.minimum_size:
            raise ValueError("overlap must be a multiple of size_multiple and at least half of minimum_size")

    def to_metadata(self) -> dict[str, str]:
        return {key: str(value) for key, value in asdict(self).items()}

    @classmethod
    def of(cls, file: OnnxFile) -> OnnxMetadata:
        """Raises OnnxFileError where a file was not written by `gan-tasks export`, or its metadata were changed."""
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if missing := sorted(required - file.metadata.keys()):
            raise OnnxFileError(
                f"{file.name} lacks {', '.join(missing)} in its metadata: "
                "expected a model that `gan-tasks export` wrote"
            )
        found = {field.name: file.metadata[field.name] for field in fields(cls) if field.name in file.metadata}
        try:
            return TypeAdapter(cls).validate_python(found)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise OnnxFileError(f"{file.name} has metadata that do not fit: {wrong}. Export it again") from error
