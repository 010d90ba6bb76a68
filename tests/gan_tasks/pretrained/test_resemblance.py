"""A file of no known network is told which one its names resemble most."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.super_resolution.swinir import swinir
from gan_tasks.pretrained.conversion import Architecture, rename_modules
from gan_tasks.pretrained.load import ARCHITECTURES, load_network
from gan_tasks.pretrained.resemblance import FEWEST_KINDS, kinds_of_layers, most_similar
from gan_tasks.pretrained.super_resolution.swinir import frame_names


def swinir_state() -> dict[str, Tensor]:
    network = swinir(scale=2, width=4, depths=(2, 1), heads=(2, 2), window=2, hidden=4, features=4)
    return rename_modules(network.state_dict(), frame_names("pixelshuffle", 2))


def without(state: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if not key.startswith(start)}


def test_missing_layers_are_named(tmp_path: Path) -> None:
    state = without(swinir_state(), "conv_first")
    for wrapped in (state, {"state_dict": {f"net.{key}": tensor for key, tensor in state.items()}}):
        torch.save(wrapped, tmp_path / "n.pth")
        with pytest.raises(UserError) as raised:
            load_network(tmp_path / "n.pth")
        count = len(state)
        assert f"it resembles SwinIR ({count} of its {count} names), but lacks conv_first; " in str(raised.value)


def test_unknown_names_are_listed(tmp_path: Path) -> None:
    state = {key.replace("attn.qkv", "attn.query"): tensor for key, tensor in swinir_state().items()}
    torch.save(state, tmp_path / "n.pth")
    says = r"resembles SwinIR \(\d+ of its \d+ names\), but lacks layers.0.residual_group.blocks.0.attn.qkv and has "
    with pytest.raises(
        UserError, match=says + r"layers.0.residual_group.blocks.0.attn.query.weight.* and 2 more, which"
    ):
        load_network(tmp_path / "n.pth")


def test_a_file_that_resembles_nothing(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.ones(2, 2), "decoder.weight": torch.ones(2, 2)}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=r"no known network: its first tensors are called 'encoder.weight'"):
        load_network(tmp_path / "n.pth")


NAMED = [each for each in ARCHITECTURES if len(kinds_of_layers(each)) >= FEWEST_KINDS]


@pytest.mark.parametrize("architecture", NAMED, ids=lambda each: each.title)
def test_each_architecture_resembles_itself_most(architecture: Architecture) -> None:
    nearest = most_similar(architecture.example(), ARCHITECTURES)
    assert nearest is not None and nearest.architecture is architecture
    assert not nearest.missing and not nearest.unknown


def test_most_architectures_are_named() -> None:
    assert {"RRDBNet", "SPAN", "RealPLKSR", "OmniSR", "DAT", "UpCunet"} <= {each.name for each in NAMED}
