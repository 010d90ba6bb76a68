"""Discriminators: multi-scale ones on image patches, and one on the features of a pretrained network.

Every discriminator returns a list of scales. A scale is the list of the features of its layers. The last features are
its logits, N×1×h×w (N×K×h×w in SN-PatchGAN): one logit per patch.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.anti_alias import blur_downsample
from gan_tasks.networks.blocks import Norm, init_weights, needs_bias, norm_layer
from gan_tasks.networks.layers import Conv2d
from gan_tasks.networks.spectral_norm import spectral_norm


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017, https://arxiv.org/abs/1611.07004): one logit per patch of the discriminator input.

    It consists of `layers` downsampling convolutions and two more convolutions.

    Args:
        in_channels: number of channels of the discriminator input, summed over the concatenated images.
        width: channels after the first layer. Each further layer doubles them.
        widest: upper limit of the channels, by default 8·width.
        layers: number of downsampling layers. 3 gives patches of 70×70 pixels.
        norm: normalisation of all layers but the first and the last.
        padding: padding of each convolution in pixels: 1 in pix2pix, 2 in pix2pixHD.
        kernel: kernel size, 4 in the paper. With 1 there is no downsampling and one logit per pixel (PixelGAN).
        spectral: apply spectral normalisation to each convolution (Miyato et al. 2018,
            https://arxiv.org/abs/1802.05957).
        head_bias: whether the last convolution has a bias.
        anti_alias: downsample with a convolution of stride 1 and a blur, instead of one of stride 2 (CUT, Park et al.
            2020, https://arxiv.org/abs/2007.15651).
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
        anti_alias: bool = False,
    ) -> None:
        super().__init__()
        blurs = anti_alias and kernel > 1
        stride = 2 if kernel > 1 and not blurs else 1
        bias = needs_bias(norm)

        def conv(inputs: int, outputs: int, *, stride: int, bias: bool) -> nn.Conv2d:
            return Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=bias)

        widths = [min(width * 2**level, widest or 8 * width) for level in range(layers + 1)]

        def blur() -> list[nn.Module]:
            return [blur_downsample()] if blurs else []

        stages = [nn.Sequential(conv(in_channels, width, stride=stride, bias=True), nn.LeakyReLU(0.2, True), *blur())]
        for level in range(1, layers + 1):
            # The last of these layers has stride 1, so that the patches overlap densely.
            is_last = level == layers
            step = conv(widths[level - 1], widths[level], stride=1 if is_last else stride, bias=bias)
            rest = [norm_layer(norm, widths[level]), nn.LeakyReLU(0.2, True), *([] if is_last else blur())]
            stages.append(nn.Sequential(step, *rest))
        stages.append(nn.Sequential(conv(widths[-1], 1, stride=1, bias=head_bias)))
        self.stages = nn.ModuleList(stages)
        downsampling = [(kernel, padding, stride), *([(3, 1, 2)] if blurs else [])]
        self.minimum_size = smallest_input(downsampling * layers + [(kernel, padding, 1)] * 2)
        init_weights(self)
        if spectral:
            for stage in stages:
                spectral_norm(stage[0])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map N×C×H×W to the features of every layer; the last ones are the logits, N×1×h×w.

        Raises UserError if the images are too small for one patch.
        """
        check_size(x, self.minimum_size)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def check_size(x: Tensor, minimum_size: int) -> None:
    """Check the size of N×C×H×W images. Raises UserError if H or W is less than `minimum_size` pixels."""
    if min(x.shape[-2:]) < minimum_size:
        raise UserError(
            f"the discriminator got images of {x.shape[-2]}×{x.shape[-1]} px, and needs {minimum_size} or more at "
            "each of its scales: use larger images or crops, fewer discriminator layers or fewer scales"
        )


def smallest_input(convs: Sequence[tuple[int, int, int]]) -> int:
    """Return the smallest input size, in pixels along a side, for which a chain of convolutions gives one logit.

    convs: kernel size, padding and stride of each.
    """
    size = 1
    for kernel, padding, stride in reversed(convs):
        size = max(1, (size - 1) * stride + kernel - 2 * padding)
    return size


