"""`gan-tasks inspect` needs no more than what it describes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from random_vgg import shared_vgg16
from tiny import tiny_task, write_run

from gan_tasks.apps.cli.commands.inspect import inspect
from gan_tasks.metrics import features
from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0
from gan_tasks.tasks.shared import pretrained_features


@pytest.mark.parametrize("task", ["stylization --encoder-weights", "pix2pix --perceptual 1 --perceptual-weights"])
def test_a_run_is_described_without_the_weights_of_its_pretrained_networks(task: str, tmp_path: Path) -> None:
    vgg = shutil.copy(shared_vgg16(), tmp_path / "vgg16.safetensors")
    more = () if task.startswith("stylization") else ("--perceptual-network", "vgg16")
    run = write_run(tmp_path / "run", tiny_task(task.rpartition(" ")[0], task.rpartition(" ")[2], str(vgg), *more))
    Path(vgg).unlink()
    lines = list(inspect(run))
    assert "trained with features of vgg16" in lines
    assert any(line.startswith("generator: ") for line in lines)


def test_a_projected_run_is_described_without_the_weights_of_lite0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pretrained_features, "published_lite0", lambda **_: EfficientNetLite0())
        run = write_run(tmp_path / "run", tiny_task("pix2pix", "--discriminator", "projected"))
    monkeypatch.setattr(features, "has_lite0", lambda: False)
    lines = list(inspect(run))
    assert "trained with features of efficientnet-lite0" in lines
    assert any(line.startswith("discriminator: ") for line in lines)
