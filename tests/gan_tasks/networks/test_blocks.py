"""Functions and modules that networks are built from."""

import torch
from torch import nn

from gan_tasks.networks.blocks import clipped
from gan_tasks.networks.residual import as_residual
from gan_tasks.networks.translation import resnet


def test_clipping_passes_only_gradients_towards_the_range() -> None:
    x = torch.tensor([-3.0, -3.0, -1.0, 0.5, 0.5, 1.0, 2.0, 2.0], requires_grad=True)
    uphill = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0])  # descent moves against it
    y = clipped(x)
    assert torch.equal(y, x.clamp(-1, 1))
    (y * uphill).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.tensor([0.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 0.0]))


def test_a_residual_outside_the_range_is_trained_back_into_it() -> None:
    torch.manual_seed(0)
    generator = as_residual(resnet(3, 3, width=4, blocks=1), 3)
    with torch.no_grad():
        for name, parameter in generator.head.named_parameters():
            if name.endswith("bias"):
                parameter += 3  # makes the whole output white
    x = torch.rand(1, 3, 16, 16) - 0.5
    assert torch.equal(generator(x), torch.ones_like(x))
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.1)
    for _ in range(60):
        loss = nn.functional.l1_loss(generator(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3
