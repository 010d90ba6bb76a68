"""Two sets of images compared by their features, without pairing them. numpy only.

A set is an array N×D, a row an image (see `features`). Every value is that of the network that the features come
from: values of different networks have nothing to do with one another.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError

Features: TypeAlias = NDArray[np.floating[Any]]

FRECHET_LEAST_IMAGES = 2000
KERNEL_LEAST_IMAGES = 4
NEIGHBOURS = 3
"""k of precision and recall, as published."""

_SUBSETS = 200
_Z = 1.96  # of a normal distribution's 95 %


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class KernelDistance:
    """How far generated images are from real ones, and how far real ones seem to be from themselves."""

    value: float
    """0 on average, and now and then negative, for two samples of one distribution."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    real_vs_real: Interval
    """The same between two random halves of the real images: mean and 95 % range over many such halves. A value
    within it is as good as this number of images can tell; halves being smaller, the range is on the wide side."""


def kernel_distance(real: Features, generated: Features, *, seed: int = 0) -> KernelDistance:
    """Squared maximum mean discrepancy, unbiased, with the kernel (x·y/D + 1)³: KID where features are Inception's.

    All images count at once; the published mean over subsets estimates the same number. The interval is ±1.96
    standard deviations over random half-samples, which vary as much as new samples would, and more than those where
    both sets are of one distribution: there the interval is conservative.
    Memory grows with the square of the number of images: 0.8 GB at 10,000.
    Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401; Gretton et al. 2012, JMLR 13

    Raises UserError for sets of fewer than 4 images, ValueError where they differ in features.
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
    """Two models' kernel distances from the same real images."""

    difference: float
    """First − second."""
    low: float
    """Lower end of its 95 % interval, ±1.96 standard deviations over random halves of the images."""
    high: float
    """Upper end."""
    p: float
    """How often outputs swapped at random between the models give a difference as far from 0 or further."""


