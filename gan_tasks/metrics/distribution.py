"""Metrics between two sets of images, computed from their features. numpy only.

A set is an array N×D with one row per image (see `features`). Values from the features of different networks cannot
be compared with each other.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError

Features: TypeAlias = NDArray[np.floating[Any]]

FRECHET_LEAST_IMAGES = 2000
"""Fewest images for a Fréchet distance without a warning."""
KERNEL_LEAST_IMAGES = 4
"""Fewest images for a kernel distance."""
NEIGHBOURS = 3
"""k of precision and recall, as in the paper."""
COVERAGE_NEIGHBOURS = 5
"""k of density and coverage, as in the paper."""

COLLAPSED_DIVERSITY = 0.3
"""Diversity, relative to that of targets or real images, below which outputs look alike."""

_SUBSETS = 200
_Z = 1.96  # half the 95 % interval of a normal distribution, in standard deviations


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class KernelDistance:
    """The kernel distance between real and generated images, with its interval and the real-vs-real baseline."""

    value: float
    """The distance. For two samples of one distribution it is 0 on average, and may be negative."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    real_vs_real: Interval
    """The real-vs-real baseline: the distance between two random halves of the real images, with its mean and 95 %
    range.

    A distance within this range cannot be told from 0 with this number of images. The range is wider than for the
    whole set, because halves have fewer images.
    """


def kernel_distance(real: Features, generated: Features, *, seed: int = 0) -> KernelDistance:
    """Return the kernel distance: the unbiased squared maximum mean discrepancy with the kernel (x·y/D + 1)³.

    With Inception features it is the KID. All images are used at once; the paper's mean over subsets estimates the
    same number. The interval is ±1.96 standard deviations over random half-samples. These vary as much as new samples
    would, or more if both sets come from one distribution: then the interval is conservative. Memory grows with the
    square of the number of images: 0.8 GB for 10,000. Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401;
    Gretton et al. 2012, JMLR 13

    Raises UserError for sets of fewer than 4 images, and ValueError if the numbers of features differ.
    """
    x, y = _checked(real, generated)
    if min(len(x), len(y)) < KERNEL_LEAST_IMAGES:
        raise UserError(
            f"a kernel distance of {len(x)} and {len(y)} images: give {KERNEL_LEAST_IMAGES} or more of each"
        )
    rng = np.random.default_rng(seed)
    among_x, among_y, between = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    everything_x, everything_y = np.ones((1, len(x))), np.ones((1, len(y)))
    value = float(_mmd2(among_x, among_y, between, everything_x, everything_y)[0])
    sampled = _mmd2(among_x, among_y, between, _halves(len(x), rng), _halves(len(y), rng))
    error = _Z * float(sampled.std(ddof=1))
    half = _halves(len(x), rng)
    among_real = _mmd2(among_x, among_x, among_x, half, 1 - half)
    low, high = np.quantile(among_real, [0.025, 0.975])
    real_vs_real = Interval(float(among_real.mean()), float(low), float(high))
    return KernelDistance(value, value - error, value + error, real_vs_real)


@dataclass(frozen=True)
class KernelComparison:
    """Comparison of two models by their kernel distances from the same real images."""

    difference: float
    """Distance of the first model − distance of the second."""
    low: float
    """Lower end of its 95 % interval, ±1.96 standard deviations over random halves of the images."""
    high: float
    """Upper end of the interval."""
    p: float
    """p-value: probability that randomly exchanged outputs give a difference at least as far from 0."""


