"""State dicts of every architecture with absurd sizes, or with other tensors than the network has.

Each gives a UserError or a network, and no large network is built before that.
"""

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from reliability.published_networks import published_networks, repeated
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.networks.super_resolution.convolutional import srvgg
from gan_tasks.pretrained import load
from gan_tasks.pretrained.conversion import State
from gan_tasks.pretrained.files.unwrap import StateDict, find_state_dicts

MOST_PARAMETERS = 30_000
"""Parameters that are made. A network of 256 large blocks has as many."""


@pytest.fixture(autouse=True)
def few_parameters() -> Iterator[None]:
    """Fail when a network gets more than MOST_PARAMETERS."""
    made = itertools.count(1)

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        assert next(made) <= MOST_PARAMETERS

    hook = register_module_parameter_registration_hook(count)
    yield
    hook.remove()


@pytest.fixture(scope="module")
def networks() -> dict[str, State]:
    torch.manual_seed(0)
    return published_networks()


def opened(state: State, monkeypatch: pytest.MonkeyPatch) -> load.Pretrained:
    """Load a state dict as if it came from a file."""
    monkeypatch.setattr(load, "read_states", lambda path: find_state_dicts(dict(state)))
    return load.load_pretrained(Path("n.pth"))


def test_the_networks_are_those_of_all_architectures(networks: dict[str, State]) -> None:
    found = [each for state in networks.values() for each in load.find_networks(StateDict("", dict(state)), 0)]
    assert len(found) == len(networks)
    assert {each.architecture.title for each in found} == {each.title for each in load.ARCHITECTURES}


OMNISR, DAT = "Omni-SR OmniSR", "DAT/DAT-light DAT"
SRVGG = "Real-ESRGAN SRVGGNetCompact"
OMNISR_BLOCK = "residual_layer.{}.residual_layer.{}.layer.0.fn.0.weight"
DAT_BLOCK = "layers.{}.blocks.{}.norm1.weight"
SPATIAL_HEADS = "layers.{}.blocks.0.attn.attns.0.pos.pos3.2.weight"
CHANNEL_HEADS = "layers.{}.blocks.1.attn.temperature"


ONE = torch.ones(1)


