"""A model from a public checkpoint, run with torch."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.export.models.torch_model import Mode, Origin, TorchModel
from gan_tasks.pretrained.files.ncnn import BIN_SUFFIX, PARAM_SUFFIX
from gan_tasks.pretrained.load import load_pretrained


class PretrainedModel(TorchModel):
    """A `Model` of a public checkpoint. Its architecture is detected from the tensors (see `pretrained/load.py`).

    weights: the file with the weights.

    Raises UserError as `load_pretrained` does, and for a network that makes no image, such as a discriminator.
    """

    def __init__(self, path: Path, *, device: str = "auto", mode: Mode = "eval") -> None:
        pretrained = load_pretrained(path)
        usage = pretrained.usage
        if usage is None:
            raise UserError(
                f"{path} contains a {pretrained.architecture.title}, which makes no image: "
                "give the generator's file, such as latest_net_G.pth"
            )
        self.architecture, self.usage, self.spec = pretrained.architecture, usage, usage.spec
        self.weights = path.with_suffix(BIN_SUFFIX) if path.suffix.lower() == PARAM_SUFFIX else path
        self.start(in_our_range(pretrained.network, usage.value_range), device, mode)
        self.title, self.source, self.place = path.stem, self.weights.name, str(path)

    def version(self) -> str:
        return sha256_of(self.weights)

    def origin(self) -> Origin:
        sha256 = sha256_of(self.weights).removeprefix("sha256:")
        return Origin(self.source, sha256, self.architecture.family, self.architecture.name, self.usage.width)


def in_our_range(network: nn.Module, value_range: tuple[float, float]) -> nn.Module:
    """Wrap a network for images in `value_range`, so that it takes images in [-1, 1]."""
    return network if value_range == (-1, 1) else Rescaled(network, *value_range)


class Rescaled(nn.Module):
    """Map the image from [-1, 1] to [low, high] for a network, and map its output back. Masks are not changed."""

    def __init__(self, network: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.network = network
        self.gain, self.middle = (high - low) / 2, (high + low) / 2

    def forward(self, image: Tensor, *masks: Tensor) -> Tensor:
        output: Tensor = self.network(image * self.gain + self.middle, *masks)
        return (output - self.middle) / self.gain
