"""An ONNX file as a model: any size, any type of pixels, limited memory, no torch."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from handmade_onnx import mean_filter, write_onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.load import load, load_model
from gan_tasks.export.models.base import FloatImages, ModelRunError
from gan_tasks.export.models.tiled import pad_to_multiple
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.networks import blocks

RNG = np.random.default_rng(0)


class Recorder:
    """A session that records the shapes of its inputs."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.shapes: list[tuple[int, ...]] = []

    def run(self, names: list[str], feeds: dict[str, FloatImages], *options: Any) -> Any:
        self.shapes.append(feeds["image"].shape)
        return self.session.run(names, feeds, *options)


def whole_image(images: FloatImages) -> FloatImages:
    """The expected output for images in [-1, 1]; the graph gets them in [0, 1], padded to multiples of 4."""
    padded = pad_to_multiple(images, 4, 8)
    result = mean_filter(padded / 2 + 0.5) * 2 - 1
    return result[..., : images.shape[2], : images.shape[3]]


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 8, 16]), st.sampled_from([1, 8, 32]))
def test_padding_equals_that_of_training(height: int, width: int, multiple: int, minimum: int) -> None:
    images = np.random.default_rng(0).random((2, 3, height, width), np.float32)
    expected = blocks.pad_to_multiple(torch.from_numpy(images), multiple, minimum).numpy()
    np.testing.assert_array_equal(pad_to_multiple(images, multiple, minimum), expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (8, 8), (33, 50)])
def test_any_size_and_batch_works(size: tuple[int, int], tmp_path: Path) -> None:
    model = load_model(write_onnx(tmp_path / "model.onnx"))
    images = RNG.uniform(-1, 1, (3, 3, *size)).astype(np.float32)
    np.testing.assert_allclose(model.run(images), whole_image(images), atol=1e-5)


