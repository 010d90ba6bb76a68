"""The generators of translation, as configurations of the shared frame: ResNet, U-Net, and pix2pixHD's global one."""

from typing import Literal

from torch import nn

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
) -> Generator:
    """The published generators of pix2pix, CycleGAN and pix2pixHD, by name."""
    match network:
        case "unet-256" | "unet-128":
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
) -> Generator:
    """Residual generator of CycleGAN (2 downs, 6 or 9 blocks) and, with 4 downs, pix2pixHD's global one.

    Johnson et al. 2016; Zhu et al. 2017; Wang et al. 2018.
    """
    bias = needs_bias(norm)
    widths = [width * 2**level for level in range(downs + 1)]

    def down(inputs: int, outputs: int) -> nn.Module:
        conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=bias)
        return nn.Sequential(conv, norm_layer(norm, outputs), nn.ReLU(inplace=True))

    def up(inputs: int, outputs: int) -> nn.Module:
        conv = double_size(upsampling, inputs, outputs, kernel=3, bias=bias)
        return nn.Sequential(conv, norm_layer(norm, outputs), nn.ReLU(inplace=True))

    generator = Generator(
        stem=nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(in_channels, width, 7, bias=bias),
            norm_layer(norm, width),
            nn.ReLU(inplace=True),
        ),
        downs=[down(widths[i], widths[i + 1]) for i in range(downs)],
        body=nn.Sequential(*(ResidualBlock(widths[-1], norm=norm, dropout=dropout) for _ in range(blocks))),
        ups=[up(widths[i + 1], widths[i]) for i in reversed(range(downs))],
        head=nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()),
        size_multiple=2**downs,
        # The body pads by reflection, which needs features of 2×2; the stem needs 4×4 pixels.
        minimum_size=max(4, 2 ** (downs + 1)),
    )
    if norm == "none":  # which would make up for weights as small as those published
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
    """U-Net of pix2pix (Isola et al. 2017): 8 halvings for 256×256 and its multiples, 7 for 128×128.

    The stem is the first halving and the head the last doubling; dropout stays on the widest inner ups.
    """
    if downs < 5:
        raise ValueError(f"a U-Net has at least 5 halvings, got {downs}")
    bias = needs_bias(norm)
    widths = [width * min(2**level, 8) for level in range(downs)]

    def down(inputs: int, outputs: int, *, innermost: bool) -> nn.Module:
        conv = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
        norms = [] if innermost else [norm_layer(norm, outputs)]
        return nn.Sequential(nn.LeakyReLU(0.2, inplace=True), conv, *norms)

    def up(inputs: int, outputs: int, *, dropped: bool) -> nn.Module:
        conv = double_size(upsampling, inputs, outputs, kernel=4, bias=bias)
        drops = [nn.Dropout(0.5)] if dropped else []
        return nn.Sequential(nn.ReLU(inplace=True), conv, norm_layer(norm, outputs), *drops)

    inner = downs - 1  # the level of the 1×1 features, which no skip joins
    return Generator(
        stem=nn.Conv2d(in_channels, width, 4, stride=2, padding=1, bias=bias),
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
