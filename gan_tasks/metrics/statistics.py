"""What a mean over images, or a difference between two models, is worth. numpy only.

Values of one measure are a sequence of floats, one an image; those of two models are of the same images in the
same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = Sequence[float] | NDArray[np.floating[Any]]

EXACT_UP_TO = 16
"""Images up to which every assignment of signs is counted (2¹⁶ of them); beyond, a sample is drawn."""
TIE = 1e-12
"""Relative: sums of the same numbers in another order differ by so little."""


def bootstrap_interval(
    values: Values, *, seed: int = 0, samples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval, low and high, of the mean of `values` (Efron 1979).

    The same seed gives the same interval. Raises ValueError where there are no values.
    """
    if len(values) == 0:
        raise ValueError("an interval of no values: measure at least one image first")
    measured, rng = np.asarray(values, np.float64), np.random.default_rng(seed)
    means = [rng.choice(measured, len(measured)).mean() for _ in range(samples)]
    # An order statistic, not an interpolation between two: a PSNR of inf must not become nan.
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images."""

    difference: float
    """The mean of first − second, in the measure's unit."""
    low: float
    """Lower end of its 95 % bootstrap interval over images."""
    high: float
    """Upper end."""
    p: float
    """How often signs drawn at random give a mean as far from 0 or further: near 0, chance does not explain it."""
    exact: bool
    """Whether all signs were counted, or a sample of them."""
    images: int

    def verdict(self, level: float = 0.05) -> str:
        """`first higher`, `second higher`, or `no difference` shown where p is not below `level`."""
        if not self.p < level:
            return "no difference"
        return "first higher" if self.difference > 0 else "second higher"


def compare(first: Values, second: Values, *, seed: int = 0, samples: int = 10_000) -> Comparison:
    """Compare two models by one measure of each of the same images: is the mean difference more than chance?

    The p-value is that of the two-sided sign-flip (permutation) test: were the models alike, each image's difference
    could as well have the other sign. It is exact up to `EXACT_UP_TO` images, and otherwise (1 + hits)/(1 + samples)
    of signs drawn from `seed`. Fisher 1935; Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses

    Raises ValueError where the lengths differ, there are no values, or one is not finite.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values against {len(second)}: measure both models on the same images")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a value that is not finite, such as the PSNR of equal images: leave those images out")
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


def _exact_p(differences: NDArray[np.float64]) -> float:
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    return float(_as_far(sums, differences).mean())


def _sampled_p(differences: NDArray[np.float64], seed: int, samples: int) -> float:
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(samples):
        hits += int(_as_far((rng.choice([-1.0, 1.0], len(differences)) * differences).sum(), differences))
    return (1 + hits) / (1 + samples)


def _as_far(sums: Any, differences: NDArray[np.float64]) -> Any:
    slack = TIE * np.abs(differences).sum()
    return np.abs(sums) >= abs(differences.sum()) - slack


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values of several comparisons, corrected for their number: reject those below the level, as if alone.

    At that level the chance of any false rejection is kept, whatever the dependence. They stay in the order given.
    Holm 1979, https://www.jstor.org/stable/4615733
    """
    corrected, running = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = running
    return {name: corrected[name] for name in p_values}
