"""Adaptive instance normalisation in each number format."""

import pytest
import torch

from gan_tasks.networks.stylization import EPSILON, statistics, with_statistics


@pytest.mark.parametrize("strength", [None, 0.3])
def test_features_of_64_bits_keep_their_precision(strength: float | None) -> None:
    random = torch.Generator().manual_seed(0)
    features, style = (torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=random) for _ in range(2))
    share = None if strength is None else torch.full((2, 1), strength)
    found = with_statistics(features, statistics(style), share)
    deviations = [(each.var((2, 3), keepdim=True) + EPSILON).sqrt() for each in (features, style)]
    means = [each.mean((2, 3), keepdim=True) for each in (features, style)]
    mixed = (features - means[0]) / deviations[0] * deviations[1] + means[1]
    weight = 1.0 if share is None else share.double()[..., None, None]
    torch.testing.assert_close(found, weight * mixed + (1 - weight) * features, rtol=1e-12, atol=1e-12)


def test_features_of_16_bits_are_normalised_in_32() -> None:
    features = torch.full((1, 1, 20, 20), 1000.0, dtype=torch.float16)  # the squares are too large for 16 bits
    features[..., ::2] = -1000
    found = with_statistics(features, statistics(torch.randn(1, 1, 8, 8)))
    assert found.dtype == torch.float16 and found.isfinite().all()
