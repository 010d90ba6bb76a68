"""Self-attention in a stage of a generator or discriminator (SAGAN, Zhang et al. 2019, https://arxiv.org/abs/1805.08318)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.spectral_norm import spectral_norm
from gan_tasks.networks.synthesis.frame import Stage


class SelfAttention(nn.Module):
    """Adds to each position a weighted mean over all positions: features N×C×H×W → N×C×H×W.

    The weights are the softmax of the products of a query and the keys. Keys and values are pooled to half the size.
    The sum is scaled by `gamma`, which starts at 0: a new block changes nothing.

    Args:
        channels: C.
        spectral: apply spectral normalisation to the 1×1 convolutions, as in the paper.
    """

    def __init__(self, channels: int, *, spectral: bool = False) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.key = nn.Conv2d(channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.output = nn.Conv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))
        if spectral:
            for conv in (self.query, self.key, self.value, self.output):
                spectral_norm(conv)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)  # N×C/8×HW
        key = functional.max_pool2d(self.key(x), 2).flatten(2)
        value = functional.max_pool2d(self.value(x), 2).flatten(2)
        weights = (query.transpose(1, 2) @ key).softmax(dim=-1)  # N×HW×HW/4
        mean = (value @ weights.transpose(1, 2)).view(x.shape[0], -1, x.shape[2], x.shape[3])
        y: Tensor = x + self.gamma * self.output(mean)
        return y


class AttentiveStage(Stage):
    """A stage of the frame followed by self-attention. It uses the styles of the stage."""

    def __init__(self, stage: Stage, attention: SelfAttention) -> None:
        super().__init__()
        self.stage, self.attention = stage, attention
        self.styles = stage.styles

    def forward(self, x: Tensor, styles: Tensor | None = None) -> Tensor:
        y: Tensor = self.attention(self.stage(x, styles))
        return y


def with_attention(stage: nn.Module, channels: int, *, spectral: bool = False) -> nn.Module:
    """Return a stage followed by self-attention on its features N×channels×H×W, of at least 2×2.

    A `Stage` of a generator stays a `Stage`. Any other module, such as one of a discriminator, becomes a sequence.
    """
    attention = SelfAttention(channels, spectral=spectral)
    return AttentiveStage(stage, attention) if isinstance(stage, Stage) else nn.Sequential(stage, attention)
