"""Checkpoints of OmniSR, against a plain copy of the published network: names, sizes, windows, scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from gan_tasks.pretrained.load import load_network, load_pretrained


@dataclass(frozen=True)
class Sizes:
    """Arguments of the published class."""

    num_feat: int = 8
    res_num: int = 1
    block_num: int = 1
    scale: int = 2
    window: int = 4
    bias: bool = True
    channels: int = 3


def conv(inputs: int, outputs: int, kernel: int, *, bias: bool = True, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)


class Added(nn.Module):
    """x + fn(x), with a norm of the channels before it if the published module has one."""

    def __init__(self, fn: nn.Module, dim: int = 0, eps: float = 1e-6) -> None:
        super().__init__()
        self.fn = fn
        if dim:
            self.norm = nn.LayerNorm(dim, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.movedim(1, -1)).movedim(-1, 1) if hasattr(self, "norm") else x
        return x + self.fn(y)


class SqueezeExcitation(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            *(nn.Identity(), nn.Linear(dim, dim // 4, bias=False), nn.SiLU()),
            *(nn.Linear(dim // 4, dim, bias=False), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3)))[..., None, None]


class FeedForward(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project_in = conv(dim, 2 * dim, 1, bias=False)
        self.dwconv = conv(2 * dim, 2 * dim, 3, groups=2 * dim, bias=False)
        self.project_out = conv(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(functional.gelu(a) * b)


Places = Iterator[tuple[slice, slice]]


def blocks_of(height: int, width: int, w: int) -> Places:
    """The windows, side by side."""
    for top, left in product(range(0, height, w), range(0, width, w)):
        yield slice(top, top + w), slice(left, left + w)


def grids_of(height: int, width: int, w: int) -> Places:
    """Grids of w × w pixels, far apart."""
    for top, left in product(range(height // w), range(width // w)):
        yield slice(top, None, height // w), slice(left, None, width // w)


def phases_of(height: int, width: int, w: int) -> Places:
    """The pixels at the same place in all windows."""
    for top, left in product(range(w), range(w)):
        yield slice(top, None, w), slice(left, None, w)


class SpatialAttention(nn.Module):
    def __init__(self, dim: int, window: int, places: Callable[[int, int, int], Places]) -> None:
        super().__init__()
        self.window, self.places = window, places
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim, bias=False))
        self.rel_pos_bias = nn.Embedding((2 * window - 1) ** 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        w = self.window
        inside = list(product(range(w), repeat=2))
        rows = [[(a[0] - b[0] + w - 1) * (2 * w - 1) + a[1] - b[1] + w - 1 for b in inside] for a in inside]
        bias = self.rel_pos_bias.weight[torch.tensor(rows)]
        q, k, v = self.to_qkv(x.movedim(1, -1)).movedim(-1, 1).chunk(3, 1)
        y = torch.zeros_like(v)
        for r, c in self.places(*x.shape[2:], w):
            for head, own in enumerate(torch.arange(x.shape[1]).chunk(4)):
                a, b, values = (t[:, own][..., r, c] for t in (q, k, v))
                scores = torch.einsum("ncp,ncq->npq", a.flatten(2), b.flatten(2)) / len(own) ** 0.5 + bias[..., head]
                mixed = torch.einsum("npq,ncq->ncp", scores.softmax(-1), values.flatten(2))
                y[:, own[0] : own[-1] + 1, r, c] = mixed.view_as(values)
        return self.to_out(y.movedim(1, -1)).movedim(-1, 1)


class ChannelAttention(nn.Module):
    def __init__(self, dim: int, window: int, places: Callable[[int, int, int], Places]) -> None:
        super().__init__()
        self.window, self.places = window, places
        self.temperature = nn.Parameter(torch.ones(4, 1, 1))
        self.qkv = conv(dim, 3 * dim, 1, bias=False)
        self.qkv_dwconv = conv(3 * dim, 3 * dim, 3, groups=3 * dim, bias=False)
        self.project_out = conv(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv_dwconv(self.qkv(x)).chunk(3, 1)
        y = torch.zeros_like(v)
        for r, c in self.places(*x.shape[2:], self.window):
            for head, own in enumerate(torch.arange(x.shape[1]).chunk(4)):
                a, b, values = (t[:, own][..., r, c] for t in (q, k, v))
                a, b = (functional.normalize(t.flatten(2), dim=-1) for t in (a, b))
                scores = torch.einsum("ncp,ndp->ncd", a, b) * self.temperature[head]
                mixed = torch.einsum("ncd,ndp->ncp", scores.softmax(-1), values.flatten(2))
                y[:, own[0] : own[-1] + 1, r, c] = mixed.view_as(values)
        return self.project_out(y)


class Block(nn.Module):
    def __init__(self, dim: int, w: int) -> None:
        super().__init__()
        local = nn.Sequential(
            *(conv(dim, dim, 1), nn.GELU(), conv(dim, dim, 3, groups=dim), nn.GELU()),
            *(SqueezeExcitation(dim), conv(dim, dim, 1)),
        )
        none = nn.Identity()  # where the published list changes the order of axes
        self.layer = nn.Sequential(
            *(Added(local), none, Added(SpatialAttention(dim, w, blocks_of), dim, 1e-5), none),
            Added(FeedForward(dim), dim),
            *(Added(ChannelAttention(dim, w, blocks_of), dim), Added(FeedForward(dim), dim)),
            *(none, Added(SpatialAttention(dim, w, grids_of), dim, 1e-5), none),
            Added(FeedForward(dim), dim),
            *(Added(ChannelAttention(dim, w, phases_of), dim), Added(FeedForward(dim), dim)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class ESA(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        f = max(dim // 4, 16)
        self.conv1, self.conv_f, self.conv4 = conv(dim, f, 1), conv(f, f, 1), conv(f, dim, 1)
        self.conv2, self.conv3 = nn.Conv2d(f, f, 3, stride=2), conv(f, f, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x)
        far = self.conv3(functional.max_pool2d(self.conv2(first), 7, 3))
        far = functional.interpolate(far, x.shape[2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(far + self.conv_f(first)))


class Group(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        blocks = (Block(sizes.num_feat, sizes.window) for _ in range(sizes.block_num))
        self.residual_layer = nn.Sequential(*blocks, conv(sizes.num_feat, sizes.num_feat, 1, bias=sizes.bias))
        self.esa = ESA(sizes.num_feat)

    def forward(self, x: Tensor) -> Tensor:
        return self.esa(x + self.residual_layer(x))


class PublishedOmniSR(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        dim, bias, outputs = sizes.num_feat, sizes.bias, sizes.channels * sizes.scale**2
        self.residual_layer = nn.Sequential(*(Group(sizes) for _ in range(sizes.res_num)))
        self.input = conv(sizes.channels, dim, 3, bias=bias)
        self.output = conv(dim, dim, 3, bias=bias)
        self.up = nn.Sequential(conv(dim, outputs, 3, bias=bias), nn.PixelShuffle(sizes.scale))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        w, scale = self.sizes.window, self.sizes.scale
        first = self.input(functional.pad(x, (0, -width % w, 0, -height % w)))
        return self.up(first + self.output(self.residual_layer(first)))[..., : height * scale, : width * scale]


def published(sizes: Sizes) -> PublishedOmniSR:
    """Return a published network with random weights, in which each has an effect."""
    network = PublishedOmniSR(sizes)
    random = torch.Generator().manual_seed(sizes.num_feat)
    for name, tensor in network.state_dict().items():
        if name.endswith("temperature"):
            tensor.uniform_(0.5, 2.0, generator=random)
        elif name.endswith(".bias"):
            tensor.uniform_(-0.3, 0.3, generator=random)
        elif tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5, generator=random)
        else:
            tensor.normal_(0, tensor[0].numel() ** -0.5, generator=random)
    return network.eval().requires_grad_(False)


def saved(sizes: Sizes, path: Path) -> Path:
    """Save as the published files are: with the counters of thop."""
    counters = {"total_ops": torch.zeros(1).double(), "input.total_params": torch.zeros(1).double()}
    torch.save({**published(sizes).state_dict(), **counters}, path)
    return path


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(),
        Sizes(num_feat=12, res_num=2, block_num=2, window=8, scale=4),
        Sizes(num_feat=16, res_num=2, window=2, scale=3, channels=1, bias=False),
    ],
)
def test_omnisr(sizes: Sizes, tmp_path: Path) -> None:
    loaded = load_pretrained(saved(sizes, tmp_path / "n.pth"))
    x = torch.rand(2, sizes.channels, 17, 22, generator=torch.Generator().manual_seed(1))
    expected = published(sizes)(x)
    assert expected.std() > 0.05, "the weights have no effect on the output"
    torch.testing.assert_close(loaded.network(x), expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert loaded.usage is not None and loaded.architecture.name == "OmniSR"
    spec = loaded.usage.spec
    assert (spec.in_channels, spec.out_channels, spec.scale, loaded.usage.width) == (
        sizes.channels,
        sizes.channels,
        sizes.scale,
        sizes.num_feat,
    )
    assert spec.size_multiple == 1 and spec.tile_multiple % sizes.window == 0 and spec.global_statistics


@pytest.mark.parametrize("window", [4, 8, 16])
def test_the_smallest_image(window: int, tmp_path: Path) -> None:
    """The published network fails for less than 15 pixels after padding."""
    sizes = Sizes(window=window)
    loaded = load_pretrained(saved(sizes, tmp_path / "n.pth"))
    assert loaded.usage is not None
    least = loaded.usage.spec.minimum_size
    x = torch.rand(1, 3, least, least)
    torch.testing.assert_close(loaded.network(x), published(sizes)(x), rtol=TOLERANCE, atol=TOLERANCE)
    assert loaded.network(torch.rand(1, 3, 1, 3)).shape == (1, 3, 2, 6)
    if least > 1:
        with pytest.raises(RuntimeError):
            published(sizes)(x[..., 1:, :])


@pytest.mark.parametrize("name", interop_names("omnisr_"))
def test_interop(name: str) -> None:
    case = interop_case(name)
    torch.testing.assert_close(load_network(case.path)(*case.inputs), case.outputs["output"], rtol=0, atol=TOLERANCE)


def test_export_has_free_sizes(tmp_path: Path) -> None:
    sizes = Sizes(window=8)
    model = PretrainedModel(saved(sizes, tmp_path / "n.pth"), device="cpu")
    export_onnx(model, tmp_path / "n.onnx", model_name="omnisr")
    exported = OnnxModel(tmp_path / "n.onnx", device="cpu")
    for shape in ((1, 3, 23, 10), (2, 3, 9, 41)):
        x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        expected = 2 * published(sizes)(torch.from_numpy(x) / 2 + 0.5).numpy() - 1
        np.testing.assert_allclose(exported.run(x), expected, atol=2 * TOLERANCE)


FIRST = "residual_layer.0.residual_layer.0.layer."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({f"{FIRST}2.fn.rel_pos_bias.weight": None}, "rel_pos_bias.weight is absent: expected a row for each offset"),
        ({f"{FIRST}2.fn.rel_pos_bias.weight": torch.ones(48, 4)}, "rel_pos_bias.weight is 48×4 where 25×4"),
        ({f"{FIRST}2.fn.rel_pos_bias.weight": torch.ones(40_000, 4)}, "window of 1 to 64 pixels"),
        ({"input.weight": torch.ones(10, 3, 3, 3)}, "10 channels cannot be divided among 4 attention heads"),
        ({"up.0.weight": torch.ones(13, 8, 3, 3)}, "up.0.weight is 13×8×3×3 where 12×8×3×3 was expected"),
        ({f"{FIRST}5.fn.temperature": torch.ones(3, 1, 1)}, "fn.temperature is 3×1×1 where 4×1×1 was expected"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**published(Sizes()).state_dict(), **change}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")
