"""Compare blur kernels with OpenCV, scipy's normal distribution, closed forms and the transform of a disc."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from gan_tasks.datasets.degradations.kernels import Bell, Sinc

odd = st.integers(3, 10).map(lambda half: 2 * half + 1)
sigma = st.floats(0.2, 3)


@given(size=odd, sigma=sigma)
@settings(deadline=None, max_examples=30)
def test_isotropic_gaussian_matches_opencv(size: int, sigma: float) -> None:
    line = cv2.getGaussianKernel(size, sigma)
    np.testing.assert_allclose(Bell("gaussian", size, (sigma, sigma)).kernel(), line @ line.T, atol=1e-6)


@given(size=odd, sigmas=st.tuples(sigma, sigma), angle=st.floats(-math.pi, math.pi))
@settings(deadline=None, max_examples=30)
def test_anisotropic_gaussian_matches_rotated_normal_distribution(
    size: int, sigmas: tuple[float, float], angle: float
) -> None:
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = rotation @ np.diag(np.square(sigmas)) @ rotation.T
    y, x = np.mgrid[:size, :size] - size // 2
    density = multivariate_normal([0, 0], covariance).pdf(np.stack([x, y], axis=-1))
    np.testing.assert_allclose(Bell("gaussian", size, sigmas, angle).kernel(), density / density.sum(), atol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.7])
def test_beta_sets_the_profile_of_a_bell(beta: float) -> None:
    q = (3 / 2) ** 2  # squared distance of three pixels from the centre, in sigmas
    generalized = Bell("generalized", 9, (2, 1), beta=beta).kernel()
    plateau = Bell("plateau", 9, (2, 1), beta=beta).kernel()
    assert generalized[4, 7] / generalized[4, 4] == pytest.approx(math.exp(-(q**beta) / 2), rel=1e-5)
    assert plateau[4, 7] / plateau[4, 4] == pytest.approx(1 / (1 + q**beta), rel=1e-5)


@given(size=odd, cutoff=st.floats(math.pi / 5, math.pi))
@settings(deadline=None, max_examples=15)
def test_sinc_matches_the_transform_of_a_disc(size: int, cutoff: float) -> None:
    steps = 4000
    angle = (np.arange(steps) + 0.5) * math.pi / steps  # integrate over the disc in strips at x = cutoff · cos(angle)
    y, x = np.mgrid[:size, :size] - size // 2
    waves = np.cos(cutoff * np.cos(angle) * np.hypot(y, x)[..., None])
    disc = (waves * np.sin(angle) ** 2).sum(axis=-1)
    np.testing.assert_allclose(Sinc(size, cutoff).kernel(), disc / disc.sum(), atol=1e-5)