def test_a_model_has_the_metadata_of_its_file(tmp_path: Path) -> None:
    model = OnnxModel(write_onnx(tmp_path / "model.onnx", scale=2, model_name="mean of nine"), device="cpu")
    assert (model.spec.task, model.title, model.spec.scale) == ("pix2pix", "mean of nine", 2)
    assert (model.spec.in_channels, model.spec.out_channels) == (3, 3)
    assert model.providers == ("CPUExecutionProvider",)
    assert model.metadata.licence == "CC0"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_type_of_pixels_works(channels: int, dtype: type, tmp_path: Path) -> None:
    model = load(write_onnx(tmp_path / "model.onnx"))
    largest = np.iinfo(dtype).max
    flat = np.full((20, 30, channels), largest // 3, dtype)
    flat[..., -1] = RNG.integers(0, largest, (20, 30)) if channels in (2, 4) else flat[..., -1]
    result = model(flat)
    assert result.dtype == dtype
    assert result.shape == (20, 30, 4 if channels in (2, 4) else 3)
    np.testing.assert_allclose(result[1:-1, 1:-1, :3].astype(float), largest // 3, atol=1)  # a mean of equal values
    if channels in (2, 4):
        np.testing.assert_array_equal(result[..., 3], flat[..., -1])


def test_sixteen_bits_are_not_rounded_to_eight(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64, 1).repeat(3, 2).astype(np.uint16)
    result = load(write_onnx(tmp_path / "model.onnx"))(ramp)
    assert len(np.unique(result)) > 3000


@pytest.mark.parametrize("scale", [1, 2])
def test_large_images_are_tiled_within_the_memory_limit(scale: int, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", scale=scale, bytes_per_pixel=100)
    images = RNG.uniform(-1, 1, (2, 3, 75, 130)).astype(np.float32)
    expected = OnnxModel(path, device="cpu").run(images)
    model = OnnxModel(path, device="cpu", max_memory_bytes=100 * 1000)
    model.session = recorder = Recorder(model.session)
    np.testing.assert_allclose(model.run(images), expected, atol=1e-5)
    assert max(np.prod(shape) // 3 for shape in recorder.shapes) <= 1000
    assert all(shape[0] == 1 and shape[2] % 4 == shape[3] % 4 == 0 for shape in recorder.shapes)
    assert len(recorder.shapes) > 2 * 75 * 130 / 1000


def test_a_batch_whose_single_images_fit_is_not_tiled(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", bytes_per_pixel=100)
    model = OnnxModel(path, device="cpu", max_memory_bytes=100 * 40 * 40)
    model.session = recorder = Recorder(model.session)
    model.run(np.zeros((3, 3, 40, 40), np.float32))
    assert recorder.shapes == [(1, 3, 40, 40)] * 3


def test_too_little_memory_for_any_tile_is_an_error(tmp_path: Path) -> None:
    model = OnnxModel(write_onnx(tmp_path / "model.onnx"), device="cpu", max_memory_bytes=1000)
    with pytest.raises(UserError, match="allow more memory"):
        model.run(np.zeros((1, 3, 40, 40), np.float32))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": [{"name": "image", "kind": "image", "channels": 0, "size": "any"}]}, "channels"),
        ({"size_multiple": -4}, "size_multiple"),
        ({"minimum_size": 10**9}, "minimum_size"),
        ({"weights": "int8"}, "weights"),
        ({"max_error": float("nan")}, "max_error"),
        ({"receptive_field": "far"}, "receptive_field"),
        ({"receptive_field": -1}, "receptive_field"),
        ({"out_channels": 4}, "gives"),
        ({"scale": 10**9}, "scale"),
        ({"use": "guess"}, "use"),
        ({"inputs": []}, "inputs"),
        ({"spec": "{"}, "spec"),
    ],
)
def test_invalid_metadata_are_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    proto = onnx.load(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    spec = json.loads(metadata["spec"])
    of_spec = {key: value for key, value in changes.items() if key in spec}
    others = {key: str(value) for key, value in changes.items() if key not in spec}
    helper.set_model_props(proto, metadata | {"spec": json.dumps(spec | of_spec)} | others)
    onnx.save(proto, path)
    with pytest.raises(UserError, match=reason):
        load_model(path)


def test_a_model_without_our_metadata_is_refused(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, path)
    with pytest.raises(UserError, match="expected a model that `gan-tasks export` wrote"):
        load_model(path)


def test_a_graph_that_the_runtime_refuses_is_a_user_error(tmp_path: Path) -> None:
    nodes = (helper.make_node("NoSuchOperator", ["enlarged"], ["output"]),)
    with pytest.raises(UserError, match="not accepted by ONNX Runtime"):
        load_model(write_onnx(tmp_path / "model.onnx", more_nodes=nodes))


FAULTY = {
    "cannot be run on image 1×3×16×24: Reshape: ": (
        helper.make_node("Constant", [], ["shape"], value_ints=[1, 3, 7, 7]),
        helper.make_node("Reshape", ["enlarged", "shape"], ["output"]),
    ),
    r"gives values that are NaN or infinite \(100% of the output\)": (
        helper.make_node("Sub", ["enlarged", "enlarged"], ["zero"]),
        helper.make_node("Log", ["zero"], ["output"]),
    ),
    "gives 1×3×8×12 values where its spec promises 1×3×16×24": (
        helper.make_node("AveragePool", ["enlarged"], ["output"], kernel_shape=[2, 2], strides=[2, 2]),
    ),
    "gives 1×3×32×48 values where its spec promises 1×3×16×24": (
        helper.make_node("Constant", [], ["twice"], value_floats=[1.0, 1.0, 2.0, 2.0]),
        helper.make_node("Resize", ["enlarged", "", "twice"], ["output"], mode="nearest"),
    ),
}


@pytest.mark.parametrize("says", FAULTY)
def test_a_model_that_fails_or_gives_no_image_says_so(says: str, tmp_path: Path) -> None:
    model = load(write_onnx(tmp_path / "model.onnx", more_nodes=FAULTY[says], vectors=False))
    with pytest.raises(ModelRunError, match=rf"model\.onnx {says}"):
        model(np.zeros((14, 23, 3), np.uint8))


def test_too_little_memory_is_said_with_advice(tmp_path: Path) -> None:
    nodes = (
        helper.make_node("Constant", [], ["size"], value_ints=[10**5, 10**5, 10**3]),
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceMax", ["huge"], ["one"], keepdims=0),
        helper.make_node("Add", ["enlarged", "one"], ["output"]),
    )
    model = load(write_onnx(tmp_path / "model.onnx", more_nodes=nodes, vectors=False), provider="cpu")
    with pytest.raises(ModelRunError, match=r"ConstantOfShape: Failed to allocate memory.* smaller --max-memory"):
        model(np.zeros((16, 16, 3), np.uint8))


def test_a_changed_bit_of_the_weights_is_noticed_when_loading(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    data = bytearray(path.read_bytes())
    data[data.index(np.full(3, 1 / 9, np.float32).tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"model\.onnx is damaged.*download it again"):
        load_model(path)


def test_a_model_can_be_pickled(tmp_path: Path) -> None:
    model = load(write_onnx(tmp_path / "model.onnx"), provider="cpu")
    model.model.max_memory_bytes = 12345678
    copy = pickle.loads(pickle.dumps(model))
    pixels = RNG.integers(0, 256, (9, 11, 3), np.uint8)
    np.testing.assert_array_equal(copy(pixels), model(pixels))
    assert copy.model.max_memory_bytes == 12345678


def test_what_depends_on_no_input_is_not_computed_when_a_file_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disabled: list[list[str]] = []
    start = onnxruntime.InferenceSession

    def start_session(*args: Any, disabled_optimizers: list[str], **options: Any) -> Any:
        disabled.append(disabled_optimizers)
        return start(*args, disabled_optimizers=disabled_optimizers, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", start_session)
    load_model(write_onnx(tmp_path / "model.onnx"))
    nodes = (
        helper.make_node("Erf", ["kernel"], ["erf"]),
        helper.make_node("ReduceMax", ["erf"], ["one"], keepdims=0),
        helper.make_node("Add", ["enlarged", "one"], ["output"]),
    )
    load_model(write_onnx(tmp_path / "model.onnx", more_nodes=nodes))
    assert disabled == [[], ["ConstantFolding"]]


def test_without_onnx_runtime_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'gan-tasks\[cpu\]'"):
        load_model(write_onnx(tmp_path / "model.onnx"))


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:1"])
def test_unknown_devices_are_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected auto, cpu, cuda or cuda:N"):
        load_model(write_onnx(tmp_path / "model.onnx"), device=device)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA may work here")
def test_cuda_is_not_silently_replaced_by_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"onnxruntime-gpu|this machine has none"):
        load_model(write_onnx(tmp_path / "model.onnx"), device="cuda")


def test_an_exported_model_has_no_train_mode(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="eval only"):
        load_model(write_onnx(tmp_path / "model.onnx"), mode="train")


def test_loading_running_and_verifying_import_no_torch(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    code = f"""
import json, sys
import numpy as np
from pathlib import Path
from gan_tasks.export.load import load
load({str(path)!r})(np.zeros((9, 9, 3), np.uint8))
light = sorted(set(sys.modules) & {{"torch", "onnx"}})
from gan_tasks.export.onnx.verify import verify
assert verify(Path({str(path)!r})).ok
print(json.dumps([light, "torch" in sys.modules]))
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(result.stdout) == [[], False]
