"""AdaIN's public files against a plain reference of the published network, and the published code's outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from torch import Tensor, nn

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.load import load
from gan_tasks.pretrained.load import load_network, load_pretrained

WIDTHS = (3, 4, 6, 8)


def pads(*layers: nn.Module) -> list[nn.Module]:
    """Reflection padding before each convolution of 3×3, and a ReLU after it."""
    return [part for layer in layers for part in (nn.ReflectionPad2d(1), layer, nn.ReLU())]


def published_encoder(widths: tuple[int, ...]) -> nn.Sequential:
    """The layers of VGG19 up to relu5_4, in the order of the file."""
    layers, inputs = [nn.Conv2d(3, 3, 1)], 3
    for block, (width, convs) in enumerate(zip((*widths, widths[-1]), (2, 2, 4, 4, 4), strict=True)):
        if block:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        for _ in range(convs):
            layers += pads(nn.Conv2d(inputs, width, 3))
            inputs = width
    return nn.Sequential(*layers)


def published_decoder(widths: tuple[int, ...]) -> nn.Sequential:
    a, b, c, d = widths

    def conv(inputs: int, outputs: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 3)

    return nn.Sequential(
        *pads(conv(d, c)),
        *(nn.Upsample(scale_factor=2), *pads(conv(c, c), conv(c, c), conv(c, c), conv(c, b))),
        *(nn.Upsample(scale_factor=2), *pads(conv(b, b), conv(b, a))),
        *(nn.Upsample(scale_factor=2), *pads(conv(a, a)), *pads(conv(a, 3))[:-1]),
    )


def adain(content: Tensor, style: Tensor) -> Tensor:
    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-5).sqrt()

    (mean, deviation), (wanted_mean, wanted_deviation) = moments(content), moments(style)
    return (content - mean) / deviation * wanted_deviation + wanted_mean


def restyled(
    folder_networks: tuple[nn.Sequential, nn.Sequential], image: Tensor, style: Tensor, alpha: float
) -> Tensor:
    """What the published test program makes of images in [0, 1], cropped to the size of the photograph."""
    encoder, decoder = folder_networks
    content, of_style = encoder[:31](image), encoder[:31](style)
    features = alpha * adain(content, of_style) + (1 - alpha) * content
    return decoder(features)[..., : image.shape[2], : image.shape[3]]


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Sequential, nn.Sequential]:
    torch.manual_seed(0)
    both = published_encoder(WIDTHS), published_decoder(WIDTHS)
    for part in (part for network in both for part in network.modules() if isinstance(part, nn.Conv2d)):
        nn.init.kaiming_normal_(part.weight)
    nn.init.normal_(both[1][-1].weight, 0, 0.02)
    nn.init.constant_(both[1][-1].bias, 0.5)
    return tuple(network.requires_grad_(False) for network in both)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def folder(networks: tuple[nn.Sequential, nn.Sequential], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adain")
    torch.save(networks[0].state_dict(), folder / "vgg_normalised.pth")
    torch.save(networks[1].state_dict(), folder / "decoder.pth")
    return folder


@pytest.mark.parametrize("name", interop_names("adain"))
def test_the_published_code_s_outputs(name: str) -> None:
    case = interop_case(name)
    outputs = load_network(case.path)(*case.inputs)
    assert outputs.keys() == case.outputs.keys()
    for key, expected in case.outputs.items():
        torch.testing.assert_close(outputs[key], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", [(17, 30), (24, 16), (33, 41)])
def test_each_half(networks: tuple[nn.Sequential, nn.Sequential], folder: Path, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    features = load_network(folder / "vgg_normalised.pth")(image)
    for name, layer in (("relu1_1", 4), ("relu2_1", 11), ("relu3_1", 18), ("relu4_1", 31)):
        torch.testing.assert_close(features[name], networks[0][:layer](image))
    content, style = torch.rand(1, WIDTHS[-1], 3, 4), torch.rand(1, WIDTHS[-1], 5, 2)
    made = load_network(folder / "decoder.pth")(content, style)
    torch.testing.assert_close(made["adain"], adain(content, style))
    torch.testing.assert_close(made["output"], networks[1](adain(content, style)))


@pytest.mark.parametrize("alpha", [1.0, 0.3, 0.0])
def test_both_files_are_one_model_of_any_sizes(
    networks: tuple[nn.Sequential, nn.Sequential], folder: Path, alpha: float
) -> None:
    image, style = torch.rand(1, 3, 21, 34), torch.rand(1, 3, 40, 19)
    expected = restyled(networks, image, style, alpha)
    pretrained = load_pretrained(folder)
    torch.testing.assert_close(pretrained.network(image, style, torch.full((1, 1), alpha)), expected)
    model = load(folder, device="cpu")
    assert (model.spec.use, model.spec.task, model.spec.trained_with) == ("stylize", "stylization", ("vgg19",))
    pixels = [(each[0].permute(1, 2, 0) * 255).round().byte().numpy() for each in (image, style)]
    made = model(*pixels, style_strength=alpha)
    rounded = restyled(networks, *(torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in pixels), alpha)
    assert np.abs(made - rounded[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255).max() < 0.51
    if alpha == 1:
        assert np.array_equal(model(*pixels), made)


def test_exported_both_sizes_are_free(
    networks: tuple[nn.Sequential, nn.Sequential], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No size has to be padded: also odd ones give what the published code gives."""
    pytest.importorskip("onnxruntime")
    file = tmp_path / "adain.onnx"
    assert main_code("export", folder, file) == 0
    assert "verified" in capsys.readouterr().out
    model = load(file, device="cpu").model
    for sizes in (((21, 34), (40, 19)), ((50, 16), (17, 65))):
        image, style = (torch.rand(2, 3, *size) for size in sizes)
        expected = restyled(networks, image, style, 0.6)
        made = model.run(*((each * 2 - 1).numpy() for each in (image, style)), np.full((2, 1), 0.6, np.float32))
        np.testing.assert_allclose(made / 2 + 0.5, expected.numpy(), rtol=0, atol=TOLERANCE)


def test_a_half_is_refused_and_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    for file in ("decoder.pth", "vgg_normalised.pth"):
        with pytest.raises(UserError, match=r"is half of a model: put it into a folder with \w+\.pth alone"):
            load(folder / file)
    (tmp_path / "decoder.pth").write_bytes((folder / "decoder.pth").read_bytes())
    with pytest.raises(UserError, match=r"0 with the encoder of AdaIN, 1 with the decoder of AdaIN"):
        load(tmp_path)
    torch.save(published_encoder((2, 2, 2, 2)).state_dict(), tmp_path / "encoder.pth")
    with pytest.raises(UserError, match="gives 2 channels of features and its decoder takes 8"):
        load(tmp_path)


def test_inspect_says_what_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_code("inspect", folder) == 0
    printed = capsys.readouterr().out
    assert "AdaIN encoder and decoder" in printed and "width: 3" in printed
    assert f"gan-tasks apply {folder} IN OUT --style STYLE" in printed


def main_code(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, words)))
    return int(ended.value.code or 0)
