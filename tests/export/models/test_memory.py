"""Memory of a network, counted without running it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gan_tasks.export.models.memory import peak_bytes
from gan_tasks.export.models.torch_model import run_strip_wise
from gan_tasks.networks.super_resolution.convolutional import rrdb

PLANE_BYTES = 4 * 10 * 8
IMAGE = [torch.empty(1, 1, 10, 8, device="meta")]


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def test_two_layers_of_a_chain_are_alive_at_a_time() -> None:
    chain = nn.Sequential(conv(1, 5), conv(5, 7), nn.LeakyReLU(0.2, inplace=True), conv(7, 2))
    assert peak_bytes(chain, IMAGE) == (5 + 7) * PLANE_BYTES


class Kept(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = conv(1, 5), conv(5, 7), conv(7, 6)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept = self.first(x)
        return kept, self.third(self.second(kept))


def test_features_count_while_they_are_kept() -> None:
    assert peak_bytes(Kept(), IMAGE) == (5 + 7 + 6) * PLANE_BYTES


def test_strip_wise_runs_need_less_memory() -> None:
    network = rrdb(width=64, growth=32, blocks=1)
    images = [torch.empty(1, 3, 256, 256, device="meta")]
    whole = peak_bytes(network, images)
    run_strip_wise(network, True)
    assert peak_bytes(network, images) < whole / 3
    assert peak_bytes(network, images) / 256**2 == pytest.approx(
        peak_bytes(network, [torch.empty(1, 3, 512, 512, device="meta")]) / 512**2, rel=0.05
    )
