"""Winograd's filtering instead of convolutions: equal results at any size, and no other changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_runs import Exported, make_run
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.load import load_model
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.providers import find_provider, missing
from gan_tasks.export.onnx.winograd import IN, OUT, WEIGHT, use_winograd, with_winograd

RNG = np.random.default_rng(0)
KERNELS = [RNG.normal(0, 0.05, shape).astype(np.float32) for shape in ((72, 64, 3, 3), (64, 72, 3, 3))]
BIAS = RNG.normal(size=72).astype(np.float32)
PADS = (0, 0, 1, 1, 0, 0, 1, 1)


def make_proto(
    kernels: list[NDArray[Any]],
    *,
    pads: tuple[int, ...] = PADS,
    mode: str = "reflect",
    half: bool = False,
    **conv: Any,
) -> onnx.ModelProto:
    """A graph of padding, convolution and ReLU for each kernel.

    The first convolution has a bias, and the input is added at the end.
    """
    weights = [numpy_helper.from_array(np.array(pads), "pads"), numpy_helper.from_array(BIAS, "bias")]
    nodes, name = [], "image"
    for index, kernel in enumerate(kernels):
        stored = kernel.astype(np.float16) if half else kernel
        weights.append(numpy_helper.from_array(stored, f"stored{index}"))
        cast = helper.make_node("Cast", [f"stored{index}"], [f"w{index}"], to=TensorProto.FLOAT)
        inputs = [f"padded{index}", f"w{index}" if half else f"stored{index}", *(["bias"] if index == 0 else [])]
        nodes += [
            *([cast] if half else []),
            helper.make_node("Pad", [name, "pads"], [f"padded{index}"], mode=mode),
            helper.make_node("Conv", inputs, [f"mixed{index}"], **conv),
            helper.make_node("Relu", [f"mixed{index}"], [f"x{index}"]),
        ]
        name = f"x{index}"
    nodes.append(
        helper.make_node("Add" if len(kernels) > 1 else "Identity", [name, "image"][: len(kernels)], ["output"])
    )
    image, output = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", None, "h", "w"]) for n in ("image", "output")
    )
    graph = helper.make_graph(nodes, "graph", [image], [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def with_torch(image: NDArray[np.float32], kernels: list[NDArray[Any]]) -> NDArray[np.float32]:
    """The same computation in torch, in float64."""
    x = torch.from_numpy(image).double()
    for index, kernel in enumerate(kernels):
        bias = torch.from_numpy(BIAS).double() if index == 0 else None
        x = functional.conv2d(
            functional.pad(x, (1, 1, 1, 1), mode="reflect"), torch.from_numpy(kernel).double(), bias
        )
        x = x.relu()
    result: NDArray[np.float32] = (x + torch.from_numpy(image)).float().numpy()
    return result


def session_of(proto: onnx.ModelProto) -> Any:
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


@cache
def rewritten_session() -> Any:
    proto = make_proto(KERNELS)
    assert use_winograd(proto) == 2
    onnx.checker.check_model(proto, full_check=True)
    assert not {"Conv", "Pad"} & {node.op_type for node in proto.graph.node}
    return session_of(proto)


@given(st.lists(st.integers(-99, 99), min_size=6, max_size=6), st.lists(st.integers(-99, 99), min_size=3, max_size=3))
def test_the_transforms_filter_a_vector(line: list[int], taps: list[int]) -> None:
    filtered = OUT @ ((WEIGHT @ np.array(taps)) * (IN @ np.array(line)))
    np.testing.assert_allclose(filtered, np.correlate(line, taps, "valid"), atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(2, 21), st.integers(2, 21), st.integers(0, 99))
def test_the_result_equals_that_of_convolutions_at_any_size(batch: int, height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=(batch, 64, height, width)).astype(np.float32)
    (output,) = rewritten_session().run(None, {"image": image})
    np.testing.assert_allclose(output, with_torch(image, KERNELS), atol=1e-4)


def test_float16_weights_are_rewritten() -> None:
    proto = make_proto(KERNELS, half=True)
    before = session_of(proto)
    assert use_winograd(proto) == 2
    assert not any(tensor.data_type == TensorProto.FLOAT16 for tensor in proto.graph.initializer)
    image = RNG.normal(size=(1, 64, 9, 14)).astype(np.float32)
    np.testing.assert_allclose(
        session_of(proto).run(None, {"image": image})[0], before.run(None, {"image": image})[0], atol=1e-4
    )


def kernel_of(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {"strides": [2, 2]},
        {"dilations": [2, 2]},
        {"group": 2, "kernels": [kernel_of(72, 64, 3, 3)]},
        {"kernel_shape": [3, 3], "pads_of_conv": [1, 1, 1, 1]},
        {"pads": (0, 0, 2, 2, 0, 0, 2, 2)},
        {"pads": (0, 0, 1, 0, 0, 0, 1, 1)},
        {"mode": "edge"},
        {"kernels": [kernel_of(72, 64, 5, 5)]},
        {"kernels": [kernel_of(72, 63, 3, 3)]},
        {"kernels": [kernel_of(72, 513, 3, 3)]},
    ],
    ids=str,
)
def test_unsuitable_convolutions_are_not_changed(changes: dict[str, Any]) -> None:
    options = dict(changes)
    conv_pads = options.pop("pads_of_conv", None)
    proto = make_proto(options.pop("kernels", KERNELS[:1]), **options)
    if conv_pads:
        next(node for node in proto.graph.node if node.op_type == "Conv").attribute.append(
            helper.make_attribute("pads", conv_pads)
        )
    before = proto.SerializeToString()
    assert use_winograd(proto) == 0
    assert proto.SerializeToString() == before


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet whose body has 64 channels."""
    folder = tmp_path_factory.mktemp("resnet")
    run = make_run(folder / "run", generator="resnet-6", norm="instance", width=16)
    path = folder / "model.onnx"
    export_onnx(TrainedModel(run, device="cpu"), path, model_name="resnet")
    return path


@pytest.mark.parametrize("name", ["cpu-winograd", "openvino-winograd"])
def test_an_exported_model_gives_the_same_output(name: str, resnet: Path) -> None:
    if (reason := missing(find_provider(name))) is not None:
        pytest.skip(reason)
    images = RNG.uniform(-1, 1, (2, 3, 33, 50)).astype(np.float32)
    model = load_model(resnet, provider=name)
    assert "with Winograd" in model.runs_on
    np.testing.assert_allclose(model.run(images), load_model(resnet, provider="cpu").run(images), atol=2e-4)


def test_replaced_nodes_and_weights_are_removed(resnet: Path) -> None:
    proto = onnx.load_model_from_string(with_winograd(read_onnx(resnet)))
    onnx.checker.check_model(proto, full_check=True)
    read = {name for node in proto.graph.node for name in node.input}
    assert {tensor.name for tensor in proto.graph.initializer} <= read
    assert (
        sum(node.op_type == "Conv" for node in proto.graph.node) == 4
    )  # stem, two downs, head; the ups are transposed
    assert sum(node.op_type == "Range" for node in proto.graph.node) == 4  # one tiling is shared by all


def test_a_model_without_such_convolutions_is_refused(exported: Callable[[str], Exported]) -> None:
    with pytest.raises(UserError, match="no convolution that suits"):
        load_model(exported("unet-128").path, provider="cpu-winograd")
