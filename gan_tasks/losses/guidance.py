"""Classifier guidance: latents are refined until a given classifier sees the class that is asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gan_tasks.networks.layers import at_least_float32


def guided(
    synthesize: Callable[[Tensor], Tensor],
    classify: Callable[[Tensor], Tensor],
    latents: Tensor,
    classes: Tensor,
    *,
    steps: int = 20,
    step_size: float = 0.1,
    prior: float = 1.0,
) -> Tensor:
    """Return latents after gradient ascent on log p(class | image) + prior · log N(latent; 0, 1).

    The second term keeps z where the generator was trained. Refine styles in W without it (prior 0). Nguyen et al.
    2017, https://arxiv.org/abs/1612.00005, do the same with noise, as sampling.

    Args:
        synthesize: latents → images N×C×H×W in [-1, 1], such as a generator or its `synthesize`, in eval mode.
        classify: images → logits N×K, any module or function that can be differentiated.
        latents: where it begins: z, N×Z, or styles, N×L×D. They are not changed.
        classes: the class of each image, N integers.
        steps, step_size: number and size of the steps.
        prior: weight of the prior of the latents; 1 if they are standard normal.
    """
    refined = at_least_float32(latents).detach().clone()
    for _ in range(steps):
        refined.requires_grad_()
        with torch.enable_grad():
            logits = at_least_float32(classify(synthesize(refined)))
            log_probability = -functional.cross_entropy(logits, classes, reduction="sum")
            (gradient,) = torch.autograd.grad(log_probability, refined)
        refined = (refined + step_size * (gradient - prior * refined)).detach()
    return refined