def compare_kernel_distances(
    real: Features, first: Features, second: Features, *, seed: int = 0, samples: int = 2000
) -> KernelComparison:
    """Whether one of two models is nearer to the real images than the other by more than chance.

    Row i of `first` and of `second` is what the two made of the same input. Were the models alike, each such two
    outputs could as well be swapped: a paired permutation test, as `statistics.compare` is for values of images.
    Memory grows with the square of the number of images: 3.2 GB at 10,000.

    Raises UserError for sets of fewer than 4 images, ValueError where `first` and `second` differ in number.
    """
    x, a = _checked(real, first)
    _, b = _checked(real, second)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} outputs against {len(b)}: give those of the same inputs")
    if min(len(x), len(a)) < KERNEL_LEAST_IMAGES:
        raise UserError(
            f"kernel distances of {len(x)} and {len(a)} images: give {KERNEL_LEAST_IMAGES} or more of each"
        )
    rng = np.random.default_rng(seed)
    both = np.concatenate([a, b])
    among_real, among_both, between = _kernel(x, x), _kernel(both, both), _kernel(x, both)

    def differences(chosen_real: NDArray[np.float64], chosen: NDArray[np.float64]) -> NDArray[np.float64]:
        """`chosen` marks the first one's rows of `both`; the same of the other half are the second one's."""
        other = np.roll(chosen, len(a), axis=1)
        distances = [_mmd2(among_real, among_both, between, chosen_real, rows) for rows in (chosen, other)]
        return distances[0] - distances[1]

    def side_by_side(of_first: NDArray[np.float64], of_second: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([of_first, of_second], axis=1)

    everything = np.ones((1, len(a)))
    found = float(differences(np.ones((1, len(x))), side_by_side(everything, 0 * everything))[0])
    half = _halves(len(a), rng)
    error = _Z * float(differences(_halves(len(x), rng), side_by_side(half, 0 * half)).std(ddof=1))
    kept = rng.integers(0, 2, (samples, len(a))).astype(np.float64)
    swapped = differences(np.ones((samples, len(x))), side_by_side(kept, 1 - kept))
    slack = 1e-9 * float(np.abs(among_real).mean())
    hits = int((np.abs(swapped) >= abs(found) - slack).sum())
    return KernelComparison(found, found - error, found + error, (1 + hits) / (1 + samples))


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _halves(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Subsets×images: 1 where an image belongs to the random half."""
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
    """The unbiased estimate of each pair of subsets, which the rows of `chosen_x` and `chosen_y` mark with 1."""
    count_x, count_y = chosen_x.sum(axis=1), chosen_y.sum(axis=1)
    cross = ((chosen_x @ between) * chosen_y).sum(axis=1) / (count_x * count_y)
    result: NDArray[np.float64] = (
        _mean_off_diagonal(among_x, chosen_x) + _mean_off_diagonal(among_y, chosen_y) - 2 * cross
    )
    return result


def _mean_off_diagonal(kernel: NDArray[np.float64], chosen: NDArray[np.float64]) -> NDArray[np.float64]:
    count = chosen.sum(axis=1)
    total = ((chosen @ kernel) * chosen).sum(axis=1) - chosen @ np.diag(kernel)
    mean: NDArray[np.float64] = total / (count * (count - 1))
    return mean


@dataclass(frozen=True)
class FrechetDistance:
    value: float
    images: int
    """In the smaller set."""
    warning: str | None
    """Why the value is not to be relied on; None where it is."""


def frechet_distance(real: Features, generated: Features, *, force: bool = False) -> FrechetDistance:
    """Squared Fréchet distance between Gaussians fitted to the sets: FID where features are Inception's.

    Its bias falls only slowly with the number of images: of a few hundred, two halves of one set seem as far apart
    as two seasons. So it is given from 2,000 images on; `force` gives it below, with a warning in the result.
    Heusel et al. 2017, https://arxiv.org/abs/1706.08500

    Raises UserError for fewer images without `force`, or fewer than two; ValueError where features differ.
    """
    x, y = _checked(real, generated)
    images, warning = min(len(x), len(y)), None
    if images < FRECHET_LEAST_IMAGES:
        warning = (
            f"{images} images are too few for a Fréchet distance, which is mostly bias below {FRECHET_LEAST_IMAGES}"
        )
        if not force or images < 2:
            raise UserError(f"{warning}: use the kernel distance, or more images")
    mean_difference = x.mean(axis=0) - y.mean(axis=0)
    covariance_x, covariance_y = (np.atleast_2d(np.cov(z, rowvar=False)) for z in (x, y))
    # tr (AB)^½ is the sum of the roots of the eigenvalues of A^½ B A^½, which is symmetric.
    eigenvalues, vectors = np.linalg.eigh(covariance_x)
    root = (vectors * np.sqrt(eigenvalues.clip(min=0))) @ vectors.T
    root_trace = np.sqrt(np.linalg.eigvalsh(root @ covariance_y @ root).clip(min=0)).sum()
    value = mean_difference @ mean_difference + np.trace(covariance_x) + np.trace(covariance_y) - 2 * root_trace
    return FrechetDistance(float(value), images, warning)


@dataclass(frozen=True)
class PrecisionRecall:
    precision: float
    """Share of generated images that lie among the real ones: are they realistic?"""
    recall: float
    """Share of real images that lie among the generated ones: is everything covered?"""


def precision_recall(real: Features, generated: Features, *, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """An image lies among a set if it is no further from one of its images than that one's k-th neighbour there.

    Both grow with the number of images; compare only what was measured with the same.
    Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991

    Raises UserError where a set has not more images than neighbours, ValueError where features differ.
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


def _neighbour_radius(x: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    distances = _distances(x, x)
    np.fill_diagonal(distances, np.inf)
    radius: NDArray[np.float64] = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
    return radius


@dataclass(frozen=True)
class Nearest:
    """For each image of a set, the nearest one of another."""

    index: NDArray[np.intp]
    """In that other set."""
    distance: NDArray[np.float64]
    """Euclidean, of features."""


def nearest(images: Features, among: Features) -> Nearest:
    """The nearest row of `among` for each row of `images`. ValueError where features differ or a set is empty."""
    x, y = _checked(images, among)
    distances = _distances(x, y)
    index = distances.argmin(axis=1)
    return Nearest(index, distances[np.arange(len(x)), index])


@dataclass(frozen=True)
class MemorizationRatio:
    """Whether a model's outputs repeat its training images."""

    outputs: Nearest
    """The training image nearest to each output."""
    held_out: Nearest
    """The yardstick: the training image nearest to each real image that the model has not seen."""

    @property
    def ratio(self) -> float:
        """Median distance of the outputs over that of the held-out images: far below 1, the model repeats."""
        return float(np.median(self.outputs.distance) / np.median(self.held_out.distance))


def memorization(outputs: Features, held_out: Features, training: Features) -> MemorizationRatio:
    """Search the training images for each output, and for each held-out real image. Raises as `nearest` does."""
    return MemorizationRatio(nearest(outputs, training), nearest(held_out, training))


def diversity(outputs: NDArray[Any], references: NDArray[Any]) -> float:
    """Mean L1 between any two outputs, over that between any two references: of pixels N×C×H×W or features N×D.

    1 = as varied as the references; near 0 the model answers everything alike (mode collapse). With fewer
    than two images it is nan.
    """
    spread, expected = _mean_pairwise_l1(outputs), _mean_pairwise_l1(references)
    return spread / expected if expected else float("nan")


def _mean_pairwise_l1(images: NDArray[Any]) -> float:
    rows = images.reshape(len(images), -1).astype(np.float32)
    if len(rows) < 2:
        return float("nan")
    total = sum(float(np.abs(rows[i + 1 :] - rows[i]).sum(dtype=np.float64)) for i in range(len(rows) - 1))
    return total / (len(rows) * (len(rows) - 1) / 2 * rows.shape[1])


def _distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean, len(x)×len(y). Of centred rows: the squares cancel less."""
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2 * x @ y.T
    distances: NDArray[np.float64] = np.sqrt(squared.clip(min=0))
    return distances


def _checked(x: Features, y: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or 0 in (*x.shape, *y.shape):
        raise ValueError(f"features of {x.shape} and {y.shape}: expected N×D, of the same network")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features that are not finite: look for images or weights that hold nan")
    return x.astype(np.float64), y.astype(np.float64)
