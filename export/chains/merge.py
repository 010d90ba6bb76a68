"""Several ONNX files as one: a chain of models in one graph, verified to give what they give one after the other.

Needs the package onnx, and no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError, printable
from gan_tasks.datasets.images import atomic
from gan_tasks.datasets.images.pixels import REC_601
from gan_tasks.export.chains.chain import Chain, chain_spec, check_step
from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.apart.run import run_session
from gan_tasks.export.onnx.contract import OUTPUT, doc_string, input_axes, input_text, output_axes, output_text
from gan_tasks.export.onnx.file import graph_sha256, parse_onnx, read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.model import OnnxModel, open_session
from gan_tasks.export.onnx.test_vectors import (
    TestVector,
    VectorInputs,
    blocks,
    legal_sizes,
    noise,
    test_vectors_to_metadata,
    to_feeds,
    vector_sizes,
)
from gan_tasks.export.onnx.verify import TOLERANCE, Verification, verify_file
from gan_tasks.spec import ModelSpec

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

BATCHES = (1, 2)
"""Batch sizes that are compared."""


@dataclass(frozen=True)
class MergeReport:
    """The file of a chain, and its largest difference from the models one after the other, of values in [0, 1]."""

    path: Path
    size_bytes: int
    max_error: float
    verification: Verification

    def lines(self) -> Iterator[str]:
        yield f"{self.path}: {self.size_bytes / 1e6:,.1f} MB"
        yield (
            f"one graph against its models one after the other: largest difference {self.max_error:.1e} "
            f"(allowed {TOLERANCE:.0e})"
        )
        yield from self.verification.lines()


def merge_onnx(
    files: Sequence[Path],
    out: Path,
    *,
    model_name: str,
    licence: str = "",
    training_data: str = "",
) -> MergeReport:
    """Write the models of ONNX files as one ONNX file, in which each runs on the output of the one before.

    The values between two models are clipped to [0, 1], and gray and RGB are converted where a model needs it, as a
    `Chain` does, but not rounded to levels. The file is used and verified as any other one. An image that needs more
    memory than is allowed runs through the whole chain in tiles.

    Args:
        files: as `gan-tasks export` writes them, in the order in which they run.
        model_name, licence, training_data: texts for the file's metadata. The default is what the files say.

    Raises UserError for models that cannot be one graph, for a path without the suffix .onnx, for missing packages,
    and if the graph gives other values than its models.
    """
    if out.suffix.lower() != ".onnx":
        raise UserError(f"{out} should end in .onnx")
    if find_spec("onnx") is None:
        raise UserError("exporting needs the package onnx: `pip install 'gan-tasks[export]'`")
    read = [read_onnx(path) for path in files]
    parts = [OnnxMetadata.of(file) for file in read]
    for part in parts:
        check_step(part.spec, part.model_name)
        if part.spec.fixed_size:
            raise UserError(f"{part.model_name} takes images of one size alone: no chain with it has one graph")
    spec = chain_spec([part.spec for part in parts], [part.model_name for part in parts])
    proto = merged([file.data for file in read], parts, spec)
    chain = Chain([OnnxModel(path, device="cpu", apart=True) for path in files])
    bare = parse_onnx(proto.SerializeToString(), str(out))
    session = open_session(bare, device="cpu")
    vectors = [
        TestVector.of(inputs, one_by_one(chain, to_feeds(inputs)))
        for inputs in (blocks(spec, *size) for size in vector_sizes(spec))
    ]
    feeds = [noise(spec, batch, *size) for size in legal_sizes(spec) for batch in BATCHES]
    errors = [
        float(np.abs(np.clip(run_session(session, each), 0, 1) - one_by_one(chain, each)).max())
        for each in (*feeds, *(vector.feeds() for vector in vectors))
    ]
    max_error = float(np.max(errors))
    if not max_error <= TOLERANCE:
        raise UserError(
            f"{out} was not written: as one graph the models differ by {max_error:.1e} from the models one after the "
            f"other, and at most {TOLERANCE:.0e} is allowed. Run them one after the other: `gan-tasks apply --then`"
        )
    metadata = OnnxMetadata(
        model_name=model_name or chain.title,
        licence=licence or chain.licence,
        training_data=training_data or chain.training_data,
        gan_tasks=__version__,
        spec=spec,
        bytes_per_pixel=bytes_per_pixel(parts),
        weights="float16" if any(part.weights == "float16" for part in parts) else "float32",
        graph_sha256=graph_sha256(bare),
        max_error=max_error,
        source=chain.source,
        parameters=chain.parameter_count,
        model_card=card(parts),
    )
    for key, value in (metadata.to_metadata() | test_vectors_to_metadata(vectors)).items():
        proto.metadata_props.add(key=key, value=printable(value))
    proto.doc_string = doc_string(spec, metadata.model_name, __version__)
    file = parse_onnx(proto.SerializeToString(), str(out))
    verification = verify_file(file)
    if not verification.ok:
        raise UserError("\n".join([f"{out} was not written:", *verification.lines()]))
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(out, file.data)
    return MergeReport(out, len(file.data), max_error, verification)


def one_by_one(chain: Chain, feeds: VectorInputs) -> FloatImages:
    """Run the models of a chain one after the other, on images in [0, 1]."""
    (images,) = feeds.values()
    return chain.run(images * np.float32(2) - 1) * np.float32(0.5) + np.float32(0.5)


def bytes_per_pixel(parts: Sequence[OnnxMetadata]) -> int:
    """Estimate the memory in use per pixel of the first input: that of the largest step, and of what lies between."""
    scale, largest, between = 1, 1, 0
    for part in parts:
        largest = max(largest, part.bytes_per_pixel * scale**2)
        scale *= part.spec.scale
        between += 4 * part.spec.out_channels * scale**2
    return largest + between


def card(parts: Sequence[OnnxMetadata]) -> str:
    """Return the model cards of the parts, each with the name of its model before it."""
    return "\n\n".join(f"# {part.model_name}\n\n{part.model_card or 'No model card.'}" for part in parts)


def merged(files: Sequence[bytes], parts: Sequence[OnnxMetadata], spec: ModelSpec) -> ModelProto:
    """Return one graph, with the input and the output of the chain's spec. Raises UserError for other channels."""
    import onnx
    from onnx import TensorProto, compose, helper

    given = spec.image
    assert given is not None  # see `check_step`
    protos = in_one_opset([onnx.load_model_from_string(data) for data in files], [part.model_name for part in parts])
    nodes: list[NodeProto] = []
    tensors: list[TensorProto] = []
    current = given.name
    channels = given.channels
    for number, (proto, part) in enumerate(zip(protos, parts, strict=True), start=1):
        prefix = f"step{number}/"
        graph = compose.add_prefix(proto, prefix).graph
        taken = part.spec.image
        assert taken is not None
        joint = bridge(current, f"{prefix}{taken.name}", channels, taken.channels, clips=number > 1)
        nodes += [*joint.node, *graph.node]
        tensors += [*joint.initializer, *graph.initializer]
        current, channels = f"{prefix}{OUTPUT}", part.spec.out_channels
    nodes.append(helper.make_node("Identity", [current], [OUTPUT]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, axes, text)
        for name, axes, text in (
            (given.name, input_axes(spec, given), input_text(spec, given)),
            (OUTPUT, output_axes(spec), output_text(spec)),
        )
    ]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], tensors)
    version = max(opset.version for opset in protos[0].opset_import)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", version)], ir_version=max(proto.ir_version for proto in protos)
    )


