"""Convolutions that are trained as several in a row and run as one (structural reparameterisation)."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.blocks import autocasts


class ReparameterisedConv(nn.Module):
    """3×3 convolution, N×inputs×H×W → N×outputs×H×W: the sum of 1×1 → 3×3 → 1×1 and of a 1×1 skip.

    This is Conv3XC of SPAN (Wan et al. 2024, https://arxiv.org/abs/2311.12770), which follows ECBSR (Zhang et al.
    2021, https://dl.acm.org/doi/10.1145/3474085.3475291). All parts are linear, so their product is one 3×3 kernel.
    The forward pass multiplies the weights first, in training too. Outputs and gradients are those of the parts in a
    row, up to rounding, in a third of their time and without their features.

    expansion: channels inside, per channel outside.
    """

    def __init__(self, inputs: int, outputs: int, *, expansion: int = 2) -> None:
        super().__init__()
        self.skip = nn.Conv2d(inputs, outputs, 1)
        self.row = nn.Sequential(
            nn.Conv2d(inputs, expansion * inputs, 1),
            nn.Conv2d(expansion * inputs, expansion * outputs, 3),
            nn.Conv2d(expansion * outputs, outputs, 1),
        )

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight (outputs×inputs×3×3) and bias (outputs) of the one convolution, in the weights' own type."""
        skip, first, middle, last = map(weight_and_bias, (self.skip, *self.row))
        before, after = first[0].flatten(1), last[0].flatten(1)
        with torch.autocast(before.device.type, enabled=False) if autocasts(before) else nullcontext():
            rows = after @ middle[0].permute(0, 2, 3, 1).flatten(1)  # outputs × (3·3·inside)
            weight = (rows.unflatten(1, (3, 3, -1)) @ before).permute(0, 3, 1, 2)
            bias = after @ (middle[0].sum((2, 3)) @ first[1] + middle[1]) + last[1]
            return weight + functional.pad(skip[0], (1, 1, 1, 1)), bias + skip[1]

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, *self.kernel(), padding=1)


def weight_and_bias(conv: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    return conv.weight, conv.bias


def one_convolution(conv: ReparameterisedConv) -> nn.Conv2d:
    """Return the one convolution; its weights are computed in float64."""
    like = conv.skip.weight
    with torch.no_grad():
        weight, bias = copy.deepcopy(conv).double().kernel()
    one = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, device=like.device, dtype=like.dtype)
    one.load_state_dict({"weight": weight, "bias": bias})
    return one.train(conv.training).requires_grad_(like.requires_grad)


def fuse(network: nn.Module) -> None:
    """Replace each `ReparameterisedConv` inside a network, in place, by the one convolution that it computes."""
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, ReparameterisedConv):
                setattr(part, name, one_convolution(child))
