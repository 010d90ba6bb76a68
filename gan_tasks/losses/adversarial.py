"""The adversarial objective: a discriminator's loss with its penalties, and the generator's loss against it."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Protocol

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.adaptive import BALANCE, initial_state, sign_statistic, updated_state
from gan_tasks.losses.diff_augment import DRAWS, augment
from gan_tasks.losses.energy import (
    EnergyConfig,
    convergence,
    energies,
    energy_d_loss,
    energy_g_loss,
    updated_balance,
)
from gan_tasks.losses.functional import (
    AdversarialConfig,
    Scales,
    adversarial_d_loss,
    adversarial_g_loss,
    d_accuracy,
    image_margins,
    logits,
)
from gan_tasks.losses.penalties import gradient_penalty, zero_centred_penalty

Discriminate = Callable[..., Scales]
"""A discriminator: called with N×C×H×W images, or with its condition and these, it gives the logits of each scale."""


LOGITS = EnergyConfig()
"""The discriminator has logits and is no autoencoder."""
ONLY = "d"
"""Name of the state of a discriminator without a name."""


class StepContext(Protocol):
    """What an objective needs to know of the training step."""

    @property
    def index(self) -> int:
        """Steps taken before this one."""

    @property
    def world_size(self) -> int:
        """Number of processes that train together."""

    @property
    def adaptive(self) -> MutableMapping[str, Tensor]:
        """The adaptive state of the objective by name, see `adaptive.py`."""

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""

    def random(self, batch_size: int, *shape: int, device: torch.device, normal: bool = False) -> Tensor:
        """batch_size × shape uniform draws in [0, 1) that depend on the seed and the step alone."""


def on_one_draw(
    step: StepContext,
    config: AdversarialConfig,
    discriminate: Discriminate,
    batch_size: int,
    condition: Tensor | None = None,
    *,
    name: str = "",
) -> Callable[[Tensor], Scales]:
    """The discriminator as a function of the images alone, which are augmented by one draw of `d_augment`.

    The condition, N×C×H×W too, is augmented by the same draw, so that it still fits.

    name: that of the discriminator, which has an adaptive probability of its own.
    """
    kinds = config.d_augment
    draws = step.random(batch_size, DRAWS, device=torch.device("cpu")) if kinds else None
    coins = step.random(batch_size, len(kinds), device=torch.device("cpu")) if config.d_augment_adaptive else None

    def augmented(image: Tensor) -> Tensor:
        if draws is None:
            return image
        if coins is None:
            return augment(image, kinds, draws)
        chosen = coins.to(image.device, non_blocking=True) < probability_of(step, name, image.device)
        return augment(image, kinds, draws, chosen)

    def discriminate_images(image: Tensor) -> Scales:
        return discriminate(*map(augmented, (image,) if condition is None else (condition, image)))

    return discriminate_images


def state_of(step: StepContext, name: str, device: torch.device) -> Tensor:
    """The state of the adaptive augmentation of a discriminator; it begins with the first step."""
    state = step.adaptive.get(name or ONLY)
    return initial_state(device) if state is None else state.to(device)


def probability_of(step: StepContext, name: str, device: torch.device) -> Tensor:
    """The probability of each augmentation and of a pseudo-real image, a scalar in [0, 1]."""
    return state_of(step, name, device)[0]


def with_pseudo_real(step: StepContext, real: Tensor, fake: Tensor, *, name: str) -> Tensor:
    """Replace some real images, chosen with the adaptive probability, by the generated ones of the same samples.

    Raises UserError if real and generated images differ in shape.
    """
    if real.shape != fake.shape:
        raise UserError(
            f"--d-pseudo-real shows generated images as real ones, and they are {tuple(fake.shape[1:])} instead of "
            f"{tuple(real.shape[1:])}: leave it out"
        )
    chosen = step.random(len(real), 1, 1, 1, device=real.device) < probability_of(step, name, real.device)
    return torch.where(chosen, fake, real)


def d_objective(
    step: StepContext,
    config: AdversarialConfig,
    discriminate: Discriminate,
    real: Tensor,
    fake: Tensor,
    *,
    condition: Tensor | None = None,
    name: str = "",
    energy: EnergyConfig = LOGITS,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The discriminator's losses on real and on detached generated images, and its accuracy on each for the log.

    Real and generated images are augmented by draws of their own. The penalties are those of the augmented
    discriminator, on the images before augmentation (as in https://arxiv.org/abs/2501.05441). So are the margins of
    the loss-sensitive loss.

    Args:
        real, fake, condition: N×C×H×W in [-1, 1].
        name: that of the discriminator, where a task has several. It stands in front of the losses' names.
        energy: the objective of an autoencoder as discriminator, which replaces `config.adversarial`.
    """
    prefix = f"{name}_" if name else ""
    if config.d_pseudo_real:
        real = with_pseudo_real(step, real, fake, name=name)
    on_fake, on_real = (
        on_one_draw(step, config, discriminate, len(image), condition, name=name) for image in (fake, real)
    )
    d_fake, d_real = on_fake(fake), on_real(real)  # in the published order: running statistics depend on it
    has_energy = energy.energy != "none"
    real_accuracy, fake_accuracy = d_accuracy(config, d_real, d_fake, relative=has_energy)
    log = {f"d/{prefix}real_accuracy": real_accuracy, f"d/{prefix}fake_accuracy": fake_accuracy}
    if has_energy:
        loss, energy_log = energy_objective(step, energy, d_real, d_fake)
        log |= {f"d/{prefix}{key}": value for key, value in energy_log.items()}
    else:
        margins = image_margins(real, fake) if config.needs_margins else None
        loss = adversarial_d_loss(config, d_real, d_fake, margins)
    losses = {f"{prefix}adversarial": loss}
    if config.gradient_penalty:
        mix = step.random(len(fake), 1, 1, 1, device=fake.device)
        penalty = gradient_penalty(on_real, real, fake, mix)
        losses[f"{prefix}gradient_penalty"] = config.gradient_penalty * penalty
    if config.drift:
        squares = torch.stack([patches.square().mean() for patches in logits(d_real)])
        losses[f"{prefix}drift"] = config.drift * squares.sum()
    if step.index % config.r_interval == 0:
        for penalty_name, weight, on_images, images in (
            ("r1", config.r1, on_real, real),
            ("r2", config.r2, on_fake, fake),
        ):
            if weight:
                penalty = zero_centred_penalty(on_images, images)
                losses[prefix + penalty_name] = weight * config.r_interval * penalty
    if config.is_adaptive:
        statistic = step.mean(sign_statistic(real_accuracy))
        log |= {
            f"d/{prefix}augment_probability": probability_of(step, name, real.device),
            f"d/{prefix}sign_statistic": statistic,
        }
        # Last, because the penalties are those of the discriminator as it was augmented above.
        step.adaptive[name or ONLY] = updated_state(
            state_of(step, name, real.device),
            statistic,
            target=config.d_adaptive_target,
            step_images=len(real) * step.world_size,
            full_images=config.d_adaptive_images,
        )
    return losses, log


