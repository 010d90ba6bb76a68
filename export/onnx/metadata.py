"""The metadata of an exported model, stored as `metadata_props` of its ONNX file. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError
from gan_tasks.runs.json_file import parse_json
from gan_tasks.spec import ModelSpec, spec_from_json, spec_to_json

MAX_SPEC_LENGTH = 100_000
"""Largest length of the spec's JSON in characters."""
MAX_LISTED = 5
"""Most invalid entries in a message."""
MAX_BYTES_PER_PIXEL = 10_000_000
"""Super-resolution with a scale of 4 by RRDBNet, whose features are large, needs about 10,000."""


def parse_spec(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if len(value) > MAX_SPEC_LENGTH:
        raise ValueError(f"it has {len(value):,} characters, expected at most {MAX_SPEC_LENGTH:,}")
    return parse_json(value)


@dataclass(frozen=True)
class OnnxMetadata:
    """The metadata of an exported model. Each field is one entry, as text; `spec` is JSON."""

    model_name: str
    licence: str
    """Licence, as stated at the export."""
    training_data: str
    """Description of the training data, as stated at the export."""
    gan_tasks: str
    """Version of gan-tasks that exported the model."""
    spec: Annotated[ModelSpec, BeforeValidator(parse_spec)]
    """Inputs and outputs of the model."""
    bytes_per_pixel: Annotated[int, Field(ge=1, le=MAX_BYTES_PER_PIXEL)]
    """Estimate of the memory in use while the model runs, per pixel of input."""
    weights: Literal["float32", "float16"]
    """Type of the stored weights; the arithmetic is float32 in both cases."""
    graph_sha256: str
    """SHA-256 of the graph with its weights. It is not a signature: whoever changes the graph can change it too."""
    max_error: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Largest difference from torch at the export, of values in [0, 1]; of a chain, from its models one after the
    other."""
    rounding_error: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """With float16 weights, the largest difference from the float32 ones at the export, of values in [0, 1]."""
    source: str = ""
    """Source of the weights: the name of a public file, or of the run and its checkpoint."""
    source_sha256: str = ""
    """SHA-256 of the public file."""
    family: str = ""
    """Projects that published the network; empty for a network trained with gan-tasks."""
    architecture: str = ""
    """Name of the architecture in these projects."""
    width: Annotated[int, Field(ge=0)] = 0
    """Channels of the first layer; 0 if unknown."""
    parameters: Annotated[int, Field(ge=0)] = 0
    """Number of weights and biases; 0 if unknown."""
    task_options: str = ""
    """Task options of the training, without paths, as JSON; empty if unknown."""
    model_card: str = ""
    """Model card as Markdown (see `gan_tasks.runs.model_card`)."""

    def to_metadata(self) -> dict[str, str]:
        """Return the entries of `metadata_props`."""
        entries = {key: str(value) for key, value in asdict(self).items()}
        return entries | {"spec": json.dumps(spec_to_json(self.spec))}

    @classmethod
    def of(cls, file: OnnxFile) -> OnnxMetadata:
        """Read the metadata of a file. Raises OnnxFileError if `gan-tasks export` did not write them."""
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
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:MAX_LISTED])
            raise OnnxFileError(f"{file.name} has invalid metadata: {wrong}. Export it again") from error


def spec_of(file: OnnxFile) -> ModelSpec | None:
    """Return the spec in a file's metadata; None if there is none, or it is invalid."""
    try:
        return spec_from_json(parse_spec(file.metadata.get("spec", "")))
    except ValueError:
        return None
