"""The one discriminator of all tasks: patches of an image, judged at one to three scales.

Every call returns `scales → layers → features`; the last features of a scale are its logits, N×1×h×w, or
N×K×h×w of SN-PatchGAN.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.blocks import Norm, init_weights, needs_bias, norm_layer


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017): `layers` halvings, then two more convolutions down to one logit a patch.

    Args:
        in_channels: channels of all the images judged together.
        width: channels after the first layer; they double with each layer.
        widest: where the doubling stops, channels; by default 8·width.
        layers: number of halvings; 3 gives patches of 70×70 pixels.
        padding: 1 in pix2pix, 2 in pix2pixHD, pixels.
        kernel: 4; 1 judges each pixel on its own, without any halving (PixelGAN).
        spectral: normalise each convolution's spectral norm to 1 (Miyato et al. 2018).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 64,
        widest: int | None = None,
        layers: int = 3,
        norm: Norm = "batch",
        padding: int = 1,
        kernel: int = 4,
        spectral: bool = False,
        head_bias: bool = True,
    ) -> None:
        super().__init__()
        stride = 2 if kernel > 1 else 1
        bias = needs_bias(norm)

        def conv(inputs: int, outputs: int, *, stride: int, bias: bool) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=bias)

        widths = [min(width * 2**level, widest or 8 * width) for level in range(layers + 1)]
        stages = [nn.Sequential(conv(in_channels, width, stride=stride, bias=True), nn.LeakyReLU(0.2, True))]
        for level in range(1, layers + 1):
            # The last of them keeps its size, so that patches overlap densely.
            step = conv(widths[level - 1], widths[level], stride=stride if level < layers else 1, bias=bias)
            stages.append(nn.Sequential(step, norm_layer(norm, widths[level]), nn.LeakyReLU(0.2, True)))
        stages.append(nn.Sequential(conv(widths[-1], 1, stride=1, bias=head_bias)))
        self.stages = nn.ModuleList(stages)
        self.minimum_size = smallest_input(kernel, padding, strides=[stride] * layers + [1, 1])
        init_weights(self)
        if spectral:
            for stage in stages:
                spectral_norm(stage[0])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Raises UserError for images that are too small to hold one patch."""
        check_size(x, self.minimum_size)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def check_size(x: Tensor, minimum_size: int) -> None:
    """Raises UserError for N×C×H×W images of less than this along a side."""
    if min(x.shape[-2:]) < minimum_size:
        raise UserError(
            f"the discriminator got images of {x.shape[-2]}×{x.shape[-1]} px, and needs {minimum_size} or more at "
            "each of its scales: use larger images or crops, fewer halvings or fewer scales"
        )


def smallest_input(kernel: int, padding: int, *, strides: Sequence[int]) -> int:
    """Pixels along a side from which a chain of convolutions still makes one logit."""
    size = 1
    for stride in reversed(strides):
        size = max(1, (size - 1) * stride + kernel - 2 * padding)
    return size


class UNetDiscriminator(nn.Module):
    """One logit for each pixel, from three halvings and back (Real-ESRGAN's UNetDiscriminatorSN, Wang et al. 2021).

    All convolutions but the first and last have their spectral norm held at 1.

    Args:
        in_channels: channels of all the images judged together.
        width: channels after the first layer; they double with each halving.
    """

    minimum_size = 8

    def __init__(self, in_channels: int = 3, *, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 4, stride=2, padding=1, bias=False) for i in range(3)
        )
        self.ups = nn.ModuleList(
            nn.Conv2d(widths[i + 1], widths[i], 3, padding=1, bias=False) for i in reversed(range(3))
        )
        self.flat = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        init_weights(self)
        for conv in (*self.downs, *self.ups, *self.flat):
            spectral_norm(conv)

    def forward(self, x: Tensor) -> list[Tensor]:
        """N×C×H×W → the features of every layer, the last of them the logits, N×1×H×W.

        Raises UserError for images of fewer than 8 pixels along a side.
        """
        check_size(x, self.minimum_size)
        features = [activated(self.first(x))]
        for down in self.downs:
            features.append(activated(down(features[-1])))
        skips = features[:3]
        for up in self.ups:
            skip = skips.pop()
            enlarged = functional.interpolate(features[-1], size=skip.shape[-2:], mode="bilinear")
            features.append(activated(up(enlarged)) + skip)
        for conv in self.flat:
            features.append(activated(conv(features[-1])))
        return [*features, self.last(features[-1])]


def activated(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2)


