"""StyleGAN2's public checkpoints equal the published networks, which are written out here sample by sample.

One set of parameters is stored under the names of NVIDIA's program and under those of rosinality's.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.pretrained.load import load_network, load_pretrained
from gan_tasks.pretrained.synthesis.rosinality import mean_style
from tests.helpers.interop import TOLERANCE, InteropCase, interop_case, interop_names

State = dict[str, Tensor]
Layer = tuple[Tensor, Tensor]
"""Weight and bias of a layer."""


def leaky(x: Tensor) -> Tensor:
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


def normalised(x: Tensor) -> Tensor:
    return x / ((x**2).mean(1, keepdim=True) + 1e-8).sqrt()


def fir(taps: Sequence[float]) -> Tensor:
    row = torch.tensor(taps) / sum(taps)
    return torch.outer(row, row)


def filtered(x: Tensor, filter: Tensor, before: int, after: int, gain: float = 1.0) -> Tensor:
    padded = functional.pad(x, (before, after, before, after)).flatten(0, 1)[:, None]
    y = functional.conv2d(padded, gain * filter.flip(0, 1)[None, None])
    return y.reshape(*x.shape[:2], *y.shape[2:])


def layer(outputs: int, *inputs: int) -> Layer:
    return torch.randn(outputs, *inputs), torch.randn(outputs)


@dataclass
class Conv:
    """A modulated convolution."""

    main: Layer
    affine: Layer
    strength: Tensor
    noise: Tensor

    def run(self, x: Tensor, style: Tensor, filter: Tensor | None) -> Tensor:
        """One sample, 1×C×H×W. With a filter it doubles the size."""
        weight = modulated(self.main[0], self.affine, style)
        weight = weight / ((weight**2).sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if filter is None:
            x = functional.conv2d(x, weight, padding=1)
        else:
            taps = len(filter)
            x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = filtered(x, filter, (taps - 1) // 2, (taps - 2) // 2, 4)
        return leaky(x + self.noise * self.strength + self.main[1][:, None, None])


def modulated(weight: Tensor, affine: Layer, style: Tensor) -> Tensor:
    factors = affine[0] @ style / math.sqrt(len(style)) + affine[1]
    return weight * factors[None, :, None, None]


@dataclass
class Generator:
    """StyleGAN2's generator."""

    embed: Layer | None
    mapping: list[Layer]
    average: Tensor
    const: Tensor
    convs: list[Conv]
    rgbs: list[tuple[Layer, Layer]]
    filter: Tensor

    def map(self, z: Tensor, label: Tensor | None) -> Tensor:
        x = normalised(z)
        if self.embed is not None and label is not None:
            weight, bias = self.embed
            x = torch.cat([x, normalised(label @ weight.t() / math.sqrt(weight.shape[1]) + bias)], 1)
        for weight, bias in self.mapping:
            x = leaky(x @ (0.01 * weight.t()) / math.sqrt(weight.shape[1]) + 0.01 * bias)
        return x

    def image(self, style: Tensor) -> Tensor:
        x = self.convs[0].run(self.const[None], style, None)
        image = self.rgb(0, x, style)
        for stage in range(len(self.rgbs) - 1):
            x = self.convs[2 * stage + 1].run(x, style, self.filter)
            x = self.convs[2 * stage + 2].run(x, style, None)
            zeros = torch.zeros(1, image.shape[1], *x.shape[2:])
            zeros[:, :, ::2, ::2] = image
            taps = len(self.filter)
            image = filtered(zeros, self.filter, (taps + 1) // 2, (taps - 2) // 2, 4) + self.rgb(stage + 1, x, style)
        return image

    def rgb(self, number: int, x: Tensor, style: Tensor) -> Tensor:
        (weight, bias), affine = self.rgbs[number]
        return functional.conv2d(x, modulated(weight, affine, style) / math.sqrt(weight.shape[1]), bias)

    def run(self, z: Tensor, label: Tensor | None = None, psi: float = 1.0) -> Tensor:
        styles = self.average + psi * (self.map(z, label) - self.average)
        return torch.cat([self.image(style) for style in styles])


def generator(
    widths: Sequence[int],
    *,
    latent: int = 6,
    style: int = 5,
    hidden: int = 5,
    layers: int = 2,
    classes: int = 0,
    channels: int = 3,
    taps: Sequence[float] = (1, 3, 3, 1),
) -> Generator:
    embedding = style if classes else 0
    sizes = [latent + embedding, *[hidden] * (layers - 1), style]
    convs = []
    for number in range(2 * len(widths) - 1):
        level = (number + 1) // 2
        inputs = widths[max(0, number - 1) // 2] if number % 2 else widths[level]
        side = 4 << level
        main, affine = layer(widths[level], inputs, 3, 3), layer(inputs, style)
        convs.append(Conv(main, affine, torch.randn(()), torch.randn(side, side)))
    return Generator(
        layer(embedding, classes) if classes else None,
        [(30 * weight, bias) for weight, bias in map(layer, sizes[1:], sizes[:-1])],
        torch.randn(style),
        torch.randn(widths[0], 4, 4),
        convs,
        [(layer(channels, width, 1, 1), layer(width, style)) for width in widths],
        fir(taps),
    )


def put(state: State, name: str, values: Layer, bias: str | None = None) -> None:
    state[f"{name}.weight"], state[bias or f"{name}.bias"] = values


def nvidia(network: Generator) -> State:
    """Name the parameters as NVIDIA's program does."""
    state: State = {"mapping.w_avg": network.average, "synthesis.b4.const": network.const}
    if network.embed is not None:
        put(state, "mapping.embed", network.embed)
    for number, each in enumerate(network.mapping):
        put(state, f"mapping.fc{number}", each)
    for number, conv in enumerate(network.convs):
        name = f"synthesis.b{4 << (number + 1) // 2}.conv{(number + 1) % 2}"
        put(state, name, conv.main)
        put(state, f"{name}.affine", conv.affine)
        state |= {f"{name}.noise_strength": conv.strength, f"{name}.noise_const": conv.noise}
        state[f"{name}.resample_filter"] = network.filter
    for level, (main, affine) in enumerate(network.rgbs):
        put(state, f"synthesis.b{4 << level}.torgb", main)
        put(state, f"synthesis.b{4 << level}.torgb.affine", affine)
    return state


def rosinality(network: Generator) -> State:
    """Name the parameters as rosinality's program does."""
    state: State = {"input.input": network.const[None]}
    for number, each in enumerate(network.mapping, start=1):
        put(state, f"style.{number}", each)
    for number, conv in enumerate(network.convs):
        name = f"convs.{number - 1}" if number else "conv1"
        state |= {f"{name}.conv.weight": conv.main[0][None], f"{name}.activate.bias": conv.main[1]}
        put(state, f"{name}.conv.modulation", conv.affine)
        state |= {f"{name}.noise.weight": conv.strength[None], f"noises.noise_{number}": conv.noise[None, None]}
        if number % 2:
            state[f"{name}.conv.blur.kernel"] = 4 * network.filter
    for level, ((weight, bias), affine) in enumerate(network.rgbs):
        name = f"to_rgbs.{level - 1}" if level else "to_rgb1"
        state |= {f"{name}.conv.weight": weight[None], f"{name}.bias": bias[None, :, None, None]}
        put(state, f"{name}.conv.modulation", affine)
        if level:
            state[f"{name}.upsample.kernel"] = 4 * network.filter
    return state


def loaded(content: object, path: Path) -> SynthesisGenerator:
    torch.save(content, path)
    network = load_network(path)
    assert isinstance(network, SynthesisGenerator)
    return network


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-4 * float(other.abs().max()))


def test_nvidias_generators_of_other_sizes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for network in (
        generator([4, 6, 3, 5]),
        generator([4], layers=1, latent=9),
        generator([3, 4, 2], classes=3, hidden=7, layers=4, channels=1),
        generator([3, 4], taps=(1, 2, 1, 4, 2, 3)),
    ):
        classes = 0 if network.embed is None else 3
        found = loaded({"G_ema": nvidia(network)}, tmp_path / "n.pth")
        assert (found.classes, found.output_size[0]) == (classes, 2 ** (len(network.rgbs) + 1))
        z, label = torch.randn(2, found.latent), torch.eye(3)[1:] if classes else None
        assert close(found(z, label), network.run(z, label))
        assert close(found.styles(z, label)[:, -1], network.map(z, label))
        assert close(found(z, label, torch.full((2, 1), 0.6)), network.run(z, label, 0.6))


def test_rosinalitys_generators_of_other_sizes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    for network in (generator([4, 6, 3, 5], latent=5), generator([4, 4], latent=5, layers=5, channels=4)):
        state = rosinality(network)
        training = {
            "g": {key: tensor + 1 for key, tensor in state.items()},
            "g_ema": state,
            "args": argparse.Namespace(size=32),
        }
        z = torch.randn(2, 5)
        for content in (state, {"g_ema": state}, training):
            assert close(loaded(content, tmp_path / "n.pt")(z), network.run(z))


def test_the_mean_style_beside_rosinalitys_weights_is_used(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = generator([4, 6], latent=5)
    state, z, truncation = rosinality(network), torch.randn(2, 5), torch.full((2, 1), 0.3)
    psp = {"state_dict": {f"decoder.{key}": tensor for key, tensor in state.items()}}
    for content, average in (
        ({"g_ema": state, "latent_avg": network.average}, network.average),
        (psp | {"latent_avg": network.average.repeat(4, 1)}, network.average),
    ):
        found = loaded(content, tmp_path / "n.pt")
        assert found.mapping.average is not None
        assert torch.equal(found.mapping.average, average)
        assert close(found(z, None, truncation), network.run(z, psi=0.3))


def test_without_it_the_mean_of_styles_is_taken(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = generator([4, 6], latent=5)
    found = loaded(rosinality(network), tmp_path / "n.pt")
    assert found.mapping.average is not None
    assert torch.equal(found.mapping.average, mean_style(found))
    expected = network.map(torch.randn(20_000, 5), None)
    assert torch.allclose(found.mapping.average, expected.mean(0), atol=0.1 * float(expected.std()))


@dataclass
class Discriminator:
    """StyleGAN2's discriminator."""

    rgb: Layer
    stages: list[tuple[Layer, Layer, Tensor]]
    conv: Layer
    linear: Layer
    out: Layer
    embed: Layer | None
    mapping: list[Layer]
    filter: Tensor

    def run(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        x = leaky(convolved(image, self.rgb[0]) + self.rgb[1][:, None, None])
        taps = len(self.filter)
        for (w0, b0), (w1, b1), skip in self.stages:
            y = leaky(convolved(x, w0) + b0[:, None, None])
            y = filtered(y, self.filter, (taps + 1) // 2, taps // 2)
            y = functional.conv2d(y, w1, stride=2) / math.sqrt(w1[0].numel())
            shortcut = filtered(x, self.filter, (taps - 1) // 2, (taps - 2) // 2)[:, :, ::2, ::2]
            x = (leaky(y + b1[:, None, None]) + convolved(shortcut, skip)) / math.sqrt(2)
        if self.conv[0].shape[1] > x.shape[1]:
            deviations = torch.empty(len(x), 1, 4, 4)
            for first in range(len(x) // 4):  # every second of 8 images is in the same group
                group = x[first :: len(x) // 4]
                deviations[first :: len(x) // 4] = (group.var(0, correction=0) + 1e-8).sqrt().mean()
            x = torch.cat([x, deviations], 1)
        x = leaky(convolved(x, self.conv[0]) + self.conv[1][:, None, None]).flatten(1)
        x = leaky(x @ self.linear[0].t() / math.sqrt(x.shape[1]) + self.linear[1])
        x = x @ self.out[0].t() / math.sqrt(x.shape[1]) + self.out[1]
        if self.embed is None or label is None:
            return x
        v = normalised(label @ self.embed[0].t() / math.sqrt(label.shape[1]) + self.embed[1])
        for weight, bias in self.mapping:
            v = leaky(v @ (0.01 * weight.t()) / math.sqrt(weight.shape[1]) + 0.01 * bias)
        return (x * v).sum(1, keepdim=True) / math.sqrt(v.shape[1])


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    return functional.conv2d(x, weight, padding=weight.shape[-1] // 2) / math.sqrt(weight[0].numel())


def discriminator(
    widths: Sequence[int],
    *,
    classes: int = 0,
    vector: int = 6,
    deviation: int = 1,
    head: tuple[int, int] = (4, 5),
    taps: Sequence[float] = (1, 3, 3, 1),
) -> Discriminator:
    stages = [
        (layer(inputs, inputs, 3, 3), layer(outputs, inputs, 3, 3), torch.randn(outputs, inputs, 1, 1))
        for inputs, outputs in zip(widths[:0:-1], widths[-2::-1], strict=True)
    ]
    return Discriminator(
        layer(widths[-1], 3, 1, 1),
        stages,
        layer(head[0], widths[0] + deviation, 3, 3),
        layer(head[1], 16 * head[0]),
        layer(vector if classes else 1, head[1]),
        layer(vector, classes) if classes else None,
        [(30 * weight, bias) for weight, bias in (layer(vector, vector), layer(vector, vector)) if classes],
        fir(taps),
    )


def nvidia_discriminator(network: Discriminator) -> State:
    top = 4 << len(network.stages)
    state: State = {}
    names = {"b4.conv": network.conv, "b4.fc": network.linear, "b4.out": network.out, f"b{top}.fromrgb": network.rgb}
    for number, (conv0, conv1, skip) in enumerate(network.stages):
        names |= {f"b{top >> number}.conv0": conv0, f"b{top >> number}.conv1": conv1}
        state[f"b{top >> number}.skip.weight"] = skip
    names |= {f"mapping.fc{number}": each for number, each in enumerate(network.mapping)}
    if network.embed is not None:
        names["mapping.embed"] = network.embed
    for name, each in names.items():
        put(state, name, each)
        state[f"{name}.resample_filter"] = network.filter
    return state


def rosinality_discriminator(network: Discriminator) -> State:
    state: State = {}
    put(state, "convs.0.0", network.rgb, "convs.0.1.bias")
    for number, (conv0, conv1, skip) in enumerate(network.stages, start=1):
        put(state, f"convs.{number}.conv1.0", conv0, f"convs.{number}.conv1.1.bias")
        put(state, f"convs.{number}.conv2.1", conv1, f"convs.{number}.conv2.2.bias")
        state[f"convs.{number}.skip.1.weight"] = skip
        state |= {f"convs.{number}.{part}.0.kernel": network.filter for part in ("conv2", "skip")}
    put(state, "final_conv.0", network.conv, "final_conv.1.bias")
    put(state, "final_linear.0", network.linear)
    put(state, "final_linear.1", network.out)
    return state


def test_discriminators_of_other_sizes(tmp_path: Path) -> None:
    torch.manual_seed(4)
    for network in (
        discriminator([4, 6, 3, 5]),
        discriminator([4], deviation=0),
        discriminator([3, 2, 4], classes=3),
        discriminator([3, 2], taps=(1, 2, 1, 4, 2, 3), head=(2, 7)),
    ):
        classes, size = 0 if network.embed is None else 3, 4 << len(network.stages)
        images, label = torch.randn(8, 3, size, size), torch.eye(3)[torch.arange(8) % 3]
        given = (images, label) if classes else (images,)
        states = [nvidia_discriminator(network)]
        if not classes:
            states += [rosinality_discriminator(network)]
        for state in states:
            torch.save(
                {"d": state, "latent_avg": torch.zeros(5)} if "convs.0.0.weight" in state else state,
                tmp_path / "n.pt",
            )
            found = load_pretrained(tmp_path / "n.pt")
            assert found.usage is None
            logits = found.network(*given)
            assert logits.shape == (8, 1)
            assert close(logits, network.run(*given))


@pytest.mark.parametrize(
    ("key", "tensor", "says"),
    [
        ("synthesis.b8.conv0.weight", None, r"synthesis\.b8\.conv0\.bias is 6 where absent was expected"),
        ("synthesis.b8.conv1.noise_const", torch.zeros(4, 4), r"noise_const is 4×4 where 8×8 was expected"),
        (
            "synthesis.b8.torgb.weight",
            torch.zeros(3, 0, 1, 1),
            r"torgb\.weight is 3×0×1×1, expected the weight of a co",
        ),
        ("mapping.fc0.weight", torch.zeros(5), r"fc0\.weight is 5, expected the weight of a linear layer"),
        ("mapping.embed.weight", torch.zeros(9, 2), r"fc0 has 6 inputs: expected those of a label's embedding, 9"),
        ("synthesis.b4.conv1.resample_filter", torch.ones(4, 4), "differs from the other filters"),
        ("synthesis.b4.conv1.resample_filter", torch.zeros(4, 4), "expected a low-pass filter"),
    ],
)
def test_damaged_generators_are_refused(tmp_path: Path, key: str, tensor: Tensor | None, says: str) -> None:
    state = nvidia(generator([4, 6]))
    changed = {name: value for name, value in (state | {key: tensor}).items() if value is not None}
    torch.save(changed, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")


def test_a_damaged_discriminator_is_refused(tmp_path: Path) -> None:
    state = nvidia_discriminator(discriminator([4, 6])) | {"b4.conv.weight": torch.zeros(4, 7, 3, 3)}
    torch.save(state, tmp_path / "n.pth")
    with pytest.raises(UserError, match="has 7 inputs: expected 4, and a divisor of it"):
        load_network(tmp_path / "n.pth")


class TestInterop:
    """Checkpoints of the published programs, with their outputs."""

    @pytest.mark.parametrize("name", interop_names("stylegan2"))
    def test_all_outputs_equal_the_stored_ones(self, name: str) -> None:
        case = interop_case(name)
        pickled = case.path.with_suffix(".pkl")
        for path in (case.path, pickled) if pickled.exists() else (case.path,):
            self.assert_equal(case, load_network(path))

    def assert_equal(self, case: InteropCase, network: nn.Module) -> None:
        outputs = {"output": network(*case.inputs)}
        assert outputs["output"].shape == case.outputs["output"].shape
        if isinstance(network, SynthesisGenerator):
            z, label = case.inputs[0], case.inputs[1] if len(case.inputs) == 2 else None
            styles = network.styles(z, label)
            outputs["w"] = styles if case.outputs["w"].ndim == 3 else styles[:, 0]
            outputs["output_psi07"] = network(z, label, torch.full((len(z), 1), 0.7))
        assert case.outputs.keys() <= outputs.keys()
        for key, expected in case.outputs.items():
            assert (outputs[key] - expected).abs().max() < TOLERANCE
