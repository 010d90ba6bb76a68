"""PGGAN's public checkpoints equal the published networks, which are written out here on the published tensors."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gan_tasks.pretrained.load import load_network, load_pretrained
from tests.helpers.interop import TOLERANCE, interop_case, interop_names

State = dict[str, Tensor]


def layer(state: State, name: str, *shape: int) -> None:
    """Add the tensors of an equalised layer."""
    state[f"{name}.module.weight"] = torch.randn(shape)
    state[f"{name}.module.bias"] = torch.randn(shape[0])


def run(state: State, name: str, x: Tensor) -> Tensor:
    """Run an equalised layer: √(2 / inputs) times the output, bias included."""
    weight, bias = state[f"{name}.module.weight"], state[f"{name}.module.bias"]
    constant = math.sqrt(2 / math.prod(weight.shape[1:]))
    if weight.ndim == 2:
        return functional.linear(x, weight, bias) * constant
    return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2) * constant


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def normalised(x: Tensor) -> Tensor:
    return x / ((x**2).mean(1, keepdim=True) + 1e-8).sqrt()


def generator_state(latent: int, widths: Sequence[int], channels: int) -> State:
    state: State = {}
    layer(state, "formatLayer", 16 * widths[0], latent)
    layer(state, "groupScale0.0", widths[0], widths[0], 3, 3)
    for scale, width in enumerate(widths):
        layer(state, f"toRGBLayers.{scale}", channels, width, 1, 1)
        if scale:
            layer(state, f"scaleLayers.{scale - 1}.0", width, widths[scale - 1], 3, 3)
            layer(state, f"scaleLayers.{scale - 1}.1", width, width, 3, 3)
    return state


def published_generator(state: State, latent: Tensor) -> Tensor:
    x = normalised(leaky(run(state, "formatLayer", normalised(latent))).view(len(latent), -1, 4, 4))
    x = normalised(leaky(run(state, "groupScale0.0", x)))
    scale = 0
    while f"scaleLayers.{scale}.0.module.weight" in state:
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        for conv in range(2):
            x = normalised(leaky(run(state, f"scaleLayers.{scale}.{conv}", x)))
        scale += 1
    return run(state, f"toRGBLayers.{scale}", x)


def discriminator_state(widths: Sequence[int], channels: int, deviation: bool) -> State:
    state: State = {}
    layer(state, "groupScaleZero.0", widths[0], widths[0] + deviation, 3, 3)
    layer(state, "groupScaleZero.1", widths[0], 16 * widths[0])
    layer(state, "decisionLayer", 1, widths[0])
    for scale, width in enumerate(widths):
        layer(state, f"fromRGBLayers.{scale}", width, channels, 1, 1)
        if scale:
            layer(state, f"scaleLayers.{scale - 1}.0", width, width, 3, 3)
            layer(state, f"scaleLayers.{scale - 1}.1", widths[scale - 1], width, 3, 3)
    return state


def published_discriminator(state: State, image: Tensor, deviation: bool) -> Tensor:
    scales = sum(key.startswith("fromRGBLayers") and key.endswith("weight") for key in state)
    x = leaky(run(state, f"fromRGBLayers.{scales - 1}", image))
    for scale in reversed(range(scales - 1)):
        for conv in range(2):
            x = leaky(run(state, f"scaleLayers.{scale}.{conv}", x))
        x = functional.avg_pool2d(x, 2)
    if deviation:
        size = 4 if len(x) % 4 == 0 else len(x)
        each = torch.cat([(group.var(0) + 1e-8).sqrt().mean().expand(size, 1, 4, 4) for group in x.split(size)])
        x = torch.cat([x, each], 1)
    x = leaky(run(state, "groupScaleZero.0", x))
    return run(state, "decisionLayer", leaky(run(state, "groupScaleZero.1", x.flatten(1))))


@pytest.mark.parametrize(("latent", "widths", "channels"), [(7, (6, 4, 3), 3), (5, (4, 6), 1), (3, (4,), 3)])
def test_generators_of_all_sizes(tmp_path: Path, latent: int, widths: tuple[int, ...], channels: int) -> None:
    state = generator_state(latent, widths, channels)
    torch.save(
        {"netG": {key: torch.zeros_like(value) for key, value in state.items()}, "avgG": state}, tmp_path / "n.pth"
    )
    found = load_pretrained(tmp_path / "n.pth")
    noise = torch.randn(2, latent)
    assert torch.allclose(found.network(noise), published_generator(state, noise), atol=1e-4)
    assert found.weights == "avgG, averaged (not used: netG)"
    assert found.usage is not None
    assert (found.usage.spec.output_size, found.usage.spec.inputs[0].channels) == ((2 << len(widths),) * 2, latent)


@pytest.mark.parametrize(("widths", "channels", "deviation"), [((6, 4, 3), 3, True), ((4, 6), 1, False)])
@pytest.mark.parametrize("count", [8, 3])
def test_discriminators_of_all_sizes(
    tmp_path: Path, widths: tuple[int, ...], channels: int, deviation: bool, count: int
) -> None:
    state = discriminator_state(widths, channels, deviation)
    torch.save({"netD": state}, tmp_path / "n.pth")
    image = torch.randn(count, channels, 2 << len(widths), 2 << len(widths))
    found: Tensor = load_network(tmp_path / "n.pth")(image)
    assert torch.allclose(found, published_discriminator(state, image, deviation), atol=1e-4)


@pytest.mark.parametrize("name", interop_names("pggan"))
def test_outputs_equal_the_stored_ones(name: str) -> None:
    case = interop_case(name)
    found: Tensor = load_network(case.path)(*case.inputs)
    assert (found - case.outputs["output"]).abs().max() <= TOLERANCE
