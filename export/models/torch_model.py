"""A model that torch runs: what the trained and the published ones share, and all that the export reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import nn

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.models.memory import peak_bytes
from gan_tasks.export.models.tiled import TiledModel
from gan_tasks.export.models.tiling import overlap_of
from gan_tasks.networks.backbone import Generator
from gan_tasks.training.runtime import pick_device

Mode = Literal["eval", "train"]

WORKSPACE_FACTOR = 1.05
"""Memory in use over the features that are alive at once. On the CPU: 1.0 for RRDBNet, SRVGG-16 and ResNet-9."""


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


class TorchModel(TiledModel):
    """See `TiledModel`.

    network: called with N×C×H×W tensors, in the order of `inputs`: the image in [-1, 1], masks of 0 and 1; gives the
        image, N×C'×(s·H)×(s·W) in [-1, 1].
    reach: how far to each side of a place the image decides what is made there, in pixels; see `Generator`.
    """

    network: nn.Module
    device: torch.device
    receptive_field: int = 24

    def start(self, network: nn.Module, device: str, mode: Mode) -> None:
        """Put the network where it runs. In mode `train` dropout stays, and each batch has its own statistics."""
        self.device = pick_device(device)
        self.network = network.to(self.device).train(mode == "train").requires_grad_(False)
        run_strip_wise(self.network, True)

    def origin(self) -> Origin:
        return Origin(self.source)

    @property
    def overlap(self) -> int:
        return overlap_of(self.receptive_field, size_multiple=self.size_multiple, minimum_size=self.minimum_size)

    @cached_property
    def bytes_per_pixel(self) -> int:
        side = -(-max(256, self.minimum_size) // self.size_multiple) * self.size_multiple
        channels = [self.in_channels if name == "image" else 1 for name in self.inputs]
        images = [torch.empty(1, count, side, side, device="meta") for count in channels]
        return math.ceil(WORKSPACE_FACTOR * peak_bytes(self.network, images) / side**2)

    def run_network(self, *inputs: FloatImages) -> FloatImages:
        with torch.inference_mode():
            tensors = [torch.from_numpy(each).to(self.device) for each in inputs]
            result: FloatImages = self.network(*tensors).float().cpu().numpy()
        return result


def run_strip_wise(network: nn.Module, strip_wise: bool) -> None:
    """See `Generator.strip_wise`."""
    for part in network.modules():
        if isinstance(part, Generator):
            part.strip_wise = strip_wise
