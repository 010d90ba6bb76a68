"""The contrastive loss against its definition, written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gan_tasks.losses.contrastive import patch_nce


def vectors(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(*shape, dtype=torch.float64, generator=generator), dim=-1)


def written_out(queries: Tensor, keys: Tensor, temperature: float, across_batch: bool) -> float:
    losses = []
    for n, image in enumerate(queries):
        for p, query in enumerate(image):
            others = [key for m, each in enumerate(keys) if across_batch or m == n for key in each]
            own = math.exp(float(query @ keys[n, p]) / temperature)
            losses.append(-math.log(own / sum(math.exp(float(query @ key) / temperature) for key in others)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("across_batch", [False, True])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_it_is_the_written_out_definition(temperature: float, across_batch: bool) -> None:
    queries, keys = vectors(0, 3, 5, 4), vectors(1, 3, 5, 4)
    loss = patch_nce(queries, keys, temperature=temperature, across_batch=across_batch)
    assert loss.dtype == torch.float64 and loss.ndim == 0
    assert float(loss) == pytest.approx(written_out(queries, keys, temperature, across_batch), rel=1e-12)


def test_only_queries_have_a_gradient_and_it_moves_them_to_their_keys() -> None:
    queries, keys = vectors(0, 2, 6, 8).requires_grad_(), vectors(1, 2, 6, 8).requires_grad_()
    patch_nce(queries, keys, temperature=0.5).backward()
    assert keys.grad is None and queries.grad is not None
    assert torch.einsum("npc,npc->np", -queries.grad, keys.detach()).mean() > 0


def test_half_precision_is_computed_in_float32() -> None:
    queries, keys = vectors(0, 1, 64, 16), vectors(1, 1, 64, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = patch_nce(queries.float(), keys.float())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), patch_nce(queries, keys), rtol=1e-5, atol=1e-5)
