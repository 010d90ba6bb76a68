"""Contextual attention against the published computation, and its general properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_attention import attention
from torch import Tensor

from gan_tasks.networks.inpainting.contextual_attention import ContextualAttention, fold, unfold


def draw(seed: int, batch: int, channels: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return features in double precision, partly 0 as after a ReLU, and a different mask for each sample."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, channels, height, width, generator=random, dtype=torch.double).relu()
    blocks = (torch.rand(batch, 1, height // 2, width // 2, generator=random) > 0.8).double()
    return features, blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    fuse=st.booleans(),
    tensorflow=st.booleans(),
)
def test_output_equals_the_published_computation(
    seed: int, batch: int, channels: int, height: int, width: int, fuse: bool, tensorflow: bool
) -> None:
    features, mask = draw(seed, batch, channels, 2 * height, 2 * width)
    ours = ContextualAttention(fuse=fuse, tensorflow=tensorflow)(features, mask)
    expected = attention(features, mask, fuse=fuse, aligned=tensorflow)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)


def test_every_sample_has_its_own_mask() -> None:
    features, mask = draw(1, 3, 4, 12, 16)
    features = features[:1].repeat(3, 1, 1, 1)
    together = ContextualAttention()(features, mask)
    assert (together[0] - together[1]).abs().max() > 0.1
    for i in range(3):
        alone = ContextualAttention()(features[i : i + 1], mask[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize(("fuse", "tensorflow"), [(True, False), (False, False), (False, True)])
def test_empty_and_full_masks(fuse: bool, tensorflow: bool) -> None:
    features, mask = draw(2, 2, 4, 8, 12)
    layer = ContextualAttention(fuse=fuse, tensorflow=tensorflow)
    assert layer(features, torch.zeros_like(mask)).isfinite().all()
    assert torch.equal(layer(features, torch.ones_like(mask)), torch.zeros_like(features))


def test_gradients_are_finite_where_patches_are_zero() -> None:
    features, mask = draw(3, 1, 4, 8, 16)
    features[..., :8] = 0
    mask[:] = 0
    mask[..., :16, :16] = 1
    features.requires_grad_()
    ContextualAttention()(features, mask).square().sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert features.grad.abs().max() > 0


@pytest.mark.parametrize("fuse", [True, False])
def test_masked_part_of_a_repeated_texture_is_filled_with_its_copy(fuse: bool) -> None:
    """The texture is repeated three times in each direction; in the mask the features have half their values."""
    tile = 4 * torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(4), dtype=torch.double)
    texture = tile.repeat(1, 1, 3, 3)
    mask = torch.zeros(1, 1, 96, 96, dtype=torch.double)
    mask[..., 40:56, 40:56] = 1
    small = mask[..., ::4, ::4]
    weakened = texture * (1 - 0.5 * small)
    filled = ContextualAttention(fuse=fuse)(weakened, mask)
    middle = (..., slice(11, 13), slice(11, 13))
    torch.testing.assert_close(filled[middle], texture[middle], rtol=0, atol=1e-3)
    assert (weakened - texture)[middle].abs().max() > 1


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (4, 2)])
def test_unfold_and_fold_equal_torchs(size: int, stride: int) -> None:
    x = torch.rand(2, 3, 8, 12)
    patches = torch.nn.functional.unfold(x, size, stride=stride, padding=1)
    assert torch.equal(unfold(x, size, stride).flatten(2), patches)
    back = torch.nn.functional.fold(patches, (8, 12), size, stride=stride, padding=1)
    torch.testing.assert_close(fold(unfold(x, size, stride), size, stride), back)


def test_attention_is_computed_in_float32_under_autocast() -> None:
    features, mask = (x.float() for x in draw(5, 1, 4, 8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = ContextualAttention()(features, mask)
    torch.testing.assert_close(output, ContextualAttention()(features, mask))
