"""Spectral norm against PyTorch's own: results, singular vectors, gradients and their gradients."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gan_tasks.networks.spectral_norm import spectral_norm

ROWS, LAST = torch.contiguous_format, torch.channels_last


def derivatives(conv: nn.Module, x: Tensor) -> list[Tensor]:
    weights = list(conv.parameters())
    y = conv(x)
    first = torch.autograd.grad((y**3).sum(), [x, *weights], create_graph=True)
    second = torch.autograd.grad(sum((each**2).sum() for each in first), [x, *weights], allow_unused=True)  # type: ignore[arg-type]
    return [y, *first, *(each for each in second if each is not None)]


@pytest.mark.parametrize("layout", [ROWS, LAST])
def test_it_equals_pytorchs(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    own = nn.Conv2d(3, 5, 4, stride=2, padding=1).double()
    other = copy.deepcopy(own)
    spectral_norm(own)
    parametrizations.spectral_norm(other)
    assert own.state_dict().keys() == other.state_dict().keys()
    other.load_state_dict(own.state_dict())
    own.to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    for _ in range(2):
        for mine, theirs in zip(derivatives(own, x), derivatives(other, x), strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-9, atol=1e-9)
        for mine, theirs in zip(own.buffers(), other.buffers(), strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-9)
    before = [buffer.clone() for buffer in own.buffers()]
    own.eval()(x)
    assert all(torch.equal(a, b) for a, b in zip(before, own.buffers(), strict=True))


def test_the_first_singular_vectors_are_good_already() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 6, 3)
    largest = torch.linalg.matrix_norm(conv.weight.flatten(1), 2)
    spectral_norm(conv)
    norm = torch.linalg.matrix_norm(conv.weight.flatten(1), 2)
    assert 0.98 < norm < 1.1
    assert torch.linalg.matrix_norm(conv.parametrizations.weight.original.flatten(1), 2) == largest  # type: ignore[union-attr]
