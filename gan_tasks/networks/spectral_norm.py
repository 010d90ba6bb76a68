"""Spectral normalisation of convolutions (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).

It computes what `torch.nn.utils.parametrizations.spectral_norm` does, with the same names, in fewer passes over the
weights: PyTorch copies channels-last weights several times, and its gradient takes twice as many passes.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import register_parametrization

from gan_tasks.networks.blocks import autocasts
from gan_tasks.networks.layers import is_channels_last

FIRST_ITERATIONS = 15
SMALLEST_LENGTH = 1e-12


def spectral_norm(conv: nn.Module) -> None:
    """Divide the weight of a convolution by its largest singular value, in place."""
    weight = conv.weight
    assert isinstance(weight, Tensor)
    register_parametrization(conv, "weight", SpectralNorm(weight))


class SpectralNorm(nn.Module):
    """Map a weight O×C×k×k to the weight over its largest singular value, as a matrix O×(C·k·k).

    Each forward pass in training takes one power iteration.

    Attributes:
        _u, _v: the singular vectors so far, of O and of C·k·k values. The names are those of PyTorch.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        outputs, inputs = weight.flatten(1).shape
        for name, length in (("_u", outputs), ("_v", inputs)):
            self.register_buffer(name, unit(weight.new_empty(length).normal_()))
        with torch.no_grad():
            self._improve(weight, FIRST_ITERATIONS)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False) if autocasts(weight) else nullcontext():
            if self.training:
                with torch.no_grad():
                    self._improve(weight, 1)
            v = in_memory_order(self._v.view(1, *weight.shape[1:]), weight).clone()
            y: Tensor = _OverLargestSingularValue.apply(weight, self._u.clone(), v)  # type: ignore[no-untyped-call]
        return y

    def _improve(self, weight: Tensor, iterations: int) -> None:
        matrix = in_memory_order(weight, weight)
        u, v = self._u, in_memory_order(self._v.view(1, *weight.shape[1:]), weight)[0]
        for _ in range(iterations):
            u = unit(matrix @ v)
            v = unit(matrix.t() @ u)
        self._u.copy_(u)
        self._v.copy_(as_weight(v.view(1, -1), weight).flatten())


class _OverLargestSingularValue(torch.autograd.Function):
    """weight / σ with σ = uᵀ W v, where the gradient takes u and v for constants.

    With G, the gradient of the result: (G − ⟨G, W⟩ / σ · u vᵀ) / σ.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(weight, u, v)
        sigma = torch.vdot(u, in_memory_order(weight, weight) @ v[0])
        ctx.sigma = sigma
        return weight / sigma

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        weight, u, v = ctx.saved_tensors
        matrix, of_result = in_memory_order(weight, weight), in_memory_order(gradient, weight)
        # For a gradient of this gradient, σ has to be a function of the weight.
        sigma = torch.vdot(u, matrix @ v[0]) if torch.is_grad_enabled() else ctx.sigma
        inner = torch.vdot(of_result.reshape(-1), matrix.reshape(-1))
        of_weight = torch.addcmul(of_result, (u * (-inner / sigma)).unsqueeze(1), v) / sigma
        return as_weight(of_weight, weight), None, None


def unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=0, eps=SMALLEST_LENGTH)


def in_memory_order(x: Tensor, weight: Tensor) -> Tensor:
    """View N×C×k×k as a matrix of N rows, in which the columns have the order of the weight in memory."""
    return (x.permute(0, 2, 3, 1) if is_channels_last(weight) else x).reshape(len(x), -1)


def as_weight(matrix: Tensor, weight: Tensor) -> Tensor:
    """Undo `in_memory_order`: N×(C·k·k) → N×C×k×k."""
    _, channels, height, width = weight.shape
    if is_channels_last(weight):
        return matrix.view(-1, height, width, channels).permute(0, 3, 1, 2)
    return matrix.view(-1, channels, height, width)
