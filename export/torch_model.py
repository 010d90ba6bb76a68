"""A model that torch runs: what the trained and the published ones share, and all that the export reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from gan_tasks.export.model import FloatImages, Model
from gan_tasks.runtime import pick_device

Mode = Literal["eval", "train"]


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
    """

    network: nn.Module
    device: torch.device
    inputs: tuple[str, ...]
    size_multiple: int
    minimum_size: int

    def start(self, network: nn.Module, device: str, mode: Mode) -> None:
        """Put the network where it runs. In mode `train` dropout stays, and each batch has its own statistics."""
        self.device = pick_device(device)
        self.network = network.to(self.device).train(mode == "train").requires_grad_(False)

    def origin(self) -> Origin:
        return Origin(self.source)

    def run(self, images: FloatImages) -> FloatImages:
        with torch.inference_mode():
            result: FloatImages = self.network(torch.from_numpy(images).to(self.device)).float().cpu().numpy()
        return result