def compare_kernel_distances(
    real: Features, first: Features, second: Features, *, paired: bool = True, seed: int = 0, samples: int = 2000
) -> KernelComparison:
    """Test whether the kernel distances of two models from the real images differ, by permutations.

    If the models are equally good, their outputs could as well be exchanged. Memory grows with the square of the
    number of images: 3.2 GB for 10,000.

    paired: row i of `first` and row i of `second` are the outputs of the two models for the same input, and a
        permutation swaps the two outputs of some inputs, like `statistics.compare`. Otherwise, as for the samples of
        two generators, a permutation divides all outputs anew, and the two sets may differ in length.

    Raises UserError for sets of fewer than 4 images, and ValueError if paired sets differ in length.
    """
    x, a = _checked(real, first)
    _, b = _checked(real, second)
    if paired and len(a) != len(b):
        raise ValueError(f"{len(a)} outputs against {len(b)}: give the outputs of both models for the same inputs")
    if (fewest := min(len(a), len(b))) < KERNEL_LEAST_IMAGES or len(x) < KERNEL_LEAST_IMAGES:
        raise UserError(
            f"kernel distances of {len(x)} and {fewest} images: give {KERNEL_LEAST_IMAGES} or more of each"
        )
    rng = np.random.default_rng(seed)
    both = np.concatenate([a, b])
    among_real, among_both, between = _kernel(x, x), _kernel(both, both), _kernel(x, both)

    def differences(
        of_real: NDArray[np.float64], of_first: NDArray[np.float64], of_second: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """`of_first` and `of_second` mark the rows of `both` that are taken for each of the models."""
        distances = [_mmd2(among_real, among_both, between, of_real, rows) for rows in (of_first, of_second)]
        return distances[0] - distances[1]

    def side_by_side(of_a: NDArray[np.float64], of_b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([of_a, of_b], axis=1)

    first_rows = side_by_side(np.ones((1, len(a))), np.zeros((1, len(b))))
    found = float(differences(np.ones((1, len(x))), first_rows, 1 - first_rows)[0])
    half_a = _halves(len(a), rng)
    half_b = half_a if paired else _halves(len(b), rng)
    halves = side_by_side(half_a, 0 * half_b), side_by_side(0 * half_a, half_b)
    error = _Z * float(differences(_halves(len(x), rng), *halves).std(ddof=1))
    if paired:
        kept = rng.integers(0, 2, (samples, len(a))).astype(np.float64)
        chosen = side_by_side(kept, 1 - kept)
    else:
        chosen = rng.permuted(first_rows.repeat(samples, axis=0), axis=1)
    permuted = differences(np.ones((samples, len(x))), chosen, 1 - chosen)
    slack = 1e-9 * float(np.abs(among_real).mean())
    hits = int((np.abs(permuted) >= abs(found) - slack).sum())
    return KernelComparison(found, found - error, found + error, (1 + hits) / (1 + samples))


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the kernel of every pair of rows, len(x)×len(y)."""
    kernel: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _halves(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return random halves of `count` images, subsets×count: 1 if the image is in the half, else 0."""
    chosen = np.zeros((_SUBSETS, count))
    chosen[:, : count // 2] = 1
    return rng.permuted(chosen, axis=1)


def _mmd2(
    among_x: NDArray[np.float64],
    among_y: NDArray[np.float64],
    between: NDArray[np.float64],
    chosen_x: NDArray[np.float64],
    chosen_y: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the unbiased estimate for each pair of subsets, marked with 1 in the rows of `chosen_x` and
    `chosen_y`."""
    count_x, count_y = chosen_x.sum(axis=1), chosen_y.sum(axis=1)
    cross = ((chosen_x @ between) * chosen_y).sum(axis=1) / (count_x * count_y)
    result: NDArray[np.float64] = (
        _mean_off_diagonal(among_x, chosen_x) + _mean_off_diagonal(among_y, chosen_y) - 2 * cross
    )
    return result


def _mean_off_diagonal(kernel: NDArray[np.float64], chosen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean kernel of two different images of each subset."""
    count = chosen.sum(axis=1)
    total = ((chosen @ kernel) * chosen).sum(axis=1) - chosen @ np.diag(kernel)
    mean: NDArray[np.float64] = total / (count * (count - 1))
    return mean


@dataclass(frozen=True)
class FrechetDistance:
    """A Fréchet distance, and whether it is reliable."""

    value: float
    images: int
    """Number of images in the smaller set."""
    warning: str | None
    """Why the value is unreliable; None if it is reliable."""


def frechet_distance(real: Features, generated: Features, *, force: bool = False) -> FrechetDistance:
    """Return the squared Fréchet distance between Gaussians fitted to the two sets.

    With Inception features it is the FID. Its bias decreases only slowly with the number of images: with a few
    hundred images the distance between two halves of one set is as large as that between summer and winter
    photographs. It therefore needs 2,000 images, unless `force` is given; the result then has a warning. Heusel et
    al. 2017, https://arxiv.org/abs/1706.08500

    Raises UserError for fewer than 2,000 images without `force`, or fewer than two; ValueError if the numbers of
    features differ.
    """
    x, y = _checked(real, generated)
    images, warning = min(len(x), len(y)), None
    if images < FRECHET_LEAST_IMAGES:
        few = "1 image is" if images == 1 else f"{images} images are"
        warning = f"{few} too few for a Fréchet distance, which is mostly bias below {FRECHET_LEAST_IMAGES}"
        if not force or images < 2:
            raise UserError(f"{warning}: use the kernel distance, or more images")
    mean_difference = x.mean(axis=0) - y.mean(axis=0)
    covariance_x, covariance_y = (np.atleast_2d(np.cov(z, rowvar=False)) for z in (x, y))
    # tr (AB)^½ is the sum of the square roots of the eigenvalues of the symmetric matrix A^½ B A^½.
    eigenvalues, vectors = np.linalg.eigh(covariance_x)
    root = (vectors * np.sqrt(eigenvalues.clip(min=0))) @ vectors.T
    root_trace = np.sqrt(np.linalg.eigvalsh(root @ covariance_y @ root).clip(min=0)).sum()
    value = mean_difference @ mean_difference + np.trace(covariance_x) + np.trace(covariance_y) - 2 * root_trace
    return FrechetDistance(float(value), images, warning)


@dataclass(frozen=True)
class PrecisionRecall:
    """Improved precision and recall, see `precision_recall`."""

    precision: float
    """Fraction of generated images within the manifold of real ones: are they realistic?"""
    recall: float
    """Fraction of real images within the manifold of generated ones: is the variety covered?"""


def precision_recall(real: Features, generated: Features, *, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """Return improved precision and recall.

    The manifold of a set is the union of balls around its images, each as large as the distance to the image's k-th
    nearest neighbour in the set, with k = `neighbours`. Both values grow with the number of images: compare only
    values of the same number of images. Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991

    Raises UserError if a set has no more images than `neighbours`, and ValueError if the numbers of features differ.
    """
    x, y = _checked(real, generated)
    if min(len(x), len(y)) <= neighbours:
        raise UserError(f"precision and recall of {len(x)} and {len(y)} images: give more than {neighbours} of each")
    between = _distances(x, y)
    radius_x, radius_y = _neighbour_radius(x, neighbours), _neighbour_radius(y, neighbours)
    return PrecisionRecall(
        precision=float((between <= radius_x[:, None]).any(axis=0).mean()),
        recall=float((between <= radius_y[None, :]).any(axis=1).mean()),
    )


@dataclass(frozen=True)
class DensityCoverage:
    """Density and coverage, see `density_coverage`."""

    density: float
    """How many real neighbourhoods a generated image is in, divided by k: 1 on average for two samples of one
    distribution, and more if the generated images are where real ones are close together."""
    coverage: float
    """Fraction of real images that have a generated image in their neighbourhood: is the variety covered?"""


def density_coverage(
    real: Features, generated: Features, *, neighbours: int = COVERAGE_NEIGHBOURS
) -> DensityCoverage:
    """Return density and coverage, which single outliers change less than precision and recall.

    The neighbourhood of a real image is the ball around it that reaches its k-th nearest other real image, with k =
    `neighbours`. For two samples of one distribution and of one size, coverage is about 1 - 0.5ᵏ. It grows with the
    number of generated images: compare only values of the same number of images. Naeem et al. 2020,
    https://arxiv.org/abs/2002.09797

    Raises UserError if there are no more real images than `neighbours`, and ValueError if the numbers of features
    differ.
    """
    x, y = _checked(real, generated)
    if len(x) <= neighbours:
        raise UserError(f"density and coverage of {len(x)} real images: give more than {neighbours}")
    inside = _distances(x, y) <= _neighbour_radius(x, neighbours)[:, None]
    return DensityCoverage(
        density=float(inside.sum(axis=0).mean() / neighbours), coverage=float(inside.any(axis=1).mean())
    )


def _neighbour_radius(x: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Return the distance of each row to its k-th nearest other row."""
    distances = _distances(x, x)
    np.fill_diagonal(distances, np.inf)
    radius: NDArray[np.float64] = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
    return radius


@dataclass(frozen=True)
class Nearest:
    """The nearest image of another set, for each image of a set."""

    index: NDArray[np.intp]
    """Its index in the other set."""
    distance: NDArray[np.float64]
    """Euclidean distance of the features."""


def nearest(images: Features, among: Features) -> Nearest:
    """Find the nearest row of `among` for each row of `images`.

    Raises ValueError if the numbers of features differ or a set is empty.
    """
    x, y = _checked(images, among)
    distances = _distances(x, y)
    index = distances.argmin(axis=1)
    return Nearest(index, distances[np.arange(len(x)), index])


@dataclass(frozen=True)
class MemorizationRatio:
    """Distances that show whether a model's outputs repeat its training images."""

    outputs: Nearest
    """The training image nearest to each output."""
    held_out: Nearest
    """For comparison, the training image nearest to each held-out real image."""

    @property
    def ratio(self) -> float:
        """Median distance of the outputs divided by that of the held-out images; far below 1, it has memorized."""
        return float(np.median(self.outputs.distance) / np.median(self.held_out.distance))


def memorization(outputs: Features, held_out: Features, training: Features) -> MemorizationRatio:
    """Find the nearest training image of each output and of each held-out real image. Raises as `nearest` does."""
    return MemorizationRatio(nearest(outputs, training), nearest(held_out, training))


def diversity(outputs: NDArray[Any], references: NDArray[Any]) -> float:
    """Return the mean L1 between pairs of outputs, divided by that between pairs of references.

    outputs, references: pixels N×C×H×W or features N×D.

    1 means as varied as the references. Near 0 all outputs are alike (mode collapse). The value is nan for fewer than
    two images.
    """
    spread, expected = _mean_pairwise_l1(outputs), _mean_pairwise_l1(references)
    return spread / expected if expected else float("nan")


def _mean_pairwise_l1(images: NDArray[Any]) -> float:
    """Return the mean L1 between any two images; nan for fewer than two."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    if len(rows) < 2:
        return float("nan")
    total = sum(float(np.abs(rows[i + 1 :] - rows[i]).sum(dtype=np.float64)) for i in range(len(rows) - 1))
    return total / (len(rows) * (len(rows) - 1) / 2 * rows.shape[1])


def _distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Euclidean distances, len(x)×len(y). Centring the rows first reduces the rounding error."""
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2 * x @ y.T
    distances: NDArray[np.float64] = np.sqrt(squared.clip(min=0))
    return distances


def _checked(x: Features, y: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Convert both to float64. Raises ValueError if they are not features of the same network, or are not finite."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or 0 in (*x.shape, *y.shape):
        raise ValueError(f"features of {x.shape} and {y.shape}: expected two arrays N×D of the same network")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("the features are not finite: check the images and the weights for nan")
    return x.astype(np.float64), y.astype(np.float64)
