"""State of an adversarial objective that is the same on all ranks, above all how strongly D's input is augmented.

A discriminator's input is augmented as strongly as the discriminator overfits.

A discriminator that overfits classifies nearly all real training images as real. Its sign statistic, the mean of
sign(D(x)) over real images, then nears 1. The probability of an augmentation rises while the statistic is above a
target, and falls while it is below. ADA, Karras et al. 2020, https://arxiv.org/abs/2006.06676; the same statistic and
rule control APA, Jiang et al. 2021, https://arxiv.org/abs/2111.06849.

Two other states are single numbers: BEGAN's control variable (`energy.py`) and the mean path length
(`path_length.py`).

A state is a tensor on the device of the images and is never read by the CPU: it changes without a wait for the GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

ADJUSTED_EVERY_STEPS = 4
"""Steps from one change of the probability to the next."""
BALANCE = "balance"
"""Name of the state of BEGAN's control variable, a scalar in [0, 1]."""
PATH_LENGTH = "path_length"
"""Name of the state of path-length regularisation: the running mean of the lengths, a scalar."""
LARGEST = {BALANCE: 1.0, PATH_LENGTH: 1e30}


def initial_state(device: torch.device) -> Tensor:
    """Return the state before the first step: probability, sum of the sign statistic, number of steps in the sum."""
    return torch.zeros(3, device=device)


def is_state(name: str, state: Tensor) -> bool:
    """Return whether a loaded tensor can be the state of this name: that of a number, or of a discriminator."""
    if name in LARGEST:
        return state.numel() == 1 and 0 <= state.item() <= LARGEST[name]
    probability, total, steps = state.tolist() if state.shape == (3,) else (-1.0, 0.0, 0.0)
    return 0 <= probability <= 1 and abs(total) <= steps < ADJUSTED_EVERY_STEPS


def sign_statistic(real_accuracy: Tensor) -> Tensor:
    """Return the mean of sign(D(x)) over real images, in [-1, 1], from the share of them classified as real.

    The zero of the sign is thus that of the accuracy (`functional.d_accuracy`): for losses whose logits have no fixed
    zero, it is the mean logit of the generated images in the batch of this rank.
    """
    return 2 * real_accuracy - 1


def updated_state(state: Tensor, statistic: Tensor, *, target: float, step_images: int, full_images: int) -> Tensor:
    """Return the state after a step.

    Args:
        state: see `initial_state`.
        statistic: the sign statistic of the step, over all ranks.
        target: the statistic at which the probability neither rises nor falls.
        step_images: images of a step, over all ranks.
        full_images: images that the probability takes from 0 to 1.
    """
    probability, total, steps = state.unbind()
    total, steps = total + statistic, steps + 1
    is_due = steps >= ADJUSTED_EVERY_STEPS
    change = torch.sign(total / steps - target) * (ADJUSTED_EVERY_STEPS * step_images / full_images)
    adjusted = torch.stack([(probability + change).clamp(0, 1), *state.new_zeros(2)])
    return torch.where(is_due, adjusted, torch.stack([probability, total, steps]))
