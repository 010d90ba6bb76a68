"""Path-length regularisation: a step of a fixed length in W changes the image by a fixed amount, as pure functions.

Karras et al. 2020, https://arxiv.org/abs/1912.04958 (StyleGAN2)
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gan_tasks.datasets.ranges import Checked, PositiveCount, Weight
from gan_tasks.losses.adaptive import PATH_LENGTH
from gan_tasks.losses.penalties import eager
from gan_tasks.networks.layers import at_least_float32

Synthesize = Callable[[Tensor], Tensor]
"""Styles N×L×D → images N×C×H×W: the second half of a generator."""
DECAY = 0.01
"""Share of the newest lengths in their running mean."""


@dataclass(frozen=True)
class PathLengthConfig(Checked):
    """Options of path-length regularisation."""

    path_length: Weight = 0.0
    """Weight of path-length regularisation (2 in StyleGAN2; 0 = off)."""
    path_length_interval: PositiveCount = 4
    """Updates of the generator from one path-length penalty to the next (lazy regularisation); the penalty is
    multiplied by this."""


class GeneratorInterval(Protocol):
    """What the regularisation needs to know of the stage of the training."""

    @property
    def g_interval_steps(self) -> int:
        """Steps from one update of the generators to the next."""


class PathLengthStep(Protocol):
    """What the regularisation needs to know of the training step."""

    @property
    def index(self) -> int:
        """Steps taken before this one."""

    @property
    def stage(self) -> GeneratorInterval:
        """The stage of the training."""

    @property
    def adaptive(self) -> MutableMapping[str, Tensor]:
        """State that is the same on all ranks; the running mean of the lengths is in it."""

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""

    def random(self, batch_size: int, *shape: int, device: torch.device, normal: bool = False) -> Tensor:
        """batch_size × shape draws that depend on the seed and the step alone."""


def path_length_is_due(step: PathLengthStep, config: PathLengthConfig) -> bool:
    """Return whether a step that updates the generators has a path-length penalty."""
    updates = step.index // step.stage.g_interval_steps
    return config.path_length > 0 and updates % config.path_length_interval == 0


def path_length_objective(
    step: PathLengthStep, config: PathLengthConfig, synthesize: Synthesize, styles: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted penalty of a step in which it is due, a scalar, and the mean length for the log.

    The running mean in `step.adaptive` takes in the lengths of this step, over all ranks.

    styles: N×L×D, of latents drawn for it. StyleGAN2 takes half a batch.
    """
    with torch.autocast(styles.device.type, enabled=False):
        styles = at_least_float32(styles)
        if not styles.requires_grad:  # of a generator without a mapping network
            styles = styles.detach().requires_grad_()
        with eager():
            image = synthesize(styles)
        noise = step.random(len(image), *image.shape[1:], device=image.device, normal=True)
        lengths = path_lengths(image, styles, noise)
    newest = step.mean(lengths.mean())
    mean = updated_mean(step.adaptive.get(PATH_LENGTH), newest)
    step.adaptive[PATH_LENGTH] = mean
    penalty = config.path_length * config.path_length_interval * (lengths - mean).square().mean()
    return penalty, {"g/path_length_mean": newest}


def path_lengths(image: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """Return the length ‖Jᵀy‖ of each sample, N, where J is ∂image/∂styles. It can be differentiated further.

    The squared length is summed over D and averaged over the L styles, as NVIDIA computes it. y is `noise` over the
    square root of the number of pixels, so that the length does not depend on the resolution.

    image: N×C×H×W, computed from `styles`, N×L×D, with gradients.
    noise: standard normal, of the shape of `image`.
    """
    y = noise / (image.shape[-2] * image.shape[-1]) ** 0.5
    (gradient,) = torch.autograd.grad((image * y).sum(), styles, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def updated_mean(mean: Tensor | None, newest: Tensor) -> Tensor:
    """Return the running mean of the lengths after a step whose mean length is `newest`. It begins at 0.

    It has no gradient: the penalty draws the lengths to a constant.
    """
    newest = newest.detach()
    return torch.lerp(torch.zeros_like(newest) if mean is None else mean.to(newest), newest, DECAY)
