"""`verify` accepts exported files and rejects changed ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from handmade_onnx import make_metadata, make_proto, write_onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tiny_runs import Exported

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.onnx import verify as verify_module
from gan_tasks.export.onnx.file import OnnxFileError, parse_onnx
from gan_tasks.export.onnx.test_vectors import (
    MAX_BYTES,
    TestVector,
    blocks,
    comparable,
    legal_sizes,
    noise,
    vector_sizes,
)
from gan_tasks.export.onnx.verify import Verification, verify, verify_file
from gan_tasks.spec import InputSpec, ModelSpec

VALID = make_proto(make_metadata()).SerializeToString()


def failed(verification: Verification) -> list[str]:
    return [check.name for check in verification.checks if not check.ok]


@pytest.mark.parametrize("scale", [1, 3])
def test_a_valid_model_is_verified(scale: int, tmp_path: Path) -> None:
    verification = verify(write_onnx(tmp_path / "model.onnx", scale=scale))
    assert verification.ok, "\n".join(verification.lines())
    assert verification.providers[-1] == "CPUExecutionProvider"
    text = "\n".join(verification.lines())
    assert text.endswith("verified") and "CC0" in text and "8×8" in text


def test_changed_weights_are_detected(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    proto = onnx.load(path)
    kernel = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    kernel[1, 0, 0, 0] += 1e-3
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "kernel"))
    onnx.save(proto, path)
    verification = verify(path)
    assert failed(verification) == ["contents", "test vectors"] and not verification.ok
    assert list(verification.lines())[-1].startswith("NOT verified")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet-6", "unet-128 in float16"])
def test_changed_weights_of_a_network_are_detected(kind: str, exported: Callable[[str], Exported]) -> None:
    proto = onnx.load(exported(kind).path)
    weights = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(weights).copy()
    values.ravel()[1::2] *= 1.1  # not all of them, because instance norm would undo that
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    assert failed(verify_file(parse_onnx(proto.SerializeToString(), "changed"))) == ["contents", "test vectors"]


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        # The mean of the batch mixes its images; log(0) is not finite; pooling halves the output.
        (
            [
                helper.make_node("ReduceMean", ["enlarged"], ["mean"], keepdims=1),
                helper.make_node("Sub", ["enlarged", "mean"], ["output"]),
            ],
            "in a batch",
        ),
        (
            [
                helper.make_node("Sub", ["enlarged", "enlarged"], ["zero"]),
                helper.make_node("Log", ["zero"], ["output"]),
            ],
            "not finite",
        ),
        (
            [helper.make_node("AveragePool", ["enlarged"], ["output"], kernel_shape=[2, 2], strides=[2, 2])],
            "shape",
        ),
    ],
)
def test_graphs_with_wrong_sizes_or_batches_fail(nodes: list[onnx.NodeProto], reason: str, tmp_path: Path) -> None:
    verification = verify(write_onnx(tmp_path / "model.onnx", more_nodes=tuple(nodes)))
    assert {"test vectors", "sizes"} <= set(failed(verification))
    assert reason in "\n".join(verification.lines())


def test_a_graph_that_cannot_run_every_size_fails_without_a_traceback(tmp_path: Path) -> None:
    shape = onnx.helper.make_node("Constant", [], ["shape"], value_ints=[1, 3, 16, 24])
    nodes = (shape, helper.make_node("Reshape", ["enlarged", "shape"], ["output"]))
    assert failed(verify(write_onnx(tmp_path / "model.onnx", more_nodes=nodes))) == ["sizes"]


def test_a_run_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    many = helper.make_node("Constant", [], ["many"], value_ints=[2000, 1, 1, 1, 1])
    nodes = [many, helper.make_node("Expand", ["enlarged", "many"], ["e0"])]
    nodes += [helper.make_node("Erf", [f"e{number}"], [f"e{number + 1}"]) for number in range(500)]
    nodes += [
        helper.make_node("ReduceMax", ["e500"], ["one"], keepdims=0),
        helper.make_node("Add", ["enlarged", "one"], ["output"]),
    ]
    verification = verify(write_onnx(tmp_path / "model.onnx", more_nodes=tuple(nodes)), max_seconds=0.05)
    assert "took more than 0 seconds and were stopped" in "\n".join(verification.lines())


def test_a_file_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", minimum_size=4096, bytes_per_pixel=9000, vectors=False)
    with pytest.raises(UserError, match="as its metadata say: it can be verified with at most 8 GB"):
        verify(path)


def test_many_test_vectors_are_refused(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    proto = onnx.load(path)
    for number in range(1, 9):
        proto.metadata_props.add(key=f"test_vector_{number}", value="eJw=")
    onnx.save(proto, path)
    with pytest.raises(OnnxFileError, match="9 test vectors: expected at most 4"):
        verify(path)


def test_a_file_without_test_vectors_is_not_verified(tmp_path: Path) -> None:
    assert failed(verify(write_onnx(tmp_path / "model.onnx", vectors=False))) == ["test vectors"]


def test_verify_works_without_the_package_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "find_spec", lambda name: None)
    verification = verify(write_onnx(tmp_path / "model.onnx"))
    assert verification.ok and "install the package onnx" in verification.checks[1].detail


@settings(max_examples=60, deadline=None)
@given(st.integers(1, len(VALID)))
def test_a_cut_file_is_never_verified(missing: int) -> None:
    try:
        assert not verify_file(parse_onnx(VALID[:-missing], "cut")).ok
    except UserError as error:
        assert str(error).startswith("cut ")


def test_test_vectors_survive_as_text() -> None:
    rng = np.random.default_rng(0)
    inputs = {"image": rng.integers(0, 256, (3, 10, 40), np.uint8)[:, :, 3:20]}  # a view that is not contiguous
    output = rng.random((1, 3, 10, 17), np.float32)
    vector = TestVector.from_text(TestVector.of(inputs, output).to_text())
    np.testing.assert_array_equal(vector.inputs["image"], inputs["image"])
    assert vector.error(output) <= 0.5 / 65535 + 1e-9
    assert vector.error(output + np.float32(0.25)) == pytest.approx(0.25, abs=1e-4)
    assert vector.error(output[..., :5]) == float("inf")


@pytest.mark.parametrize("text", ["", "####", "aGVsbG8=", "eJwDAAAAAAE="])
def test_damaged_test_vectors_are_refused(text: str, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    proto = onnx.load(path)
    next(entry for entry in proto.metadata_props if entry.key == "test_vector_0").value = text
    onnx.save(proto, path)
    with pytest.raises(OnnxFileError, match="damaged test vector"):
        verify(path)


def test_a_test_vector_that_unpacks_to_gigabytes_is_refused() -> None:
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(2 * MAX_BYTES))).decode()
    with pytest.raises(ValueError, match="cannot be unpacked"):
        TestVector.from_text(bomb)


@given(st.sampled_from([1, 2, 4, 16, 128, 256]), st.integers(1, 300))
def test_sizes_are_legal_different_and_go_down_to_the_minimum(multiple: int, minimum: int) -> None:
    image = InputSpec("image", "image", 3, "any")
    spec = ModelSpec("any", "translate", (image,), 3, size_multiple=multiple, minimum_size=minimum)
    sizes = legal_sizes(spec)
    assert len(set(sizes)) == 5
    assert min(map(min, sizes)) - multiple < minimum
    for height, width in (*sizes, *vector_sizes(spec)):
        assert height % multiple == width % multiple == 0
        assert min(height, width) >= minimum


@pytest.mark.parametrize("make", [blocks, lambda spec, *size: noise(spec, 2, *size)], ids=["blocks", "noise"])
@pytest.mark.parametrize(
    ("gain", "range_of_input"), [(1, (0, 1)), (1.9, (0, 1)), (10, (0.44, 0.56)), (1e9, (0.47, 0.53))]
)
def test_images_have_the_full_contrast_unless_the_output_leaves_the_range_by_far(
    make: Any, gain: float, range_of_input: tuple[float, float]
) -> None:
    spec = ModelSpec("any", "inpaint", (InputSpec("image", "image", 3, "any"), InputSpec("mask", "mask")), 3)

    def run(inputs: Any) -> Any:
        image = inputs["image"]
        return (np.divide(image, 255) if image.dtype == np.uint8 else image) * gain - gain / 2 + 0.5

    given = make(spec, 64, 64)
    inputs, output = comparable(spec, given, run)
    image = np.divide(inputs["image"], 255 if inputs["image"].dtype == np.uint8 else 1)
    np.testing.assert_allclose((image.min(), image.max()), range_of_input, atol=0.03)
    np.testing.assert_array_equal(output, run(inputs))
    assert inputs["mask"] is given["mask"] and inputs["image"].dtype == given["image"].dtype


def test_an_output_that_is_no_number_is_kept() -> None:
    spec = ModelSpec("any", "translate", (InputSpec("image", "image", 3, "any"),), 3)
    inputs, output = comparable(spec, noise(spec, 1, 8, 8), lambda inputs: np.log(0.5 - inputs["image"]) * 9)
    assert np.isnan(output).any() and inputs["image"].max() > 0.9
