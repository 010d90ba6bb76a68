"""Every known architecture by its small example: recognised as itself, and trained by what it names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gan_tasks.apps.cli.commands.train import parse_train
from gan_tasks.pretrained.conversion import Architecture
from gan_tasks.pretrained.load import ARCHITECTURES, load_pretrained
from gan_tasks.pretrained.resemblance import pattern
from gan_tasks.tasks import find_task


def title(architecture: Architecture) -> str:
    return architecture.title


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=title)
def test_a_file_is_recognised_as_its_own_architecture(architecture: Architecture, tmp_path: Path) -> None:
    example = architecture.example()
    for wrapped in (example, {"params_ema": {f"module.{key}": tensor for key, tensor in example.items()}}):
        torch.save(wrapped, tmp_path / "n.pth")
        assert load_pretrained(tmp_path / "n.pth").architecture is architecture


@pytest.mark.parametrize("architecture", [each for each in ARCHITECTURES if each.training], ids=title)
def test_the_training_that_is_named_has_the_same_network(architecture: Architecture) -> None:
    task, *options = architecture.training.split()
    channels = {"pix2pix": "--source-channels 3 --target-channels 3", "inpainting": "--image-channels 3"}
    channels |= dict.fromkeys(("cyclegan", "cut"), "--a-channels 3 --b-channels 3")
    trained = trained_network(task, ["--width", "8", *options, *channels.get(task, "").split()])
    assert kinds(trained) == kinds(architecture.build(architecture.example()))


def trained_network(name: str, options: list[str]) -> nn.Module:
    """The first generator of a training, without memory for its weights."""
    task_class = find_task(name).load()
    task = task_class(parse_train(task_class, ["--data", ".", "--out", ".", *options]).task)
    with torch.device("meta"):
        task.build(for_training=False)
    network: nn.Module = next(iter(task.generators.values()))
    return network


def kinds(network: nn.Module) -> set[str]:
    """The names of the tensors, without their numbers."""
    return {pattern(name) for name in network.state_dict()}
