"""How far two images are apart in the features of a pretrained network, for inversion."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.export.inference.synthesis.inversion.invert_options import InvertConfig
from gan_tasks.losses.perceptual import Perceptual
from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0
from gan_tasks.metrics.feature_networks.published_weights import VGG16, published_weights
from gan_tasks.metrics.features import efficientnet_lite0, has_lite0, has_vgg16
from gan_tasks.pretrained.files.safe_load import read_state_dict

Features = Callable[[Tensor], Mapping[str, Tensor]]
"""Features of images N×C×H×W in [-1, 1], by the names of their layers."""
VGG16_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
LITE0_LAYERS = ("stage1", "stage2", "stage3", "stage5")
SMALLEST_PX, LARGEST_PX = 64, 256
"""Sides of the images that features are computed of: smaller ones are enlarged, and larger ones reduced."""


class FeatureDistance:
    """The distance of two images in the features of a pretrained network, relative to the features' size.

    name: the loss in words. network: None measures nothing.
    """

    def __init__(
        self, name: str, network: nn.Module | None, features: Features | None, layers: tuple[str, ...]
    ) -> None:
        self.name, self.network, self.features, self.layers = name, network, features, layers

    def to(self, device: torch.device) -> None:
        if self.network is not None:
            self.network.to(device)

    def of(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features of images N×C×H×W in [-1, 1]."""
        if self.features is None:
            return {}
        found = self.features(fitted(images))
        return {layer: found[layer] for layer in self.layers}

    def distance(self, images: Tensor, wanted: Mapping[str, Tensor]) -> Tensor:
        """Return the distance of each image to the features of the target, N."""
        found = self.of(images)
        distances = [
            (found[layer] - wanted[layer]).abs().mean((1, 2, 3)) / wanted[layer].abs().mean().clamp_min(1e-8)
            for layer in found
        ]
        return torch.stack(distances).mean(0) if distances else torch.zeros(len(images), device=images.device)


def load_features(config: InvertConfig) -> FeatureDistance:
    """Load the network of the features. Raises UserError if it was asked for and is not there."""
    choice = config.features
    if choice == "auto":
        has_vgg = config.perceptual_weights is not None or has_vgg16()
        choice = "vgg16" if has_vgg else "efficientnet-lite0" if has_lite0() else "none"
    if not config.perceptual or choice == "none":
        return FeatureDistance("the pixels", None, None, ())
    if choice == "vgg16":
        path = config.perceptual_weights
        weights = read_state_dict(path) if path is not None else published_weights(VGG16, "vgg16")
        network = Perceptual("vgg16", weights, dict.fromkeys(VGG16_LAYERS, 1.0)).eval()
        return FeatureDistance("the pixels and the features of vgg16", network, network.features, VGG16_LAYERS)
    lite0 = efficientnet_lite0().module
    assert isinstance(lite0, EfficientNetLite0)
    return FeatureDistance("the pixels and the features of efficientnet-lite0", lite0, lite0.features, LITE0_LAYERS)


def fitted(images: Tensor) -> Tensor:
    """Enlarge small images and reduce large ones to a size that the features are made for."""
    shorter = min(images.shape[-2:])
    if shorter < SMALLEST_PX:
        scale = SMALLEST_PX / shorter
    elif shorter > LARGEST_PX:
        scale = LARGEST_PX / shorter
    else:
        return images
    return functional.interpolate(images, scale_factor=scale, mode="bilinear", antialias=scale < 1)
