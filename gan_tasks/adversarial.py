"""One discriminator's game, as every task plays it: its losses with their penalties, and the generator's answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gan_tasks.losses import (
    AdversarialConfig,
    Scales,
    adversarial_d_loss,
    adversarial_g_loss,
    d_accuracy,
    gradient_penalty,
    zero_centred_penalty,
)
from gan_tasks.task import Losses, Task

Judge = Callable[[Tensor], Scales]
"""A discriminator of N×C×H×W images alone: a conditional one as a closure over its condition."""


def d_game(
    task: Task[Any, Any], config: AdversarialConfig, judge: Judge, real: Tensor, fake: Tensor, *, name: str = ""
) -> Losses:
    """What a discriminator minimises on real and on detached generated images, and how often it is right, noted.

    `name` tells several discriminators of a task apart, in front of the losses' names.
    """
    prefix = f"{name}_" if name else ""
    d_fake, d_real = judge(fake), judge(real)  # in the published order: running statistics depend on it
    real_right, fake_right = d_accuracy(config, d_real, d_fake)
    task.note(**{f"d/{prefix}real_accuracy": real_right, f"d/{prefix}fake_accuracy": fake_right})
    losses = {f"{prefix}adversarial": adversarial_d_loss(config, d_real, d_fake)}
    if config.gradient_penalty:
        mix = task.step.random(len(fake), 1, 1, 1, device=fake.device)
        penalty = gradient_penalty(judge, real, fake, mix)
        losses[f"{prefix}gradient_penalty"] = config.gradient_penalty * penalty
    if task.step.index % config.r_interval == 0:
        for penalty_name, weight, images in (("r1", config.r1, real), ("r2", config.r2, fake)):
            if weight:
                penalty = zero_centred_penalty(judge, images)
                losses[prefix + penalty_name] = weight * config.r_interval * penalty
    return losses


def g_game(config: AdversarialConfig, judge: Judge, real: Tensor, fake: Tensor) -> Tensor:
    """What a generator minimises to pass with a discriminator, a scalar."""
    d_real = None
    if config.adversarial == "relativistic":
        with torch.no_grad():
            d_real = judge(real)
    return adversarial_g_loss(config, judge(fake), d_real)
