"""LPIPS, the learned perceptual distance, version 0.1 with the published weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.perceptual import IMAGENET_MEAN, IMAGENET_STD, Perceptual
from gan_tasks.metrics.feature_networks.published_weights import (
    ALEXNET,
    LPIPS_ALEX,
    LPIPS_VGG,
    VGG16,
    published_weights,
)
from gan_tasks.metrics.features import frozen
from gan_tasks.pretrained.files.download import OnProgress

Backbone: TypeAlias = Literal["alex", "vgg"]

LAYERS = {
    "alex": ("relu1", "relu2", "relu3", "relu4", "relu5"),
    "vgg": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
}
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
LEAST_PX = {"alex": 31, "vgg": 16}
"""Smallest height and width for which the last layer has an output, in pixels."""


class Lpips(nn.Module):
    """LPIPS: distance between the features of two images in a pretrained network. Its weights are not trained.

    Zhang et al. 2018, https://arxiv.org/abs/1801.03924. The values are LPIPS only with the published weights, which
    `load_lpips` loads.

    Args:
        network: AlexNet or VGG16.
        backbone: weights of its convolutions with torchvision's keys, `features.N.weight` and `features.N.bias`.
        linear: weights of the channels with the published keys, `linK.model.1.weight` (1×C×1×1).

    Raises UserError if a tensor is missing or has the wrong shape.
    """

    def __init__(self, network: Backbone, backbone: Mapping[str, Tensor], linear: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network: Backbone = network
        layers = dict.fromkeys(LAYERS[network], 1.0)
        self.backbone = AlexNet(backbone) if network == "alex" else Perceptual("vgg16", backbone, layers)
        for number, channels in enumerate(CHANNELS[network]):
            weight = linear.get(f"lin{number}.model.1.weight")
            if weight is None or weight.shape != (1, channels, 1, 1):
                raise UserError(
                    f"the linear weights lack lin{number}.model.1.weight of 1×{channels}×1×1: give those of {network}"
                )
            self.register_buffer(f"linear{number}", weight.float())
        frozen(self)

    @torch.no_grad()
    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Return N distances of two tensors N×C×H×W in [-1, 1], gray or RGB; equal images give 0, unlike ones about
        1.

        Raises ValueError if the shapes differ, or H or W is less than 31 px (16 px with VGG16).
        """
        if image.shape != target.shape or min(image.shape[-2:]) < LEAST_PX[self.network]:
            raise ValueError(
                f"cannot compare {tuple(image.shape)} with {tuple(target.shape)}: the shapes must be equal, with at "
                f"least {LEAST_PX[self.network]} px along each side"
            )
        image_features, target_features = self._unit_features(image), self._unit_features(target)
        distance = torch.zeros(len(image), device=image.device)
        for number, (a, b) in enumerate(zip(image_features, target_features, strict=True)):
            weighted = (a - b).square() * self.get_buffer(f"linear{number}")
            distance = distance + weighted.sum(dim=1).mean(dim=(1, 2))
        return distance

    def _unit_features(self, image: Tensor) -> list[Tensor]:
        """Return the features of each layer, normalised to length 1 at each position."""
        with torch.autocast(image.device.type, enabled=False):
            features = self.backbone.features(image.float())
        layers = (features[name] for name in LAYERS[self.network])
        return [x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for x in layers]


class AlexNet(nn.Module):
    """The convolutions of torchvision's AlexNet. Krizhevsky 2014, https://arxiv.org/abs/1404.5997

    weights: tensors with torchvision's keys `features.N.weight` and `features.N.bias`. Other keys are ignored.

    Raises UserError if a tensor is missing or has the wrong shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # the random initial weights must not change the global state
            self.layers = nn.Sequential(
                nn.Conv2d(3, 64, 11, stride=4, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(3, stride=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(3, stride=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(256, 256, 3, padding=1),
                nn.ReLU(),
            )
        convolutions = {key: value for key, value in weights.items() if key.startswith("features.")}
        try:
            nn.ModuleDict({"features": self.layers}).load_state_dict(convolutions)
        except RuntimeError as error:
            raise UserError(f"these are not the weights of AlexNet as torchvision names them: {error}") from error
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Return the features of `relu1` to `relu5` for N×C×H×W in [-1, 1], gray or RGB."""
        x, outputs = ((image.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.std, []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                outputs.append(x)
        return dict(zip(LAYERS["alex"], outputs, strict=True))


def load_lpips(
    network: Backbone = "alex",
    *,
    backbone: Path | None = None,
    linear: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Lpips:
    """Load LPIPS with the published weights: torchvision's AlexNet or VGG16, and the linear layers of version 0.1.

    backbone, linear: paths of the two files; by default they are downloaded once.
    on_progress: called with the progress of the downloads.

    Raises UserError if a file cannot be downloaded, or is not exactly the published one.
    """
    files = (ALEXNET, LPIPS_ALEX) if network == "alex" else (VGG16, LPIPS_VGG)
    tensors = [
        published_weights(file, "LPIPS", path, on_progress)
        for file, path in zip(files, (backbone, linear), strict=True)
    ]
    return Lpips(network, *tensors)
