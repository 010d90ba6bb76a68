"""The projected discriminator: trained heads on fixed random mixtures of pretrained features.

Sauer et al. 2021, https://arxiv.org/abs/2111.01007, with the sizes of the published code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.blocks import Norm, init_weights, needs_bias, norm_layer
from gan_tasks.networks.discriminators import FeatureDiscriminator
from gan_tasks.networks.layers import Conv2d
from gan_tasks.networks.spectral_norm import spectral_norm

LAYERS: Mapping[str, int] = MappingProxyType({"stage2": 24, "stage3": 40, "stage5": 112, "stage7": 320})
"""Layers of EfficientNet-Lite0 and their channels. Their sizes are 1/4, 1/8, 1/16 and 1/32 of the image's."""
SMALLEST_SIDE_PX = 224
"""Images with a smaller side are enlarged: the heads are too deep for them, and Lite0 was trained at this size."""
PROJECTED_CHANNELS = (64, 128, 256, 512)
"""Channels of each layer after the mixing of its channels."""
HEAD_CHANNELS = (64, 64, 128, 256)
"""Channels of each layer after the mixing of the scales: what the heads see."""


class FixedMixing(nn.Module):
    """1×1 convolution with random weights that are not trained: N×inputs×H×W → N×outputs×H×W.

    The weights are buffers, so a checkpoint has them and an optimizer has not.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        drawn = nn.Conv2d(inputs, outputs, 1).state_dict()  # with PyTorch's He initialisation, as published
        self.register_buffer("weight", drawn["weight"])
        self.register_buffer("bias", drawn["bias"])

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias)


class RandomProjection(nn.Module):
    """Mixes channels within each layer (CCM), then, from coarse to fine, each layer with the coarser one (CSM).

    The heads could otherwise use a few features alone; after the mixing each of them depends on all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channels = nn.ModuleList(map(FixedMixing, LAYERS.values(), PROJECTED_CHANNELS))
        self.scales = nn.ModuleList(map(FixedMixing, PROJECTED_CHANNELS, HEAD_CHANNELS))

    def forward(self, *layers: Tensor) -> list[Tensor]:
        """Map the features of LAYERS, N×C×h×w, to one tensor per layer, each of twice the height and width.

        A layer with an odd size is as large as the next finer layer.
        """
        sizes = [tuple(2 * side for side in layers[0].shape[-2:]), *(layer.shape[-2:] for layer in layers[:-1])]
        mixed: list[Tensor] = []
        for place in reversed(range(len(layers))):
            x = self.channels[place](layers[place])
            x = x + mixed[-1] if mixed else x
            # A 1×1 convolution commutes with the interpolation, and costs a quarter before it.
            x = self.scales[place](x)
            mixed.append(functional.interpolate(x, size=sizes[place], mode="bilinear", align_corners=True))
        return mixed[::-1]


class Head(nn.Module):
    """Discriminator of one projected layer: 4×4 convolutions with stride 2, then one to logits.

    Args:
        inputs: channels of the input.
        widths: channels after each downsampling.
        norm: normalisation after each downsampling.
        spectral: apply spectral normalisation to each convolution.
    """

    def __init__(self, inputs: int, widths: Sequence[int], *, norm: Norm, spectral: bool) -> None:
        super().__init__()
        stages = []
        for before, width in zip((inputs, *widths), widths, strict=False):
            conv = Conv2d(before, width, 4, stride=2, padding=1, bias=needs_bias(norm))
            stages.append(nn.Sequential(conv, norm_layer(norm, width), nn.LeakyReLU(0.2, inplace=True)))
        stages.append(nn.Sequential(Conv2d(widths[-1], 1, 4, bias=False)))
        self.stages = nn.ModuleList(stages)
        init_weights(self)
        if spectral:
            for stage in stages:
                spectral_norm(stage[0])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map N×inputs×h×w to the features of every layer; the last ones are the logits, N×1×h'×w'."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class ProjectedDiscriminator(FeatureDiscriminator):
    """Four heads on randomly projected features of EfficientNet-Lite0.

    Several images, such as the source and the target of pix2pix, pass the same network and the same projection, and
    a head sees their features side by side. It thus compares what is at the same place of both, at every scale. A
    network of its own for the source would have to be learned from few images. Lite0 does not know masks: a head sees
    the mean of a mask over each position of the features.

    Args:
        images: number of images in the discriminator input.
        masks: number of masks in front of the images.
        width: channels of the finest head after its first downsampling; 64 in the paper. The next ones have twice as
            many each.
        norm, spectral: see `Head`; batch and True in the paper.
    """

    network = "efficientnet-lite0"

    def __init__(
        self, images: int = 1, *, masks: int = 0, width: int = 64, norm: Norm = "batch", spectral: bool = True
    ) -> None:
        super().__init__()
        self.masks = masks
        self.projection = RandomProjection()
        widths = [width * 2**level for level in range(len(LAYERS))]
        # A coarse head downsamples less often, so that all heads have logits of the same places.
        self.heads = nn.ModuleList(
            Head(images * channels + masks, widths[place:], norm=norm, spectral=spectral)
            for place, channels in enumerate(HEAD_CHANNELS)
        )

    def forward(self, layers: Sequence[Sequence[Tensor]], masks: Sequence[Tensor] = ()) -> list[list[Tensor]]:
        """Map the features of each image, by LAYERS, and the masks N×1×H×W to one scale per head."""
        projected = [self.projection(*each) for each in layers]
        outputs = []
        for head, *seen in zip(self.heads, *projected, strict=True):
            size = seen[0].shape[-2:]
            shrunk = [functional.adaptive_avg_pool2d(mask, size).to(seen[0].dtype) for mask in masks]
            outputs.append(head(torch.cat([*seen, *shrunk], dim=1)))
        return outputs

    def discriminate(
        self, features_of: Callable[[Tensor], Mapping[str, Tensor]], *images: Tensor
    ) -> list[list[Tensor]]:
        """Map masks N×1×H×W and images N×C×H×W in [-1, 1], of any size, to one scale per head."""
        features = [features_of(enlarged(image)) for image in images[self.masks :]]
        layers = [[each[layer] for layer in LAYERS] for each in features]
        scales: list[list[Tensor]] = self(layers, images[: self.masks])
        return scales


def enlarged(image: Tensor) -> Tensor:
    """Enlarge N×C×H×W bilinearly until its smaller side has SMALLEST_SIDE_PX; larger images stay as they are."""
    side = min(image.shape[-2:])
    if side >= SMALLEST_SIDE_PX:
        return image
    size = [round(length * SMALLEST_SIDE_PX / side) for length in image.shape[-2:]]
    return functional.interpolate(image, size=size, mode="bilinear")