def many(*names: str, count: int = 256, like: Tensor = ONE) -> dict[str, Tensor]:
    """Small tensors with these names, whose first and second number count up."""
    return {name.format(i, j): like for name in names for i in range(count) for j in {0, i}}


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (
            OMNISR,
            many(OMNISR_BLOCK) | {OMNISR_BLOCK.format(0, i): torch.ones(1) for i in range(256)},
            "blocks",
        ),
        (
            OMNISR,
            {OMNISR_BLOCK.format(0, 1): torch.ones(1), OMNISR_BLOCK.format(1, 0): torch.ones(1)},
            "1 to 2",
        ),
        (
            DAT,
            {DAT_BLOCK.format(i, j): torch.ones(1) for i in range(60) for j in range(100)}
            | many(SPATIAL_HEADS, like=torch.ones(1, 1))
            | many(CHANNEL_HEADS, like=torch.ones(2, 1, 1)),
            "it has 6,392 blocks",
        ),
        (
            DAT,
            many("upsample.{}.weight", count=4_000, like=torch.ones(16, 1, 1, 1)),
            "4,000 upsampling steps",
        ),
        ("SwinIR", many("upsample.{}.weight", count=4_000, like=torch.ones(16, 1, 1, 1)), "4,000 upsampling steps"),
        ("HAT", many("upsample.{}.weight", count=4_000, like=torch.ones(16, 1, 1, 1)), "4,000 upsampling steps"),
        ("neosr/traiNNer-redux RealPLKSR", {"feats.1.lk.conv.weight": torch.ones(5, 5, 3, 3)}, "5 of 4 channels"),
        (
            "LaMa FFCResNetGenerator",
            {f"model.{2 + i}.ffc.convl2l.weight": torch.ones(1, 1, 3, 3) for i in range(9)},
            "9 halvings, expected at most 8",
        ),
        (
            "SwinIR",
            {"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.ones(127**2, 2)},
            "64 pixels in a window",
        ),
        (
            "HAT",
            {"layers.0.residual_group.overlap_attn.relative_position_bias_table": torch.ones(129**2, 2)},
            "126 pixels in an overlapping window",
        ),
        (
            "BasicSR/neosr SPAN",
            {"no_norm": torch.ones(1), "conv_1.sk.weight": torch.ones(4, 65_537, 1, 1)},
            "at most 65,536 channels",
        ),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(
    name: str, change: State, says: str, networks: dict[str, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=says):
        opened({**networks[name], **change}, monkeypatch)


def test_sizes_that_no_specification_has_are_refused_with_the_name_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = to_basicsr(srvgg(4097, 4097, scale=1, width=1, convs=1))
    with pytest.raises(UserError, match=r"n\.pth looks like a Real-ESRGAN SRVGGNetCompact, but.*4097 channels"):
        opened(state, monkeypatch)


EMPTY_FILTER = {"synthesis.b8.upsample.filter.weight": torch.ones(3, 0, 4, 4)}


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("MI-GAN Generator", EMPTY_FILTER, "not the filter"),
        (
            DAT,
            {"layers.0.blocks.0.attn.attns.0.rpe_biases": torch.ones(2, 3).to(torch.float8_e4m3fn)},
            "sides of a win",
        ),
        (DAT, {"layers.0.blocks.0.attn.attns.0.rpe_biases": torch.ones(0, 2)}, "n.pth looks"),
        ("CUT PatchSampleF", {"mlp_0.0.weight": torch.ones(0, 3)}, "not a matrix"),
        ("DeepFill v2 Discriminator", {"conv2.conv_sn.weight": torch.ones(())}, "conv2.conv_sn.weight is a single"),
        (
            SRVGG,
            {"body.1.weight": torch.full((4,), math.nan).to(torch.float8_e4m3fn)},
            "are NaN",
        ),
    ],
)
def test_tensors_of_other_shapes_and_types_are_refused(
    name: str, change: State, says: str, networks: dict[str, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=says):
        opened({**networks[name], **change}, monkeypatch)


@pytest.mark.parametrize(
    "state",
    [
        {"a.running_mean": torch.ones(1)},
        {"scale0_layer1.0.weight": torch.ones(1, 1, 4, 4)},
        {"scale0_layer0.0.weight": torch.ones(1, 1, 4, 4)},
        {"model.0.weight": torch.ones(1, 1, 4, 4)},
        {"model.1.conv_block.1.weight": torch.ones(1, 1, 4, 4), "model.9.filt": torch.ones(1, 1, 3, 3)},
    ],
    ids=lambda state: next(iter(state)),
)
def test_a_part_of_a_network_is_refused(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError):
        opened(state, monkeypatch)


def changed(state: State, draw: random.Random) -> Iterator[dict[str, Tensor]]:
    """Yield state dicts without a tensor, with one of another shape, with one of another type, and with many more."""
    without, reshaped, converted = draw.sample(list(state), 3)
    yield {key: tensor for key, tensor in state.items() if key != without}
    if any(key.endswith("_u") for key in state):
        return  # spectral norms take long to build
    sizes = state[reshaped].shape
    axis = draw.randrange(len(sizes) or 1)
    shapes: list[tuple[int, ...]] = [(), (0,), (1, *sizes), tuple(sizes[1:])]
    for size in (0, 2 * sizes[axis], 100_000) if sizes else ():
        shapes += [(*sizes[:axis], size, *sizes[axis + 1 :]), (*(1,) * axis, size, *(1,) * (len(sizes) - axis - 1))]
    fit = [shape for shape in shapes if math.prod(shape) <= 100_000]
    yield {**state, reshaped: torch.ones(draw.choice(fit), dtype=draw.choice([torch.uint8, torch.float32]))}
    dtype = draw.choice([torch.bool, torch.float8_e4m3fn, torch.uint16, torch.int64, torch.float64])
    yield {**state, converted: state[converted].to(dtype)}
    yield repeated(state, draw.randrange(3), 300, most=600)


def test_only_user_errors_come_out(networks: dict[str, State], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = refused = 0
    for name, state in networks.items():
        for number, tensors in enumerate(changed(state, random.Random(name))):
            try:
                opened(tensors, monkeypatch)
                loaded += 1
            except UserError:
                refused += 1
            except Exception as error:
                pytest.fail(f"{name}, change {number}: {type(error).__name__}: {error}")
    assert refused > loaded > 0
