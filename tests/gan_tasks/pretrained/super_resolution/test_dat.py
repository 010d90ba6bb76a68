"""Checkpoints of DAT, against a plain copy of the published network: names, sizes, windows, scales."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.networks.super_resolution import dat as networks
from gan_tasks.pretrained.load import load_network, load_pretrained

MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(3, 1, 1)


@dataclass(frozen=True)
class Sizes:
    """Arguments of the published class."""

    dim: int = 32
    depth: tuple[int, ...] = (3, 1)
    heads: tuple[int, ...] = (2, 4)
    split: tuple[int, int] = (2, 4)
    expansion: float = 2.0
    scale: int = 2
    direct: bool = False
    three_convs: bool = False
    qkv_bias: bool = True
    channels: int = 3


def conv(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)


def closing(dim: int, three: bool) -> nn.Module:
    if not three:
        return conv(dim, dim)
    lrelu = nn.LeakyReLU(0.2)
    return nn.Sequential(conv(dim, dim // 4), lrelu, conv(dim // 4, dim // 4, 1), lrelu, conv(dim // 4, dim))


class Positions(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, dim)
        for i, outputs in enumerate((dim, dim, heads), start=1):
            self.add_module(f"pos{i}", nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, outputs)))

    def forward(self, offsets: Tensor) -> Tensor:
        x = self.pos_proj(offsets)
        for i in (1, 2, 3):
            x = self.get_submodule(f"pos{i}")(x)
        return x


class Windows(nn.Module):
    """Attention within the windows of one half of the channels, window by window."""

    rpe_biases: Tensor

    def __init__(self, dim: int, heads: int, height: int, width: int) -> None:
        super().__init__()
        self.heads, self.height, self.width = heads, height, width
        self.pos = Positions(dim // 4 // 4, heads)
        offsets = list(product(range(1 - height, height), range(1 - width, width)))
        self.register_buffer("rpe_biases", torch.tensor(offsets).float())
        places = list(product(range(height), range(width)))
        index = [[offsets.index((a[0] - b[0], a[1] - b[1])) for b in places] for a in places]
        self.register_buffer("relative_position_index", torch.tensor(index))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, shifted: bool) -> Tensor:
        """C×H×W → C×H×W. A window covers rows and columns from its corner on, across the border if it is shifted."""
        rows, columns = q.shape[-2:]
        down, right = (self.height // 2, self.width // 2) if shifted else (0, 0)
        y = torch.zeros_like(v)
        offsets = {
            tuple(map(int, offset)): bias
            for offset, bias in zip(self.rpe_biases, self.pos(self.rpe_biases), strict=True)
        }
        for top, left in product(range(down, rows + down, self.height), range(right, columns + right, self.width)):
            places = list(product(range(top, top + self.height), range(left, left + self.width)))
            at_r, at_c = zip(*((r % rows, c % columns) for r, c in places), strict=True)
            bias = torch.stack(
                [
                    torch.stack(
                        [
                            offsets[a[0] - b[0], a[1] - b[1]]
                            - 100.0 * ((a[0] >= rows) != (b[0] >= rows) or (a[1] >= columns) != (b[1] >= columns))
                            for b in places
                        ]
                    )
                    for a in places
                ]
            )
            for head in range(self.heads):
                own = slice(head * len(q) // self.heads, (head + 1) * len(q) // self.heads)
                a, b, c = (t[own, at_r, at_c] for t in (q, k, v))
                scores = a.T @ b / len(a) ** 0.5 + bias[..., head]
                y[own, at_r, at_c] = (scores.softmax(-1) @ c.T).T
        return y


class Spatial(nn.Module):
    def __init__(self, sizes: Sizes, heads: int, shifted: bool) -> None:
        super().__init__()
        dim, (a, b) = sizes.dim, sizes.split
        self.split, self.shifted = sizes.split, shifted
        self.qkv = nn.Linear(dim, 3 * dim, bias=sizes.qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.attns = nn.ModuleList([Windows(dim // 2, heads // 2, a, b), Windows(dim // 2, heads // 2, b, a)])
        if shifted:  # of another image size, which the file was trained on
            self.register_buffer("attn_mask_0", torch.zeros(5, a * b, a * b))
            self.register_buffer("attn_mask_1", torch.zeros(5, a * b, a * b))
        add_interaction(self, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        q, k, v = on_channels(self.qkv, x).chunk(3, dim=1)
        largest = max(self.split)
        below, right = -height % largest, -width % largest
        padded = [functional.pad(t, (0, right, 0, below)) for t in (q, k, v)]
        y = torch.stack(
            [
                torch.cat(
                    [
                        windows(*(t[i].chunk(2)[half] for t in padded), self.shifted)
                        for half, windows in enumerate(self.attns)
                    ]
                )
                for i in range(n)
            ]
        )[..., :height, :width]
        near = self.dwconv(v)
        y = y * torch.sigmoid(self.channel_interaction(near)) + near * torch.sigmoid(self.spatial_interaction(y))
        return on_channels(self.proj, y)


class Channel(nn.Module):
    def __init__(self, sizes: Sizes, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Linear(sizes.dim, 3 * sizes.dim, bias=sizes.qkv_bias)
        self.proj = nn.Linear(sizes.dim, sizes.dim)
        add_interaction(self, sizes.dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = on_channels(self.qkv, x).chunk(3, dim=1)
        parts = []
        for head, (a, b, c) in enumerate(zip(*(t.chunk(self.heads, 1) for t in (q, k, v)), strict=True)):
            a, b = (functional.normalize(t.flatten(2), dim=-1) for t in (a, b))
            weights = torch.softmax(torch.einsum("ncp,ndp->ncd", a, b) * self.temperature[head], -1)
            parts.append(torch.einsum("ncd,ndhw->nchw", weights, c))
        y, near = torch.cat(parts, 1), self.dwconv(v)
        y = y * torch.sigmoid(self.spatial_interaction(near)) + near * torch.sigmoid(self.channel_interaction(y))
        return on_channels(self.proj, y)


def add_interaction(module: nn.Module, dim: int) -> None:
    module.dwconv = nn.Sequential(conv(dim, dim, groups=dim), nn.BatchNorm2d(dim), nn.GELU())
    module.channel_interaction = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), conv(dim, dim // 8, 1), nn.BatchNorm2d(dim // 8), nn.GELU(), conv(dim // 8, dim, 1)
    )
    module.spatial_interaction = nn.Sequential(
        conv(dim, dim // 16, 1), nn.BatchNorm2d(dim // 16), nn.GELU(), conv(dim // 16, 1, 1)
    )


def on_channels(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.movedim(1, -1)).movedim(-1, 1)


class Gate(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.LayerNorm(dim), conv(dim, dim, groups=dim)


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2, self.sg = nn.Linear(dim, hidden), nn.Linear(hidden // 2, dim), Gate(hidden // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = functional.gelu(on_channels(self.fc1, x)).chunk(2, dim=1)
        return on_channels(self.fc2, first * self.sg.conv(on_channels(self.sg.norm, second)))


class Block(nn.Module):
    def __init__(self, sizes: Sizes, group: int, index: int) -> None:
        super().__init__()
        heads = sizes.heads[group]
        # Windows are shifted in blocks 2, 6, 10 … of even groups, and in blocks 0, 4, 8 … of odd ones.
        shifted = index in range(0, 99, 4) if group % 2 else index in range(2, 99, 4)
        self.norm1, self.norm2 = nn.LayerNorm(sizes.dim), nn.LayerNorm(sizes.dim)
        self.attn = Channel(sizes, heads) if index % 2 else Spatial(sizes, heads, shifted)
        self.ffn = FeedForward(sizes.dim, int(sizes.dim * sizes.expansion))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(on_channels(self.norm1, x))
        return x + self.ffn(on_channels(self.norm2, x))


class Group(nn.Module):
    def __init__(self, sizes: Sizes, group: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(sizes, group, index) for index in range(sizes.depth[group])))
        self.conv = closing(sizes.dim, sizes.three_convs)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.blocks(x))


class PublishedDAT(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        dim, scale, channels = sizes.dim, sizes.scale, sizes.channels
        self.sizes = sizes
        self.conv_first = conv(channels, dim)
        self.before_RG = nn.Sequential(nn.Identity(), nn.LayerNorm(dim))
        self.layers = nn.Sequential(*(Group(sizes, group) for group in range(len(sizes.depth))))
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = closing(dim, sizes.three_convs)
        if sizes.direct:
            self.upsample = nn.Sequential(conv(dim, channels * scale**2), nn.PixelShuffle(scale))
        else:
            self.conv_before_upsample = nn.Sequential(conv(dim, 64), nn.LeakyReLU())
            steps = {2: [2], 3: [3], 4: [2, 2]}[scale]
            layers = [layer for step in steps for layer in (conv(64, 64 * step**2), nn.PixelShuffle(step))]
            self.upsample = nn.Sequential(*layers)
            self.conv_last = conv(64, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = MEAN if self.sizes.channels == 3 else 0.0
        first = self.conv_first(x - mean)
        y = self.layers(on_channels(self.before_RG, first))
        y = first + self.conv_after_body(on_channels(self.norm, y))
        if self.sizes.direct:
            return self.upsample(y) + mean
        return self.conv_last(self.upsample(self.conv_before_upsample(y))) + mean


def published(sizes: Sizes) -> PublishedDAT:
    """Return a published network with random weights, in which each has an effect."""
    network = PublishedDAT(sizes)
    random = torch.Generator().manual_seed(sizes.dim)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "temperature")):
            tensor.uniform_(0.5, 2.0, generator=random)
        elif name.endswith((".bias", "running_mean")):
            tensor.uniform_(-0.3, 0.3, generator=random)
        elif tensor.ndim == 1 and name.endswith(".weight"):
            tensor.uniform_(0.5, 1.5, generator=random)
        elif name.endswith(".weight"):
            tensor.normal_(0, tensor[0].numel() ** -0.5, generator=random)
    return network.eval().requires_grad_(False)


def saved(sizes: Sizes, path: Path) -> Path:
    torch.save({"params_ema": published(sizes).state_dict()}, path)
    return path


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(),
        Sizes(dim=48, depth=(1, 3), heads=(6, 2), split=(4, 2), scale=4, qkv_bias=False),
        Sizes(dim=64, depth=(2, 2), heads=(4, 4), split=(3, 3), expansion=1.5, scale=3, three_convs=True),
        Sizes(depth=(3,), heads=(4,), split=(1, 4), direct=True, scale=3, channels=1, three_convs=True),
    ],
)
def test_dat(sizes: Sizes, tmp_path: Path) -> None:
    torch.save({"params_ema": published(sizes).state_dict()}, tmp_path / "n.pth")
    loaded = load_pretrained(tmp_path / "n.pth")
    x = torch.rand(2, sizes.channels, 5, 9, generator=torch.Generator().manual_seed(1))
    expected = published(sizes)(x)
    assert expected.std() > 0.05, "the weights have no effect on the output"
    torch.testing.assert_close(loaded.network(x), expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert loaded.usage is not None and loaded.architecture.name == "DAT"
    spec = loaded.usage.spec
    assert (spec.in_channels, spec.out_channels, spec.scale, loaded.usage.width) == (
        sizes.channels,
        sizes.channels,
        sizes.scale,
        sizes.dim,
    )
    assert (spec.size_multiple, spec.minimum_size, spec.tile_multiple) == (1, 1, max(sizes.split))
    assert spec.global_statistics


@pytest.mark.parametrize("name", interop_names("dat_"))
def test_interop(name: str) -> None:
    case = interop_case(name)
    torch.testing.assert_close(load_network(case.path)(*case.inputs), case.outputs["output"], rtol=0, atol=TOLERANCE)


def test_export_has_free_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All spatial attentions are shifted, because each block of a graph takes a second."""
    monkeypatch.setattr(networks, "is_shifted", lambda group, block: True)
    sizes = Sizes(depth=(2,), heads=(2,), direct=True)
    model = PretrainedModel(saved(sizes, tmp_path / "n.pth"), device="cpu")
    export_onnx(model, tmp_path / "n.onnx", model_name="dat")
    exported = OnnxModel(tmp_path / "n.onnx", device="cpu")
    for shape in ((1, 3, 11, 6), (2, 3, 4, 21)):
        x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        np.testing.assert_allclose(exported.run(x), model.run(x), atol=2 * TOLERANCE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layers.0.blocks.0.attn.attns.0.rpe_biases": torch.tensor([[2.0, 6.0]])}, "expected the sides of a window"),
        ({"layers.0.blocks.0.attn.attns.0.rpe_biases": torch.tensor([[1e9, 3.0]])}, "expected the sides of a window"),
        ({"layers.0.blocks.0.attn.attns.0.rpe_biases": None}, "rpe_biases is absent, expected a tensor of 2 axes"),
        ({"layers.0.blocks.1.attn.temperature": torch.ones(3, 1, 1)}, "cannot be divided among the attention heads"),
        ({"upsample.0.weight": torch.ones(7, 64, 3, 3)}, "upsample enlarges by 0: expected steps of 2, or one of 3"),
        (
            {"upsample.0.weight": torch.ones(64 * 25, 64, 3, 3)},
            "upsample enlarges by 5: expected steps of 2, or one of 3",
        ),
        ({"layers.0.blocks.2.norm1.weight": None}, "layers.0.blocks.2.norm1.weight is absent"),
        ({"layers.7.blocks.0.norm1.weight": torch.ones(32)}, "layers.2.blocks.0.attn.* is absent"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**published(Sizes()).state_dict(), **change}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")


def test_half_precision_files(tmp_path: Path) -> None:
    sizes = replace(Sizes(), depth=(1,), heads=(2,))
    state = {key: t.half() if t.is_floating_point() else t for key, t in published(sizes).state_dict().items()}
    torch.save(state, tmp_path / "n.pth")
    x = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(load_network(tmp_path / "n.pth")(x), published(sizes)(x), rtol=0, atol=0.02)