def energy_objective(
    step: StepContext, energy: EnergyConfig, d_real: Scales, d_fake: Scales
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of an autoencoder as discriminator, a scalar, and its energies for the log.

    BEGAN's control variable and measure of convergence are logged, too. The variable changes for the next step.
    """
    real, fake = energies(d_real), energies(d_fake)
    balance = step.adaptive.get(BALANCE, real.new_zeros(())).to(real)
    means = step.mean(real.mean()), step.mean(fake.mean())
    log = {"real_energy": means[0], "fake_energy": means[1]}
    if energy.energy == "began":
        log |= {"balance": balance, "convergence": convergence(energy, *means)}
        step.adaptive[BALANCE] = updated_balance(energy, balance, *means)
    return energy_d_loss(energy, real, fake, balance), log


def g_objective(
    step: StepContext,
    config: AdversarialConfig,
    discriminate: Discriminate,
    real: Tensor,
    fake: Tensor,
    *,
    condition: Tensor | None = None,
    name: str = "",
    energy: EnergyConfig = LOGITS,
) -> Tensor:
    """The generator's adversarial loss, a scalar. Real and generated images are augmented by the same draw.

    name, energy: those of the discriminator in `d_objective`.
    """
    on_images = on_one_draw(step, config, discriminate, len(fake), condition, name=name)
    if energy.energy != "none":
        return energy_g_loss(energy, on_images(fake))
    d_real = None
    if config.is_relativistic:
        with torch.no_grad():
            d_real = on_images(real)
    return adversarial_g_loss(config, on_images(fake), d_real)