class SNPatchDiscriminator(nn.Module):
    """Every place of the smallest features is judged, by each of its channels (SN-PatchGAN of DeepFill v2, Yu et al.
    2019, https://arxiv.org/abs/1806.03589). Its patches hold all of a common image, so holes of any form are seen.

    Six convolutions of 5×5, each a halving, their spectral norms held at 1.

    Args:
        in_channels: channels of all the images and masks judged together; 4 as published, image and mask.
        width: channels after the first layer; the others have two and four times as many.
    """

    minimum_size = 33
    """Pixels: of less the last convolution would see a single place, and oneDNN gets its gradient in bf16 wrong."""

    def __init__(self, in_channels: int = 4, *, width: int = 64) -> None:
        super().__init__()
        widths = [in_channels, width, 2 * width, 4 * width, 4 * width, 4 * width, 4 * width]
        convs = [nn.Conv2d(widths[i], widths[i + 1], 5, stride=2, padding=2) for i in range(6)]
        self.stages = nn.ModuleList(nn.Sequential(conv, nn.LeakyReLU(0.2, inplace=True)) for conv in convs)
        init_weights(self)
        for conv in convs:
            spectral_norm(conv)

    def forward(self, x: Tensor) -> list[Tensor]:
        """N×C×H×W → the features of every layer, the last of them the logits, N×(4·width)×⌈H/64⌉×⌈W/64⌉.

        Raises UserError for images of fewer than 33 pixels along a side.
        """
        check_size(x, self.minimum_size)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class MultiScaleDiscriminator(nn.Module):
    """The same kind of discriminator at full, half, quarter … resolution (pix2pixHD, Wang et al. 2018).

    Called with one image, or with the condition and the image: what comes is joined along the channels.
    """

    def __init__(self, make_scale: Callable[[], nn.Module], *, scales: int = 1) -> None:
        super().__init__()
        self.scales = nn.ModuleList(make_scale() for _ in range(scales))
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, *images: Tensor) -> list[list[Tensor]]:
        x = torch.cat(images, dim=1) if len(images) > 1 else images[0]
        outputs = []
        for index, scale in enumerate(self.scales):
            x = self.halve(x) if index else x
            outputs.append(scale(x))
        return outputs


FEATURE_LAYERS: Mapping[str, int] = MappingProxyType({"relu2_1": 128, "relu3_1": 256, "relu4_1": 512, "relu5_1": 512})
"""Layers of a VGG, and their channels: patches of 10, 24, 60 and 132 pixels in VGG16, of 10, 24, 68, 156 in VGG19."""
FEATURE_MINIMUM_SIZE = 32
"""Pixels along a side: the last layer then has 2×2 places, fewer than which instance norm cannot take."""


class FeatureHeads(nn.Module):
    """Judges what a frozen VGG sees, layer by layer, as Projected GANs do (https://arxiv.org/abs/2111.01007).

    For each of FEATURE_LAYERS it has a pixel discriminator of the features: 1×1 convolutions, a logit for each place.
    The VGG is no part of it, so that the heads alone learn and are saved.

    images: how many are judged together; their features are joined along the channels.
    """

    def __init__(self, images: int, *, width: int, norm: Norm, spectral: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                layer: PatchDiscriminator(
                    images * channels, width=width, layers=1, kernel=1, padding=0, norm=norm, spectral=spectral
                )
                for layer, channels in FEATURE_LAYERS.items()
            }
        )

    def forward(self, *seen: Mapping[str, Tensor]) -> list[list[Tensor]]:
        """The features of each image, by layer → a scale for each layer."""
        return [head(torch.cat([features[layer] for features in seen], dim=1)) for layer, head in self.heads.items()]

    def judge(self, see: Callable[[Tensor], Mapping[str, Tensor]], *images: Tensor) -> list[list[Tensor]]:
        """The scales of N×C×H×W images in [-1, 1]; gradients reach the images through `see`, see `Perceptual.seen`.

        Raises UserError for images of less than FEATURE_MINIMUM_SIZE.
        """
        height, width = images[0].shape[-2:]
        if min(height, width) < FEATURE_MINIMUM_SIZE:
            raise UserError(
                f"the discriminator on features got images of {height}×{width} px, and needs {FEATURE_MINIMUM_SIZE} "
                "or more: use larger images or crops, or --discriminator patch"
            )
        answer: list[list[Tensor]] = self(*(see(image) for image in images))
        return answer


def translation_discriminator(
    kind: Literal["patch", "pixel", "features"],
    in_channels: Sequence[int],
    *,
    width: int,
    layers: int,
    scales: int,
    norm: Norm,
    spectral: bool,
) -> MultiScaleDiscriminator | FeatureHeads:
    """The published discriminators of pix2pix, CycleGAN and pix2pixHD: patch and pixel; or one on features.

    in_channels: of each of the images that are judged together.
    """
    if kind == "features":
        return FeatureHeads(len(in_channels), width=width, norm=norm, spectral=spectral)
    channels = sum(in_channels)

    def make_scale() -> nn.Module:
        if kind == "pixel":
            return PatchDiscriminator(
                channels, width=width, layers=1, kernel=1, padding=0, norm=norm, spectral=spectral
            )
        return PatchDiscriminator(channels, width=width, layers=layers, norm=norm, spectral=spectral)

    return MultiScaleDiscriminator(make_scale, scales=scales)
