"""The losses of AdaIN, and its encoder with the weights of a VGG.

Huang and Belongie 2017, https://arxiv.org/abs/1703.06868
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.perceptual import IMAGENET_MEAN, IMAGENET_STD, vgg_convolutions, vgg_weights
from gan_tasks.networks.stylization import ENCODER_CONVS, LEVELS, VGG, VGG_WIDTHS, Encoder, Statistics, statistics
from gan_tasks.pretrained.files.download import OnProgress
from gan_tasks.pretrained.stylization import adain


def content_loss(features: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference of features N×C×h×w, a scalar."""
    return functional.mse_loss(features.float(), wanted.float())


def style_loss(features: Mapping[str, Tensor], wanted: Sequence[Statistics]) -> Tensor:
    """Return the mean squared differences of means and deviations of features, summed over the levels, a scalar.

    features: see `LEVELS`. wanted: the statistics of each level.
    """
    pairs = zip((statistics(features[level]) for level in LEVELS), wanted, strict=True)
    return torch.stack([functional.mse_loss(a, b) for of, by in pairs for a, b in zip(of, by, strict=True)]).sum()


def load_encoder(network: VGG, path: Path | None, on_progress: OnProgress | None = None) -> Encoder:
    """Return an encoder for images in [-1, 1] with the weights of a VGG.

    path: a file with torchvision's keys, or pytorch-AdaIN's `vgg_normalised.pth`, a VGG19 whose features have a mean
        of 1; None downloads torchvision's file once.

    Raises UserError if the weights cannot be downloaded or read, or belong to another network.
    """
    weights = vgg_weights(network, path, option="--encoder-weights", on_progress=on_progress)
    if adain.is_encoder(weights):
        return normalised_encoder(network, weights)
    encoder = Encoder(convs=ENCODER_CONVS[network])
    colours, *convs = adain.convolutions(encoder)
    std = torch.tensor(IMAGENET_STD)
    fill(colours, torch.diag(1 / std)[..., None, None], -torch.tensor(IMAGENET_MEAN) / std)
    for conv, (weight, bias) in zip(convs, vgg_convolutions(network, weights, LEVELS[-1]), strict=True):
        fill(conv, weight, bias)
    return for_our_range(encoder)


def normalised_encoder(network: VGG, weights: Mapping[str, Tensor]) -> Encoder:
    encoder = adain.build_encoder(weights)
    widths = tuple(adain.convolutions(encoder)[place].out_channels for place in (1, 3, 5, 9))
    if network != "vgg19" or widths != VGG_WIDTHS:
        raise UserError(
            f"the encoder's weights are those of a VGG19 with {', '.join(map(str, widths))} channels: expected "
            f"{', '.join(map(str, VGG_WIDTHS))} channels, and --encoder vgg19"
        )
    return for_our_range(encoder)


def for_our_range(encoder: Encoder) -> Encoder:
    """Change the first convolution from images in [0, 1] to images in [-1, 1]."""
    colours = adain.convolutions(encoder)[0]
    assert colours.bias is not None
    half = colours.weight / 2
    fill(colours, half, colours.bias + half.sum(dim=(1, 2, 3)))
    return encoder


@torch.no_grad()
def fill(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    assert conv.bias is not None
    conv.weight.copy_(weight)
    conv.bias.copy_(bias)
