"""Contrastive losses, as pure functions on tensors."""

import torch
from torch import Tensor
from torch.nn import functional

from gan_tasks.networks.layers import at_least_float32


def patch_nce(queries: Tensor, keys: Tensor, *, temperature: float = 0.07, across_batch: bool = False) -> Tensor:
    """Return the PatchNCE loss, a scalar: the cross-entropy of finding each query's own key among all keys.

    -log( exp(q_i·k_i/τ) / Σ_j exp(q_i·k_j/τ) ), the mean over the queries q_i. Only the queries have a gradient.
    Park et al. 2020, https://arxiv.org/abs/2007.15651

    Args:
        queries: vectors of patches of the generated images, N×P×C, of length 1.
        keys: vectors of the patches of the source images at the same positions, N×P×C, of length 1.
        temperature: τ.
        across_batch: j goes over the patches of all N images, instead of those of the image of the query.
    """
    queries, keys = at_least_float32(queries), at_least_float32(keys.detach())
    if across_batch:
        queries, keys = queries.flatten(0, 1)[None], keys.flatten(0, 1)[None]
    with torch.autocast(queries.device.type, enabled=False):
        logits = queries @ keys.transpose(1, 2) / temperature
    own = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    return functional.cross_entropy(logits.flatten(0, 1), own.flatten())
