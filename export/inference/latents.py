"""Draw latent vectors; the same seed gives the same vector on every machine."""

import numpy as np
from numpy.typing import NDArray


def draw_latent(seed: int, length: int) -> NDArray[np.float32]:
    """Draw a vector from the standard normal distribution."""
    return np.random.default_rng(seed).standard_normal(length, np.float32)
