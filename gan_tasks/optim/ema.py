"""Exponential moving average (EMA) of the generators' weights."""

import copy

import torch
from torch import nn


def copy_for_average(module: nn.ModuleDict) -> nn.ModuleDict:
    """Return a copy of the networks in eval mode and without gradients, to hold the average."""
    average = copy.deepcopy(module)
    return average.requires_grad_(False).eval()


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, *, images: int, halflife_images: float) -> None:
    """Update the average in place with the module's weights, after a step with `images` images; copy the buffers.

    halflife_images: number of images after which the influence of a weight on the average has halved.
    """
    weight = 1.0 - 0.5 ** (images / halflife_images)
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), weight)
    for average_buffer, current in zip(average.buffers(), module.buffers(), strict=True):
        average_buffer.copy_(current)
