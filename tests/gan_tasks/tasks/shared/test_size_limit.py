"""Counting the parameters of networks before they are built reads no weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_vgg import write_vgg16
from tiny import tiny_task

from gan_tasks.losses import perceptual
from gan_tasks.tasks.shared.size_limit import build_networks


def test_the_weights_of_the_perceptual_loss_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_vgg16(tmp_path / "vgg.safetensors")
    read, reads = perceptual.read_state_dict, list[Path]()

    def counting(path: Path) -> object:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(perceptual, "read_state_dict", counting)
    options = ("--perceptual", "1", "--perceptual-network", "vgg16", "--perceptual-weights")
    task = tiny_task("pix2pix", *options, str(tmp_path / "vgg.safetensors"))
    build_networks(task, for_training=True)
    assert len(reads) == 1
