"""An exponential moving average of the generators' weights."""

import copy

import torch
from torch import nn


def copy_for_average(module: nn.ModuleDict) -> nn.ModuleDict:
    average = copy.deepcopy(module)
    return average.requires_grad_(False).eval()


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, *, images: int, halflife_images: float) -> None:
    """Move the average towards the module by what `images` more images are worth; buffers are copied."""
    weight = 1.0 - 0.5 ** (images / halflife_images)
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), weight)
    for kept, current in zip(average.buffers(), module.buffers(), strict=True):
        kept.copy_(current)
