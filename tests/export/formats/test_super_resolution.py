"""Export of super-resolution models to BasicSR and ncnn, and network interpolation of two models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ncnn_runtime import by_ncnn, decibels, needs_ncnn
from numpy.typing import NDArray
from tiny import tiny_task, write_run
from tiny_runs import make_run

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.export.formats.basicsr import basicsr_bytes, to_basicsr
from gan_tasks.export.formats.super_resolution import export_basicsr, export_interpolated, export_ncnn
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.export.onnx.export import NotVerifiedError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.super_resolution.convolutional import msr_resnet, rrdb, srvgg
from gan_tasks.networks.super_resolution.realplksr import realplksr
from gan_tasks.networks.super_resolution.span import span
from gan_tasks.pretrained.load import load_network
from gan_tasks.runs.checkpoint import save_checkpoint

BAD_INPUT = 2
NETWORKS = {
    "rrdb": rrdb(width=8, growth=4, blocks=2),
    "rrdb x2": rrdb(scale=2, unshuffle=2, width=8, growth=4, blocks=1),
    "rrdb x1": rrdb(1, 1, scale=1, unshuffle=4, width=8, growth=4, blocks=1),
    "srvgg": srvgg(width=8, convs=3),
    "msr-resnet": msr_resnet(width=8, blocks=2),
    "msr-resnet x3": msr_resnet(scale=3, width=8, blocks=2),
}

every_network = pytest.mark.parametrize("name", NETWORKS)


def run(*arguments: str | Path) -> object:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    return exited.value.code


def public_checkpoint(path: Path, network: Generator, seed: int = 0, *, half: bool = False) -> PretrainedModel:
    """A checkpoint of the network with random weights; with `half`, the weights are exact in float16."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        size = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.2
        parameter.data.normal_(0, size, generator=generator)
        if half:
            parameter.data = parameter.data.half().float()
    path.write_bytes(basicsr_bytes(to_basicsr(network)))
    return PretrainedModel(path, device="cpu")


@pytest.fixture
def sr_run(tmp_path: Path) -> Path:
    """A run folder of an untrained network with two different checkpoints; the newer one is loaded."""
    path = write_run(tmp_path / "run", task := tiny_task("super-resolution", "--network", "srvgg"))
    for step in (1, 2):
        torch.manual_seed(step)
        for parameter in task.generators.parameters():
            parameter.data.normal_(0, 0.2)
        save_checkpoint(path / "checkpoints", step, {"generators": task.generators.state_dict()}, {})
    return path


