"""FID, KID and the Inception Score, always with the published Inception network."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.images import Pixels, fit_channels, to_float
from gan_tasks.metrics.distribution import FrechetDistance, KernelDistance, frechet_distance, kernel_distance
from gan_tasks.metrics.feature_networks.inception import SIZE_PX, Inception2015
from gan_tasks.metrics.feature_networks.published_weights import INCEPTION_2015, published_weights
from gan_tasks.metrics.features import FeatureNetwork, features, frozen
from gan_tasks.pretrained.files.download import OnProgress

INCEPTION = "inception-2015-12-05"
"""Name of the feature network."""
SCORE_SPLITS = 10


@dataclass(frozen=True)
class InceptionFeatures:
    """Features and logits of a set of images in the Inception network; see `InceptionMetrics.features`."""

    pooled: NDArray[np.float32]
    """Features, N×2048."""
    logits: NDArray[np.float32]
    """Logits N×1008 without the bias of the last layer, as in the published code of the Inception Score."""


class InceptionMetrics:
    """The Inception network of FID, KID and the Inception Score, with its weights loaded.

    weights: path of `pt_inception-2015-12-05-6726825d.pth`; by default it is downloaded once.
    on_progress: called with the progress of the download.

    Raises UserError if the weights cannot be downloaded, or `weights` is any other file.
    """

    def __init__(self, weights: Path | None = None, on_progress: OnProgress | None = None) -> None:
        with torch.random.fork_rng(devices=[]):  # the random initial weights must not change the global random state
            module = Inception2015()
        module.load_state_dict(
            published_weights(INCEPTION_2015, "FID, KID or the Inception Score", weights, on_progress)
        )
        self.network = FeatureNetwork(INCEPTION, frozen(module), prepare)
        self.class_weights: NDArray[np.float32] = module.fc.weight.numpy()

    def features(self, images: Iterable[Pixels], *, count: int, quiet: bool = False) -> InceptionFeatures:
        """Return the features and logits of decoded images H×W×C of any sizes.

        count: number of images, for the progress bar.

        Raises UserError if there are no images.
        """
        pooled = features(self.network, images, count=count, quiet=quiet)
        return InceptionFeatures(pooled, pooled @ self.class_weights.T)


def prepare(pixels: Pixels) -> Tensor:
    """Resize H×W×C → 3×299×299 in [-1, 1], bilinearly as pytorch-fid does, but with antialiasing."""
    image = torch.from_numpy(to_float(fit_channels(pixels, 3)))[None]
    return functional.interpolate(image, (SIZE_PX, SIZE_PX), mode="bilinear", antialias=True)[0]


def fid(real: InceptionFeatures, generated: InceptionFeatures, *, force: bool = False) -> FrechetDistance:
    """Return the Fréchet Inception Distance; raises as `frechet_distance` does. https://arxiv.org/abs/1706.08500"""
    return frechet_distance(real.pooled, generated.pooled, force=force)


def kid(real: InceptionFeatures, generated: InceptionFeatures, *, seed: int = 0) -> KernelDistance:
    """Return the Kernel Inception Distance; raises as `kernel_distance` does. https://arxiv.org/abs/1801.01401"""
    return kernel_distance(real.pooled, generated.pooled, seed=seed)


def inception_score(generated: InceptionFeatures, *, seed: int = 0) -> tuple[float, float]:
    """Return the Inception Score exp E KL(p(class | image) ‖ p(class)): mean and standard deviation over ten parts.

    `seed` decides which image is in which part. The score is 1 if all images have the same class probabilities, and
    at most 1008. It has no meaning for images that are unlike those of ImageNet. Salimans et al. 2016,
    https://arxiv.org/abs/1606.03498

    Raises UserError for fewer than ten images.
    """
    logits = generated.logits.astype(np.float64)
    if len(logits) < SCORE_SPLITS:
        raise UserError(f"an Inception Score of {counted(len(logits), 'image')}: give {SCORE_SPLITS} or more")
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    scores = []
    for part in np.array_split(np.random.default_rng(seed).permutation(log_p), SCORE_SPLITS):
        p = np.exp(part)
        log_mean = np.log(p.mean(axis=0).clip(min=np.finfo(np.float64).tiny))
        divergence = (p * (part - log_mean)).sum(axis=1)
        scores.append(np.exp(divergence.mean()))
    return float(np.mean(scores)), float(np.std(scores))
