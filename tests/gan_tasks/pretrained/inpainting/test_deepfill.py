"""Checkpoints of DeepFill v2, against stored outputs of the published networks and against their layout restated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_attention import attention
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.inpainting.inpainter import Inpainter
from gan_tasks.pretrained.load import load_network, load_pretrained

INTEROP = Path(__file__).parents[4].parent / "shared" / "interop"
TOLERANCE = 1e-5
"""The stored cases are well conditioned: float32 and float64 differ by less than this, on any CPU."""

State = dict[str, Tensor]


def interop_cases() -> list[str]:
    index = INTEROP / "index.json"
    return [name for name in json.loads(index.read_text()) if name.startswith("deepfill")] if index.exists() else []


@pytest.mark.skipif(not INTEROP.exists(), reason="the folder shared/interop of reference cases is not there")
@pytest.mark.parametrize("name", interop_cases())
def test_stored_outputs(name: str) -> None:
    network = load_network(INTEROP / f"{name}.pth")
    arrays = {key: torch.from_numpy(array) for key, array in np.load(INTEROP / f"{name}.npz").items()}
    if "discriminator" in name:
        torch.testing.assert_close(network(arrays["input0"]).flatten(1), arrays["output"], rtol=0, atol=TOLERANCE)
        return
    image, mask = arrays["input0"][:, :3], arrays["input1"]
    assert isinstance(network, Inpainter)
    coarse, refined = network.stages(image, mask)
    composed = image * (1 - mask) + network(image, mask) * mask
    for made, key in ((coarse, "stage1"), (refined, "stage2"), (composed, "inpainted")):
        torch.testing.assert_close(made, arrays[key], rtol=0, atol=TOLERANCE)


# The published generator, restated: each layer's name, channels after the gate, and what else it is.
# Channels are in units of a quarter of the width.


def nested_layers() -> dict[str, list[tuple[str, int, int]]]:
    """Parts → (name, channels, dilation); a stride shows in the name. Kernels are 5 in the first layer, then 3."""
    dilations = (1, 2, 4, 8, 16)
    ends = [
        ("up_block1.conv1_upsample.conv", 4, 1),
        ("up_block1.conv2", 4, 1),
        ("up_block2.conv1_upsample.conv", 2, 1),
    ]
    ends = [*ends, ("up_block2.conv2", 1, 1), ("conv_to_rgb", 0, 1)]
    narrow = [("conv1", 2, 1), ("down_block1.conv1_downsample", 2, 1), ("down_block1.conv2", 4, 1)]
    coarse = [("conv1", 2, 1), ("down_block1.conv1_downsample", 4, 1), ("down_block1.conv2", 4, 1)]
    coarse += [("down_block2.conv1_downsample", 8, 1), ("down_block2.conv2", 8, 1)]
    coarse += [(f"conv_bn{i}", 8, d) for i, d in enumerate((*dilations, 1, 1), start=1)]
    conv = [*narrow, ("down_block2.conv1_downsample", 4, 1), ("down_block2.conv2", 8, 1)]
    conv += [(f"conv_bn{i}", 8, d) for i, d in enumerate(dilations, start=1)]
    ca = [*narrow, ("down_block2.conv1_downsample", 8, 1), ("down_block2.conv2", 8, 1), ("conv_bn1", 8, 1)]
    return {
        "coarse": [(f"stage1.{name}", c, d) for name, c, d in [*coarse, *ends]],
        "conv": [(f"stage2.conv_{name}", c, d) for name, c, d in conv],
        "ca": [(f"stage2.ca_{name}", c, d) for name, c, d in ca],
        "after": [("stage2.ca_conv_bn4", 8, 1), ("stage2.ca_conv_bn5", 8, 1)],
        "all": [(f"stage2.{name}", c, d) for name, c, d in [("conv_bn6", 8, 1), ("conv_bn7", 8, 1), *ends]],
    }


def flat_layers() -> dict[str, list[tuple[str, int, int]]]:
    """The same under the names of the TensorFlow original."""
    names = {
        "coarse": "conv1 conv2_downsample conv3 conv4_downsample conv5 conv6 conv7_atrous conv8_atrous conv9_atrous "
        "conv10_atrous conv11 conv12 conv13_upsample.conv conv14 conv15_upsample.conv conv16 conv17",
        "conv": "xconv1 xconv2_downsample xconv3 xconv4_downsample xconv5 xconv6 xconv7_atrous xconv8_atrous "
        "xconv9_atrous xconv10_atrous",
        "ca": "pmconv1 pmconv2_downsample pmconv3 pmconv4_downsample pmconv5 pmconv6",
        "after": "pmconv9 pmconv10",
        "all": "allconv11 allconv12 allconv13_upsample.conv allconv14 allconv15_upsample.conv allconv16 allconv17",
    }
    return {
        part: [(name, c, d) for name, (_, c, d) in zip(names[part].split(), layers, strict=True)]
        for part, layers in nested_layers().items()
    }


def random_state(layers: dict[str, list[tuple[str, int, int]]], width: int, channels: int) -> State:
    random = torch.Generator().manual_seed(width)
    inputs = {"coarse": channels + 2, "conv": channels, "ca": channels, "after": 2 * width, "all": 4 * width}
    state: State = {}
    for part, chain in layers.items():
        last = inputs[part]
        for index, (name, quarters, _) in enumerate(chain):
            outputs = quarters * width // 2 if quarters else channels
            kernel = 5 if index == 0 and part in ("coarse", "conv", "ca") else 3
            weight = torch.randn(outputs, last, kernel, kernel, generator=random)
            state[f"{name}.conv.weight"] = weight * (2.3 / (last * kernel**2) ** 0.5)
            state[f"{name}.conv.bias"] = torch.randn(outputs, generator=random) * 0.1
            last = outputs // 2
    return state


def run(state: State, chain: list[tuple[str, int, int]], x: Tensor, *, same: bool, relu_last: bool = False) -> Tensor:
    for index, (name, quarters, dilation) in enumerate(chain):
        if "upsample" in name:
            x = functional.interpolate(x, scale_factor=2)
        weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
        stride = 2 if "downsample" in name else 1
        receptive_field = dilation * (weight.shape[-1] - 1)
        before = (receptive_field + 1 - stride) // 2 if same else receptive_field // 2
        after = receptive_field + 1 - stride - before if same else receptive_field // 2
        x = functional.conv2d(functional.pad(x, (before, after) * 2), weight, bias, stride=stride, dilation=dilation)
        if not quarters:
            return torch.tanh(x)
        features, gates = x.chunk(2, dim=1)
        is_relu = relu_last and index == len(chain) - 1
        x = (functional.relu(features) if is_relu else functional.elu(features)) * torch.sigmoid(gates)
    return x


def published(
    state: State, layers: dict[str, list[tuple[str, int, int]]], image: Tensor, mask: Tensor, *, same: bool
) -> tuple[Tensor, Tensor]:
    known, ones = image * (1 - mask), torch.ones_like(mask)
    coarse = run(state, layers["coarse"], torch.cat([known, ones, ones * mask], 1), same=same)
    x = coarse * mask + known * (1 - mask)
    described = run(state, layers["ca"], x, same=same, relu_last=True)
    borrowed = attention(described, mask, fuse=not same, aligned=same)
    branches = [run(state, layers["conv"], x, same=same), run(state, layers["after"], borrowed, same=same)]
    return coarse, run(state, layers["all"], torch.cat(branches, 1), same=same)


@pytest.mark.parametrize("same", [False, True], ids=["pt", "tf"])
@pytest.mark.parametrize(("width", "channels"), [(8, 3), (16, 1)])
def test_generators(tmp_path: Path, width: int, channels: int, same: bool) -> None:
    layers = flat_layers() if same else nested_layers()
    state = random_state(layers, width, channels)
    buffers = {} if same else {"stage2.contextual_attention.fuse_weight": torch.eye(3)[None, None]}
    assert len(state) + len(buffers) == (84 if same else 85)
    torch.save({"G": state | buffers, "D": {"conv1.conv_sn.weight": torch.ones(1)}, "n_iter": 7}, tmp_path / "n.pth")
    found = load_pretrained(tmp_path / "n.pth")
    random = torch.Generator().manual_seed(1)
    image = torch.rand(2, channels, 40, 56, generator=random, dtype=torch.double) * 2 - 1
    blocks = (torch.rand(2, 1, 5, 7, generator=random) > 0.8).double()
    mask = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    doubles = {key: tensor.double() for key, tensor in state.items()}
    expected = published(doubles, layers, image, mask, same=same)
    assert isinstance(found.network, Inpainter)
    for ours, theirs in zip(found.network.double().stages(image, mask), expected, strict=True):
        assert theirs.std() > 0.05, "the weights would verify nothing"
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    usage = found.usage
    assert usage is not None
    assert (usage.spec.task, usage.value_range) == ("inpainting", (-1, 1))
    assert [each.name for each in usage.spec.inputs] == ["image", "mask"]
    assert (usage.spec.in_channels, usage.spec.out_channels, usage.width) == (channels, channels, width)
    assert (usage.spec.scale, usage.spec.size_multiple, usage.spec.minimum_size) == (1, 8, 8)


def discriminator_state(width: int) -> State:
    random = torch.Generator().manual_seed(2)
    widths = [4, width, 2 * width, 4 * width, 4 * width, 4 * width, 4 * width]
    state: State = {}
    for i in range(6):
        weight = torch.randn(widths[i + 1], widths[i], 5, 5, generator=random)
        state[f"conv{i + 1}.conv_sn.weight"] = weight / 12
        state[f"conv{i + 1}.conv_sn.bias"] = torch.randn(widths[i + 1], generator=random) * 0.1
        u = torch.randn(widths[i + 1], 1, generator=random)
        state[f"conv{i + 1}.conv_sn.weight_u"] = u / u.norm()
    return state


def test_the_discriminators_weights_count_as_they_are(tmp_path: Path) -> None:
    state = discriminator_state(4)
    torch.save({"D": state}, tmp_path / "n.pth")
    image = torch.rand(2, 4, 70, 64, generator=torch.Generator().manual_seed(3))
    x = image
    for i in range(1, 7):
        weight, bias = state[f"conv{i}.conv_sn.weight"], state[f"conv{i}.conv_sn.bias"]
        x = functional.leaky_relu(functional.conv2d(x, weight, bias, stride=2, padding=2), 0.2)
    found = load_pretrained(tmp_path / "n.pth")
    assert found.usage is None
    torch.testing.assert_close(found.network(image), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stage2.conv_bn6.conv.bias": None}, r"DeepFill v2 Generator, but stage2\.conv_bn6\.conv\.bias is absent"),
        ({"stage1.conv1.conv.weight": torch.ones(6, 5, 5, 5)}, "makes 6 channels of 5"),
        ({"stage1.conv1.conv.weight": torch.ones(8, 2, 5, 5)}, "makes 8 channels of 2"),
        ({"stage2.contextual_attention.fuse_weight": torch.ones(1, 1, 3, 3)}, "not the identity"),
        ({"extra.weight": torch.ones(1)}, r"extra\.weight is 1 where absent"),
    ],
)
def test_misfits_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**random_state(nested_layers(), 8, 3), **change}
    torch.save({"G": {key: tensor for key, tensor in state.items() if tensor is not None}}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")


def test_a_discriminator_without_its_vectors_is_refused(tmp_path: Path) -> None:
    state = discriminator_state(4)
    del state["conv3.conv_sn.weight_u"]
    torch.save({"D": state}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=r"conv3\.conv_sn\.weight_u is absent"):
        load_network(tmp_path / "n.pth")
