"""The pretrained networks whose features losses and discriminators use.

A model does well by measures that use the features it was trained with, or similar ones. Its `ModelSpec` names the
networks, and an evaluation uses another one.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from gan_tasks.losses.adversarial import Discriminate
from gan_tasks.losses.perceptual import Perceptual, PerceptualConfig, load_perceptual
from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0
from gan_tasks.metrics.features import published_lite0
from gan_tasks.networks.discriminators import FeatureDiscriminator, FeatureHeads
from gan_tasks.networks.projected import ProjectedDiscriminator
from gan_tasks.progress import reported
from gan_tasks.tasks.base import Task


def add_pretrained_networks(task: Task[Any, Any], perceptual: PerceptualConfig) -> None:
    """Load the networks that the perceptual loss and the discriminators, which are built already, need.

    Raises UserError if weights are not installed or cannot be downloaded.
    """
    needed = {d.network for d in task.discriminators.values() if isinstance(d, FeatureDiscriminator)}
    if perceptual.perceptual or FeatureHeads.network in needed:
        with reported("Downloading the perceptual network", "bytes") as on_progress:
            task.auxiliary[FeatureHeads.network] = load_perceptual(perceptual, on_progress)
    if ProjectedDiscriminator.network in needed:
        task.auxiliary[ProjectedDiscriminator.network] = published_lite0(
            needed_by="the projected discriminator", otherwise="another --discriminator"
        )


def discriminator_of(task: Task[Any, Any], name: str) -> Discriminate:
    """Return a discriminator of the task. One of features gets its input from the pretrained network."""
    d = task.discriminators[name]
    if isinstance(d, FeatureDiscriminator):
        network = cast(Perceptual | EfficientNetLite0, task.auxiliary[d.network])
        return partial(d.discriminate, network.features)
    return d


def features_trained_with(perceptual: PerceptualConfig, *, discriminator: str = "") -> tuple[str, ...]:
    """Return the names of the pretrained networks that a training uses, for `ModelSpec.trained_with`.

    discriminator: type of the discriminator; empty if there is none.
    """
    names = []
    if perceptual.perceptual or discriminator == "features":
        names.append(str(perceptual.perceptual_network))
    if discriminator == "projected":
        names.append(ProjectedDiscriminator.network)
    return tuple(names)
