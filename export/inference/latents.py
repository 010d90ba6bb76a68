"""Latent vectors by their seed: the same seed gives the same vector everywhere."""

import numpy as np
from numpy.typing import NDArray


def draw_latent(seed: int, length: int) -> NDArray[np.float32]:
    """A vector of a standard normal distribution."""
    return np.random.default_rng(seed).standard_normal(length, np.float32)
