"""A model that torch runs: what the trained and the published ones share, and all that the export reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from gan_tasks.export.model import FloatImages, Model
from gan_tasks.export.session import pad_to_multiple
from gan_tasks.export.tiling import fitting_tile, overlap_of, run_in_tiles
from gan_tasks.runtime import pick_device

Mode = Literal["eval", "train"]

FEATURES_FACTOR = 3.0
"""Memory in use over the largest layer's input and output. Measured on the CPU: 1.2 for RRDBNet, 1.5 for U-Net-256,
2.6 for ResNet-9."""


@dataclass(frozen=True)
class Origin:
    """Where a model's weights are from; empty is not stated."""

    source: str
    """The file's name, or the run's and its checkpoint's."""
    source_sha256: str = ""
    """Of the file."""
    family: str = ""
    """The projects that publish the network."""
    architecture: str = ""
    """What it is called there."""
    width: int = 0
    """Channels of its first layer."""


class TorchModel(Model):
    """See `Model`.

    network: called with N×C×H×W tensors, in the order of `inputs`: the image in [-1, 1], masks of 0 and 1; gives the
        image, N×C'×(s·H)×(s·W) in [-1, 1].
    size_multiple, minimum_size: of the sizes in pixels that it takes without padding, which are exported.
    reach: how far to each side of a place the image decides what is made there, in pixels; see `Generator`.
    """

    network: nn.Module
    device: torch.device
    size_multiple: int
    minimum_size: int
    reach: int = 16

    def start(self, network: nn.Module, device: str, mode: Mode) -> None:
        """Put the network where it runs. In mode `train` dropout stays, and each batch has its own statistics."""
        self.device = pick_device(device)
        self.network = network.to(self.device).train(mode == "train").requires_grad_(False)

    def origin(self) -> Origin:
        return Origin(self.source)

    @property
    def overlap(self) -> int:
        """Pixels that neighbouring tiles share."""
        return overlap_of(self.reach, size_multiple=self.size_multiple, minimum_size=self.minimum_size)

    @cached_property
    def bytes_per_pixel(self) -> int:
        """Estimate of the memory in use, to a pixel of input: FEATURES_FACTOR times the largest layer's."""
        side = -(-max(64, self.minimum_size) // self.size_multiple) * self.size_multiple
        channels = [self.in_channels if name == "image" else 1 for name in self.inputs]
        images = [torch.empty(1, count, side, side, device="meta") for count in channels]
        return math.ceil(FEATURES_FACTOR * largest_layer_bytes(self.network, images) / side**2)

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return count * height * width * self.bytes_per_pixel > self.max_memory_bytes

    def run(self, images: FloatImages, *masks: FloatImages) -> FloatImages:
        height, width = images.shape[-2:]
        if masks or not self.runs_in_tiles(height, width, count=len(images)):
            return self.run_network(images, *masks)
        padded = pad_to_multiple(images, self.size_multiple, self.minimum_size)
        tile = fitting_tile(
            *padded.shape[-2:],
            bytes_per_pixel=self.bytes_per_pixel,
            max_memory_bytes=self.max_memory_bytes,
            overlap=self.overlap,
            multiple=self.size_multiple,
            title=self.title,
        )
        outputs = [
            run_in_tiles(
                self.run_network,
                image,
                tile=tile,
                overlap=self.overlap,
                multiple=self.size_multiple,
                scale=self.scale,
            )
            for image in padded
        ]
        return np.stack(outputs)[..., : height * self.scale, : width * self.scale]

    def run_network(self, *inputs: FloatImages) -> FloatImages:
        """Images of any size, each as a whole."""
        with torch.inference_mode():
            tensors = [torch.from_numpy(each).to(self.device) for each in inputs]
            result: FloatImages = self.network(*tensors).float().cpu().numpy()
        return result


def largest_layer_bytes(network: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Bytes of the input and output of the layer that has most; the inputs lie on the meta device, which computes
    nothing."""
    largest = 0

    def measure(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, sum(x.nbytes for x in (*inputs, output)))

    layers = [module for module in network.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(measure) for layer in layers]
    weights = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}
    with torch.inference_mode():
        functional_call(network, weights, tuple(inputs))
    for hook in hooks:
        hook.remove()
    return largest
