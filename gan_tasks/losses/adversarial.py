"""The adversarial objective: a discriminator's loss with its penalties, and the generator's loss against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

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

Discriminate = Callable[..., Scales]
"""A discriminator: called with N×C×H×W images, or with its condition and these, it gives the logits of each scale."""


class StepContext(Protocol):
    """What an objective needs to know of the training step."""

    @property
    def index(self) -> int:
        """Steps taken before this one."""

    def random(self, batch_size: int, *shape: int, device: torch.device, normal: bool = False) -> Tensor:
        """batch_size × shape uniform draws in [0, 1) that depend on the seed and the step alone."""


def on_one_draw(
    step: StepContext,
    config: AdversarialConfig,
    discriminate: Discriminate,
    batch_size: int,
    condition: Tensor | None = None,
) -> Callable[[Tensor], Scales]:
    """The discriminator as a function of the images alone, which are augmented by one draw of `d_augment`.

    The condition, N×C×H×W too, is augmented by the same draw, so that it still fits.
    """
    kinds = config.d_augment
    draws = step.random(batch_size, DRAWS, device=torch.device("cpu")) if kinds else None

    def discriminate_images(image: Tensor) -> Scales:
        images = (image,) if condition is None else (condition, image)
        return discriminate(*images if draws is None else (augment(each, kinds, draws) for each in images))

    return discriminate_images


def d_objective(
    step: StepContext,
    config: AdversarialConfig,
    discriminate: Discriminate,
    real: Tensor,
    fake: Tensor,
    *,
    condition: Tensor | None = None,
    name: str = "",
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The discriminator's losses on real and on detached generated images, and its accuracy on each for the log.

    Real and generated images are augmented by draws of their own. The penalties are those of the augmented
    discriminator, on the images before augmentation (as in https://arxiv.org/abs/2501.05441).

    Args:
        real, fake, condition: N×C×H×W in [-1, 1].
        name: stands in front of the losses' names, where a task has several discriminators.
    """
    prefix = f"{name}_" if name else ""
    on_fake, on_real = (on_one_draw(step, config, discriminate, len(image), condition) for image in (fake, real))
    d_fake, d_real = on_fake(fake), on_real(real)  # in the published order: running statistics depend on it
    real_accuracy, fake_accuracy = d_accuracy(config, d_real, d_fake)
    log = {f"d/{prefix}real_accuracy": real_accuracy, f"d/{prefix}fake_accuracy": fake_accuracy}
    losses = {f"{prefix}adversarial": adversarial_d_loss(config, d_real, d_fake)}
    if config.gradient_penalty:
        mix = step.random(len(fake), 1, 1, 1, device=fake.device)
        penalty = gradient_penalty(on_real, real, fake, mix)
        losses[f"{prefix}gradient_penalty"] = config.gradient_penalty * penalty
    if step.index % config.r_interval == 0:
        for penalty_name, weight, on_images, images in (
            ("r1", config.r1, on_real, real),
            ("r2", config.r2, on_fake, fake),
        ):
            if weight:
                penalty = zero_centred_penalty(on_images, images)
                losses[prefix + penalty_name] = weight * config.r_interval * penalty
    return losses, log


def g_objective(
    step: StepContext,
    config: AdversarialConfig,
    discriminate: Discriminate,
    real: Tensor,
    fake: Tensor,
    *,
    condition: Tensor | None = None,
) -> Tensor:
    """The generator's adversarial loss, a scalar. Real and generated images are augmented by the same draw."""
    on_images = on_one_draw(step, config, discriminate, len(fake), condition)
    d_real = None
    if config.is_relativistic:
        with torch.no_grad():
            d_real = on_images(real)
    return adversarial_g_loss(config, on_images(fake), d_real)
