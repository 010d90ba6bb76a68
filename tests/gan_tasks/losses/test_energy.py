"""EBGAN and BEGAN against their definitions, written out in float64, and their state in training."""

from __future__ import annotations

import math

import pytest
import torch
from fake_step import FakeStep
from torch import Tensor

from gan_tasks.losses.adaptive import BALANCE, PATH_LENGTH, is_state
from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.energy import EnergyConfig, pulling_away
from gan_tasks.losses.functional import AdversarialConfig, Scales

EBGAN = EnergyConfig(energy="ebgan", energy_margin=0.5, pulling_away=0.1)
BEGAN = EnergyConfig(energy="began", diversity_ratio=0.7, balance_rate=0.2)
PLAIN = AdversarialConfig()


def halving(images: Tensor) -> Scales:
    """An autoencoder with mean absolute error that knows half of each image; its code is the image."""
    reconstruction = images / 2
    return [[images, reconstruction, -(reconstruction - images).abs().mean(dim=(1, 2, 3), keepdim=True)]]


def images(seed: int, count: int = 3) -> Tensor:
    return torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def energy_of(image: Tensor) -> float:
    return sum(abs(value) / 2 for value in image.flatten().tolist()) / image.numel()


def mean_energy(batch: Tensor) -> float:
    return sum(map(energy_of, batch)) / len(batch)


def test_ebgan_is_its_definition() -> None:
    real, fake = images(0), images(1) * torch.tensor([0.1, 1.0, 4.0]).view(3, 1, 1, 1)
    losses, log = d_objective(FakeStep(), PLAIN, halving, real, fake, energy=EBGAN)
    margins = [max(0.0, 0.5 - energy_of(image)) for image in fake]
    assert max(margins) > 0 and min(margins) == 0  # both sides of the margin are there
    assert losses["adversarial"].item() == pytest.approx(mean_energy(real) + sum(margins) / 3, rel=1e-12)
    assert log["d/fake_energy"].item() == pytest.approx(mean_energy(fake), rel=1e-12)
    cosines = 0.0
    for i, a in enumerate(fake):
        for j, b in enumerate(fake):
            if i != j:
                cosines += ((a * b).sum() / (a.norm() * b.norm())).item() ** 2
    expected = mean_energy(fake) + 0.1 * cosines / (3 * 2)
    g_loss = g_objective(FakeStep(), PLAIN, halving, real, fake, energy=EBGAN)
    assert g_loss.item() == pytest.approx(expected, rel=1e-12)


def test_pulling_away_is_1_for_parallel_codes_0_for_orthogonal_ones_and_for_one_alone() -> None:
    parallel = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    assert pulling_away(parallel).item() == pytest.approx(1)
    assert pulling_away(torch.eye(4)).item() == 0
    assert pulling_away(parallel[:1]).item() == 0


def test_began_is_its_definition_over_several_steps() -> None:
    step, k = FakeStep(), 0.0
    for number in range(4):
        real, fake = images(number) * 3, images(number + 10)
        losses, log = d_objective(step, PLAIN, halving, real, fake, energy=BEGAN)
        on_real, on_fake = mean_energy(real), mean_energy(fake)
        assert losses["adversarial"].item() == pytest.approx(on_real - k * on_fake, rel=1e-12)
        measure = on_real + abs(0.7 * on_real - on_fake)
        assert log["d/convergence"].item() == pytest.approx(measure, rel=1e-12)
        assert log["d/balance"].item() == pytest.approx(k)
        k = min(1.0, max(0.0, k + 0.2 * (0.7 * on_real - on_fake)))
        assert step.adaptive[BALANCE].item() == pytest.approx(k, rel=1e-12)
        assert k > 0
        g_loss = g_objective(step, PLAIN, halving, real, fake, energy=BEGAN)
        assert g_loss.item() == pytest.approx(on_fake, rel=1e-12)


@pytest.mark.parametrize(("scale", "limit"), [(1000.0, 1.0), (0.0, 0.0)])
def test_the_control_variable_stays_between_0_and_1(scale: float, limit: float) -> None:
    step = FakeStep(adaptive={BALANCE: torch.tensor(0.1)})
    d_objective(step, PLAIN, halving, scale * images(0), 20 * images(1), energy=BEGAN)
    assert step.adaptive[BALANCE].item() == limit


def test_a_step_replaces_the_state_and_does_not_write_into_it() -> None:
    before = torch.tensor(0.5)
    step = FakeStep(adaptive={BALANCE: before})
    d_objective(step, PLAIN, halving, images(0), images(1), energy=BEGAN)
    assert before.item() == 0.5 and step.adaptive[BALANCE] is not before


def test_penalties_and_accuracy_of_an_autoencoder_are_those_of_its_negative_energy() -> None:
    real, fake = images(0), 3 * images(1)
    config = AdversarialConfig(adversarial="hinge", r1=2.0)
    losses, log = d_objective(FakeStep(), config, halving, real, fake, energy=BEGAN)
    slope = 0.5 / 32  # of the energy with respect to each of the 32 values of an image
    assert losses["r1"].item() == pytest.approx(2.0 * 32 * slope**2 / 2)
    assert log["d/real_accuracy"].item() == 1


def test_gradients_reach_the_generator_and_half_precision_energies_are_float32() -> None:
    fake = images(0).float().requires_grad_()
    for energy in (EBGAN, BEGAN):
        g_objective(FakeStep(), PLAIN, halving, fake.detach(), fake, energy=energy).backward()
        assert fake.grad is not None and fake.grad.abs().min() > 0
        half = [[features.half() for features in halving(fake.detach())[0]]]
        loss = g_objective(FakeStep(), PLAIN, lambda _, half=half: half, fake, fake, energy=energy)
        assert loss.dtype == torch.float32 and loss.isfinite()


@pytest.mark.parametrize(
    ("name", "value", "possible"),
    [
        (BALANCE, 0.3, True),
        (BALANCE, 1.1, False),
        (BALANCE, math.nan, False),
        (PATH_LENGTH, 20.0, True),
        (PATH_LENGTH, -1.0, False),
        (PATH_LENGTH, math.inf, False),
        ("d", 0.3, False),
    ],
)
def test_impossible_states_of_a_checkpoint_are_seen(name: str, value: float, possible: bool) -> None:
    assert is_state(name, torch.tensor(value)) == possible
