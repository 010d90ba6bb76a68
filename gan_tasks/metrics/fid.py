"""FID, KID and the Inception Score: measures by the published Inception network, and by no other."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels, fit_channels, to_float
from gan_tasks.metrics.distribution import FrechetDistance, KernelDistance, frechet_distance, kernel_distance
from gan_tasks.metrics.feature_networks.inception import SIZE_PX, Inception2015
from gan_tasks.metrics.feature_networks.published_weights import INCEPTION_2015, published_weights
from gan_tasks.metrics.features import FeatureNetwork, features
from gan_tasks.pretrained.files.download import OnProgress

SCORE_SPLITS = 10


@dataclass(frozen=True)
class InceptionFeatures:
    """What the published network sees in a set of images; `InceptionMetrics.features` makes them."""

    pooled: NDArray[np.float32]
    """N×2048."""
    logits: NDArray[np.float32]
    """N×1008, without the bias, as the Inception Score has always been computed."""


class InceptionMetrics:
    """The network, loaded. Raises UserError where its weights cannot be had, or `weights` is another file.

    weights: `pt_inception-2015-12-05-6726825d.pth`; by default it is downloaded once.
    """

    def __init__(self, weights: Path | None = None, on_progress: OnProgress | None = None) -> None:
        with torch.random.fork_rng(devices=[]):  # the weights drawn first are not kept
            module = Inception2015()
        module.load_state_dict(
            published_weights(INCEPTION_2015, "FID, KID or the Inception Score", weights, on_progress)
        )
        self.network = FeatureNetwork("inception-2015-12-05", module.eval().requires_grad_(False), prepare)
        self.class_weights: NDArray[np.float32] = module.fc.weight.numpy()

    def features(self, images: Iterable[Pixels], *, count: int, quiet: bool = False) -> InceptionFeatures:
        """Of decoded images H×W×C; `count`, how many, is for the progress. UserError where there are none."""
        pooled = features(self.network, images, count=count, quiet=quiet)
        return InceptionFeatures(pooled, pooled @ self.class_weights.T)


def prepare(pixels: Pixels) -> Tensor:
    """H×W×C → 3×299×299 in [-1, 1], bilinear as pytorch-fid has it, but antialiased where the image is larger."""
    image = torch.from_numpy(to_float(fit_channels(pixels, 3)))[None]
    return functional.interpolate(image, (SIZE_PX, SIZE_PX), mode="bilinear", antialias=True)[0]


def fid(real: InceptionFeatures, generated: InceptionFeatures, *, force: bool = False) -> FrechetDistance:
    """Fréchet Inception Distance; raises as `frechet_distance` does. https://arxiv.org/abs/1706.08500"""
    return frechet_distance(real.pooled, generated.pooled, force=force)


def kid(real: InceptionFeatures, generated: InceptionFeatures, *, seed: int = 0) -> KernelDistance:
    """Kernel Inception Distance; raises as `kernel_distance` does. https://arxiv.org/abs/1801.01401"""
    return kernel_distance(real.pooled, generated.pooled, seed=seed)


def inception_score(generated: InceptionFeatures, *, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation over ten parts, drawn by `seed`, of exp E KL(p(class | image) ‖ p(class)).

    1 where every image looks alike to the classes, 1008 at most. It tells nothing of images unlike ImageNet's.
    Salimans et al. 2016, https://arxiv.org/abs/1606.03498. Raises UserError for fewer than ten images.
    """
    logits = generated.logits.astype(np.float64)
    if len(logits) < SCORE_SPLITS:
        raise UserError(f"an Inception Score of {len(logits)} images: give {SCORE_SPLITS} or more")
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    scores = []
    for part in np.array_split(np.random.default_rng(seed).permutation(log_p), SCORE_SPLITS):
        p = np.exp(part)
        log_mean = np.log(p.mean(axis=0).clip(min=np.finfo(np.float64).tiny))
        divergence = (p * (part - log_mean)).sum(axis=1)
        scores.append(np.exp(divergence.mean()))
    return float(np.mean(scores)), float(np.std(scores))