def in_one_opset(protos: Sequence[ModelProto], titles: Sequence[str]) -> list[ModelProto]:
    """Convert models to the newest of their sets of operators. Raises UserError if one cannot be converted."""
    from onnx import version_converter

    versions = [max(opset.version for opset in proto.opset_import) for proto in protos]
    newest, converted = max(versions), []
    for proto, version, title in zip(protos, versions, titles, strict=True):
        try:
            converted.append(proto if version == newest else version_converter.convert_version(proto, newest))
        except Exception as error:  # the converter raises RuntimeError, and others
            raise UserError(
                f"{title} uses the operators of opset {version}, and cannot be converted to {newest}, which another "
                "model of the chain uses: export it again with this version of gan-tasks"
            ) from error
    return converted


def bridge(source: str, target: str, given: int, taken: int, *, clips: bool) -> GraphProto:
    """Return the nodes between two models: values clipped to [0, 1], and channels converted as `fit_channels` does.

    given, taken: the numbers of channels. Raises UserError for other channels than gray and RGB.
    """
    from onnx import helper, numpy_helper

    nodes, tensors, current = [], [], source
    if clips:
        tensors = [
            numpy_helper.from_array(np.array(value, np.float32), f"{target}.{name}")
            for name, value in (("least", 0), ("most", 1))
        ]
        nodes.append(helper.make_node("Clip", [current, *(tensor.name for tensor in tensors)], [f"{target}.clipped"]))
        current = f"{target}.clipped"
    if (given, taken) == (3, 1):
        weights = np.asarray(REC_601, np.float32).reshape(1, 3, 1, 1)
        tensors.append(numpy_helper.from_array(weights, f"{target}.luma"))
        nodes.append(helper.make_node("Conv", [current, f"{target}.luma"], [target]))
    elif (given, taken) == (1, 3):
        nodes.append(helper.make_node("Concat", [current] * 3, [target], axis=1))
    elif given == taken:
        nodes.append(helper.make_node("Identity", [current], [target]))
    else:
        raise UserError(
            f"one graph converts gray to RGB and RGB to gray, and here {given} channels would become {taken}: run "
            "the models one after the other, with `gan-tasks apply --then`"
        )
    return helper.make_graph(nodes, "bridge", [], [], tensors)
