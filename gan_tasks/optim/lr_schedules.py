"""The learning rate over the course of training: a factor on the initial rate, a pure function of progress.

There is no scheduler object and nothing to save: a resumed run asks again, with the same epoch and history.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gan_tasks.datasets.errors import UserError


@dataclass(frozen=True)
class ScheduleConfig:
    """How long to train, and how the learning rate falls. A value out of range raises UserError."""

    schedule: Literal["linear", "cosine", "cosine-restarts", "halving", "constant", "plateau"] = "linear"
    """How the learning rate falls: linearly at the end; as half a cosine, or several, each from the top; by half
    after 1/8, 1/4, 1/2 and 3/4 of the epochs; never; or when progress stops."""
    epochs: int = 200
    """Passes over the training images in total."""
    decay_epochs: int = 100
    """linear: the rate falls over the last so many of the epochs (over all, where there are fewer)."""
    cosine_periods: int = 4
    """cosine-restarts: how many, all of one length."""
    plateau_patience_epochs: int = 5
    """plateau: the rate is cut after this many epochs in a row without a better held-out measure (see best_by)."""
    plateau_factor: float = 0.1
    """plateau: each cut multiplies the rate by this."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}: give 1 or more")
        if self.decay_epochs < 0:
            raise UserError(f"decay_epochs is {self.decay_epochs}: give 0 (the rate never falls) or more")
        if self.cosine_periods < 1:
            raise UserError(f"cosine_periods is {self.cosine_periods}: give 1 or more")
        if self.plateau_patience_epochs < 1:
            raise UserError(f"plateau_patience_epochs is {self.plateau_patience_epochs}: give 1 or more")
        if not 0 < self.plateau_factor < 1:
            raise UserError(f"plateau_factor is {self.plateau_factor}: give a number between 0 and 1")


def factor(config: ScheduleConfig, epoch: int, history: Sequence[float] = ()) -> float:
    """What to multiply the initial learning rate by in `epoch`, counted from 1: a number in [0, 1].

    `history` is the held-out measure of each finished epoch, lower being better, oldest first; only plateau looks
    at it.
    An epoch beyond `config.epochs` has the factor that the schedule ends in.
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
        case "constant":
            return 1.0
        case "plateau":
            return _plateau(config, history)


def _linear(config: ScheduleConfig, epoch: int) -> float:
    """Flat, then to 1 / (decay + 1) in the last epoch and 0 after it (pytorch-CycleGAN-and-pix2pix)."""
    decay_epochs = min(config.decay_epochs, config.epochs)
    epochs_into_decay = max(0, epoch - (config.epochs - decay_epochs))
    return max(0.0, 1 - epochs_into_decay / (decay_epochs + 1))


def _cosine(config: ScheduleConfig, epoch: int) -> float:
    """Half a period, without restarts: 1 in the first epoch, 0 after the last (https://arxiv.org/abs/1608.03983)."""
    progress = min(1.0, (epoch - 1) / config.epochs)
    return (1 + math.cos(math.pi * progress)) / 2


def _cosine_restarts(config: ScheduleConfig, epoch: int) -> float:
    """Half periods that end at 1/2000 of the rate, 1e-7 of 2e-4, as BasicSR trains PSNR models."""
    least = 1 / 2000
    length = config.epochs / config.cosine_periods
    finished = epoch > config.epochs
    progress = 1.0 if finished else (epoch - 1) % length / length
    return least + (1 - least) * (1 + math.cos(math.pi * progress)) / 2


def _halving(config: ScheduleConfig, epoch: int) -> float:
    """As BasicSR trains ESRGAN: at 50, 100, 200 and 300 thousand of 400 thousand steps."""
    passed = sum(epoch - 1 >= share * config.epochs for share in (1 / 8, 1 / 4, 1 / 2, 3 / 4))
    return 0.5**passed


def _plateau(config: ScheduleConfig, history: Sequence[float]) -> float:
    """One cut for each full run of `patience` epochs that did not beat the best before them."""
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
    """How many values at the end did not beat the best before them, lower being better."""
    best, count = math.inf, 0
    for value in history:
        best, count = (value, 0) if value < best else (best, count + 1)
    return count
