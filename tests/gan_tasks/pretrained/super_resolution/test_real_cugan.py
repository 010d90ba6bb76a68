"""Checkpoints of Real-CUGAN, against a plain copy of the published networks and the outputs of the published code."""

from __future__ import annotations

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
from gan_tasks.networks.super_resolution.real_cugan import RealCugan
from gan_tasks.pretrained.load import load_network, load_pretrained

# The published networks, without their tiles.


class PublishedSE(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 8, 1)
        self.conv2 = nn.Conv2d(channels // 8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.mean(x, dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.conv2(torch.relu(self.conv1(mean))))


class PublishedConvs(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int, se: bool) -> None:
        super().__init__()
        layers = (nn.Conv2d(inputs, hidden, 3), nn.LeakyReLU(0.1), nn.Conv2d(hidden, outputs, 3), nn.LeakyReLU(0.1))
        self.conv = nn.Sequential(*layers)
        if se:
            self.seblock = PublishedSE(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.seblock(x) if hasattr(self, "seblock") else x


class PublishedUNet1(nn.Module):
    def __init__(self, inputs: int, outputs: int, w: tuple[int, ...], scale: int, se: bool) -> None:
        super().__init__()
        self.conv1 = PublishedConvs(inputs, w[0], w[1], se=False)
        self.conv1_down = nn.Conv2d(w[1], w[1], 2, 2)
        self.conv2 = PublishedConvs(w[1], w[2], w[1], se=se)
        self.conv2_up = nn.ConvTranspose2d(w[1], w[1], 2, 2)
        self.conv3 = nn.Conv2d(w[1], w[1], 3)
        form = (5, 3, 2) if scale == 3 else (4, 2, 3)
        self.conv_bottom = nn.ConvTranspose2d(w[1], outputs, *form)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.conv1(x)
        x2 = lrelu(self.conv2_up(self.conv2(lrelu(self.conv1_down(x1)))))
        return self.conv_bottom(lrelu(self.conv3(functional.pad(x1, (-4,) * 4) + x2)))


class PublishedUNet2(nn.Module):
    def __init__(self, inputs: int, outputs: int, w: tuple[int, ...], se: bool) -> None:
        super().__init__()
        self.conv1 = PublishedConvs(inputs, w[0], w[1], se=False)
        self.conv1_down = nn.Conv2d(w[1], w[1], 2, 2)
        self.conv2 = PublishedConvs(w[1], w[1], w[2], se=se)
        self.conv2_down = nn.Conv2d(w[2], w[2], 2, 2)
        self.conv3 = PublishedConvs(w[2], w[3], w[2], se=se)
        self.conv3_up = nn.ConvTranspose2d(w[2], w[2], 2, 2)
        self.conv4 = PublishedConvs(w[2], w[1], w[1], se=se)
        self.conv4_up = nn.ConvTranspose2d(w[1], w[1], 2, 2)
        self.conv5 = nn.Conv2d(w[1], w[1], 3)
        self.conv_bottom = nn.Conv2d(w[1], outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.conv1(x)
        x2 = self.conv2(lrelu(self.conv1_down(x1)))
        x3 = lrelu(self.conv3_up(self.conv3(lrelu(self.conv2_down(x2)))))
        x4 = lrelu(self.conv4_up(self.conv4(functional.pad(x2, (-4,) * 4) + x3)))
        return self.conv_bottom(lrelu(self.conv5(functional.pad(x1, (-16,) * 4) + x4)))


class PublishedUpCunet(nn.Module):
    def __init__(
        self, scale: int, w: tuple[int, ...], *, channels: int = 3, se: bool = True, pro: bool = False
    ) -> None:
        super().__init__()
        self.scale, self.pro = scale, pro
        inner = w[1] if scale == 4 else channels
        self.unet1 = PublishedUNet1(channels, inner, w, scale, se)
        self.unet2 = PublishedUNet2(inner, inner, w, se)
        if scale == 4:
            self.conv_final = nn.Conv2d(w[1], 4 * channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        image = x = x * 0.7 + 0.15 if self.pro else x
        height, width = x.shape[-2:]
        multiple, padding = (4, 14) if self.scale == 3 else (2, 19 if self.scale == 4 else 18)
        below, right = -height % multiple, -width % multiple
        sides = ((0, 0), (0, 0), (padding, padding + below), (padding, padding + right))
        x = torch.from_numpy(np.pad(x.numpy(), sides, "reflect"))  # small images several times, unlike PyTorch
        x = self.unet1(x)
        x = self.unet2(x) + functional.pad(x, (-20,) * 4)
        if self.scale == 4:
            x = functional.pixel_shuffle(functional.pad(self.conv_final(x), (-1,) * 4), 2)
        x = x[..., : self.scale * height, : self.scale * width]
        if self.scale == 4:
            x = x + functional.interpolate(image, scale_factor=4, mode="nearest")
        return (x - 0.15) / 0.7 if self.pro else x


def lrelu(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


def trained(network: PublishedUpCunet, seed: int = 0) -> PublishedUpCunet:
    """Set random weights, large enough for each to have an effect."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 1.2 * parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.data.uniform_(-0.2, 0.2, generator=generator)
    return network.eval().requires_grad_(False)


def save(network: PublishedUpCunet, path: Path) -> Path:
    torch.save(dict(network.state_dict()) | ({"pro": ""} if network.pro else {}), path)
    return path


@pytest.mark.parametrize(
    ("published", "size"),
    [
        (PublishedUpCunet(2, (8, 16, 24, 32)), (20, 33)),
        (PublishedUpCunet(2, (4, 8, 8, 12), channels=1, se=False), (24, 21)),
        (PublishedUpCunet(2, (6, 17, 9, 8), pro=True), (23, 20)),
        (PublishedUpCunet(2, (4, 8, 8, 8)), (2, 7)),
        (PublishedUpCunet(3, (4, 8, 8, 8)), (1, 30)),
        (PublishedUpCunet(3, (8, 8, 16, 8)), (18, 21)),
        (PublishedUpCunet(3, (5, 16, 8, 24), pro=True), (19, 22)),
        (PublishedUpCunet(4, (8, 24, 8, 16)), (20, 23)),
        (PublishedUpCunet(4, (4, 8, 16, 8), pro=True), (21, 26)),
    ],
    ids=lambda value: f"{value.scale}x" if isinstance(value, nn.Module) else None,
)
def test_published_networks(tmp_path: Path, published: PublishedUpCunet, size: tuple[int, int]) -> None:
    trained(published, seed=published.scale)
    channels = published.unet1.conv1.conv[0].in_channels
    x = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(1))
    expected = published(x)
    assert expected.std() > 0.05, "the weights have no effect on the output"
    found = load_pretrained(save(published, tmp_path / "n.pth"))
    torch.testing.assert_close(found.network(x), expected, rtol=TOLERANCE, atol=TOLERANCE)
    usage = found.usage
    assert usage is not None
    assert (usage.spec.scale, usage.spec.in_channels, usage.spec.out_channels) == (published.scale, channels, channels)
    assert usage.width == published.unet1.conv1.conv[0].out_channels
    assert (usage.value_range, usage.spec.size_multiple) == ((0, 1), 1)


@pytest.mark.parametrize("name", interop_names("realcugan"))
def test_stored_outputs_of_the_published_code(name: str) -> None:
    case = interop_case(name)
    torch.testing.assert_close(
        load_network(case.path)(*case.inputs), case.outputs["output"], rtol=TOLERANCE, atol=TOLERANCE
    )


@pytest.mark.parametrize("marker", ["", True, 1.0, torch.zeros(3)], ids=["text", "flag", "number", "tensor"])
def test_a_pro_file_is_known_by_its_marker(tmp_path: Path, marker: object) -> None:
    published = trained(PublishedUpCunet(2, (4, 8, 8, 8), pro=True))
    state = {f"module.{key}": tensor for key, tensor in published.state_dict().items()}
    torch.save({**state, "pro": marker}, tmp_path / "n.pth")
    x = torch.rand(1, 3, 20, 20)
    network = load_network(tmp_path / "n.pth")
    torch.testing.assert_close(network(x), published(x), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    "published",
    [
        PublishedUpCunet(3, (4, 8, 8, 8), pro=True),
        PublishedUpCunet(4, (4, 8, 8, 8)),
    ],
    ids=lambda published: f"{published.scale}x",
)
def test_the_export_takes_any_size(tmp_path: Path, published: PublishedUpCunet) -> None:
    import onnxruntime

    path = save(trained(published), tmp_path / "n.pth")
    report = export_onnx(PretrainedModel(path, device="cpu"), tmp_path / "n.onnx", model_name="n")
    assert report.verification.ok
    session = onnxruntime.InferenceSession(tmp_path / "n.onnx", providers=["CPUExecutionProvider"])
    for size in ((2, 2), (21, 34), (40, 27)):
        x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
        (found,) = session.run(None, {"image": x.numpy()})
        np.testing.assert_allclose(found, load_network(path)(x), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unet2.conv3.seblock.conv1.weight": None}, "UpCunet, but unet2.conv3.seblock.conv1.weight is absent"),
        ({"unet1.conv_bottom.weight": torch.ones(8, 3, 6, 6)}, "unet1.conv_bottom.weight is 8×3×6×6 where 8×3×4×4"),
        ({"unet1.conv_bottom.weight": torch.ones(8)}, "unet1.conv_bottom.weight is 8, expected the weight of a conv"),
        ({"conv_final.weight": torch.ones(12, 8, 3, 3)}, "unet1.conv_bottom.weight is 8×3×4×4 where 8×8×4×4"),
        ({"unet1.conv2.conv.0.weight": torch.ones(9, 8, 3, 3)}, "unet1.conv2.conv.0.bias is 8 where 9"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = dict(PublishedUpCunet(2, (4, 8, 8, 8)).state_dict()) | change
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")
