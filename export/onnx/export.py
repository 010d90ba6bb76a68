"""Export a model to one ONNX file, and verify that both give the same outputs."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError, printable
from gan_tasks.datasets.images import atomic
from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.models.memory import peak_bytes
from gan_tasks.export.models.torch_model import TorchModel, run_strip_wise
from gan_tasks.export.onnx.apart.run import run_session
from gan_tasks.export.onnx.contract import OUTPUT, doc_string, input_axes, input_text, output_axes, output_text
from gan_tasks.export.onnx.file import OnnxFile, graph_sha256, parse_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.model import open_session
from gan_tasks.export.onnx.test_vectors import (
    TestVector,
    blocks,
    comparable,
    legal_sizes,
    noise,
    only_size,
    test_vectors_to_metadata,
    to_feeds,
    vector_sizes,
)
from gan_tasks.export.onnx.verify import TOLERANCE, Verification, verify_file
from gan_tasks.networks.sizes import BlockwiseModule, least_measured_side, uses_whole_image
from gan_tasks.networks.super_resolution.reparameterised import fuse
from gan_tasks.spec import ModelSpec

if TYPE_CHECKING:
    from onnx import ModelProto

HALF_TOLERANCE = 0.02
"""Largest change of the output by weights rounded to float16, of values in [0, 1]: five levels of 255."""
BATCHES = (1, 2)
"""Batch sizes that are compared."""
RUNTIME_FACTOR = 1.7
"""Memory in use by a runtime over the features alive in torch. On the CPU, ONNX Runtime takes 1.6 and OpenVINO 1.3
for RRDBNet, 0.8 and 0.9 for SRVGG-16."""
WINDOW_RUNTIME_FACTOR = 2.2
"""RUNTIME_FACTOR for networks with attention windows. On the CPU, ONNX Runtime takes 2.0 for DAT, 2.4 for OmniSR."""


Run = Callable[[dict[str, FloatImages]], FloatImages]
"""Runs a graph on inputs by name."""


class NotVerifiedError(UserError):
    """The outputs of the exported graph differ from the network's. No file was written."""


@dataclass(frozen=True)
class ExportReport:
    """The exported file, and its largest difference from torch, of values in [0, 1]."""

    path: Path
    size_bytes: int
    max_error: float
    tolerance: float
    sizes: tuple[tuple[int, int], ...]
    """The compared sizes (height, width), each with a batch of one and a batch of two."""
    verification: Verification
    rounding_error: float = 0.0
    """With float16 weights, the largest difference from the network of float32 weights, of values in [0, 1]."""

    def lines(self) -> Iterator[str]:
        yield f"{self.path}: {self.size_bytes / 1e6:,.1f} MB"
        yield f"ONNX Runtime against torch: largest difference {self.max_error:.1e} (allowed {self.tolerance:.0e})"
        if self.rounding_error:
            yield (
                f"float16 weights against float32 ones: largest difference {self.rounding_error:.1e} (allowed "
                f"{HALF_TOLERANCE:.0e})"
            )
        yield from self.verification.lines()


