"""Losses of restoration by hand, and what its two presets are trained and measured by."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gan_tasks.datasets.restoration import Degraded
from gan_tasks.tasks.restoration import DAMAGE, Restoration


def batch(mask: torch.Tensor) -> Degraded[torch.Tensor]:
    return Degraded(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), mask)


ONE_OF_FOUR = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])


def test_losses_of_damage() -> None:
    """One of four pixels is damaged, and counts ten times in the reconstruction."""
    made = {
        "image": torch.tensor([[0.4, 0.1], [0.1, 0.1]]).expand(1, 3, 2, 2),
        "fill": torch.tensor([[0.3, 9.0], [9.0, 9.0]]).expand(1, 3, 2, 2),
        "logits": torch.tensor([[[[0.0, 2.0], [-2.0, -2.0]]]]),
    }
    losses = Restoration(DAMAGE).g_losses(batch(ONE_OF_FOUR), made)
    assert losses.keys() == {"reconstruction", "fill", "mask"}
    assert float(losses["reconstruction"]) == pytest.approx((10 * 0.4 + 3 * 0.1) / 13)
    assert float(losses["fill"]) == pytest.approx(0.3)  # where there is damage alone
    entropy = (math.log(2) + math.log1p(math.exp(2)) + 2 * math.log1p(math.exp(-2))) / 4
    assert float(losses["mask"]) == pytest.approx(0.2 * entropy)


def test_losses_of_damage_without_any_are_finite() -> None:
    made = {name: torch.zeros(1, channels, 2, 2) for name, channels in (("image", 3), ("fill", 3), ("logits", 1))}
    losses = Restoration(DAMAGE).g_losses(batch(torch.zeros(1, 1, 2, 2)), made)
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(
        {"reconstruction": 0, "fill": 0, "mask": 0.2 * math.log(2)}
    )


def test_photographs_are_learned_by_their_psnr() -> None:
    losses = Restoration().g_losses(batch(torch.zeros(1, 1, 2, 2)), {"image": torch.full((1, 3, 2, 2), 0.2)})
    assert losses.keys() == {"reconstruction"}
    assert float(losses["reconstruction"]) == pytest.approx(-20, abs=0.15)  # the range is 2; a constant limits it


def test_the_best_checkpoint_and_the_baselines() -> None:
    for task, names in ((Restoration(), ["unchanged", "non-local means"]), (Restoration(DAMAGE), ["unchanged"])):
        (stage,) = task.stages(10)
        assert (stage.update_order, stage.best_by) == (("g",), "psnr")
        baselines = task.evaluation().fit_baselines([])
        assert list(baselines) == names
        image = np.zeros((3, 4, 4), np.float32)
        assert baselines["unchanged"](image) is image
