"""RealPLKSR's checkpoints, against a copy of the published network with its four upsamplers and norms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.pretrained.files.safe_load import read_state_dict
from gan_tasks.pretrained.load import load_network, load_pretrained


@dataclass(frozen=True)
class Published:
    """The arguments of the published network."""

    channels: int = 3
    dim: int = 8
    blocks: int = 2
    scale: int = 2
    kernel: int = 5
    split: float = 0.25
    attention: bool = True
    group_norm: bool = False
    layer_norm: bool = True
    dysample: bool = False


class PublishedLayerNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class PublishedPLK(nn.Module):
    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel, 1, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, : len(self.conv.weight)] = self.conv(x[:, : len(self.conv.weight)])
        return x


class PublishedEA(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(dim, dim, 3, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.f(x)


class PublishedPlkBlock(nn.Module):
    def __init__(self, how: Published) -> None:
        super().__init__()
        dim = how.dim
        self.layer_norm = PublishedLayerNorm(dim) if how.layer_norm else nn.Identity()
        self.channel_mixer = nn.Sequential(
            nn.Conv2d(dim, dim * 2, 3, 1, 1), nn.Mish(), nn.Conv2d(dim * 2, dim, 3, 1, 1)
        )
        self.lk = PublishedPLK(int(dim * how.split), how.kernel)
        self.attn = PublishedEA(dim) if how.attention else nn.Identity()
        self.refine = nn.Conv2d(dim, dim, 1)
        self.norm = nn.GroupNorm(4, dim) if how.group_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.refine(self.attn(self.lk(self.channel_mixer(self.layer_norm(x))))))


class PublishedDySample(nn.Module):
    """Written pixel by pixel: each output pixel reads its group of channels at its own place."""

    def __init__(self, inputs: int, outputs: int, scale: int, groups: int) -> None:
        super().__init__()
        self.scale, self.groups = scale, groups
        steps = [(i - (scale - 1) / 2) / scale for i in range(scale)]
        across = [steps[j] for _ in range(groups) for i in range(scale) for j in range(scale)]
        down = [steps[i] for _ in range(groups) for i in range(scale) for j in range(scale)]
        self.register_buffer("init_pos", torch.tensor(across + down).view(1, -1, 1, 1))
        if scale > 1:
            self.end_conv = nn.Conv2d(inputs, outputs, 1)
        self.offset = nn.Conv2d(inputs, 2 * groups * scale**2, 1)
        self.scope = nn.Conv2d(inputs, 2 * groups * scale**2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        offsets = self.offset(x) * self.scope(x).sigmoid() * 0.5 + self.init_pos
        count, channels, height, width = x.shape
        scale, groups = self.scale, self.groups
        size = channels // groups
        y = torch.zeros(count, channels, height * scale, width * scale)
        for n in range(count):
            for g in range(groups):
                for row in range(height * scale):
                    for column in range(width * scale):
                        top, left = row // scale, column // scale
                        part = g * scale**2 + row % scale * scale + column % scale
                        u = left + float(offsets[n, part, top, left])
                        v = top + float(offsets[n, groups * scale**2 + part, top, left])
                        u, v = min(max(u, 0), width - 1), min(max(v, 0), height - 1)
                        a, b = min(int(u), max(width - 2, 0)), min(int(v), max(height - 2, 0))
                        a2, b2, s, t = min(a + 1, width - 1), min(b + 1, height - 1), u - a, v - b
                        f = x[n, g * size : (g + 1) * size]
                        upper = f[:, b, a] * (1 - s) + f[:, b, a2] * s
                        lower = f[:, b2, a] * (1 - s) + f[:, b2, a2] * s
                        y[n, g * size : (g + 1) * size, row, column] = upper * (1 - t) + lower * t
        return self.end_conv(y) if self.scale > 1 else y


class PublishedRealPLKSR(nn.Module):
    def __init__(self, how: Published) -> None:
        super().__init__()
        self.scale = how.scale
        last = nn.Conv2d(how.dim, how.channels * how.scale**2, 3, 1, 1)
        blocks = [PublishedPlkBlock(how) for _ in range(how.blocks)]
        self.feats = nn.Sequential(nn.Conv2d(how.channels, how.dim, 3, 1, 1), *blocks, nn.Dropout2d(0), last)
        self.to_img: nn.Module = nn.PixelShuffle(how.scale)
        if how.dysample:
            groups = how.channels if how.scale % 2 else 4
            self.to_img = PublishedDySample(how.channels * how.scale**2, how.channels, how.scale, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.to_img(self.feats(x) + torch.repeat_interleave(x, self.scale**2, dim=1))


def trained(how: Published, seed: int = 0) -> PublishedRealPLKSR:
    """Set random weights, large enough for each to have an effect."""
    network = PublishedRealPLKSR(how)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.data.uniform_(0.05, 0.4, generator=generator)
        if name.startswith("to_img.offset"):
            parameter.data *= 3  # positions beyond the next pixel, and outside the image
    return network.eval().requires_grad_(False)


def saved(network: nn.Module, path: Path) -> Path:
    torch.save({"params_ema": network.state_dict()}, path)
    return path


CASES = {
    "layer norm": Published(scale=4, kernel=7, blocks=3),
    "group norm": Published(group_norm=True, layer_norm=False, scale=3, split=0.5),
    "both norms": Published(group_norm=True, dim=12, kernel=3),
    "no attention": Published(attention=False, scale=1),
    "gray": Published(channels=1, dim=4, scale=2),
    "dysample": Published(dysample=True, group_norm=True, layer_norm=False),
    "dysample x3": Published(dysample=True, scale=3),
    "dysample x1": Published(dysample=True, scale=1),
    "dysample gray": Published(dysample=True, channels=1, scale=2),
}


@pytest.mark.parametrize("name", CASES)
def test_realplksr(tmp_path: Path, name: str) -> None:
    how = CASES[name]
    published = trained(how)
    pretrained = load_pretrained(saved(published, tmp_path / "n.pth"))
    x = torch.rand(2, how.channels, 6, 5, generator=torch.Generator().manual_seed(1))
    expected = published(x)
    assert (expected - functional.interpolate(x, scale_factor=how.scale)).std() > 0.05
    torch.testing.assert_close(pretrained.network(x), expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert pretrained.usage is not None
    spec = pretrained.usage.spec
    assert (spec.in_channels, spec.out_channels, spec.scale) == (how.channels, how.channels, how.scale)
    assert (pretrained.usage.width, pretrained.usage.value_range) == (how.dim, (0, 1))
    assert spec.global_statistics == how.group_norm
    back = to_basicsr(pretrained.network)  # type: ignore[arg-type]
    assert list(back) == list(published.state_dict())
    assert all(torch.equal(back[key], tensor) for key, tensor in published.state_dict().items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"feats.2.refine.bias": None}, "RealPLKSR, but feats.2.refine.bias is absent where 8"),
        ({"feats.4.weight": torch.ones(10, 8, 3, 3)}, "feats.4 has 10 output channels: expected 3 times"),
        ({"feats.1.lk.conv.weight": torch.ones(2, 2, 4, 4)}, "kernel of 4 px: expected an odd number"),
        ({"to_img.offset.weight": torch.ones(40, 12, 1, 1)}, "to_img.offset has 40 output channels"),
        ({"feats.1.norm.weight": torch.ones(8)}, "feats.1.norm.bias is absent where 8"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**trained(Published()).state_dict(), **change}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")


@pytest.mark.parametrize("dysample", [False, True])
def test_the_exported_file_has_free_sizes(tmp_path: Path, dysample: bool) -> None:
    how = Published(blocks=1, kernel=3, group_norm=dysample, layer_norm=not dysample, dysample=dysample)
    model = PretrainedModel(saved(trained(how), tmp_path / "n.pth"), device="cpu")
    exported = OnnxModel(export_onnx(model, tmp_path / "n.onnx", model_name="n").path, device="cpu")
    assert exported.spec == model.spec
    for size in ((1, 5), (37, 23)):
        image = np.random.default_rng(0).uniform(-1, 1, (2, 3, *size)).astype(np.float32)
        np.testing.assert_allclose(exported.run(image), model.run(image), atol=TOLERANCE)


def test_apply_says_that_tiles_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Group norm spans the image. Layer norm does not, and its tiles equal the whole image."""
    image = np.random.default_rng(0).integers(0, 256, (200, 40, 3), np.uint8)
    write(tmp_path / "photo.png", Picture(image))
    for norm, differs in (("layer norm", False), ("group norm", True)):
        path = saved(trained(CASES[norm]), tmp_path / f"{norm}.pth")
        model = PretrainedModel(path, device="cpu")
        whole = model.run_pixels(image).astype(int)
        limit = model.bytes_per_pixel * 130 * 40
        with pytest.raises(SystemExit) as exited:
            main(
                [
                    "apply",
                    str(path),
                    str(tmp_path / "photo.png"),
                    str(tmp_path / norm),
                    "--max-memory",
                    f"{limit / 1e6}MB",
                ]
            )
        assert exited.value.code == 0
        assert ("uses means over the whole image" in capsys.readouterr().err) == differs
        model.max_memory_bytes = limit
        assert model.runs_in_tiles(200, 40)
        assert (np.abs(model.run_pixels(image) - whole).max() > 1) == differs


@pytest.mark.parametrize("name", interop_names("realplksr_"))
def test_interop(name: str) -> None:
    case = interop_case(name)
    network = load_network(case.path)
    torch.testing.assert_close(network(*case.inputs), case.outputs["output"], rtol=0, atol=TOLERANCE)
    back, published = to_basicsr(network), read_state_dict(case.path)  # type: ignore[arg-type]
    assert list(back) == list(published)
    assert all(torch.equal(back[key], tensor) for key, tensor in published.items())
