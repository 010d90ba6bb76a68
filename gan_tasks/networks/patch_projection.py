"""Patches of features, and the network that maps them to vectors for a contrastive loss."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SMALLEST_NORM = 1e-7
"""Added to the length of a vector before it is divided by it."""


def patches_at(features: Tensor, positions: Tensor) -> Tensor:
    """Return the features N×C×h×w at some positions as N×P×C.

    positions: N×P, from 0 to h·w - 1, row by row.
    """
    width = features.shape[-1]
    images = torch.arange(len(features), device=features.device)[:, None]
    return features[images, :, positions // width, positions % width]


class PatchProjection(nn.Module):
    """Map the patches of several feature maps to unit vectors, each map by an MLP of its own.

    Park et al. 2020, https://arxiv.org/abs/2007.15651

    Args:
        channels: channels of each feature map.
        width: width of both layers of an MLP.
    """

    def __init__(self, channels: Sequence[int], *, width: int = 256) -> None:
        super().__init__()
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width)) for count in channels
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight, gain=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, patches: Sequence[Tensor]) -> list[Tensor]:
        """Map N×P×C patches of each feature map to N×P×width vectors of length 1, in float32 or float64."""
        return [unit(mlp(each)) for mlp, each in zip(self.mlps, patches, strict=True)]


def unit(vectors: Tensor) -> Tensor:
    """Divide vectors along the last axis by their length."""
    precise = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    length: Tensor = torch.linalg.vector_norm(precise, dim=-1, keepdim=True)
    return precise / (length + SMALLEST_NORM)
