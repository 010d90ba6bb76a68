"""Options of inversion. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gan_tasks.datasets.ranges import Checked, LearningRate, PositiveCount, Seed, Weight

Network = Literal["auto", "vgg16", "efficientnet-lite0", "none"]


@dataclass(frozen=True)
class InvertConfig(Checked):
    """Options of inversion."""

    steps: PositiveCount = 400
    """The number of steps of optimisation."""
    lr: LearningRate = 0.1
    """The learning rate of Adam, in standard deviations of the latent. It falls to 0 along a cosine."""
    starts: PositiveCount = 4
    """The number of latents that are optimised at the same time, the nearest of the mean and of many that are drawn.
    The one that comes nearest is the result. Large models use fewer, by --max-memory."""
    pixel: Weight = 1.0
    """The weight of the squared error of the pixels, at several sizes."""
    perceptual: Weight = 0.2
    """The weight of the distance of features."""
    regularisation: Weight = 0.001
    """The weight of the distance from usual latents. More keeps the image typical, and comes less near."""
    features: Network = "auto"
    """The network of the features. auto is vgg16 if its weights are given or downloaded, else efficientnet-lite0 if
    it is installed, else none: pixels alone."""
    perceptual_weights: Path | None = None
    """A file with the weights of VGG16, with torchvision's keys."""
    seed: Seed = 0
    """The seed of the latents that the start is chosen from."""
