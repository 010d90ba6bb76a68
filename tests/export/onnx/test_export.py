"""An exported model equals the trained one, also at other sizes and batches than those of the export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_runs import KINDS, Exported, make_run
from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.export.onnx.export import HALF_TOLERANCE, NotVerifiedError, export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.export.onnx.verify import TOLERANCE, verify
from gan_tasks.networks.super_resolution.reparameterised import ReparameterisedConv, fuse
from gan_tasks.spec import InputSpec, ModelSpec

SIZES = [(1, 1), (5, 3), (37, 61), (256, 256), (300, 130)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_model_equals_the_trained_one(kind: str, exported: Callable[[str], Exported]) -> None:
    model, path, report = exported(kind).model, exported(kind).path, exported(kind).report
    tolerance = HALF_TOLERANCE if "float16" in kind else TOLERANCE
    assert report.max_error <= report.tolerance == TOLERANCE
    assert (report.rounding_error > 0) == ("float16" in kind)
    opened = OnnxModel(path, device="cpu")
    rng = np.random.default_rng(1)
    for height, width in SIZES:
        if (height, width) == (1, 1) and kind.startswith("resnet-6"):
            continue  # the padded image is constant, and instance norm turns it into rounding errors
        images = rng.uniform(-1, 1, (2, model.spec.in_channels, height, width)).astype(np.float32)
        expected = model.run(images)
        assert expected.std() > 0.05  # a constant output would make the comparison weak
        np.testing.assert_allclose(opened.run(images), expected, atol=2 * tolerance, rtol=0)
        pixels = rng.integers(0, 256, (height, width, model.spec.in_channels), np.uint8)
        found = Predictor(opened)(pixels).astype(int)
        assert np.abs(found - Predictor(model)(pixels)).max() <= (5 if "float16" in kind else 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_file_is_verified(kind: str, exported: Callable[[str], Exported]) -> None:
    verification = verify(exported(kind).path)
    assert verification.ok, "\n".join(verification.lines())
    assert len(verification.checks) == 4


@pytest.mark.slow
def test_the_file_has_metadata_and_free_sizes(exported: Callable[[str], Exported]) -> None:
    path = exported("resnet-6").path
    assert list(path.parent.iterdir()) == [path], "expected one file only"
    proto = onnx.load(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    expected = {"model_name": "resnet-6", "licence": "CC0", "training_data": "noise", "weights": "float32"}
    assert expected.items() <= metadata.items()
    spec = json.loads(metadata["spec"])
    assert {"task": "pix2pix", "out_channels": 3, "scale": 1, "size_multiple": 4, "minimum_size": 8}.items() <= (
        spec.items()
    )
    assert [each["channels"] for each in spec["inputs"]] == [1]
    assert str(Path(__file__).parents[3]).encode() not in path.read_bytes(), (
        "the file contains a path of this machine"
    )
    (image,), (output,) = proto.graph.input, proto.graph.output
    for value, channels in ((image, 1), (output, 3)):
        batch, depth, height, width = value.type.tensor_type.shape.dim
        assert depth.dim_value == channels
        assert batch.dim_param and height.dim_param and width.dim_param, "batch, height and width should be free"


@pytest.mark.slow
def test_half_stores_weights_as_float16(exported: Callable[[str], Exported]) -> None:
    proto = onnx.load(exported("unet-128 in float16").path)
    stored = {weights.data_type for weights in proto.graph.initializer if len(weights.dims) >= 2}
    assert stored == {onnx.TensorProto.FLOAT16}
    half, full = (exported(kind).path.stat().st_size for kind in ("unet-128 in float16", "unet-128"))
    assert half < 0.6 * full
    ends = {value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)}
    assert ends == {onnx.TensorProto.FLOAT}


@pytest.mark.slow
def test_a_file_that_is_not_verified_is_not_written(tmp_path: Path) -> None:
    model = TrainedModel(make_run(tmp_path / "run", generator="resnet-6", norm="none", width=1), device="cpu")
    with torch.no_grad():
        next(model.task.generators.parameters()).mul_(1e6)  # more than a float16 can hold
    out = tmp_path / "out" / "model.onnx"
    out.parent.mkdir()
    out.write_bytes(b"the older model")
    with pytest.raises(NotVerifiedError, match="without half"):
        export_onnx(model, out, half=True, model_name="overflow")
    assert [path.read_bytes() for path in out.parent.iterdir()] == [b"the older model"]


def test_the_suffix_must_be_onnx(tmp_path: Path) -> None:
    model = TrainedModel(make_run(tmp_path / "run", generator="resnet-6", norm="none", width=1), device="cpu")
    with pytest.raises(UserError, match=r"should end in \.onnx"):
        export_onnx(model, tmp_path / "model.pth", model_name="x")


def test_the_file_is_compared_with_the_network_as_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Convolution(TorchModel):
        def __init__(self) -> None:
            self.spec = ModelSpec("any", "translate", (InputSpec("image", "image", 3, "any"),), 3)
            self.title = self.source = "convolution"
            self.start(nn.Sequential(ReparameterisedConv(3, 3)), "cpu", "eval")

        def version(self) -> str:
            return "sha256:0"

    def fuse_wrongly(network: nn.Module) -> None:
        fuse(network)
        for parameter in network.parameters():
            parameter.data *= 1.01

    monkeypatch.setattr("gan_tasks.export.onnx.export.fuse", fuse_wrongly)
    with pytest.raises(NotVerifiedError, match="ONNX Runtime differs from torch"):
        export_onnx(Convolution(), tmp_path / "model.onnx", model_name="convolution")