class UNetDiscriminator(nn.Module):
    """U-Net discriminator with one logit per pixel (UNetDiscriminatorSN of Real-ESRGAN).

    It downsamples three times and upsamples three times. All convolutions but the first and the last have spectral
    normalisation. Wang et al. 2021, https://arxiv.org/abs/2107.10833

    Args:
        in_channels: number of channels of the discriminator input, summed over the concatenated images.
        width: channels after the first layer. Each downsampling doubles them.
    """

    minimum_size = 8
    """Smallest height and width of the input, in pixels."""

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
        """Map N×C×H×W to the features of every layer; the last ones are the logits, N×1×H×W.

        Raises UserError if H or W is less than 8 pixels.
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
    """SN-PatchGAN of DeepFill v2: every value of the last features is a logit.

    It consists of six 5×5 convolutions with stride 2 and spectral normalisation. A patch is about as large as the
    image, so the discriminator works for masks of any shape.
    Yu et al. 2019, https://arxiv.org/abs/1806.03589

    Args:
        in_channels: number of channels of the discriminator input; 4 in the paper: image and mask.
        width: channels after the first layer. The later layers have two and four times as many.
    """

    minimum_size = 33
    """Smallest height and width of the input, in pixels. With less, the last features would have a single position,
    for which oneDNN computes a wrong gradient in bf16."""

    def __init__(self, in_channels: int = 4, *, width: int = 64) -> None:
        super().__init__()
        widths = [in_channels, width, 2 * width, 4 * width, 4 * width, 4 * width, 4 * width]
        convs = [nn.Conv2d(widths[i], widths[i + 1], 5, stride=2, padding=2) for i in range(6)]
        self.stages = nn.ModuleList(nn.Sequential(conv, nn.LeakyReLU(0.2, inplace=True)) for conv in convs)
        init_weights(self)
        for conv in convs:
            spectral_norm(conv)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map N×C×H×W to the features of every layer; the last ones are the logits, N×(4·width)×⌈H/64⌉×⌈W/64⌉.

        Raises UserError if H or W is less than 33 pixels.
        """
        check_size(x, self.minimum_size)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class MultiScaleDiscriminator(nn.Module):
    """Multi-scale discriminator: one discriminator at full, one at half, one at quarter … resolution.

    pix2pixHD, Wang et al. 2018, https://arxiv.org/abs/1711.11585

    Args:
        make_scale: makes the discriminator of one scale, which maps N×C×H×W to the features of its layers.
        scales: number of scales.
    """

    def __init__(self, make_scale: Callable[[], nn.Module], *, scales: int = 1) -> None:
        super().__init__()
        self.scales = nn.ModuleList(make_scale() for _ in range(scales))
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, *images: Tensor) -> list[list[Tensor]]:
        """Map images N×C_i×H×W, such as the condition and the image, to scales → layers → features.

        The images are concatenated along the channels.
        """
        x = torch.cat(images, dim=1) if len(images) > 1 else images[0]
        outputs = []
        for index, scale in enumerate(self.scales):
            x = self.halve(x) if index else x
            outputs.append(scale(x))
        return outputs


FEATURE_LAYERS: Mapping[str, int] = MappingProxyType({"relu2_1": 128, "relu3_1": 256, "relu4_1": 512, "relu5_1": 512})
"""Layers of the VGG and their numbers of channels.

Their receptive fields are 10, 24, 60 and 132 pixels in VGG16, and 10, 24, 68 and 156 pixels in VGG19.
"""
FEATURE_MINIMUM_SIZE = 32
"""Smallest height and width, in pixels. The features of the last layer are then 2×2, the least for instance norm."""


class FeatureDiscriminator(nn.Module):
    """A discriminator on the features of a pretrained network.

    The network is not part of this module, so that only what is trained on its features is saved.
    """

    network: ClassVar[str]
    """Name of the pretrained network among the auxiliary networks of a task. Its `features` maps images to a dict."""

    def discriminate(
        self, features_of: Callable[[Tensor], Mapping[str, Tensor]], *images: Tensor
    ) -> list[list[Tensor]]:
        """Map images N×C×H×W in [-1, 1] to scales → layers → features.

        features_of: maps images to their features N×K×h×w by layer. Gradients flow through it.
        """
        raise NotImplementedError


class FeatureHeads(FeatureDiscriminator):
    """Discriminator heads on the features of a pretrained VGG.

    Each of FEATURE_LAYERS has a head of 1×1 convolutions, with one logit per position of the features.

    Args:
        images: number of images in the discriminator input. Their features are concatenated along the channels.
        width: channels of the heads.
        norm: normalisation in the heads.
        spectral: apply spectral normalisation to each convolution.
    """

    network = "perceptual"

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

    def forward(self, *features: Mapping[str, Tensor]) -> list[list[Tensor]]:
        """Map the VGG features of each image, a dict of N×C×h×w by layer, to one scale per layer."""
        return [head(torch.cat([each[layer] for each in features], dim=1)) for layer, head in self.heads.items()]

    def discriminate(
        self, features_of: Callable[[Tensor], Mapping[str, Tensor]], *images: Tensor
    ) -> list[list[Tensor]]:
        """Map images N×C×H×W in [-1, 1] to one scale per layer; `features_of` is `Perceptual.features`.

        Raises UserError if H or W is less than FEATURE_MINIMUM_SIZE.
        """
        height, width = images[0].shape[-2:]
        if min(height, width) < FEATURE_MINIMUM_SIZE:
            raise UserError(
                f"the discriminator on features got images of {height}×{width} px, and needs {FEATURE_MINIMUM_SIZE} "
                "or more: use larger images or crops, or --discriminator patch"
            )
        scales: list[list[Tensor]] = self(*(features_of(image) for image in images))
        return scales


def translation_discriminator(
    kind: Literal["patch", "pixel", "features"],
    in_channels: Sequence[int],
    *,
    width: int,
    layers: int,
    scales: int,
    norm: Norm,
    spectral: bool,
    anti_alias: bool = False,
) -> MultiScaleDiscriminator | FeatureHeads:
    """Build the discriminator of a translation task.

    Args:
        kind: "patch" and "pixel" are those of pix2pix, CycleGAN and pix2pixHD; "features" is `FeatureHeads`.
        in_channels: number of channels of each image in the discriminator input.
        width, layers, norm, spectral, anti_alias: see `PatchDiscriminator`. `layers` and `anti_alias` have an
            effect on "patch" only.
        scales: see `MultiScaleDiscriminator`. It has no effect on "features".
    """
    if kind == "features":
        return FeatureHeads(len(in_channels), width=width, norm=norm, spectral=spectral)
    channels = sum(in_channels)

    def make_scale() -> nn.Module:
        if kind == "pixel":
            return PatchDiscriminator(
                channels, width=width, layers=1, kernel=1, padding=0, norm=norm, spectral=spectral
            )
        return PatchDiscriminator(
            channels, width=width, layers=layers, norm=norm, spectral=spectral, anti_alias=anti_alias
        )

    return MultiScaleDiscriminator(make_scale, scales=scales)