def export_onnx(
    model: TorchModel,
    out: Path,
    *,
    half: bool = False,
    model_name: str,
    licence: str = "",
    training_data: str = "",
    model_card: str = "",
) -> ExportReport:
    """Write the model in eval mode to one ONNX file, after its outputs are verified against torch.

    The inputs are those of the model's spec, images N×C×H×W float32 in [0, 1] with H and W multiples of
    `size_multiple`. The output is called `output`, in [0, 1]. N is free, and so are H and W unless the model has a
    fixed size. `OnnxModel` pads and crops images of other sizes.

    Verified means: ONNX's checker accepts the file, and ONNX Runtime on the CPU agrees with torch at five sizes and
    two batch sizes to TOLERANCE. With `half`, torch has the rounded weights too, in the test vectors of the file as
    well, and the rounding changes the outputs by at most HALF_TOLERANCE.

    Args:
        half: round the weights to float16, which halves the file. The arithmetic stays in float32, so features
            cannot overflow, and the speed is the same.
        model_name, licence, training_data, model_card: texts for the file's metadata.

    Raises NotVerifiedError if the outputs differ, and UserError for a path without the suffix .onnx and for missing
    packages.
    """
    if out.suffix.lower() != ".onnx":
        raise UserError(f"{out} should end in .onnx")
    if any(find_spec(package) is None for package in ("onnx", "onnxscript")):
        raise UserError("exporting needs the packages onnx and onnxscript: `pip install 'gan-tasks[export]'`")
    spec = model.spec
    graph = Graph(copy.deepcopy(model.network).cpu().eval(), spec)
    graph.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # strides of other formats limit H and W
    run_strip_wise(graph, False)  # strip-wise loops cannot be exported
    fused = copy.deepcopy(graph)  # the file is compared with the network as it is
    fuse(fused)
    sizes = legal_sizes(spec)
    noises = [comparable(spec, noise(spec, batch, *size), graph.run)[0] for size in sizes for batch in BATCHES]
    rounding_error = 0.0
    if half:
        merge_batch_norms(fused)
        round_weights(fused)
        rounding_error = largest_difference(fused.run, graph.run, noises)
        check_error(out, "float16 weights differ from float32 ones", rounding_error, HALF_TOLERANCE, "without half")
        graph = fused
    proto = to_onnx(fused)
    state_contract(proto, spec)
    if half:
        store_as_float16(proto)
    vectors = make_test_vectors(graph, vector_sizes(spec))
    bare = to_file(proto, out)
    session = open_session(bare, device="cpu")
    feeds = [*noises, *(vector.feeds() for vector in vectors)]
    max_error = largest_difference(partial(run_session, session), graph.run, feeds)
    check_error(out, "ONNX Runtime differs from torch", max_error, TOLERANCE)
    metadata = OnnxMetadata(
        model_name=model_name,
        licence=licence,
        training_data=training_data,
        gan_tasks=__version__,
        # The file has one direction. Unlike torch, a runtime computes means in each tile.
        spec=replace(spec, directions=(), global_statistics=spec.global_statistics or uses_whole_image(graph)),
        bytes_per_pixel=bytes_per_pixel(fused, sizes[-1]),
        weights="float16" if half else "float32",
        graph_sha256=graph_sha256(bare),
        max_error=max_error,
        rounding_error=rounding_error,
        parameters=sum(parameter.numel() for parameter in fused.parameters()),
        task_options=model.task_options,
        model_card=model_card,
        **asdict(model.origin()),
    )
    for key, value in (metadata.to_metadata() | test_vectors_to_metadata(vectors)).items():
        proto.metadata_props.add(key=key, value=printable(value))
    proto.doc_string = doc_string(metadata.spec, metadata.model_name, __version__)
    file = to_file(proto, out)
    verification = verify_file(file)
    if not verification.ok:
        raise NotVerifiedError("\n".join([f"{out} was not written:", *verification.lines()]))
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(out, file.data)
    return ExportReport(out, len(file.data), max_error, TOLERANCE, sizes, verification, rounding_error)


