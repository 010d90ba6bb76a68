"""Checkpoints of CUT against the stored outputs of its code, and against plain copies of its networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.jy import to_jy
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Norm
from gan_tasks.networks.translation import resnet
from gan_tasks.pretrained.load import load_network, load_pretrained

# The published networks, with their own numbering and their filters as buffers.


def filter_of(weights: list[float], channels: int) -> Tensor:
    row = torch.tensor(weights)
    return (row[:, None] * row / row.sum() ** 2).repeat(channels, 1, 1, 1)


class Downsample(nn.Module):
    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", filter_of([1.0, 2.0, 1.0], channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), "reflect"), self.filt, stride=2, groups=x.shape[1])


class Upsample(nn.Module):
    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", 4 * filter_of([1.0, 3.0, 3.0, 1.0], channels))

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (1, 1, 1, 1), "replicate")
        y = functional.conv_transpose2d(padded, self.filt, stride=2, padding=2, groups=x.shape[1])
        return y[:, :, 1:-1, 1:-1]


def norm_of(norm: Norm, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels)


class Block(nn.Module):
    def __init__(self, channels: int, norm: Norm, dropout: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for last in (False, True):
            conv = nn.Conv2d(channels, channels, 3, bias=norm == "instance")
            layers += [nn.ReflectionPad2d(1), conv, norm_of(norm, channels)]
            layers += [] if last else [nn.ReLU(), *([nn.Dropout(0.5)] if dropout else [])]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv_block(x)
        return y


def published_resnet(
    inputs: int, outputs: int, width: int, blocks: int, norm: Norm, *, down: bool, up: bool, dropout: bool = False
) -> nn.Module:
    bias = norm == "instance"
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7, bias=bias), norm_of(norm, width), nn.ReLU()]
    for _ in range(2):
        conv = nn.Conv2d(width, 2 * width, 3, 1 if down else 2, 1, bias=bias)
        width *= 2
        layers += [conv, norm_of(norm, width), nn.ReLU(), *([Downsample(width)] if down else [])]
    layers += [Block(width, norm, dropout) for _ in range(blocks)]
    for _ in range(2):
        half = width // 2
        if up:
            layers += [Upsample(width), nn.Conv2d(width, half, 3, padding=1, bias=bias)]
        else:
            layers += [nn.ConvTranspose2d(width, half, 3, 2, 1, 1, bias=bias)]
        layers += [norm_of(norm, half), nn.ReLU()]
        width = half
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh()]
    return trained(nn.Sequential(*layers))


def published_discriminator(inputs: int, width: int, layers: int, norm: Norm) -> nn.Module:
    parts: list[nn.Module] = [nn.Conv2d(inputs, width, 4, padding=1), nn.LeakyReLU(0.2), Downsample(width)]
    for level in range(1, layers + 1):
        before, after = (width * min(2**each, 8) for each in (level - 1, level))
        parts += [nn.Conv2d(before, after, 4, padding=1, bias=norm == "instance"), norm_of(norm, after)]
        parts += [nn.LeakyReLU(0.2), *([Downsample(after)] if level < layers else [])]
    return trained(nn.Sequential(*parts, nn.Conv2d(after, 1, 4, padding=1)))


def trained(model: nn.Module) -> nn.Module:
    """Set random weights and running statistics, and give the names the prefix `model.`; filters stay."""
    network = nn.Module()
    network.model = model
    generator = torch.Generator().manual_seed(0)
    for key, tensor in network.state_dict().items():
        if not key.endswith((".filt", "num_batches_tracked")):
            if tensor.ndim < 2:
                tensor.uniform_(0.5, 1.5, generator=generator)
            else:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
    return network.eval().requires_grad_(False)


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def assert_equal_outputs(network: nn.Module, published: nn.Module, x: Tensor) -> None:
    """Compare in float64: instance norm of few positions enlarges the rounding of float32."""
    expected = published.double().model(x.double())
    torch.testing.assert_close(network.double()(x.double()), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", interop_names("cut_"))
def test_outputs_equal_the_stored_ones(name: str) -> None:
    case = interop_case(name)
    outputs = load_network(case.path)(*case.inputs)
    outputs = {"output": outputs} if isinstance(outputs, Tensor) else outputs
    torch.testing.assert_close(outputs, case.outputs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", interop_names("cut_resnet"))
def test_exported_generators_equal_the_checkpoints(name: str) -> None:
    path = interop_case(name).path
    published, back = torch.load(path, weights_only=True), to_jy(load_network(path))
    assert list(back) == list(published)
    assert all(torch.equal(back[key], published[key]) for key in published)


@pytest.mark.parametrize(
    ("inputs", "outputs", "width", "blocks", "norm", "down", "up", "dropout"),
    [
        (3, 3, 4, 9, "instance", True, True, False),
        (1, 3, 6, 4, "batch", True, True, True),
        (3, 1, 8, 6, "batch", True, False, False),
        (4, 4, 4, 1, "instance", False, True, True),
    ],
)
def test_resnet(
    inputs: int,
    outputs: int,
    width: int,
    blocks: int,
    norm: Norm,
    down: bool,
    up: bool,
    dropout: bool,
    tmp_path: Path,
) -> None:
    published = published_resnet(inputs, outputs, width, blocks, norm, down=down, up=up, dropout=dropout)
    found = load_pretrained(saved(published, tmp_path / "net_G.pth"))
    assert found.architecture.title == "CUT ResnetGenerator" and found.usage is not None
    assert (found.usage.width, found.usage.spec.in_channels, found.usage.spec.out_channels) == (
        width,
        inputs,
        outputs,
    )
    assert found.usage.spec.task == "cut"
    assert isinstance(found.network, Generator)
    back = to_jy(found.network)
    assert list(back) == list(published.state_dict())
    assert all(torch.equal(back[key], tensor) for key, tensor in published.state_dict().items())
    assert_equal_outputs(found.network, published, torch.rand(2, inputs, 20, 28) * 2 - 1)


@pytest.mark.parametrize(
    "options", [{"downs": 4, "anti_alias": True}, {"anti_alias": True, "upsampling": "resize"}, {"norm": "none"}]
)
def test_a_generator_that_no_project_has_is_not_written(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no counterpart"):
        to_jy(resnet(3, 3, width=2, blocks=1, **options))


@pytest.mark.parametrize(
    ("inputs", "width", "layers", "norm"), [(3, 4, 3, "instance"), (1, 6, 1, "batch"), (6, 4, 4, "batch")]
)
def test_discriminator(inputs: int, width: int, layers: int, norm: Norm, tmp_path: Path) -> None:
    published = published_discriminator(inputs, width, layers, norm)
    found = load_pretrained(saved(published, tmp_path / "net_D.pth"))
    assert found.architecture.title == "CUT NLayerDiscriminator" and found.usage is None
    assert_equal_outputs(found.network, published, torch.rand(1, inputs, 60, 73) * 2 - 1)


@pytest.mark.parametrize(("channels", "width"), [((3, 8, 5), 6), ((2,), 16)])
def test_patch_sampler(channels: tuple[int, ...], width: int, tmp_path: Path) -> None:
    state = {}
    for index, count in enumerate(channels):
        for layer, inputs in ((0, count), (2, width)):
            state[f"mlp_{index}.{layer}.weight"] = torch.randn(width, inputs)
            state[f"mlp_{index}.{layer}.bias"] = torch.randn(width)
    torch.save(state, tmp_path / "net_F.pth")
    features = [torch.randn(2, count, 3 + index, 4) for index, count in enumerate(channels)]
    positions = torch.stack([torch.randperm(12)[:5] for _ in channels])
    outputs = load_network(tmp_path / "net_F.pth")(*features, positions)
    assert list(outputs) == [f"feat{index}" for index in range(len(channels))]
    for index, (maps, places) in enumerate(zip(features, positions, strict=True)):
        rows = torch.cat([image.flatten(1)[:, places].T for image in maps])
        first, second = ([state[f"mlp_{index}.{layer}.{kind}"] for kind in ("weight", "bias")] for layer in (0, 2))
        expected = functional.linear(functional.linear(rows, *first).relu(), *second)
        expected = expected / (expected.square().sum(1, keepdim=True).sqrt() + 1e-7)
        torch.testing.assert_close(outputs[f"feat{index}"], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "change", "says"),
    [
        ("model.7.filt", lambda tensor: tensor.flip(0) * 1.5, "model.7.filt is another filter"),
        ("model.11.filt", None, "model.11.filt is absent"),
        ("model.8.weight", lambda tensor: tensor[:, 1:], "model.8.weight is 16×7×3×3 where 16×8×3×3"),
    ],
)
def test_a_damaged_file_is_refused(key: str, change: object, says: str, tmp_path: Path) -> None:
    state = published_resnet(3, 3, 4, 2, "instance", down=True, up=True).state_dict()
    tensor = state.pop(key)
    if callable(change):
        state[key] = change(tensor)
    torch.save(state, tmp_path / "net_G.pth")
    with pytest.raises(UserError, match=f"looks like a CUT ResnetGenerator, but {says}"):
        load_network(tmp_path / "net_G.pth")


def test_a_generator_is_exported_for_all_sizes(tmp_path: Path) -> None:
    published = published_resnet(3, 3, 4, 2, "instance", down=True, up=True)
    model = PretrainedModel(saved(published, tmp_path / "net_G.pth"), device="cpu")
    assert export_onnx(model, tmp_path / "model.onnx", model_name="cut").verification.ok
    exported = OnnxModel(tmp_path / "model.onnx", device="cpu")
    rng = np.random.default_rng(0)
    for height, width in ((37, 61), (24, 50)):
        images = rng.uniform(-1, 1, (2, 3, height, width)).astype(np.float32)
        np.testing.assert_allclose(exported.run(images), model.run(images), atol=1e-4)


def test_tiles_differ_little_from_the_whole_image(tmp_path: Path) -> None:
    """With batch norm, because instance norm takes other statistics of a tile."""
    published = published_resnet(3, 3, 4, 6, "batch", down=True, up=True)
    model = PretrainedModel(saved(published, tmp_path / "net_G.pth"), device="cpu")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 240, 300)).astype(np.float32)
    whole = model.run(image)
    model.max_memory_bytes = model.bytes_per_pixel * 220**2
    assert model.runs_in_tiles(240, 300)
    assert np.abs(model.run(image) - whole).max() < 2 * 2 / 255


@pytest.mark.parametrize("name", ["net_D.pth", "net_F.pth"])
def test_what_makes_no_image_is_not_applied(name: str, tmp_path: Path) -> None:
    if name == "net_D.pth":
        saved(published_discriminator(3, 4, 1, "instance"), tmp_path / name)
    else:
        shapes = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (4, 4), "2.bias": (4,)}
        torch.save({f"mlp_0.{key}": torch.zeros(shape) for key, shape in shapes.items()}, tmp_path / name)
    with pytest.raises(UserError, match="makes no image"):
        PretrainedModel(tmp_path / name)
