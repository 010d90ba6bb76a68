"""R3GAN's checkpoints, against stored outputs of the published networks and against their layout restated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.pretrained.load import load_network, load_pretrained
from gan_tasks.spec import InputSpec

State = dict[str, Tensor]


@pytest.mark.parametrize("name", interop_names("r3gan"))
@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_stored_outputs(name: str, suffix: str) -> None:
    case = interop_case(name)
    if not (path := case.path.with_suffix(suffix)).exists():
        pytest.skip(f"{path} is absent")
    torch.testing.assert_close(load_network(path)(*case.inputs), case.outputs["output"], rtol=0, atol=TOLERANCE)


# The published networks, restated: their tensors, and what is computed with them.


def add_block(state: State, name: str, width: int, groups: int, expansion: int, random: torch.Generator) -> None:
    inner = width * expansion
    shapes = [(inner, width, 1, 1), (inner, inner // groups, 3, 3), (width, inner, 1, 1)]
    for number, shape in enumerate(shapes, start=1):
        fan_in = shape[1] * shape[2] * shape[3]
        state[f"{name}.LinearLayer{number}.Layer.weight"] = torch.randn(shape, generator=random) / fan_in**0.5
    for number in (1, 2):
        state[f"{name}.NonLinearity{number}.Bias"] = torch.randn(inner, generator=random) * 0.3


def add_change(state: State, name: str, inputs: int, outputs: int, random: torch.Generator) -> None:
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    state[f"{name}.Resampler.Kernel"] = row[:, None] * row
    if inputs != outputs:
        state[f"{name}.LinearLayer.Layer.weight"] = torch.randn(outputs, inputs, 1, 1, generator=random) / inputs**0.5


def block(state: State, name: str, x: Tensor) -> Tensor:
    first, second, third = (state[f"{name}.LinearLayer{number}.Layer.weight"] for number in (1, 2, 3))
    y = functional.conv2d(x, first) + state[f"{name}.NonLinearity1.Bias"][:, None, None]
    y = functional.leaky_relu(y, 0.2)
    y = functional.conv2d(y, second, padding=1, groups=len(second) // second.shape[1])
    y = functional.leaky_relu(y + state[f"{name}.NonLinearity2.Bias"][:, None, None], 0.2)
    return x + functional.conv2d(y, third)


def resized(x: Tensor, kernel: Tensor, up: int) -> Tensor:
    """Double with zeros between the pixels and beyond the border, or halve."""
    channels = x.shape[1]
    each = kernel.expand(channels, 1, 4, 4)
    if up:
        return functional.conv_transpose2d(x, 4 * each, stride=2, padding=1, groups=channels)
    return functional.conv2d(x, each, stride=2, padding=1, groups=channels)


def one_by_one(state: State, name: str, x: Tensor) -> Tensor:
    weight = state.get(f"{name}.LinearLayer.Layer.weight")
    return x if weight is None else functional.conv2d(x, weight)


LEVELS = {
    "plain": ([(12, 3, 1), (8, 2, 2), (4, 4, 1)], 2, 0),
    "classes": ([(8, 4, 2), (8, 1, 1)], 3, 5),
    "one level": ([(6, 2, 1)], 2, 0),
}
"""Names → (width, groups, blocks) of each stage from the smallest features, expansion, classes."""


def generator_state(name: str, latent: int = 7, embedding: int = 4, channels: int = 3) -> State:
    levels, expansion, classes = LEVELS[name]
    random = torch.Generator().manual_seed(len(levels))
    prefix = "Model." if classes else ""
    state: State = {}
    before = levels[0][0]
    for stage, (width, groups, blocks) in enumerate(levels):
        here = f"{prefix}MainLayers.{stage}.Layers"
        if stage:
            add_change(state, f"{here}.0", before, width, random)
        else:
            inputs = latent + (embedding if classes else 0)
            state[f"{here}.0.Basis"] = torch.randn(width, 4, 4, generator=random)
            state[f"{here}.0.LinearLayer.weight"] = torch.randn(width, inputs, generator=random) / inputs**0.5
        for number in range(blocks):
            add_block(state, f"{here}.{number + 1}", width, groups, expansion, random)
        before = width
    state[f"{prefix}AggregationLayer.Layer.weight"] = torch.randn(channels, before, 1, 1, generator=random) * 0.1
    if classes:
        state[f"{prefix}EmbeddingLayer.weight"] = torch.randn(embedding, classes, generator=random)
    return state


def generated(state: State, name: str, latent: Tensor, label: Tensor | None) -> Tensor:
    state = {key.removeprefix("Model."): tensor for key, tensor in state.items()}
    if label is not None:
        latent = torch.cat([latent, label @ state["EmbeddingLayer.weight"].T], dim=1)
    x = latent @ state["MainLayers.0.Layers.0.LinearLayer.weight"].T
    x = x[:, :, None, None] * state["MainLayers.0.Layers.0.Basis"]
    for stage, (_, _, blocks) in enumerate(LEVELS[name][0]):
        here = f"MainLayers.{stage}.Layers"
        if stage:
            x = resized(one_by_one(state, f"{here}.0", x), state[f"{here}.0.Resampler.Kernel"], up=True)
        for number in range(blocks):
            x = block(state, f"{here}.{number + 1}", x)
    return functional.conv2d(x, state["AggregationLayer.Layer.weight"])


@pytest.mark.parametrize("name", LEVELS)
def test_the_generator_equals_its_published_layout(tmp_path: Path, name: str) -> None:
    classes = LEVELS[name][2]
    state = generator_state(name)
    raw = {key: tensor if key.endswith("Kernel") else tensor + 1 for key, tensor in state.items()}
    torch.save({"G": raw, "G_ema": state}, tmp_path / "n.pth")
    found = load_pretrained(tmp_path / "n.pth")
    latent = torch.randn(2, 7, generator=torch.Generator().manual_seed(1))
    label = torch.eye(classes)[:2] if classes else None
    expected = generated(state, name, latent, label)
    assert expected.std() > 0.05, "the weights would verify nothing"
    torch.testing.assert_close(found.network(latent, label), expected, rtol=0, atol=1e-5)
    assert found.usage is not None
    side = expected.shape[-1]
    assert found.usage.spec.output_size == (side, side)
    inputs = [InputSpec("latent", "latent", 7, "none"), InputSpec("label", "label", 5, "none")]
    assert found.usage.spec.inputs == tuple(inputs[: 2 if classes else 1])


@pytest.mark.parametrize("name", LEVELS)
def test_the_discriminator_equals_its_published_layout(tmp_path: Path, name: str) -> None:
    levels, expansion, classes = LEVELS[name]
    levels = levels[::-1]
    random = torch.Generator().manual_seed(3)
    state: State = {"ExtractionLayer.Layer.weight": torch.randn(levels[0][0], 1, 1, 1, generator=random)}
    image = torch.randn(3, 1, 4 << (len(levels) - 1), 4 << (len(levels) - 1), generator=random)
    x = functional.conv2d(image, state["ExtractionLayer.Layer.weight"])
    for stage, (width, groups, blocks) in enumerate(levels):
        for number in range(blocks):
            add_block(state, f"MainLayers.{stage}.Layers.{number}", width, groups, expansion, random)
            x = block(state, f"MainLayers.{stage}.Layers.{number}", x)
        end = f"MainLayers.{stage}.Layers.{blocks}"
        if stage < len(levels) - 1:
            add_change(state, end, width, levels[stage + 1][0], random)
            x = one_by_one(state, end, resized(x, state[f"{end}.Resampler.Kernel"], up=False))
    state[f"{end}.Basis.weight"] = torch.randn(width, 1, 4, 4, generator=random) / 4
    state[f"{end}.LinearLayer.weight"] = torch.randn(6 if classes else 1, width, generator=random)
    expected = (x * state[f"{end}.Basis.weight"][:, 0]).sum((2, 3)) @ state[f"{end}.LinearLayer.weight"].T
    label = None
    if classes:
        label = torch.eye(classes)[:3]
        state["EmbeddingLayer.weight"] = torch.randn(6, classes, generator=random)
        expected = (expected * (label @ state["EmbeddingLayer.weight"].T)).sum(1, keepdim=True)
        state = {f"Model.{key}": tensor for key, tensor in state.items()}
    torch.save(state, tmp_path / "n.pth")
    logits = load_network(tmp_path / "n.pth")(image, label)
    torch.testing.assert_close(logits, expected[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"MainLayers.1.Layers.1.NonLinearity1.Bias": None}, r"NonLinearity1\.Bias is absent where 16"),
        ({"MainLayers.1.Layers.0.Resampler.Kernel": torch.ones(4, 4)}, r"is not the filter \[1, 3, 3, 1\]"),
        ({"MainLayers.0.Layers.1.LinearLayer2.Layer.weight": torch.ones(24, 7, 3, 3)}, "24 channels in groups of 7"),
        ({"MainLayers.0.Layers.1.LinearLayer1.Layer.weight": torch.ones(8, 12, 1, 1)}, "expands 12 channels to 8"),
        ({"MainLayers.0.Layers.0.LinearLayer.weight": torch.ones(12)}, "expected the weight of a linear layer"),
        ({"MainLayers.999.Layers.0.Basis": torch.ones(1)}, "1,000 stages"),
        ({"EmbeddingLayer.weight": torch.ones(9, 3)}, "takes 7 numbers: expected a latent and an embedding of 9"),
    ],
)
def test_misfits_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**generator_state("plain"), **change}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")


def test_a_missing_label_is_named(tmp_path: Path) -> None:
    torch.save(generator_state("classes"), tmp_path / "n.pth")
    generator = load_network(tmp_path / "n.pth")
    assert isinstance(generator, SynthesisGenerator)
    assert generator.classes == 5
    with pytest.raises(UserError, match="5 classes: give a label"):
        generator(torch.zeros(1, 7))
