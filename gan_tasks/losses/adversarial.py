"""One discriminator's game, as every task plays it: its losses with their penalties, and the generator's answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from gan_tasks.losses.diff_augment import DRAWS, augment
from gan_tasks.losses.functional import (
    AdversarialConfig,
    Scales,
    adversarial_d_loss,
    adversarial_g_loss,
    d_accuracy,
    gradient_penalty,
    zero_centred_penalty,
)
from gan_tasks.losses.perceptual import Perceptual
from gan_tasks.networks.discriminators import FeatureHeads
from gan_tasks.tasks.base import Losses, Task

Judge = Callable[..., Scales]
"""A discriminator: called with N×C×H×W images, or with its condition and these."""


def discriminator_of(task: Task[Any, Any], name: str) -> Judge:
    """The task's discriminator of that name; one on features looks through the task's frozen network."""
    d = task.discriminators[name]
    if isinstance(d, FeatureHeads):
        return partial(d.judge, cast(Perceptual, task.auxiliary["perceptual"]).seen)
    return d


def one_view(
    task: Task[Any, Any], config: AdversarialConfig, judge: Judge, batch_size: int, condition: Tensor | None = None
) -> Callable[[Tensor], Scales]:
    """The discriminator as a function of a batch's images alone, seen as one draw of `d_augment` changes them.

    The condition, N×C×H×W too, is changed in the same way, so that it still fits.
    """
    kinds = config.d_augment
    draws = task.step.random(batch_size, DRAWS, device=torch.device("cpu")) if kinds else None

    def seen(image: Tensor) -> Scales:
        images = (image,) if condition is None else (condition, image)
        return judge(*images if draws is None else (augment(each, kinds, draws) for each in images))

    return seen


def d_objective(
    task: Task[Any, Any],
    config: AdversarialConfig,
    judge: Judge,
    real: Tensor,
    fake: Tensor,
    *,
    condition: Tensor | None = None,
    name: str = "",
) -> Losses:
    """What a discriminator minimises on real and on detached generated images, and how often it is right, noted.

    Real and generated images are augmented by draws of their own. The penalties are those of the augmented
    discriminator, on the images as they are before that (as in https://arxiv.org/abs/2501.05441).
    `name` tells several discriminators of a task apart, in front of the losses' names.
    """
    prefix = f"{name}_" if name else ""
    judge_fake, judge_real = (one_view(task, config, judge, len(image), condition) for image in (fake, real))
    d_fake, d_real = judge_fake(fake), judge_real(real)  # in the published order: running statistics depend on it
    real_right, fake_right = d_accuracy(config, d_real, d_fake)
    task.log(**{f"d/{prefix}real_accuracy": real_right, f"d/{prefix}fake_accuracy": fake_right})
    losses = {f"{prefix}adversarial": adversarial_d_loss(config, d_real, d_fake)}
    if config.gradient_penalty:
        mix = task.step.random(len(fake), 1, 1, 1, device=fake.device)
        penalty = gradient_penalty(judge_real, real, fake, mix)
        losses[f"{prefix}gradient_penalty"] = config.gradient_penalty * penalty
    if task.step.index % config.r_interval == 0:
        for penalty_name, weight, seen, images in (
            ("r1", config.r1, judge_real, real),
            ("r2", config.r2, judge_fake, fake),
        ):
            if weight:
                penalty = zero_centred_penalty(seen, images)
                losses[prefix + penalty_name] = weight * config.r_interval * penalty
    return losses


def g_objective(
    task: Task[Any, Any],
    config: AdversarialConfig,
    judge: Judge,
    real: Tensor,
    fake: Tensor,
    *,
    condition: Tensor | None = None,
) -> Tensor:
    """What a generator minimises to pass with a discriminator, a scalar. Both images are seen in one view."""
    seen = one_view(task, config, judge, len(fake), condition)
    d_real = None
    if config.is_relativistic:
        with torch.no_grad():
            d_real = seen(real)
    return adversarial_g_loss(config, seen(fake), d_real)
