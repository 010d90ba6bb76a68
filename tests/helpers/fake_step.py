"""A training step for tests of objectives."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class FakeStage:
    """A stage of a training."""

    g_interval_steps: int = 1


@dataclass
class FakeStep:
    """A training step of one process."""

    index: int = 0
    world_size: int = 1
    stage: FakeStage = field(default_factory=FakeStage)
    adaptive: dict[str, Tensor] = field(default_factory=dict)

    def mean(self, value: Tensor) -> Tensor:
        return value.detach()

    def random(self, batch_size: int, *shape: int, device: torch.device, normal: bool = False) -> Tensor:
        return torch.rand(batch_size, *shape)
