"""What an exported model says of itself: the `metadata_props` of its ONNX file. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError
from gan_tasks.spec import ModelSpec, spec_from_json, spec_to_json


def parse_spec(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class OnnxMetadata:
    """The metadata of an exported model. Each field is one entry, as text; `spec` as JSON."""

    model_name: str
    licence: str
    training_data: str
    """In the exporter's own words, as the licence is."""
    gan_tasks: str
    """Version that exported it."""
    spec: Annotated[ModelSpec, BeforeValidator(parse_spec)]
    """What the model takes and gives."""
    bytes_per_pixel: Annotated[int, Field(ge=1)]
    """Estimate of the memory in use while it runs, to a pixel of input."""
    weights: Literal["float32", "float16"]
    """How they are stored; the arithmetic is of float32 in both."""
    graph_sha256: str
    """Of the graph with its weights; not a signature, for whoever changes it can change this too."""
    max_error: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Largest difference to the network in torch when it was exported, of values in [0, 1]."""
    source: str = ""
    """Where the weights come from: the name of a published file, or of the run and its checkpoint."""
    source_sha256: str = ""
    """Of the published file."""
    family: str = ""
    """The projects that publish the network; empty for one that was trained here."""
    architecture: str = ""
    """What it is called there."""
    width: Annotated[int, Field(ge=0)] = 0
    """Channels of its first layer; 0 where it is not stated."""
    task_options: str = ""
    """Options of the task that it was trained with, paths left out, as JSON; empty where they are not known."""
    model_card: str = ""
    """What the model is, for people, as Markdown (see `gan_tasks.runs.model_card`)."""

    def to_metadata(self) -> dict[str, str]:
        entries = {key: str(value) for key, value in asdict(self).items()}
        return entries | {"spec": json.dumps(spec_to_json(self.spec))}

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


def spec_of(file: OnnxFile) -> ModelSpec | None:
    """The spec in a file's metadata; None where there is none that can be read."""
    try:
        return spec_from_json(json.loads(file.metadata.get("spec", "")))
    except ValueError:
        return None
