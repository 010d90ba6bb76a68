"""Contextual attention as in the authors' code: one sample at a time, with patches as convolution kernels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def attention(features: Tensor, mask: Tensor, *, fuse: bool, aligned: bool) -> Tensor:
    """Compute N×C×h×w attention outputs of N×C×h×w features and an N×1×H×W mask."""
    factor = mask.shape[-1] // features.shape[-1]
    return torch.cat([one(f[None], m[None], factor, fuse, aligned) for f, m in zip(features, mask, strict=True)])


def halve(x: Tensor, factor: int, aligned: bool) -> Tensor:
    if not aligned:
        return functional.interpolate(x, scale_factor=1 / factor, mode="nearest")
    rows, columns = (
        [math.floor(i * (size - 1) / max(size // factor - 1, 1) + 0.5) for i in range(size // factor)]
        for size in x.shape[-2:]
    )
    return x[:, :, rows][..., columns]


def one(features: Tensor, mask: Tensor, factor: int, fuse: bool, aligned: bool) -> Tensor:
    channels = features.shape[1]
    small, masks = halve(features, 2, aligned), halve(mask, 2 * factor, aligned)
    height, width = small.shape[-2:]
    places = height * width
    pasted = functional.unfold(features, 4, stride=2, padding=1)[0].T.reshape(places, channels, 4, 4)
    patches = functional.unfold(small, 3, padding=1)[0].T.reshape(places, channels, 3, 3)
    whole = (functional.unfold(masks, 3, padding=1)[0].sum(0) == 0).to(features.dtype).reshape(1, places, 1, 1)
    norms = patches.square().sum((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-4)
    scores = functional.conv2d(small, patches / norms, padding=1)
    if fuse:
        identity = torch.eye(3, dtype=features.dtype)[None, None]
        scores = functional.conv2d(scores.reshape(1, 1, places, places), identity, padding=1)
        scores = scores.reshape(height, width, height, width).permute(1, 0, 3, 2).reshape(1, 1, places, places)
        scores = functional.conv2d(scores, identity, padding=1)
        scores = scores.reshape(width, height, width, height).permute(1, 0, 3, 2).reshape(1, places, height, width)
    weights = torch.softmax(scores * whole * 10, dim=1) * whole
    return functional.conv_transpose2d(weights, pasted, stride=2, padding=1) / 4
