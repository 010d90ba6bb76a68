"""Intervals and comparisons against scipy, and their results in simple cases."""

import functools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_tasks.metrics.statistics import (
    bootstrap_interval,
    compare,
    compare_unpaired,
    holm,
    images_for_significance,
    smallest_p,
)


def test_bootstrap_agrees_with_scipys_percentile_interval():
    values = np.random.default_rng(1).gamma(2.0, size=60)
    reference = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(2)
    ).confidence_interval
    low, high = bootstrap_interval(values, samples=5000)
    width = reference.high - reference.low
    assert low == pytest.approx(reference.low, abs=0.06 * width)
    assert high == pytest.approx(reference.high, abs=0.06 * width)


def test_bootstrap_is_repeatable_and_narrows_with_the_level():
    values = list(np.random.default_rng(3).normal(size=30))
    low, high = bootstrap_interval(values, seed=4)
    assert (low, high) == bootstrap_interval(values, seed=4)
    assert (low, high) != bootstrap_interval(values, seed=5)
    low_half, high_half = bootstrap_interval(values, seed=4, level=0.5)
    assert low < low_half < np.mean(values) < high_half < high


def test_bootstrap_of_one_value_of_infinities_and_of_no_values():
    assert bootstrap_interval([3.0]) == (3.0, 3.0)
    assert bootstrap_interval([math.inf, math.inf]) == (math.inf, math.inf)
    low, high = bootstrap_interval([1.0] * 50 + [math.inf])
    assert (low, high) == (1.0, math.inf)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])


# --- two models


@pytest.mark.parametrize("images", [3, 8, 12, 16, 25])
def test_p_equals_that_of_scipys_sign_flip_test(images):
    rng = np.random.default_rng(images)
    first, second = rng.normal(0.5, 1, images), rng.normal(0, 1, images)
    reference = scipy.stats.permutation_test(
        (first - second,),
        np.mean,
        permutation_type="samples",
        n_resamples=np.inf if images <= 16 else 20_000,
        vectorized=True,
    )
    comparison = compare(first, second)
    assert comparison.exact == (images <= 16)
    assert comparison.p == pytest.approx(reference.pvalue, abs=1e-12 if comparison.exact else 0.012)
    assert comparison.difference == pytest.approx((first - second).mean())
    assert comparison.low < comparison.difference < comparison.high
    assert comparison.images == images


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40), st.integers(0, 9))
@settings(max_examples=10, deadline=None)
def test_a_model_does_not_differ_from_itself(values, seed):
    comparison = compare(values, values, seed=seed)
    assert (comparison.difference, comparison.low, comparison.high, comparison.p) == (0, 0, 0, 1)
    assert comparison.verdict() == "no difference"


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=12))
@settings(max_examples=12, deadline=None)
def test_exchanging_the_models_changes_only_the_sign(pairs):
    first, second = zip(*pairs, strict=True)
    one, other = compare(first, second), compare(second, first)
    assert one.p == other.p
    assert one.difference == -other.difference


@pytest.mark.parametrize("images", [10, 60])
def test_a_small_gain_on_every_image_is_significant_although_images_differ_more(images):
    first = np.random.default_rng(0).normal(25, 5, images)
    assert compare(first + 0.1, first).verdict() == "first higher"
    assert compare(first, first + 0.1).verdict() == "second higher"
    assert compare(first + 0.1, first).p == pytest.approx(2 / 2**images if images == 10 else 1e-4, rel=0.01)


def test_incomparable_values_are_refused():
    with pytest.raises(ValueError, match="same images"):
        compare([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no values"):
        compare([], [])
    with pytest.raises(ValueError, match="not finite"):
        compare([math.inf, 1.0], [math.inf, 2.0])


def test_step_down_correction_of_holms_example():
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(corrected) == ["a", "b", "c", "d"]
    assert holm({}) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=40)
def test_holm_rejects_the_same_as_its_published_procedure(values):
    """Holm's procedure: from the smallest p on, reject while p < level / (number of remaining comparisons)."""
    level, rejected = 0.05, set()
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        if not values[index] * (len(values) - rank) < level:
            break
        rejected.add(str(index))
    corrected = holm({str(index): value for index, value in enumerate(values)})
    assert {name for name, value in corrected.items() if value < level} == rejected


# --- values on different images


@pytest.mark.parametrize(("first", "second"), [(4, 4), (7, 8), (9, 14)])
def test_p_of_two_sets_equals_that_of_scipys_permutation_test(first, second):
    rng = np.random.default_rng(first)
    a, b = rng.normal(0.8, 1, first), rng.normal(0, 1, second)

    def difference(x, y, axis):
        return x.mean(axis=axis) - y.mean(axis=axis)

    test = functools.partial(scipy.stats.permutation_test, (a, b), difference, vectorized=True)
    found = compare_unpaired(a, b)
    assert found.exact == (first < 9) and found.images == first and found.low < found.difference < found.high
    if found.exact:  # scipy doubles the smaller tail, here both tails are counted
        tails = [test(n_resamples=np.inf, alternative=side).pvalue for side in ("less", "greater")]
        assert min(tails) <= found.p <= 2 * min(tails) + 1e-9
    assert found.p == pytest.approx(test(n_resamples=2000).pvalue, abs=0.05)
    with pytest.raises(ValueError, match="no values"):
        compare_unpaired(a, [])


def test_few_values_of_two_sets_can_differ_significantly_from_four_on():
    assert compare_unpaired([1.0, 2, 3, 4], [5.0, 6, 7, 8]).p == pytest.approx(smallest_p(4, paired=False)) == 2 / 70
    assert images_for_significance(1, paired=False) == 4
