"""Confidence intervals of means over images, and tests for the difference between two models. numpy only.

The values of a metric are a sequence of floats, one per image. In a paired test, values of two models belong to the
same images in the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = Sequence[float] | NDArray[np.floating[Any]]

EXACT_UP_TO = 16
"""Largest number of images for which the sign-flip test enumerates all 2ⁿ signs. With more images it draws a
sample."""
MOST_DIVISIONS = 2**EXACT_UP_TO
"""Most divisions into two sets that the unpaired test enumerates. If there are more it draws a sample."""
TIE = 1e-12
"""Relative difference up to which two sums count as equal, because the order of the summands changes the rounding."""


def bootstrap_interval(
    values: Values, *, seed: int = 0, samples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval (low, high) of the mean of `values`.

    Efron 1979, https://doi.org/10.1214/aos/1176344552. The same seed gives the same interval.

    Raises ValueError if there are no values.
    """
    if len(values) == 0:
        raise ValueError("no values to compute an interval of: evaluate at least one image first")
    array, rng = np.asarray(values, np.float64), np.random.default_rng(seed)
    means = [rng.choice(array, len(array)).mean() for _ in range(samples)]
    # Order statistics without interpolation: interpolation with a PSNR of inf would give nan.
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


def interval_ends(low: float, high: float, digits: int) -> tuple[str, str] | None:
    """Return both ends of an interval as text; None if they are the same at this number of digits."""
    ends = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return ends if ends[0] != ends[1] else None


@dataclass(frozen=True)
class Comparison:
    """Result of comparing two models."""

    difference: float
    """Mean of first − second, in the metric's unit."""
    low: float
    """Lower end of its 95 % bootstrap interval over images."""
    high: float
    """Upper end."""
    p: float
    """p-value: probability that random signs, or random divisions, give a mean at least as far from 0."""
    exact: bool
    """Whether the p-value is exact: computed from all signs or divisions, not from a sample of them."""
    images: int
    """Number of images; of the smaller set if they are not the same for both."""

    def verdict(self, level: float = 0.05) -> str:
        """Return "first higher", "second higher", or "no difference" if p is not below `level`."""
        if not self.p < level:
            return "no difference"
        return "first higher" if self.difference > 0 else "second higher"


def compare(first: Values, second: Values, *, seed: int = 0, samples: int = 10_000) -> Comparison:
    """Test whether two models differ in a metric, from its values on the same images.

    It is the two-sided sign-flip (permutation) test: if the models are equally good, each image's difference could as
    well have the opposite sign. The p-value is exact up to `EXACT_UP_TO` images, and otherwise (1 + hits)/(1 +
    samples) for random signs drawn with `seed`. Fisher 1935; Good 2005, Permutation, Parametric and Bootstrap Tests
    of Hypotheses

    Raises ValueError if the lengths differ, there are no values, or a value is not finite.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values against {len(second)}: evaluate both models on the same images")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a value is not finite, such as the PSNR of equal images: leave these images out")
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    low, high = bootstrap_interval(differences, seed=seed)
    exact = len(differences) <= EXACT_UP_TO
    return Comparison(
        difference=float(differences.mean()),
        low=low,
        high=high,
        p=_exact_p(differences) if exact else _sampled_p(differences, seed, samples),
        exact=exact,
        images=len(differences),
    )


def compare_unpaired(first: Values, second: Values, *, seed: int = 0, samples: int = 10_000) -> Comparison:
    """Test whether two models differ in a metric, from its values on different images, such as their own samples.

    It is the two-sided permutation test of two sets: if the models are equally good, all values could as well be
    divided between them in another way. The p-value is exact up to `MOST_DIVISIONS` ways, and otherwise (1 + hits)/(1
    + samples) for random divisions drawn with `seed`. Good 2005, as for `compare`

    Raises ValueError if one has no values, or a value is not finite.
    """
    if min(len(first), len(second)) == 0:
        raise ValueError("no values to compare: evaluate at least one image of each model")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a value is not finite, such as the PSNR of equal images: leave these images out")
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    both, rng = np.concatenate([a, b]), np.random.default_rng(seed)
    resampled = [rng.choice(a, len(a)).mean() - rng.choice(b, len(b)).mean() for _ in range(1000)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    found = float(a.mean() - b.mean())
    exact = comb(len(both), len(a)) <= MOST_DIVISIONS
    if exact:
        sums = np.array([both[list(chosen)].sum() for chosen in combinations(range(len(both)), len(a))])
    else:
        sums = np.array([rng.permutation(both)[: len(a)].sum() for _ in range(samples)])
    differences = sums / len(a) - (both.sum() - sums) / len(b)
    hits = int((np.abs(differences) >= abs(found) - TIE * np.abs(both).sum()).sum())
    p = hits / len(sums) if exact else (1 + hits) / (1 + samples)
    return Comparison(found, float(low), float(high), p, exact, min(len(a), len(b)))


def smallest_p(images: int, *, paired: bool = True, samples: int = 10_000) -> float:
    """Return the smallest p-value that `compare`, or `compare_unpaired`, can give for this number of images.

    Of the 2ⁿ signs of n images, all + and all - are the farthest from 0. Five images cannot give a p below 0.05. Of
    the divisions of 2n values into two sets, two are the farthest from 0.
    """
    ways = 2**images if paired else comb(2 * images, images)
    return 2 / ways if ways <= MOST_DIVISIONS else 1 / (1 + samples)


def images_for_significance(comparisons: int, level: float = 0.05, *, paired: bool = True) -> int:
    """Return the smallest number of images whose p-value can be below `level`, corrected for the comparisons."""
    return next(images for images in range(1, 100) if comparisons * smallest_p(images, paired=paired) < level)


def _exact_p(differences: NDArray[np.float64]) -> float:
    """Return the p-value from all 2ⁿ signs."""
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    return float(_as_far(sums, differences).mean())


def _sampled_p(differences: NDArray[np.float64], seed: int, samples: int) -> float:
    """Return the p-value from `samples` random signs."""
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(samples):
        hits += int(_as_far((rng.choice([-1.0, 1.0], len(differences)) * differences).sum(), differences))
    return (1 + hits) / (1 + samples)


def _as_far(sums: Any, differences: NDArray[np.float64]) -> Any:
    """Return which sums are at least as far from 0 as the sum of the differences."""
    slack = TIE * np.abs(differences).sum()
    return np.abs(sums) >= abs(differences.sum()) - slack


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct the p-values of several comparisons for their number with Holm's method, in the given order.

    Comparing the corrected p-values with a level keeps the probability of any false rejection below this level,
    whether or not the comparisons are independent. Holm 1979, https://www.jstor.org/stable/4615733
    """
    corrected, running = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = running
    return {name: corrected[name] for name in p_values}
