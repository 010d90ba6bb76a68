"""Make the fused optimizers of PyTorch quick for channels-last weights on a CPU."""

from typing import Any

import torch
from torch import Tensor

from gan_tasks.networks.layers import is_channels_last


def update_in_memory_order(optimizer: torch.optim.Optimizer) -> None:
    """Let every step of an optimizer see channels-last weights, gradients and moments as contiguous N×H×W×C tensors.

    PyTorch's fused form on a CPU copies every tensor that is not contiguous, which takes twice as long as the update.
    It is also wrong for a gradient in another layout than its weight's (PyTorch 2.13): such a gradient is copied.
    """
    viewed: list[Tensor] = []

    def before(*_: Any) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for weight in weights:
            if weight.grad is None or weight.device.type != "cpu":
                continue
            if is_channels_last(weight):
                viewed.append(weight)
                permute(optimizer, weight, 0, 2, 3, 1)
            weight.grad.data = weight.grad.data.contiguous()

    def after(*_: Any) -> None:
        while viewed:
            permute(optimizer, viewed.pop(), 0, 3, 1, 2)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)


def permute(optimizer: torch.optim.Optimizer, weight: Tensor, *axes: int) -> None:
    """Permute the axes of a weight, of its gradient and of its moments, in place and without copies."""
    for tensor in (weight, weight.grad, *optimizer.state[weight].values()):
        if tensor is not None and tensor.dim() == len(axes):
            tensor.data = tensor.data.permute(axes)
