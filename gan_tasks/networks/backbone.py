"""The one generator of all tasks, and its fillings.

    image → stem → downs → body → ups → head → image

A filling chooses the parts: which convolution, which norm, what the body is made of, and whether each
up joins the features that the matching down began from (U-Net). The frame itself knows no task.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.blocks import (
    Norm,
    ResidualBlock,
    Upsampling,
    clipped,
    double_size,
    init_convs,
    init_weights,
    needs_bias,
    norm_layer,
    pad_to_multiple,
)

STRIPS, MIN_STRIP_ROWS = 8, 16
"""See `Generator.strip_wise`."""

TranslationNetwork = Literal["unet-256", "unet-128", "resnet-9", "resnet-6", "global"]


class Generator(nn.Module):
    """stem → downs → body → ups → head, N×C_in×H×W in [-1, 1] → N×C_out×(s·H)×(s·W).

    Args:
        stem, body, head: one module each.
        downs, ups: modules in the order they are run.
        skips: concatenate the features in front of `downs[i]` to the output of `ups[-1 - i]` (U-Net).
        size_multiple: `run` needs H and W divisible by this; `forward` pads and crops, so takes any size.
        minimum_size: the smallest H and W that `run` takes, in pixels.
        scale: how many output pixels there are to an input pixel along a side.
        shortcut: enlarges the input as `run` takes it, to be added to what the head makes (VDSR, Kim et al. 2016).
        clips: hold the sum within [-1, 1].
        reduce: what is added to the shortcut is worked out on means over blocks of this many pixels a side
        reach: how far to each side of a place the image decides what is made there, in pixels of input; where
            that is farther than can be seen, as far as it can.
        tail_receptive_field: the same of ups and head, in pixels of the body's features; None where it is not known.

    Attributes:
        strip_wise: where `tail_receptive_field` is known, run ups and head on one strip of rows after another. Their
            large features then never exist for the whole image. The result is the same. Not for export.
    """

    strip_wise: bool = False

    def __init__(
        self,
        *,
        stem: nn.Module,
        downs: Sequence[nn.Module],
        body: nn.Module,
        ups: Sequence[nn.Module],
        head: nn.Module,
        skips: bool = False,
        size_multiple: int = 1,
        minimum_size: int = 1,
        scale: int = 1,
        shortcut: nn.Module | None = None,
        clips: bool = False,
        residual_downscale: int = 1,
        receptive_field: int = 24,
        tail_receptive_field: int | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.downs = nn.ModuleList(downs)
        self.body = body
        self.ups = nn.ModuleList(ups)
        self.head = head
        self.skips = skips
        self.size_multiple = size_multiple
        self.minimum_size = minimum_size
        self.scale = scale
        self.shortcut = shortcut
        self.clips = clips
        self.residual_downscale = residual_downscale
        self.receptive_field = receptive_field
        self.tail_receptive_field = tail_receptive_field
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Any size: pads to what `run` takes and crops the result."""
        height, width = x.shape[-2:]
        y = self.run(pad_to_multiple(x, self.size_multiple, self.minimum_size))
        return y[..., : height * self.scale, : width * self.scale]

    def run(self, x: Tensor) -> Tensor:
        """The network alone, for sizes that are multiples of `size_multiple` (what is exported)."""
        if self.residual_downscale == 1:
            y = self._made(x)
        else:
            y = enlarged(self._made(functional.avg_pool2d(x, self.residual_downscale)), self.residual_downscale)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return clipped(y) if self.clips else y

    def _made(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        kept = []
        for down in self.downs:
            kept.append(x)
            x = down(x)
        x = self.body(x)
        if self.strip_wise and self.tail_receptive_field is not None:
            return self._tail_strip_wise(x, self.tail_receptive_field)
        for up in self.ups:
            x = up(x)
            if self.skips:
                x = torch.cat([kept.pop(), x], dim=1)
        y: Tensor = self.head(x)
        return y

    def _tail_strip_wise(self, x: Tensor, receptive_field: int) -> Tensor:
        height = x.shape[-2]
        rows = max(MIN_STRIP_ROWS, -(-height // STRIPS))
        made = []
        for start in range(0, height, rows):
            first, last = max(0, start - receptive_field), min(height, start + rows + receptive_field)
            strip: Tensor = x[..., first:last, :]
            for part in (*self.ups, self.head):
                strip = part(strip)
            step = strip.shape[-2] // (last - first)
            made.append(strip[..., (start - first) * step : (min(height, start + rows) - first) * step, :].clone())
        return torch.cat(made, dim=-2)


def enlarged(x: Tensor, factor: int) -> Tensor:
    """N×C×h×w → N×C×(factor·h)×(factor·w), bilinear, in float32 or float64."""
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    return functional.interpolate(precise, scale_factor=float(factor), mode="bilinear", align_corners=False)


class Leading(nn.Module):
    """The first channels: N×C×H×W → N×count×H×W."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.count]


def as_residual(generator: Generator, channels: int, *, residual_downscale: int = 1) -> Generator:
    """The generator as one that changes an image, beginning with no change at all.

    What its head makes, without tanh, is added to the first channels of the input, and the sum is clipped to [-1, 1]
    (DeblurGAN, Kupyn et al. 2018, https://arxiv.org/abs/1711.07064). The last layer begins at zero.

    reduce: the change is worked out on means over blocks of so many pixels a side.

    Raises ValueError where the head does not end with tanh.
    """
    *parts, tanh = generator.head.children()
    if not isinstance(tanh, nn.Tanh):
        raise ValueError(f"a generator that becomes a change has a head that ends with tanh, got {generator.head}")
    for parameter in parts[-1].parameters():
        nn.init.zeros_(parameter)
    # One level deeper: by its names, the head of a generator that makes whole images must not fit this one.
    generator.head = nn.Sequential(nn.Sequential(*parts))
    generator.shortcut, generator.clips = Leading(channels), True
    generator.residual_downscale = residual_downscale
    generator.size_multiple *= residual_downscale
    generator.minimum_size *= residual_downscale
    generator.receptive_field *= residual_downscale
    return generator


def check_residual(residual_downscale: int, residual: bool) -> None:
    """Raises UserError for options that do not go together."""
    if residual_downscale < 1:
        raise UserError(f"residual_downscale is {residual_downscale}; it must be 1 or more")
    if residual_downscale > 1 and not residual:
        raise UserError(
            f"residual_downscale is {residual_downscale}: add --residual, "
            "only a residual can be computed at a fraction of the size"
        )


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
