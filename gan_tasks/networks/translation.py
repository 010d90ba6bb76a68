"""Generators for image translation, as configurations of the backbone: ResNet and U-Net."""

from typing import Literal

from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.anti_alias import blur_downsample
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import (
    Norm,
    ResidualBlock,
    Upsampling,
    double_size,
    init_convs,
    needs_bias,
    norm_layer,
)
from gan_tasks.networks.layers import Conv2d, ReflectionPad2d

TranslationNetwork = Literal["unet-256", "unet-128", "resnet-9", "resnet-6", "global"]


def translation_generator(
    network: TranslationNetwork,
    in_channels: int,
    out_channels: int,
    *,
    width: int,
    norm: Norm,
    dropout: bool,
    upsampling: Upsampling,
    anti_alias: bool = False,
) -> Generator:
    """Build a generator of pix2pix (unet-*), CycleGAN (resnet-*) or pix2pixHD (global), N×C_in×H×W → N×C_out×H×W.

    Args:
        width: channels after the first layer.
        norm: normalisation after the convolutions.
        dropout: whether to use dropout as in the paper.
        upsampling: see `double_size`.
        anti_alias: see `resnet`.

    Raises UserError for a U-Net with `anti_alias`.
    """
    match network:
        case "unet-256" | "unet-128":
            if anti_alias:
                raise UserError(
                    f"{network} downsamples without a blur: leave --anti-alias out, or choose --generator resnet-9"
                )
            downs = 8 if network == "unet-256" else 7
            return unet(
                in_channels, out_channels, width=width, downs=downs, norm=norm, dropout=dropout, upsampling=upsampling
            )
        case "resnet-9" | "resnet-6" | "global":
            downs = 4 if network == "global" else 2
            blocks = 6 if network == "resnet-6" else 9
            return resnet(
                in_channels,
                out_channels,
                width=width,
                downs=downs,
                blocks=blocks,
                norm=norm,
                dropout=dropout,
                upsampling=upsampling,
                anti_alias=anti_alias,
            )


def resnet(
    in_channels: int,
    out_channels: int,
    *,
    width: int = 64,
    downs: int = 2,
    blocks: int = 9,
    norm: Norm = "instance",
    dropout: bool = False,
    upsampling: Upsampling = "transposed",
    anti_alias: bool = False,
) -> Generator:
    """ResNet generator, N×C_in×H×W in [-1, 1] → N×C_out×H×W in [-1, 1].

    CycleGAN has 2 downs and 6 or 9 blocks; the global generator of pix2pixHD has 4 downs and 9 blocks.
    Johnson et al. 2016, https://arxiv.org/abs/1603.08155; Zhu et al. 2017, https://arxiv.org/abs/1703.10593;
    Wang et al. 2018, https://arxiv.org/abs/1711.11585

    anti_alias: downsample with a convolution of stride 1 and a blur, instead of one of stride 2. With `upsampling`
        "bilinear" it is the generator of CUT, Park et al. 2020, https://arxiv.org/abs/2007.15651
    """
    bias = needs_bias(norm)
    widths = [width * 2**level for level in range(downs + 1)]

    def down(inputs: int, outputs: int) -> nn.Module:
        conv = Conv2d(inputs, outputs, 3, stride=1 if anti_alias else 2, padding=1, bias=bias)
        blur = [blur_downsample()] if anti_alias else []
        return nn.Sequential(conv, norm_layer(norm, outputs), nn.ReLU(inplace=True), *blur)

    def up(inputs: int, outputs: int) -> nn.Module:
        conv = double_size(upsampling, inputs, outputs, kernel=3, bias=bias)
        return nn.Sequential(conv, norm_layer(norm, outputs), nn.ReLU(inplace=True))

    generator = Generator(
        stem=nn.Sequential(
            ReflectionPad2d(3),
            Conv2d(in_channels, width, 7, bias=bias),
            norm_layer(norm, width),
            nn.ReLU(inplace=True),
        ),
        downs=[down(widths[i], widths[i + 1]) for i in range(downs)],
        body=nn.Sequential(*(ResidualBlock(widths[-1], norm=norm, dropout=dropout) for _ in range(blocks))),
        ups=[up(widths[i + 1], widths[i]) for i in reversed(range(downs))],
        head=nn.Sequential(ReflectionPad2d(3), Conv2d(width, out_channels, 7), nn.Tanh()),
        size_multiple=2**downs,
        # Reflection padding needs features of at least 2×2 in the body, and an image of at least 4×4 in the stem.
        minimum_size=max(4, 2 ** (downs + 1)),
        # Measured with batch norm: tiles then differ from the whole image by less than 2 levels of 255.
        receptive_field=28 if anti_alias else 24,
    )
    if norm == "none":
        # The initial weights of the paper are small, which a norm compensates for. Without a norm, use larger ones.
        init_convs(generator, 1.0)
        init_convs(generator.body, 0.1)
    return generator


def unet(
    in_channels: int,
    out_channels: int,
    *,
    width: int = 64,
    downs: int = 8,
    norm: Norm = "batch",
    dropout: bool = True,
    upsampling: Upsampling = "transposed",
) -> Generator:
    """U-Net generator of pix2pix, N×C_in×H×W in [-1, 1] → N×C_out×H×W in [-1, 1].

    Isola et al. 2017, https://arxiv.org/abs/1611.07004

    Args:
        width: channels after the first layer.
        downs: number of halvings: 8 in the paper for 256×256 pixels, 7 for 128×128. The stem is the first halving,
            and the head is the last doubling.
        dropout: use dropout in the ups with the most channels, except the innermost one.

    Raises ValueError for fewer than 5 downs.
    """
    if downs < 5:
        raise ValueError(f"a U-Net has at least 5 halvings, got {downs}")
    bias = needs_bias(norm)
    widths = [width * min(2**level, 8) for level in range(downs)]

    def down(inputs: int, outputs: int, *, innermost: bool) -> nn.Module:
        conv = Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
        norms = [] if innermost else [norm_layer(norm, outputs)]
        return nn.Sequential(nn.LeakyReLU(0.2, inplace=True), conv, *norms)

    def up(inputs: int, outputs: int, *, dropped: bool) -> nn.Module:
        conv = double_size(upsampling, inputs, outputs, kernel=4, bias=bias)
        drops = [nn.Dropout(0.5)] if dropped else []
        return nn.Sequential(nn.ReLU(inplace=True), conv, norm_layer(norm, outputs), *drops)

    inner = downs - 1  # the level of the smallest features, which has no skip connection
    return Generator(
        stem=Conv2d(in_channels, width, 4, stride=2, padding=1, bias=bias),
        downs=[down(widths[i - 1], widths[i], innermost=i == inner) for i in range(1, downs)],
        body=nn.Identity(),
        ups=[
            up(widths[i] * (1 if i == inner else 2), widths[i - 1], dropped=dropout and 4 <= i < inner)
            for i in reversed(range(1, downs))
        ],
        head=nn.Sequential(
            nn.ReLU(inplace=True),
            double_size(upsampling, 2 * width, out_channels, kernel=4, bias=True),
            nn.Tanh(),
        ),
        skips=True,
        size_multiple=2**downs,
        minimum_size=2**downs,
    )
