"""Learning-rate schedules against torch's own schedulers."""

import math
import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_tasks.datasets.errors import UserError
from gan_tasks.optim.lr_schedules import ScheduleConfig, factor


def factors_of(make_scheduler, epochs: int, metrics: list[float] | None = None) -> list[float]:
    """Return the factor in each epoch of one of torch's schedulers with an initial rate of 1."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make_scheduler(optimiser)
    rates = []
    for epoch in range(epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "optimizer.step() was not called"
            scheduler.step(*([] if metrics is None else [metrics[epoch]]))
    return rates


@given(epochs=st.integers(1, 40), decay_epochs=st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_linear_equals_lambda_lr_with_the_published_formula(epochs, decay_epochs):
    decay_epochs = min(decay_epochs, epochs)
    config = ScheduleConfig(schedule="linear", epochs=epochs, decay_epochs=decay_epochs)
    flat = epochs - decay_epochs

    def published(finished_epochs: int) -> float:
        return 1.0 - max(0, finished_epochs + 1 - flat) / float(decay_epochs + 1)

    expected = factors_of(lambda o: torch.optim.lr_scheduler.LambdaLR(o, published), epochs)
    assert [factor(config, epoch) for epoch in range(1, epochs + 1)] == pytest.approx(expected)


def test_linear_by_hand():
    config = ScheduleConfig(schedule="linear", epochs=5, decay_epochs=3)
    assert [factor(config, epoch) for epoch in range(1, 8)] == pytest.approx([1, 1, 0.75, 0.5, 0.25, 0, 0])


def test_linear_decays_over_all_epochs_of_a_short_run():
    short = ScheduleConfig(epochs=5)  # decay_epochs is 100
    fitting = replace(short, decay_epochs=5)
    assert [factor(short, e) for e in range(1, 6)] == [factor(fitting, e) for e in range(1, 6)]


@given(epochs=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_cosine_equals_cosine_annealing_over_all_epochs(epochs):
    config = ScheduleConfig(schedule="cosine", epochs=epochs)
    expected = factors_of(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs), epochs)
    assert [factor(config, epoch) for epoch in range(1, epochs + 1)] == pytest.approx(expected, abs=1e-9)


@given(quarter=st.integers(1, 30), periods=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_cosine_restarts_equal_torchs_warm_restarts_down_to_1_2000(quarter, periods):
    config = ScheduleConfig(schedule="cosine-restarts", epochs=quarter * periods, cosine_periods=periods)
    expected = factors_of(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=quarter, eta_min=1 / 2000),
        config.epochs,
    )
    assert [factor(config, epoch) for epoch in range(1, config.epochs + 1)] == pytest.approx(expected)


def test_cosine_restarts_by_hand():
    config = ScheduleConfig(schedule="cosine-restarts", epochs=8, cosine_periods=2)
    half = 1 / 2000 + (1 - 1 / 2000) / 2
    factors = [factor(config, epoch) for epoch in range(1, 11)]
    assert factors[0] == factors[4] == 1 and factors[2] == factors[6] == pytest.approx(half)
    assert factors[8] == factors[9] == pytest.approx(1 / 2000)  # no restart after the last epoch
    assert 2e-4 * factors[8] == pytest.approx(1e-7)


def test_more_periods_than_epochs_stay_in_range():
    config = ScheduleConfig(schedule="cosine-restarts", epochs=3)  # cosine_periods is 4
    assert all(1 / 2000 <= factor(config, epoch) <= 1 for epoch in range(1, 6))


def test_halving_equals_multi_step_lr_at_the_published_steps():
    """BasicSR trains ESRGAN for 400 thousand steps; an epoch stands for a thousand."""
    config = ScheduleConfig(schedule="halving", epochs=400)
    expected = factors_of(
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones=[50, 100, 200, 300], gamma=0.5), 400
    )
    assert [factor(config, epoch) for epoch in range(1, 401)] == pytest.approx(expected)
    assert factor(config, 401) == factor(config, 9999) == 1 / 16


def test_halving_of_a_few_epochs_by_hand():
    config = ScheduleConfig(schedule="halving", epochs=4)
    assert [factor(config, epoch) for epoch in range(1, 5)] == [1, 1 / 4, 1 / 8, 1 / 16]
    assert factor(replace(config, epochs=1), 1) == 1  # no epoch has finished


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant", "halving"])
@given(epochs=st.integers(1, 60), decay_epochs=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_no_schedule_increases_or_leaves_its_range(schedule, epochs, decay_epochs):
    config = ScheduleConfig(schedule=schedule, epochs=epochs, decay_epochs=decay_epochs)
    factors = [factor(config, epoch) for epoch in range(1, 3 * epochs)]
    assert all(earlier >= later for earlier, later in pairwise(factors))
    assert all(0 <= f <= 1 for f in factors)
    assert factor(config, epochs) > 0  # the rate of the last epoch is not 0


@given(
    metrics=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan]), min_size=1, max_size=40),
    patience=st.integers(1, 6),
)
@settings(max_examples=100, deadline=None)
def test_plateau_equals_reduce_lr_on_plateau(metrics, patience):
    config = ScheduleConfig(schedule="plateau", plateau_patience_epochs=patience, plateau_factor=0.5)
    expected = factors_of(
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
            o, factor=0.5, patience=patience - 1, threshold=0.0, eps=0.0
        ),
        len(metrics),
        metrics,
    )
    assert [factor(config, epoch + 1, metrics[:epoch]) for epoch in range(len(metrics))] == expected


def test_plateau_by_hand():
    config = ScheduleConfig(schedule="plateau", plateau_patience_epochs=2, plateau_factor=0.1)
    assert factor(config, 1) == 1
    assert factor(config, 4, [0.5, 0.4, 0.4]) == 1
    assert factor(config, 5, [0.5, 0.4, 0.4, 0.4]) == pytest.approx(0.1)
    assert factor(config, 7, [0.5, 0.4, 0.4, 0.4, 0.4, 0.4]) == pytest.approx(0.01)
    assert factor(config, 7, [0.5, 0.4, 0.4, 0.4, 0.4, 0.3]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"decay_epochs": -1},
        {"cosine_periods": 0},
        {"plateau_patience_epochs": 0},
        {"plateau_factor": 0.0},
        {"plateau_factor": 1.0},
    ],
)
def test_values_out_of_range_are_refused_by_name(change):
    with pytest.raises(UserError, match=next(iter(change))):
        replace(ScheduleConfig(), **change)