def test_a_run_is_exported_to_basicsr(sr_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", sr_run, tmp_path / "net.pth", "--format", "basicsr") == 0
    assert "read back, against the model: largest difference" in capsys.readouterr().out
    assert list(torch.load(tmp_path / "net.pth", weights_only=True)) == ["params_ema"]
    ours, theirs = gan_tasks.load(sr_run, device="cpu"), gan_tasks.load(tmp_path / "net.pth", device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    assert ours(pixels).std() > 10
    assert theirs.spec.task == "super-resolution" and theirs.spec.scale == 2
    assert np.abs(theirs(pixels).astype(int) - ours(pixels)).max() <= 1


@needs_ncnn
@every_network
@pytest.mark.parametrize("half", [False, True])
def test_ncnn_gives_the_same_output(name: str, half: bool, tmp_path: Path) -> None:
    model = public_checkpoint(tmp_path / "net.pth", NETWORKS[name], half=half)
    report = export_ncnn(model, tmp_path / "out" / "net.param", half=half)
    assert {path.name for path in report.paths} == {path.name for path in (tmp_path / "out").iterdir()}
    assert report.max_error <= report.tolerance
    image = np.random.default_rng(0).random((model.spec.in_channels, 12, 20), np.float32)
    found = by_ncnn(tmp_path / "out" / "net.param", image)
    expected = load_network(tmp_path / "net.pth")(torch.from_numpy(image)[None])[0].numpy()
    assert found.shape == expected.shape and expected.std() > 0.05
    assert decibels(found, expected) > 90


def test_half_halves_the_file(tmp_path: Path) -> None:
    model = public_checkpoint(tmp_path / "net.pth", NETWORKS["rrdb"])
    full = export_ncnn(model, tmp_path / "full.param")
    half = export_ncnn(model, tmp_path / "half.param", half=True)
    sizes = [(tmp_path / f"{name}.bin").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    assert full.max_error < 1e-5 < half.max_error < half.tolerance


def test_files_that_are_not_verified_are_not_written(tmp_path: Path) -> None:
    network = srvgg(width=4, convs=1)
    model = public_checkpoint(tmp_path / "net.pth", network)
    with torch.no_grad():
        next(model.network.parameters()).mul_(1e6)  # more than a float16 can hold
    out = tmp_path / "out"
    out.mkdir()
    for name in ("net.param", "net.bin"):
        (out / name).write_bytes(b"older")
    with pytest.raises(NotVerifiedError, match="Export it without half"):
        export_ncnn(model, out / "net.param", half=True)
    assert [path.read_bytes() for path in out.iterdir()] == [b"older", b"older"]


def test_a_network_for_another_range_is_not_exported(tmp_path: Path) -> None:
    """The same weights give another output for images in [-1, 1], which the verification detects."""
    model = public_checkpoint(tmp_path / "net.pth", NETWORKS["srvgg"])
    model.network = NETWORKS["srvgg"]
    with pytest.raises(NotVerifiedError, match="differs from the model by"):
        export_basicsr(model, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("file_format", ["basicsr", "ncnn"])
def test_other_models_are_refused_with_their_formats(
    file_format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    translator = make_run(tmp_path / "pix2pix", generator="resnet-6", norm="instance", width=2)
    srresnet = write_run(tmp_path / "srresnet", tiny_task("super-resolution", "--network", "srresnet"))
    out = tmp_path / ("out.pth" if file_format == "basicsr" else "out.param")
    for path, reason in (
        (
            translator,
            "is a model of pix2pix, but this format is for models that upscale",
        ),
        (srresnet, "no counterpart in BasicSR or Real-ESRGAN"),
    ):
        assert run("export", path, out, "--format", file_format) == BAD_INPUT
        printed = capsys.readouterr().err
        assert reason in printed and "--format onnx" in printed and not out.exists()


@pytest.mark.parametrize("make", [span, realplksr])
def test_ncnn_files_are_not_written_for_newer_networks(
    make: Callable[..., Generator], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public_checkpoint(tmp_path / "net.pth", make(width=4, blocks=1))
    assert run("export", tmp_path / "net.pth", tmp_path / "out.param", "--format", "ncnn") == BAD_INPUT
    assert "MSRResNet alone. Use --format basicsr or --format onnx" in capsys.readouterr().err
    assert not list(tmp_path.glob("out.*"))


@pytest.mark.parametrize(("file_format", "suffix"), [("basicsr", ".pth"), ("ncnn", ".param")])
def test_the_suffix_must_fit(
    file_format: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public_checkpoint(tmp_path / "net.pth", NETWORKS["srvgg"])
    assert run("export", tmp_path / "net.pth", tmp_path / "out.onnx", "--format", file_format) == BAD_INPUT
    assert f"out.onnx should end in {suffix}" in capsys.readouterr().err


# Network interpolation.


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchModel, TorchModel]:
    folder = tmp_path_factory.mktemp("two")
    first, second = (
        public_checkpoint(folder / f"{seed}.pth", rrdb(width=4, growth=2, blocks=1), seed) for seed in (0, 1)
    )
    return first, second


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(alpha=st.floats(0, 1))
@example(alpha=0)
@example(alpha=1)
def test_weights_are_interpolated(alpha: float, two: tuple[TorchModel, TorchModel], tmp_path: Path) -> None:
    export_interpolated(*two, alpha, tmp_path / "interpolated.pth")
    first, second, found = (
        load_network(path).state_dict()
        for path in (
            *(model.weights for model in two if isinstance(model, PretrainedModel)),
            tmp_path / "interpolated.pth",
        )
    )
    for key, tensor in found.items():
        expected = (1 - alpha) * first[key].double() + alpha * second[key].double()
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
        if alpha in (0, 1):
            assert torch.equal(tensor, (first, second)[int(alpha)][key])


def test_interpolated_spans_have_the_product_of_the_interpolated_parts(tmp_path: Path) -> None:
    models = [public_checkpoint(tmp_path / f"{seed}.pth", span(width=4, blocks=1), seed) for seed in (0, 1)]
    export_interpolated(*models, 0.3, tmp_path / "out.pth")
    state = torch.load(tmp_path / "out.pth", weights_only=True)["params_ema"]
    expected = to_basicsr(load_network(tmp_path / "out.pth"))  # type: ignore[arg-type]
    torch.testing.assert_close(state, expected)
    first, second = (torch.load(tmp_path / f"{seed}.pth", weights_only=True)["params_ema"] for seed in (0, 1))
    torch.testing.assert_close(
        state["conv_2.sk.weight"], 0.7 * first["conv_2.sk.weight"] + 0.3 * second["conv_2.sk.weight"]
    )


def test_checkpoints_of_a_run_are_interpolated(
    sr_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (sr_run / "checkpoints" / f"step-{step:08d}" for step in (1, 2))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)

    def output(path: Path) -> NDArray[np.int64]:
        return gan_tasks.load(path, device="cpu")(pixels).astype(int)

    for alpha, same in ((0, first), (1, second)):
        assert run("interpolate-networks", first, second, tmp_path / "interpolated.pth", "--alpha", str(alpha)) == 0
        assert np.abs(output(tmp_path / "interpolated.pth") - output(same)).max() <= 1
    assert run("interpolate-networks", first, second, tmp_path / "interpolated.pth") == 0
    assert "read back" in capsys.readouterr().out
    assert np.abs(output(tmp_path / "interpolated.pth") - output(second)).max() > 1


def test_models_that_cannot_be_interpolated_are_refused(
    sr_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, deep, other = tmp_path / "small.pth", tmp_path / "deep.pth", tmp_path / "other.pth"
    public_checkpoint(small, rrdb(width=4, growth=2, blocks=1))
    public_checkpoint(deep, rrdb(width=4, growth=2, blocks=2))
    public_checkpoint(other, rrdb(width=6, growth=2, blocks=1))
    translator = make_run(tmp_path / "pix2pix", generator="resnet-6", norm="instance", width=2)
    for first, second, reason in (
        (small, deep, "body.1.rdb1.conv1.weight is absent in small and 2×4×3×3 in deep"),
        (small, other, "conv_first.weight is 4×3×3×3 in small and 6×3×3×3 in other"),
        (small, translator, "is a model of pix2pix"),
        (translator, translator, "is a model of pix2pix"),
        (sr_run, small, "only models of one architecture can be interpolated"),
        (tmp_path / "missing", small, "does not exist"),
    ):
        assert run("interpolate-networks", first, second, tmp_path / "out.pth") == BAD_INPUT
        assert reason in capsys.readouterr().err
    for alpha in ("-0.1", "1.5", "nan"):
        assert run("interpolate-networks", small, small, tmp_path / "out.pth", f"--alpha={alpha}") == BAD_INPUT
        assert f"alpha is {alpha}: expected a number from 0" in capsys.readouterr().err
    assert run("interpolate-networks", small, small, tmp_path / "out.onnx") == BAD_INPUT
    assert not list(tmp_path.glob("out.*"))