class Graph(nn.Module):
    """The exported module: the network for images in [0, 1] instead of [-1, 1]. Other inputs are not changed."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.spec = spec

    def forward(self, *inputs: Tensor) -> Tensor:
        named = zip(self.spec.inputs, inputs, strict=True)
        output: Tensor = self.network(*(x * 2 - 1 if given.kind == "image" else x for given, x in named))
        return output * 0.5 + 0.5

    def run(self, feeds: dict[str, FloatImages]) -> FloatImages:
        """Run the module in torch on inputs by name."""
        with torch.inference_mode():
            output: FloatImages = self(*(torch.from_numpy(feeds[given.name]) for given in self.spec.inputs)).numpy()
        return output


def free_dimensions(spec: ModelSpec) -> tuple[dict[int, Any], ...]:
    """Return the free dimensions of each input: N, and H and W unless the size is fixed.

    Inputs `as first` share H and W with the first image.
    """
    batch, multiple = torch.export.Dim("batch"), spec.size_multiple
    least = least_exported(spec)

    def sides(suffix: str) -> dict[int, Any]:
        if spec.fixed_size:
            return {}
        rows, columns = (torch.export.Dim(f"{name}{suffix}", min=least) for name in ("rows", "columns"))
        return {2: multiple * rows, 3: multiple * columns}

    first, free = sides(""), []
    for number, given in enumerate(spec.inputs):
        own = sides(f"_{number}") if given.size == "any" and given is not spec.image else first
        free.append({0: batch} | (own if given.is_spatial else {}))
    return tuple(free)


def least_exported(spec: ModelSpec) -> int:
    """Return the smallest side that torch.export is told, in units of `size_multiple`.

    With attention windows it is more than one of them: torch.export would fix a number of windows that could be 1.
    The graph runs smaller images all the same, which the comparison with torch checks.
    """
    least = spec.minimum_size if spec.tile_multiple == 1 else max(spec.minimum_size, 2 * spec.tile_multiple + 1)
    return -(-least // spec.size_multiple)


def to_onnx(graph: Graph) -> ModelProto:
    """Convert to an ONNX graph with free N, H and W, without torch's metadata about our source code."""
    spec = graph.spec
    least, multiple = least_exported(spec), spec.size_multiple
    # torch.export would fix a size at the limits, or two equal sizes, so the example has neither.
    example = noise(spec, 2, *(only_size(spec) or ((least + 1) * multiple, (least + 2) * multiple)))
    names = tuple(given.name for given in spec.inputs)
    # Numbers that follow from the size, such as that of windows, may be 1 for the example and larger for others.
    with quiet(), torch.fx.experimental._config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        exported = torch.export.export(
            graph,
            tuple(torch.from_numpy(example[name]) for name in names),
            dynamic_shapes=(free_dimensions(spec),),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        program = torch.onnx.export(
            exported,
            input_names=names,
            output_names=[OUTPUT],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # it is not None with dynamo=True
    proto: ModelProto = program.model_proto
    # If the shapes between layers are known, ONNX Runtime keeps the memory of a layer for later ones of the same
    # shape: the two networks of DeepFill v2 took 915 MiB instead of 450.
    if len(names) > 1:
        del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.ClearField("metadata_props")
    return proto


def state_contract(proto: ModelProto, spec: ModelSpec) -> None:
    """Name the free axes of inputs and output, and write what they hold into their `doc_string`."""
    names: dict[str, str] = {}
    for value, given in zip(proto.graph.input, spec.inputs, strict=True):
        value.doc_string = input_text(spec, given)
        for dimension, axis in zip(value.type.tensor_type.shape.dim, input_axes(spec, given), strict=True):
            if dimension.dim_param:
                names[dimension.dim_param] = str(axis)
    (output,) = proto.graph.output
    output.doc_string = output_text(spec)
    for value in (*proto.graph.input, *proto.graph.value_info):  # by one name in all places
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = names.get(dimension.dim_param, dimension.dim_param)
    for dimension, axis in zip(output.type.tensor_type.shape.dim, output_axes(spec), strict=True):
        if dimension.dim_param:
            dimension.dim_param = str(axis)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the exporter's warnings about optional packages and deprecations."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def merge_batch_norms(network: nn.Module) -> None:
    """Merge batch norms into the convolutions before them, in place. The exporter would do it after the rounding."""
    for part in network.modules():
        if isinstance(part, nn.Sequential):
            for number, (conv, norm) in enumerate(pairwise(list(part))):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[number], part[number + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()


def round_weights(network: nn.Module) -> None:
    """Round the weights of a network to float16, in place. They stay float32; biases and other vectors are few."""
    with torch.no_grad():
        for weights in network.parameters():
            if weights.dim() >= 2:
                weights.copy_(weights.half())  # too large values become infinite, which the comparison detects


def store_as_float16(proto: ModelProto) -> None:
    """Store the weights that float16 holds exactly as such, each with a node that casts it when it is loaded."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weights in proto.graph.initializer:
        if weights.data_type != TensorProto.FLOAT or len(weights.dims) < 2:
            continue
        values = numpy_helper.to_array(weights)
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float16)
        if not np.array_equal(rounded, values):  # computed from rounded weights
            continue
        stored = numpy_helper.from_array(rounded, f"{weights.name}.half")
        casts.append(helper.make_node("Cast", [stored.name], [weights.name], to=TensorProto.FLOAT))
        weights.CopyFrom(stored)
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def to_file(proto: ModelProto, out: Path) -> OnnxFile:
    """Serialise a model in memory; `out` is its name in messages."""
    return parse_onnx(proto.SerializeToString(), str(out))


def make_test_vectors(graph: Graph, sizes: Sequence[tuple[int, int]]) -> tuple[TestVector, ...]:
    """Make test vectors of these sizes (height, width) with the outputs of torch."""
    spec = graph.spec
    return tuple(
        TestVector.of(*comparable(spec, blocks(spec, *size), lambda inputs: graph.run(to_feeds(inputs))))
        for size in sizes
    )


def largest_difference(run: Run, other: Run, feeds: Iterable[dict[str, FloatImages]]) -> float:
    """Return the largest difference between two runs of a graph; nan if either output contains nan."""
    return float(np.max([np.abs(run(inputs) - other(inputs)).max() for inputs in feeds]))


def check_error(out: Path, what: str, error: float, tolerance: float, remedy: str = "") -> None:
    """Raise NotVerifiedError if an error is larger than its tolerance, or nan."""
    if not error <= tolerance:
        raise NotVerifiedError(
            f"{out} was not written: {what} by {error:.1e}, and at most {tolerance:.0e} is allowed"
            + (f". Export it {remedy}" if remedy else "")
        )


def bytes_per_pixel(graph: Graph, size: tuple[int, int]) -> int:
    """Estimate the memory in use per pixel of input: the runtime's factor times the features alive in torch.

    The size is enlarged to a multiple of the attention windows, so that it counts no padding.
    """
    multiple = graph.spec.tile_multiple
    least = least_measured_side(graph)
    size = (-(-max(size[0], least) // multiple) * multiple, -(-max(size[1], least) // multiple) * multiple)
    # The multiple of a blockwise module is not that of windows, but that of its downsampling.
    has_windows = multiple > 1 and not any(isinstance(part, BlockwiseModule) for part in graph.modules())
    factor = WINDOW_RUNTIME_FACTOR if has_windows else RUNTIME_FACTOR
    inputs = noise(graph.spec, 1, *size)
    peak = peak_bytes(graph, [torch.from_numpy(inputs[given.name]).to("meta") for given in graph.spec.inputs])
    return math.ceil(factor * peak / (size[0] * size[1]))
