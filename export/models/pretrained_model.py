"""A model from a public checkpoint, run with torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.export.models.torch_model import Mode, Origin, TorchModel
from gan_tasks.pretrained.files.folders import weights_files
from gan_tasks.pretrained.files.ncnn import BIN_SUFFIX, PARAM_SUFFIX
from gan_tasks.pretrained.load import load_pretrained


class PretrainedModel(TorchModel):
    """A `Model` of a public checkpoint. Its architecture is detected from the tensors (see `pretrained/load.py`).

    weights: the file with the weights, or the folder of the files.

    Raises UserError as `load_pretrained` does, and for a network that makes no image by itself.
    """

    def __init__(self, path: Path, *, device: str = "auto", mode: Mode = "eval") -> None:
        pretrained = load_pretrained(path)
        usage = pretrained.usage
        if usage is None:
            raise UserError(
                f"{path} contains a {pretrained.architecture.title}, which {pretrained.architecture.alone}"
            )
        self.architecture, self.usage, self.spec = pretrained.architecture, usage, usage.spec
        self.weights = path.with_suffix(BIN_SUFFIX) if path.suffix.lower() == PARAM_SUFFIX else path
        images = sum(given.kind == "image" for given in self.spec.inputs)
        network = in_our_range(pretrained.network, usage.value_range, images=images)
        if self.spec.use == "generate":
            network = ByName(network, tuple(given.name for given in self.spec.inputs))
        self.start(network, device, mode)
        self.title, self.source, self.place = path.stem, self.weights.name, str(path)

    def version(self) -> str:
        return " ".join(map(sha256_of, weights_files(self.weights) or [self.weights]))

    def origin(self) -> Origin:
        sha256 = self.version().replace("sha256:", "")
        return Origin(self.source, sha256, self.architecture.family, self.architecture.name, self.usage.width)


def in_our_range(network: nn.Module, value_range: tuple[float, float], *, images: int = 1) -> nn.Module:
    """Wrap a network for images in `value_range`, so that it takes images in [-1, 1].

    images: how many of its first inputs are images.
    """
    return network if value_range == (-1, 1) else Rescaled(network, *value_range, images=images)


class ByName(nn.Module):
    """Give a network inputs by their names. A generator may take a label and a truncation, only one, or neither."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs: Tensor) -> Tensor:
        output: Tensor = self.network(**dict(zip(self.names, inputs, strict=True)))
        return output


class Rescaled(nn.Module):
    """Map images from [-1, 1] to [low, high] for a network, and map its output back. Other inputs are not changed."""

    def __init__(self, network: nn.Module, low: float, high: float, *, images: int = 1) -> None:
        super().__init__()
        self.network, self.images = network, images
        self.gain, self.middle = (high - low) / 2, (high + low) / 2

    def forward(self, *inputs: Tensor) -> Tensor:
        images = (image * self.gain + self.middle for image in inputs[: self.images])
        output: Tensor = self.network(*images, *inputs[self.images :])
        return (output - self.middle) / self.gain
