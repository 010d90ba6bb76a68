"""The table of what `--init-from` transfers between the networks: printed, and true for the weights themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import built, tiny_task, write_run
from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.training.init_from import init_from_model, match

NETWORKS: dict[str, tuple[str, ...]] = {
    "pix2pix unet-128": ("pix2pix", "--generator", "unet-128"),
    "pix2pix resnet-6 batch": ("pix2pix", "--norm", "batch"),
    "pix2pix resnet-6 instance": ("pix2pix", "--norm", "instance"),
    "pix2pix global": ("pix2pix", "--generator", "global", "--norm", "instance"),
    "cyclegan resnet-6": ("cyclegan",),
    "cut resnet-6": ("cut",),
    "cut resnet-6, transposed": ("cut", "--upsampling", "transposed"),
    "super-resolution rrdb": ("super-resolution",),
    "super-resolution srvgg": ("super-resolution", "--network", "srvgg"),
    "inpainting deepfill-v2": ("inpainting",),
    "inpainting context-encoder": ("inpainting", "--network", "context-encoder"),
    "inpainting lama": ("inpainting", "--network", "lama", "--blocks", "1"),
}
EXPECTED = {
    ("pix2pix resnet-6 instance", "cyclegan resnet-6"): 1.0,
    ("cyclegan resnet-6", "pix2pix resnet-6 instance"): 1.0,
    ("cut resnet-6, transposed", "cyclegan resnet-6"): 1.0,
    ("pix2pix unet-128", "cyclegan resnet-6"): 0.0,
    ("super-resolution srvgg", "super-resolution rrdb"): 0.0,
    ("inpainting deepfill-v2", "pix2pix unet-128"): 0.0,
    ("inpainting deepfill-v2", "inpainting context-encoder"): 0.0,
}
"""Shares of the tensors of the first that the second gives, where the documents rely on them."""


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    tasks = {name: built(tiny_task(*options)) for name, options in NETWORKS.items()}
    return {name: next(iter(task.generators.values())) for name, task in tasks.items()}


def test_the_table(networks: dict[str, nn.Module]) -> None:
    shares = {
        (own, source): len(match(networks[own], networks[source].state_dict())[0]) / len(networks[own].state_dict())
        for own in networks
        for source in networks
    }
    print("\nshare of the tensors that a new training takes, by what it starts from")
    for own in networks:
        given = [
            f"{source} {shares[own, source]:.0%}" for source in networks if source != own and shares[own, source]
        ]
        print(f"{own:28} {', '.join(given) or 'nothing'}")
    assert all(shares[name, name] == 1 for name in networks)
    assert {pair: shares[pair] for pair in EXPECTED} == EXPECTED


@pytest.mark.parametrize("pair", EXPECTED)
def test_it_is_what_a_training_takes(pair: tuple[str, str], tmp_path: Path) -> None:
    """All of the weights, some of them, or a refusal that says that nothing fits."""
    own, source = (NETWORKS[name] for name in pair)
    run = write_run(tmp_path / "run", tiny_task(*source))
    torch.manual_seed(1)
    task = tiny_task(*own)
    task.build(for_training=True)
    before = {key: tensor.clone() for key, tensor in task.generators.state_dict().items()}
    if EXPECTED[pair] == 0:
        with pytest.raises(UserError, match="nothing of"):
            init_from_model(task, run)
        assert all(torch.equal(before[key], tensor) for key, tensor in task.generators.state_dict().items())
        return
    (line, *_) = init_from_model(task, run)
    assert "tensors" in line
    kept = [key for key, tensor in task.generators.state_dict().items() if torch.equal(before[key], tensor)]
    assert not [key for key in kept if before[key].ndim > 1], "weights that were not taken"
