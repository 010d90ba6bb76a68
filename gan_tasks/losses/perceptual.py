"""Perceptual loss: distance between the features of two images in a VGG that was trained on ImageNet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, Weight
from gan_tasks.losses.functional import l1
from gan_tasks.pretrained.files.download import DownloadError, OnProgress, fetch
from gan_tasks.pretrained.files.safe_load import read_state_dict

Network: TypeAlias = Literal["vgg19", "vgg16"]

PIX2PIXHD_LAYERS: Mapping[str, float] = MappingProxyType(
    {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1.0}
)
"""Layers of either VGG and their weights in the loss, as in pix2pixHD, https://arxiv.org/abs/1711.11585"""

Layers: TypeAlias = Literal["pix2pixhd", "esrgan", "real-esrgan"]

CONVS_PER_BLOCK: Mapping[Network, tuple[int, ...]] = MappingProxyType(
    {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
)
BLOCK_CHANNELS = (64, 128, 256, 512, 512)

# torchvision's files. The file names contain the first 8 characters of the sha256; no more of it is published.
SOURCES: Mapping[Network, tuple[str, str]] = MappingProxyType(
    {
        "vgg16": ("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af"),
        "vgg19": ("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "dcbb9e9d"),
    }
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PerceptualConfig(Checked):
    """Options of the perceptual loss."""

    perceptual: Weight = 0.0
    """Weight of the perceptual loss (10 in pix2pixHD; 0 = off)."""
    perceptual_network: Network = "vgg19"
    """Pretrained VGG that provides the features of the perceptual loss and of the discriminator on features."""
    perceptual_layers: Layers = "pix2pixhd"
    """VGG layers: first ReLU of each block, last convolution (esrgan), or last of each block (real-esrgan)."""
    perceptual_weights: Path | None = None
    """File with the VGG's weights, .safetensors or .pth with torchvision's keys; without it, download it once."""


class Perceptual(nn.Module):
    """Perceptual loss: weighted L1 between the VGG features of two images. Its weights are not trained.

    Johnson et al. 2016, https://arxiv.org/abs/1603.08155

    Args:
        network: which VGG, https://arxiv.org/abs/1409.1556
        weights: the convolutions with torchvision's keys `features.N.weight` and `features.N.bias`, of any float
            type. Other keys are ignored.
        layers: layer name → weight in the loss. `convB_I` is the I-th convolution of block B, and `reluB_I` its ReLU.
            The layers after the last of them are not computed.

    Raises UserError if `weights` belong to the other VGG, or a tensor is missing or has the wrong shape; ValueError
    for a layer that the network does not have.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: Network, weights: Mapping[str, Tensor], layers: Mapping[str, float] = PIX2PIXHD_LAYERS
    ) -> None:
        super().__init__()
        names = _layer_names(network)
        if unknown := layers.keys() - set(names):
            raise ValueError(f"{network} has no layers {sorted(unknown)}: its layers are {', '.join(names)}")
        needed = names[: 1 + max(names.index(name) for name in layers)]
        _check_network(network, weights)
        _check_tensors(_shapes(needed), weights)
        self.layers = dict(layers)
        self.vgg = nn.Sequential()
        for number, name in enumerate(needed):
            self.vgg.add_module(name, _layer(name, number, weights))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar, of two tensors N×C×H×W in [-1, 1]. No gradient flows to `target`.

        One or two channels are gray, which is repeated to RGB, and alpha, which is ignored. Of three or more channels
        the first three are used. Each block of the VGG halves the size, so the fifth block needs at least 16 px.
        """
        with torch.no_grad():
            target_features = self.features(target)
        features = self.features(image)
        losses = [weight * l1(features[name], target_features[name]) for name, weight in self.layers.items()]
        return torch.stack(losses).sum()

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Return the features N×K×h×w of each layer in `layers` for N×C×H×W in [-1, 1]; channels as in `forward`."""
        rgb = image[:, :3] if image.shape[1] >= 3 else image[:, :1].expand(-1, 3, -1, -1)
        x, outputs = ((rgb + 1) / 2 - self.mean) / self.std, {}
        for name, layer in self.vgg.named_children():
            x = layer(x)
            if name in self.layers:
                outputs[name] = x
        return outputs


def load_perceptual(config: PerceptualConfig, on_progress: OnProgress | None = None) -> Perceptual:
    """Load the perceptual loss with the weights of the file in `config`, or else with torchvision's.

    torchvision's file is downloaded once; `on_progress` is called with the progress of the download. There is no
    fallback to random weights.

    Raises UserError if the weights cannot be downloaded or read, or belong to another network.
    """
    network = config.perceptual_network
    layers = layers_called(config.perceptual_layers, network)
    if torch.get_default_device().type == "meta":  # only counted, see tasks/shared/size_limit.py
        shapes = _shapes(_layer_names(network))
        return Perceptual(network, {key: torch.empty(shape) for key, shape in shapes.items()}, layers)
    weights = vgg_weights(network, config.perceptual_weights, option="--perceptual-weights", on_progress=on_progress)
    return Perceptual(network, weights, layers)


def vgg_weights(
    network: Network, path: Path | None, *, option: str, on_progress: OnProgress | None = None
) -> Mapping[str, Tensor]:
    """Read the weights of a VGG from a file, or else from torchvision's, which is downloaded once.

    option: the option that gives the file, for messages.

    Raises UserError if the weights cannot be downloaded or read.
    """
    if path is not None:
        return read_state_dict(path)
    url, sha256 = SOURCES[network]
    try:
        path = fetch(url, sha256=sha256, name=url.rpartition("/")[2], on_progress=on_progress)
    except DownloadError as error:
        raise UserError(
            f"the weights of {network} are needed, and they could not be downloaded: {error}. "
            f"Connect to the network once (they are kept), or give a file of them: {option} PATH"
        ) from error
    return read_state_dict(path)


def vgg_convolutions(network: Network, weights: Mapping[str, Tensor], last: str) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of the convolutions of a VGG in order, up to the layer `last`, such as relu4_1.

    Raises UserError if `weights` belong to the other VGG, or a tensor is missing or has the wrong shape.
    """
    names = _layer_names(network)
    shapes = _shapes(names[: 1 + names.index(last)])
    _check_network(network, weights)
    _check_tensors(shapes, weights)
    keys = [key.removesuffix(".weight") for key in shapes if key.endswith(".weight")]
    return [(weights[f"{key}.weight"].float(), weights[f"{key}.bias"].float()) for key in keys]


def layers_called(name: Layers, network: Network) -> Mapping[str, float]:
    """Return the layers and their weights of the perceptual loss of a paper, as `Perceptual` takes them.

    pix2pixHD, https://arxiv.org/abs/1711.11585, uses features after the ReLU; ESRGAN,
    https://arxiv.org/abs/1809.00219, and Real-ESRGAN, https://arxiv.org/abs/2107.10833, use features before it.
    """
    if name == "pix2pixhd":
        return PIX2PIXHD_LAYERS
    last = [f"conv{block}_{convs}" for block, convs in enumerate(CONVS_PER_BLOCK[network], start=1)]
    if name == "esrgan":
        return {last[-1]: 1.0}
    return dict(zip(last, (0.1, 0.1, 1.0, 1.0, 1.0), strict=True))


def _layer_names(network: Network) -> list[str]:
    """Return the names of all layers. The index of a name is the layer's number in torchvision's `features`."""
    names = []
    for block, convs in enumerate(CONVS_PER_BLOCK[network], start=1):
        for conv in range(1, convs + 1):
            names += [f"conv{block}_{conv}", f"relu{block}_{conv}"]
        names.append(f"pool{block}")
    return names


def _shapes(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the keys and shapes of the weights of the first layers, which are `names`."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels_in = 3
    for number, name in enumerate(names):
        if name.startswith("conv"):
            channels = BLOCK_CHANNELS[int(name[len("conv")]) - 1]
            shapes[f"features.{number}.weight"] = (channels, channels_in, 3, 3)
            shapes[f"features.{number}.bias"] = (channels,)
            channels_in = channels
    return shapes


def _check_network(network: Network, weights: Mapping[str, Tensor]) -> None:
    """Raise UserError for the weights of the other VGG: its first layers have the same shapes and would load."""
    present = {key for key in weights if key.startswith("features.")}
    fitting = [name for name in CONVS_PER_BLOCK if present <= _shapes(_layer_names(name)).keys()]
    if fitting and network not in fitting:
        raise UserError(
            f"these are the weights of {fitting[0]}, expected those of {network}: "
            f"choose --perceptual-network {fitting[0]}, or give the weights of {network}"
        )


def _check_tensors(shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]) -> None:
    """Raise UserError if a tensor is missing or has the wrong shape."""
    wrong = [f"{key} is missing" for key in shapes if key not in weights]
    wrong += [
        f"{key} is {tuple(weights[key].shape)} where {shape} is expected"
        for key, shape in shapes.items()
        if key in weights and weights[key].shape != shape
    ]
    if wrong:
        raise UserError(
            f"these are not the weights of a VGG as torchvision names them: {'; '.join(wrong)}. "
            "Give a file with the keys features.N.weight and features.N.bias"
        )


def _layer(name: str, number: int, weights: Mapping[str, Tensor]) -> nn.Module:
    if name.startswith("relu"):
        return nn.ReLU()
    if name.startswith("pool"):
        return nn.MaxPool2d(2)
    weight, bias = weights[f"features.{number}.weight"], weights[f"features.{number}.bias"]
    # On "meta" the layer draws no initial weights, so the global random state does not change.
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, device="meta")
    conv.weight, conv.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return conv
