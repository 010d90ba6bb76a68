"""A model from a checkpoint that others published, run with torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.torch_model import Mode, Origin, TorchModel
from gan_tasks.pretrained.files.ncnn import BIN_SUFFIX, PARAM_SUFFIX
from gan_tasks.pretrained.load import load_pretrained


class PretrainedModel(TorchModel):
    """See `Model`. What the file holds is found from its tensors (see `pretrained/load.py`); the title is its name.

    weights: the file that holds them.

    Raises UserError as `load_pretrained` does, and for a discriminator, which makes no image.
    """

    def __init__(self, path: Path, *, device: str = "auto", mode: Mode = "eval") -> None:
        published = load_pretrained(path)
        usage = published.usage
        if usage is None:
            raise UserError(
                f"{path} holds a {published.architecture.title}, which judges images and makes none: give the "
                "generator's file, such as latest_net_G.pth"
            )
        self.architecture, self.usage = published.architecture, usage
        self.weights = path.with_suffix(BIN_SUFFIX) if path.suffix.lower() == PARAM_SUFFIX else path
        if usage.scale > 1:  # RRDBNet so runs faster on a CPU, in two thirds of the memory
            published.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.start(in_our_range(published.network, usage.value_range), device, mode)
        self.name, self.inputs, self.title = usage.task, usage.inputs, path.stem
        self.source = self.weights.name
        self.in_channels, self.out_channels, self.scale = usage.in_channels, usage.out_channels, usage.scale
        self.size_multiple, self.minimum_size, self.receptive_field = (
            usage.size_multiple,
            usage.minimum_size,
            usage.receptive_field,
        )

    def origin(self) -> Origin:
        with self.weights.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Origin(self.source, sha256, self.architecture.family, self.architecture.name, self.usage.width)


def in_our_range(network: nn.Module, value_range: tuple[float, float]) -> nn.Module:
    """The network on images in [-1, 1], where its own lie in `value_range`."""
    return network if value_range == (-1, 1) else Rescaled(network, *value_range)


class Rescaled(nn.Module):
    """The image from [-1, 1] to [low, high] for the network, and back what it makes; masks stay as they are."""

    def __init__(self, network: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.network = network
        self.gain, self.middle = (high - low) / 2, (high + low) / 2

    def forward(self, image: Tensor, *masks: Tensor) -> Tensor:
        made: Tensor = self.network(image * self.gain + self.middle, *masks)
        return (made - self.middle) / self.gain
