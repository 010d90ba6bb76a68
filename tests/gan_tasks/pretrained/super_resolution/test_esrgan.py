"""Checkpoints of super-resolution, against copies of the published networks: names, widths, depths, scales."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.basicsr import basicsr_bytes, to_basicsr
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.super_resolution.convolutional import msr_resnet, rrdb, srresnet, srvgg
from gan_tasks.networks.translation import resnet
from gan_tasks.pretrained.load import load_network, load_pretrained

TOLERANCE = 1e-5


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1)


def lrelu(x: Tensor, slope: float = 0.2) -> Tensor:
    return functional.leaky_relu(x, slope)


class PublishedDense(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.conv1 = conv(width, growth)
        self.conv2 = conv(width + growth, growth)
        self.conv3 = conv(width + 2 * growth, growth)
        self.conv4 = conv(width + 3 * growth, growth)
        self.conv5 = conv(width + 4 * growth, width)

    def forward(self, x: Tensor) -> Tensor:
        x1 = lrelu(self.conv1(x))
        x2 = lrelu(self.conv2(torch.cat((x, x1), 1)))
        x3 = lrelu(self.conv3(torch.cat((x, x1, x2), 1)))
        x4 = lrelu(self.conv4(torch.cat((x, x1, x2, x3), 1)))
        return self.conv5(torch.cat((x, x1, x2, x3, x4), 1)) * 0.2 + x


class PublishedRRDB(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (PublishedDense(width, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class PublishedRRDBNet(nn.Module):
    def __init__(self, channels: int, width: int, growth: int, blocks: int, ups: int = 2, unshuffle: int = 1) -> None:
        super().__init__()
        self.unshuffle, self.ups = unshuffle, ups
        self.conv_first = conv(channels * unshuffle**2, width)
        self.body = nn.Sequential(*(PublishedRRDB(width, growth) for _ in range(blocks)))
        self.conv_body = conv(width, width)
        for i in range(ups):
            self.add_module(f"conv_up{i + 1}", conv(width, width))
        self.conv_hr, self.conv_last = conv(width, width), conv(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(functional.pixel_unshuffle(x, self.unshuffle))
        x = x + self.conv_body(self.body(x))
        for i in range(self.ups):
            x = lrelu(
                self.get_submodule(f"conv_up{i + 1}")(functional.interpolate(x, scale_factor=2, mode="nearest"))
            )
        return self.conv_last(lrelu(self.conv_hr(x)))

    def renamed(self, naming: str) -> dict[str, Tensor]:
        """Return its state with another of the three sets of names."""
        blocks, ups = len(self.body), self.ups
        if naming == "new":
            return self.state_dict()
        names = {"conv_body.": "trunk_conv.", "conv_hr.": "HRconv.", "conv_up": "upconv"}
        if naming == "oldest":
            names = {
                "conv_first.": "model.0.",
                "conv_body.": f"model.1.sub.{blocks}.",
                **{f"conv_up{i}.": f"model.{3 * i}." for i in range(1, ups + 1)},
                "conv_hr.": f"model.{3 * ups + 2}.",
                "conv_last.": f"model.{3 * ups + 4}.",
            }
        state = {}
        for key, tensor in self.state_dict().items():
            if key.startswith("body."):
                _, block, dense, name, kind = key.split(".")
                dense = dense.upper()
                key = f"RRDB_trunk.{block}.{dense}.{name}.{kind}"
                if naming == "oldest":
                    key = f"model.1.sub.{block}.{dense}.{name}.0.{kind}"
            for ours, theirs in names.items():
                if key.startswith(ours):
                    key = theirs + key.removeprefix(ours)
                    break
            state[key] = tensor
        return state


class PublishedSRVGG(nn.Module):
    def __init__(self, channels: int, width: int, convs: int, scale: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(channels, width), nn.PReLU(width)]
        for _ in range(convs):
            layers += [conv(width, width), nn.PReLU(width)]
        self.body = nn.ModuleList([*layers, conv(width, channels * scale**2)])
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.body:
            y = layer(y)
        return functional.pixel_shuffle(y, self.scale) + functional.interpolate(x, scale_factor=self.scale)


class PublishedBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(width, width), conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x)))


class PublishedMSRResNet(nn.Module):
    def __init__(self, channels: int, width: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.steps = {2: [2], 3: [3], 4: [2, 2]}[scale]
        self.scale = scale
        self.conv_first = conv(channels, width)
        self.body = nn.Sequential(*(PublishedBlock(width) for _ in range(blocks)))
        for i, step in enumerate(self.steps):
            self.add_module(f"upconv{i + 1}", conv(width, width * step**2))
        self.conv_hr, self.conv_last = conv(width, width), conv(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(lrelu(self.conv_first(x), 0.1))
        for i, step in enumerate(self.steps):
            y = lrelu(functional.pixel_shuffle(self.get_submodule(f"upconv{i + 1}")(y), step), 0.1)
        base = functional.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.conv_last(lrelu(self.conv_hr(y), 0.1)) + base


class PublishedUNet(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        norm = nn.utils.spectral_norm  # the old function, which the published files were made with
        f = width
        self.conv0 = conv(channels, f)
        for i, (a, b) in enumerate([(f, 2 * f), (2 * f, 4 * f), (4 * f, 8 * f)], start=1):
            self.add_module(f"conv{i}", norm(nn.Conv2d(a, b, 4, 2, 1, bias=False)))
        sizes = [(8 * f, 4 * f), (4 * f, 2 * f), (2 * f, f), (f, f), (f, f)]
        for i, (a, b) in enumerate(sizes, start=4):
            self.add_module(f"conv{i}", norm(nn.Conv2d(a, b, 3, 1, 1, bias=False)))
        self.conv9 = conv(f, 1)

    def forward(self, x: Tensor) -> Tensor:
        def step(i: int, x: Tensor) -> Tensor:
            return lrelu(self.get_submodule(f"conv{i}")(x))

        def twice(x: Tensor) -> Tensor:
            return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

        x0 = lrelu(self.conv0(x))
        x1 = step(1, x0)
        x2 = step(2, x1)
        x3 = step(3, x2)
        x4 = step(4, twice(x3)) + x2
        x5 = step(5, twice(x4)) + x1
        x6 = step(6, twice(x5)) + x0
        return self.conv9(step(8, step(7, x6)))


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Set random weights, large enough for each to have an effect."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 1.5 * parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.data.uniform_(0.05, 0.4, generator=generator)
    return network.eval().requires_grad_(False)


def assert_same(path: Path, published: nn.Module, channels: int, height: int, width: int) -> None:
    network = load_network(path)
    x = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(1))
    expected = published(x)
    assert expected.std() > 0.05, "the weights have no effect on the output"
    torch.testing.assert_close(network(x), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("naming", ["new", "old", "oldest"])
@pytest.mark.parametrize(
    ("channels", "width", "growth", "blocks", "ups", "unshuffle"),
    [(3, 12, 4, 1, 2, 1), (1, 8, 8, 3, 2, 1), (3, 8, 4, 2, 2, 2), (3, 8, 4, 11, 2, 4), (3, 8, 4, 1, 1, 1)],
)
def test_rrdb_net(
    tmp_path: Path, naming: str, channels: int, width: int, growth: int, blocks: int, ups: int, unshuffle: int
) -> None:
    published = PublishedRRDBNet(channels, width, growth, blocks, ups, unshuffle)
    trained(published, seed=blocks)
    torch.save({"params_ema": published.renamed(naming)}, tmp_path / "n.pth")
    assert_same(tmp_path / "n.pth", published, channels, 8, 12)
    usage = load_pretrained(tmp_path / "n.pth").usage
    assert usage is not None
    assert (usage.spec.in_channels, usage.spec.out_channels, usage.width) == (channels, channels, width)
    assert (usage.spec.scale, usage.spec.size_multiple) == (2**ups // unshuffle, unshuffle)
    assert usage.value_range == (0, 1)


@pytest.mark.parametrize("ups", [0, 3])
def test_rrdb_net_of_other_scales(tmp_path: Path, ups: int) -> None:
    for naming in ("new", "oldest"):
        published = PublishedRRDBNet(3, 8, 4, 1, ups)
        trained(published)
        torch.save(published.renamed(naming), tmp_path / "n.pth")
        assert_same(tmp_path / "n.pth", published, 3, 7, 6)


@pytest.mark.parametrize(
    ("channels", "width", "convs", "scale"), [(3, 8, 16, 4), (3, 12, 5, 2), (1, 8, 0, 3), (3, 4, 2, 1)]
)
def test_srvgg(tmp_path: Path, channels: int, width: int, convs: int, scale: int) -> None:
    published = trained(PublishedSRVGG(channels, width, convs, scale))
    torch.save({"params": published.state_dict()}, tmp_path / "n.pth")
    assert_same(tmp_path / "n.pth", published, channels, 7, 9)


@pytest.mark.parametrize(("channels", "width", "blocks", "scale"), [(3, 8, 16, 4), (1, 12, 3, 2), (3, 4, 2, 3)])
def test_msr_resnet(tmp_path: Path, channels: int, width: int, blocks: int, scale: int) -> None:
    published = trained(PublishedMSRResNet(channels, width, blocks, scale))
    torch.save(published.state_dict(), tmp_path / "n.pth")
    assert_same(tmp_path / "n.pth", published, channels, 7, 9)


@pytest.mark.parametrize(
    ("ours", "published"),
    [
        (rrdb(width=8, growth=4, blocks=2), PublishedRRDBNet(3, 8, 4, 2)),
        (rrdb(1, 1, scale=2, unshuffle=2, width=6, growth=4, blocks=1), PublishedRRDBNet(1, 6, 4, 1, unshuffle=2)),
        (rrdb(scale=1, unshuffle=4, width=8, growth=8, blocks=11), PublishedRRDBNet(3, 8, 8, 11, unshuffle=4)),
        (srvgg(scale=3, width=8, convs=2), PublishedSRVGG(3, 8, 2, 3)),
        *(
            (msr_resnet(scale=scale, width=4, blocks=2), PublishedMSRResNet(3, 4, blocks=2, scale=scale))
            for scale in (2, 3, 4)
        ),
    ],
)
def test_published_code_loads_our_generators(ours: Generator, published: nn.Module, tmp_path: Path) -> None:
    trained(ours, seed=3)
    (tmp_path / "n.pth").write_bytes(basicsr_bytes(to_basicsr(ours)))
    published.load_state_dict(torch.load(tmp_path / "n.pth", weights_only=True)["params_ema"], strict=True)
    x = torch.rand(2, next(published.parameters()).shape[1] // ours.size_multiple**2, 8, 12, dtype=torch.double)
    torch.testing.assert_close(ours.double()(x), published.double()(x), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    "generator",
    [
        rrdb(scale=3, width=4, growth=2, blocks=1),
        rrdb(scale=2, width=4, growth=2, blocks=1),
        msr_resnet(scale=8, width=4, blocks=1),
        msr_resnet(scale=1, width=4, blocks=1),
        srresnet(width=4, blocks=1),
        resnet(3, 3, width=4, blocks=1),
    ],
)
def test_generators_that_basicsr_does_not_have_are_refused(generator: Generator) -> None:
    with pytest.raises(UserError, match="no counterpart in BasicSR or Real-ESRGAN: expected an RRDBNet of scale 1"):
        to_basicsr(generator)


@pytest.mark.parametrize(("channels", "width"), [(3, 8), (1, 12)])
def test_unet_discriminator(tmp_path: Path, channels: int, width: int) -> None:
    published = PublishedUNet(channels, width)
    published(torch.rand(1, channels, 16, 16))  # moves the estimates away from their initial values
    published.eval().requires_grad_(False)
    torch.save({"params": published.state_dict()}, tmp_path / "n.pth")
    x = torch.rand(2, channels, 16, 24)
    torch.testing.assert_close(load_network(tmp_path / "n.pth")(x), published(x), rtol=0, atol=TOLERANCE)
    assert load_pretrained(tmp_path / "n.pth").usage is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"body.1.rdb2.conv3.weight": None}, "RRDBNet, but body.1.rdb2.conv3.weight is absent where 4×16×3×3"),
        ({"body.0.rdb1.conv1.weight": torch.ones(5, 8, 3, 3)}, "body.0.rdb1.conv1.bias is 4 where 5"),
        ({"body.7.rdb1.conv1.weight": torch.ones(4, 8, 3, 3)}, "body.2.rdb"),
        ({"conv_first.weight": torch.ones(8, 48, 3, 3), "conv_up2.weight": None}, "its output would be smaller"),
        ({"extra.weight": torch.ones(1)}, "extra.weight is 1 where absent"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**PublishedRRDBNet(3, 8, 4, 2).state_dict(), **change}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")


def test_an_srvgg_without_a_scale_is_refused(tmp_path: Path) -> None:
    state = {**PublishedSRVGG(3, 8, 1, 2).state_dict(), "body.4.weight": torch.ones(10, 8, 3, 3)}
    torch.save(state, tmp_path / "n.pth")
    with pytest.raises(UserError, match="times the square of the scale"):
        load_network(tmp_path / "n.pth")
