"""LPIPS, the learned perceptual distance, in its version 0.1 with the published weights."""

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
from gan_tasks.pretrained.files.download import OnProgress

Backbone: TypeAlias = Literal["alex", "vgg"]

LAYERS = {
    "alex": ("relu1", "relu2", "relu3", "relu4", "relu5"),
    "vgg": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
}
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
LEAST_PX = {"alex": 31, "vgg": 16}
"""The smallest side that reaches the last layer."""


class Lpips(nn.Module):
    """Distance between what a backbone sees in two images; frozen. https://arxiv.org/abs/1801.03924

    backbone: its convolutions as torchvision names them, `features.N.weight` and `features.N.bias`.
    linear: how much each channel counts, `linK.model.1.weight` (1×C×1×1), as published.

    With other weights than the published, which `load_lpips` insists on, its values are not LPIPS.
    Raises UserError where a tensor is missing or of another shape.
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
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """N values for two tensors N×C×H×W in [-1, 1], gray or RGB: 0 for equal images, about 1 for unlike ones.

        Raises ValueError where shapes differ or a side is shorter than 31 px (16 with `vgg`).
        """
        if image.shape != target.shape or min(image.shape[-2:]) < LEAST_PX[self.network]:
            raise ValueError(
                f"cannot measure {tuple(image.shape)} against {tuple(target.shape)}: shapes must agree, and "
                f"sides have {LEAST_PX[self.network]} px at least"
            )
        seen, wanted = self._directions(image), self._directions(target)
        distance = torch.zeros(len(image), device=image.device)
        for number, (a, b) in enumerate(zip(seen, wanted, strict=True)):
            weighted = (a - b).square() * self.get_buffer(f"linear{number}")
            distance = distance + weighted.sum(dim=1).mean(dim=(1, 2))
        return distance

    def _directions(self, image: Tensor) -> list[Tensor]:
        """The features of each layer, of length 1 at each pixel."""
        with torch.autocast(image.device.type, enabled=False):
            seen = self.backbone.seen(image.float())
        return [
            x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for x in (seen[n] for n in LAYERS[self.network])
        ]


class AlexNet(nn.Module):
    """The convolutions of torchvision's AlexNet. https://arxiv.org/abs/1404.5997

    Raises UserError where a tensor is missing or of another shape; other keys are left alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # the weights drawn first are not kept
            self.features = nn.Sequential(
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
            self.load_state_dict(convolutions)
        except RuntimeError as error:
            raise UserError(f"these are not the weights of AlexNet as torchvision names them: {error}") from error
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def seen(self, image: Tensor) -> dict[str, Tensor]:
        """What `relu1` to `relu5` give for N×C×H×W in [-1, 1], gray repeated to RGB."""
        x, outputs = ((image.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.std, []
        for layer in self.features:
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
    """LPIPS with its published weights: torchvision's AlexNet or VGG16 and the linear layers of version 0.1.

    Both files are downloaded once, or given as `backbone` and `linear`. Raises UserError where they cannot be had,
    or are others, byte for byte: then the value would not be LPIPS.
    """
    files = (ALEXNET, LPIPS_ALEX) if network == "alex" else (VGG16, LPIPS_VGG)
    tensors = [
        published_weights(file, "LPIPS", path, on_progress)
        for file, path in zip(files, (backbone, linear), strict=True)
    ]
    return Lpips(network, *tensors)
