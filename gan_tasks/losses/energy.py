"""Objectives of a discriminator that is an autoencoder: EBGAN and BEGAN.

Such a discriminator returns one scale: the code, the reconstruction, and as logit the negative energy, N×1×1×1. The
energy is how far the reconstruction of an image is from it: small for real images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.ranges import Checked, Range, Weight
from gan_tasks.losses.functional import Scales, logits
from gan_tasks.networks.layers import at_least_float32


@dataclass(frozen=True)
class EnergyConfig(Checked):
    """Options of the objective of an autoencoder as discriminator."""

    energy: Literal["none", "ebgan", "began"] = "none"
    """Objective of an autoencoder as discriminator, instead of --adversarial. none: the discriminator has logits."""
    energy_margin: Weight = 1.0
    """EBGAN: energy of generated images above which the discriminator does not raise it further."""
    pulling_away: Weight = 0.1
    """EBGAN: weight of the pulling-away term, which makes the codes of the generated images of a batch differ."""
    diversity_ratio: Annotated[float, Range(0, 1)] = 0.5
    """BEGAN: target ratio γ of the energy of generated images to that of real images. Lower values give sharper and
    less diverse images."""
    balance_rate: Annotated[float, Range(0, 1)] = 0.001
    """BEGAN: learning rate λ of the control variable k."""


def energy_d_loss(config: EnergyConfig, real: Tensor, fake: Tensor, balance: Tensor) -> Tensor:
    """Return the discriminator's loss for energies N of real and of generated images, a scalar.

    - ebgan: L(x) + (m − L(G(z)))₊ with the margin m, https://arxiv.org/abs/1609.03126
    - began: L(x) − k·L(G(z)) with the control variable k, https://arxiv.org/abs/1703.10717

    balance: the control variable k, a scalar in [0, 1].
    """
    if config.energy == "ebgan":
        return real.mean() + functional.relu(config.energy_margin - fake).mean()
    return real.mean() - balance * fake.mean()


def energy_g_loss(config: EnergyConfig, fake: Scales) -> Tensor:
    """Return the generator's loss, a scalar: the energy of generated images, with EBGAN's pulling-away term."""
    loss = energies(fake).mean()
    if config.energy == "ebgan" and config.pulling_away:
        loss = loss + config.pulling_away * pulling_away(code_of(fake))
    return loss


def pulling_away(code: Tensor) -> Tensor:
    """Return the pulling-away term, a scalar in [0, 1]: the mean squared cosine of the codes of two images.

    It is that of the batch of this rank, and 0 for a single image. Zhao et al. 2017, https://arxiv.org/abs/1609.03126

    code: N×K or N×C×h×w.
    """
    directions = functional.normalize(at_least_float32(code).flatten(1), dim=1)
    count = len(directions)
    if count < 2:
        return directions.sum() * 0
    off_diagonal = 1 - torch.eye(count, device=code.device, dtype=directions.dtype)
    return ((directions @ directions.T).square() * off_diagonal).sum() / (count * (count - 1))


def updated_balance(config: EnergyConfig, balance: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """Return BEGAN's control variable after a step: k + λ·(γ·L(x) − L(G(z))), clipped to [0, 1].

    real, fake: mean energies over all ranks, scalars.
    """
    return (balance + config.balance_rate * (config.diversity_ratio * real - fake)).clamp(0, 1)


def convergence(config: EnergyConfig, real: Tensor, fake: Tensor) -> Tensor:
    """Return BEGAN's measure of convergence, M = L(x) + |γ·L(x) − L(G(z))|, a scalar: lower is better."""
    return real + (config.diversity_ratio * real - fake).abs()


def energies(scales: Scales) -> Tensor:
    """Return the energies of the images, N."""
    return -logits(scales)[-1].flatten(1).mean(dim=1)


def code_of(scales: Scales) -> Tensor:
    """Return the code of an autoencoder, N×K or N×C×h×w."""
    return scales[-1][0]
