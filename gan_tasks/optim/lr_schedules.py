"""Learning-rate schedules, as a factor on the initial learning rate.

The factor is a pure function of the epoch and of the metric of the finished epochs. There is no scheduler object and
no state to save: a resumed run calls the function with the same values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from gan_tasks.datasets.ranges import Checked, Count, PositiveCount, Range

INVERSE_DECAY = 8.0
"""Of the inverse schedule, over all epochs. pytorch-AdaIN divides by 1 + 5e-5 · t in step t of 160,000."""


@dataclass(frozen=True)
class ScheduleConfig(Checked):
    """Options of the length of the training and of the learning-rate schedule."""

    schedule: Literal["linear", "cosine", "cosine-restarts", "halving", "inverse", "constant", "plateau"] = "linear"
    """Learning-rate schedule; halving cuts at 1/8, 1/4, 1/2 and 3/4 of the epochs, inverse falls to a ninth as
    1 / (1 + t), and plateau cuts when progress stops."""
    epochs: PositiveCount = 200
    """Total number of passes over the training images."""
    decay_epochs: Count = 100
    """Number of epochs at the end over which the linear schedule decays (at most all epochs)."""
    cosine_periods: PositiveCount = 4
    """Number of half cosines of the cosine-restarts schedule, all of the same length."""
    plateau_patience_epochs: PositiveCount = 5
    """Epochs without a better held-out metric (see --best-by) before the plateau schedule cuts the rate."""
    plateau_factor: Annotated[float, Range(0, 1, above=True, below=True)] = 0.1
    """Factor by which each cut of the plateau schedule multiplies the rate."""


def factor(config: ScheduleConfig, epoch: int, history: Sequence[float] = ()) -> float:
    """Return the factor in [0, 1] on the initial learning rate in an epoch.

    epoch: number of the epoch, from 1. After `config.epochs` the factor is the one that the schedule ends with.
    history: held-out metric of each finished epoch, oldest first; lower is better. Only plateau uses it.
    """
    match config.schedule:
        case "linear":
            return _linear(config, epoch)
        case "cosine":
            return _cosine(config, epoch)
        case "cosine-restarts":
            return _cosine_restarts(config, epoch)
        case "halving":
            return _halving(config, epoch)
        case "inverse":
            return 1 / (1 + INVERSE_DECAY * min(1.0, (epoch - 1) / config.epochs))
        case "constant":
            return 1.0
        case "plateau":
            return _plateau(config, history)


def _linear(config: ScheduleConfig, epoch: int) -> float:
    """Constant, then linear down to 1 / (decay + 1) in the last epoch (as in pytorch-CycleGAN-and-pix2pix)."""
    decay_epochs = min(config.decay_epochs, config.epochs)
    epochs_into_decay = max(0, epoch - (config.epochs - decay_epochs))
    return max(0.0, 1 - epochs_into_decay / (decay_epochs + 1))


def _cosine(config: ScheduleConfig, epoch: int) -> float:
    """Half a cosine: 1 in the first epoch, 0 after the last one (SGDR, https://arxiv.org/abs/1608.03983)."""
    progress = min(1.0, (epoch - 1) / config.epochs)
    return (1 + math.cos(math.pi * progress)) / 2


def _cosine_restarts(config: ScheduleConfig, epoch: int) -> float:
    """Half cosines down to 1/2000 of the rate (from 2e-4 to 1e-7), as BasicSR trains PSNR models."""
    least = 1 / 2000
    length = config.epochs / config.cosine_periods
    finished = epoch > config.epochs
    progress = 1.0 if finished else (epoch - 1) % length / length
    return least + (1 - least) * (1 + math.cos(math.pi * progress)) / 2


def _halving(config: ScheduleConfig, epoch: int) -> float:
    """Halve the rate at 1/8, 1/4, 1/2 and 3/4: BasicSR trains ESRGAN so at 50k, 100k, 200k and 300k of 400k steps."""
    halvings = sum(epoch - 1 >= fraction * config.epochs for fraction in (1 / 8, 1 / 4, 1 / 2, 3 / 4))
    return 0.5**halvings


def _plateau(config: ScheduleConfig, history: Sequence[float]) -> float:
    """Cut the rate after every `plateau_patience_epochs` epochs in a row without a new best value."""
    best, stale_epochs, cuts = math.inf, 0, 0
    for value in history:
        if value < best:
            best, stale_epochs = value, 0
        else:
            stale_epochs += 1
        if stale_epochs == config.plateau_patience_epochs:
            cuts, stale_epochs = cuts + 1, 0
    return config.plateau_factor**cuts


def stale(history: Sequence[float]) -> int:
    """Return how many values at the end are no better than the best before them; lower is better."""
    best, count = math.inf, 0
    for value in history:
        best, count = (value, 0) if value < best else (best, count + 1)
    return count
