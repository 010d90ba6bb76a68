"""SPAN's checkpoints, against a copy of the published network in its training form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.pretrained.files.safe_load import read_state_dict
from gan_tasks.pretrained.load import load_network, load_pretrained


class PublishedConv(nn.Module):
    """Conv3XC as it runs in training, with an `eval_conv` that is out of date."""

    def __init__(self, inputs: int, outputs: int, gain: int = 2) -> None:
        super().__init__()
        self.sk = nn.Conv2d(inputs, outputs, 1)
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, gain * inputs, 1),
            nn.Conv2d(gain * inputs, gain * outputs, 3),
            nn.Conv2d(gain * outputs, outputs, 1),
        )
        self.eval_conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (1, 1, 1, 1))) + self.sk(x)


class PublishedBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (PublishedConv(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out1 = functional.silu(self.c1_r(x))  # in place in the published code
        out3 = self.c3_r(functional.silu(self.c2_r(out1)))
        return (out3 + x) * (torch.sigmoid(out3) - 0.5), out1


class PublishedSPAN(nn.Module):
    def __init__(
        self, channels: int = 3, outputs: int = 3, width: int = 8, scale: int = 2, norm: bool = True
    ) -> None:
        super().__init__()
        if not norm:
            self.register_buffer("no_norm", torch.zeros(1))
        self.norm, self.scale = norm, scale
        self.conv_1 = PublishedConv(channels, width)
        for i in range(1, 7):
            self.add_module(f"block_{i}", PublishedBlock(width))
        self.conv_cat = nn.Conv2d(4 * width, width, 1)
        self.conv_2 = PublishedConv(width, width)
        self.upsampler = nn.Sequential(nn.Conv2d(width, outputs * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        if self.norm:
            x = (x - torch.tensor([0.4488, 0.4371, 0.4040], dtype=x.dtype).view(1, 3, 1, 1)) * 255
        first = y = self.conv_1(x)
        outputs = []
        for i in range(1, 7):
            y, inner = self.get_submodule(f"block_{i}")(y)
            outputs.append(y)
        return self.upsampler(self.conv_cat(torch.cat([first, self.conv_2(y), outputs[0], inner], 1)))


def trained(network: PublishedSPAN, seed: int = 0) -> PublishedSPAN:
    """Set random weights that keep the features of all blocks in the order of 1, so that each has an effect."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.data.normal_(0, 0.8 * fan**-0.5, generator=generator)
        if network.norm and name in ("conv_1.sk.weight", "conv_1.conv.0.weight"):
            parameter.data /= 100  # the input is in the order of 100
    return network.eval().requires_grad_(False)


def saved(state: dict[str, Tensor], path: Path) -> Path:
    torch.save({"params": state}, path)
    return path


def fused_state(network: PublishedSPAN) -> dict[str, Tensor]:
    """The state of a network for inference alone, with the fused convolutions and without their parts."""
    state = {k: v for k, v in network.state_dict().items() if ".sk." not in k and ".conv." not in k}
    for name, conv in network.named_modules():
        if isinstance(conv, PublishedConv):
            zero = torch.zeros(1, conv.sk.in_channels, 3, 3)
            bias = conv(zero)[0, :, 1, 1]
            impulse = torch.zeros(conv.sk.in_channels, conv.sk.in_channels, 3, 3)
            impulse[range(len(impulse)), range(len(impulse)), 1, 1] = 1
            response = (conv(impulse) - bias[:, None, None]).flip(2, 3)
            state |= {f"{name}.eval_conv.weight": response.transpose(0, 1), f"{name}.eval_conv.bias": bias}
    return state


@pytest.mark.parametrize(
    ("channels", "outputs", "width", "scale", "norm"),
    [(3, 3, 8, 4, True), (3, 3, 5, 2, False), (1, 1, 6, 3, False), (3, 3, 4, 1, True), (3, 1, 4, 2, True)],
)
@pytest.mark.parametrize("fused", [False, True])
def test_span(tmp_path: Path, channels: int, outputs: int, width: int, scale: int, norm: bool, fused: bool) -> None:
    """`eval_conv` has a random kernel in the files with parts, and is all that the others have."""
    published = trained(PublishedSPAN(channels, outputs, width, scale, norm))
    state = fused_state(published) if fused else published.state_dict()
    pretrained = load_pretrained(saved(state, tmp_path / "n.pth"))
    x = torch.rand(2, channels, 9, 7, generator=torch.Generator().manual_seed(1))
    expected = published(x)
    assert expected.std() > 0.05
    torch.testing.assert_close(pretrained.network(x), expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert pretrained.usage is not None
    spec = pretrained.usage.spec
    assert (spec.in_channels, spec.out_channels, spec.scale) == (channels, outputs, scale)
    assert (pretrained.usage.width, pretrained.usage.value_range) == (width, (0, 1))
    assert spec.receptive_field == 21 and not spec.global_statistics


@pytest.mark.parametrize("norm", [False, True])
def test_published_code_loads_our_networks(tmp_path: Path, norm: bool) -> None:
    published = trained(PublishedSPAN(norm=norm))
    back = to_basicsr(load_network(saved(published.state_dict(), tmp_path / "n.pth")))  # type: ignore[arg-type]
    assert list(back) == list(published.state_dict())
    for key, tensor in published.state_dict().items():
        assert torch.equal(back[key], tensor) == ("eval_conv" not in key)
    fused = fused_state(published)
    torch.testing.assert_close({key: back[key] for key in fused}, fused)


def test_a_network_of_fused_convolutions_is_not_exported_to_basicsr(tmp_path: Path) -> None:
    network = load_network(saved(fused_state(trained(PublishedSPAN())), tmp_path / "n.pth"))
    with pytest.raises(UserError, match="a SPAN that is not fused"):
        to_basicsr(network)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"block_3.c2_r.conv.1.weight": None},
            "BasicSR/neosr SPAN, but block_3.c2_r.conv.1.weight is absent where 16×16×3×3",
        ),
        ({"upsampler.0.weight": torch.ones(7, 8, 3, 3)}, "upsampler.0 has 7 output channels"),
        ({"conv_1.sk.weight": torch.ones(8, 2, 1, 1)}, "2 channels and it has no tensor no_norm"),
        ({"extra.weight": torch.ones(1)}, "extra.weight is 1 where absent"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**PublishedSPAN().state_dict(), **change}
    path = saved({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(path)


def test_tiles_equal_the_whole_image(tmp_path: Path) -> None:
    model = PretrainedModel(saved(trained(PublishedSPAN()).state_dict(), tmp_path / "n.pth"), device="cpu")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 200, 40)).astype(np.float32)
    whole = model.run(image)
    model.max_memory_bytes = model.bytes_per_pixel * 130 * 40
    assert model.runs_in_tiles(200, 40)
    np.testing.assert_allclose(model.run(image), whole, atol=TOLERANCE)


@pytest.mark.parametrize("name", interop_names("span_"))
def test_interop(name: str) -> None:
    case = interop_case(name)
    network = load_network(case.path)
    torch.testing.assert_close(network(*case.inputs), case.outputs["output"], rtol=0, atol=TOLERANCE)
    back, published = to_basicsr(network), read_state_dict(case.path)  # type: ignore[arg-type]
    assert back.keys() == published.keys()
    assert all(torch.equal(back[key], tensor) for key, tensor in published.items() if "eval_conv" not in key)
