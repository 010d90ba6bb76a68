"""SwinIR, and the frame that HAT shares with it.

Liang et al. 2021, https://arxiv.org/abs/2108.10257

    image → first convolution → groups of attention blocks → convolution, added to the first → upsampling → image

Modules have the published names, so that checkpoints need no renaming but that of the last layers.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.sizes import SizedModule
from gan_tasks.networks.super_resolution.convolutional import enlargements, grow
from gan_tasks.networks.super_resolution.windows import Layout, WindowAttention, pad_by_reflection

Upsampler = Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv", "none"]
Connection = Literal["1conv", "3conv", "identity"]

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean of the training images, which is subtracted from RGB images."""
RECEPTIVE_WINDOWS = 3
"""Declared receptive-field radius in windows.

Each block sees half a window further than the one before, but what lies farther than this has no visible effect.
Measured with random weights on a photograph, as the largest difference between tiles and whole image in levels of
255: SwinIR with 24 blocks and windows of 8 px, 2.5 for a radius of 1 window, 0.05 for 2, less than 0.01 for 3; with
windows of 16 px, 0.6 for 1 and less than 0.01 for 3; HAT with 18 blocks of these, 0.95 for 1 and 0.01 for 3.
"""


def mlp(width: int, hidden: int) -> nn.Sequential:
    """Return two layers for each pixel, W×window²×C → the same shape."""
    return nn.Sequential(
        OrderedDict(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width)),
    )


class SwinBlock(nn.Module):
    """Attention in windows, then two layers for each pixel, each added to its input; W×window²×C → the same shape."""

    def __init__(
        self, width: int, *, heads: int, window: int, is_shifted: bool, hidden: int, qkv_bias: bool = True
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads=heads, window=window, is_shifted=is_shifted, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = mlp(width, hidden)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        x = x + self.attn(self.norm1(x), layout)
        y: Tensor = self.mlp(self.norm2(x))
        return x + y


class Blocks(nn.Module):
    """The attention blocks of a group, and HAT's overlapping attention after them."""

    def __init__(self, blocks: Sequence[nn.Module], overlap_attn: nn.Module | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.overlap_attn = overlap_attn

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        for block in self.blocks:
            x = block(x, layout)
        return x if self.overlap_attn is None else self.overlap_attn(x, layout)


class Group(nn.Module):
    """Attention blocks and a convolution, added to the input; W×window²×C → the same shape."""

    def __init__(self, residual_group: Blocks, conv: nn.Module) -> None:
        super().__init__()
        self.residual_group = residual_group
        self.conv = conv

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        y = to_channels(layout.merge(self.residual_group(x, layout)))
        return x + layout.partition(to_pixels(self.conv(y)))


class WindowTransformer(SizedModule):
    """The frame of SwinIR and HAT, N×C×H×W in [0, 1] → N×C×(scale·H)×(scale·W), for images of any size.

    It pads the image below and on the right by reflection to multiples of the window, and crops the result.

    Args:
        width: channels of the features.
        window: height and width of the windows, in pixels.
        layers: the groups of attention blocks.
        connection: the layers after the groups: one 3×3 convolution, or three with a quarter of the channels between.
        tail: the upsampling modules, N×width×H×W → N×C×(scale·H)×(scale·W).
        adds_image: whether the result is added to the image, which is then not enlarged.
        patch_norm: whether the features are normalised before the first group.
        positions: number of pixels of the square position embedding; 0 for none. Published networks take images of
            this many pixels only. Here the embedding is resized to the image.
        image_range: the factor by which images are multiplied first and divided last, 1 or 255.
        receptive_field: in pixels, see `SizedModule`.
    """

    def __init__(
        self,
        channels: int,
        *,
        scale: int,
        width: int,
        window: int,
        layers: Sequence[Group],
        connection: Connection,
        tail: nn.Module,
        adds_image: bool,
        patch_norm: bool,
        positions: int,
        image_range: float,
        receptive_field: int,
    ) -> None:
        super().__init__()
        self.channels, self.scale, self.width, self.window = channels, scale, width, window
        self.adds_image, self.image_range = adds_image, image_range
        self.size_multiple = self.minimum_size = 1
        self.tile_multiple, self.receptive_field = window, receptive_field
        self.conv_first = nn.Conv2d(channels, width, 3, padding=1)
        self.embed_norm = nn.LayerNorm(width) if patch_norm else nn.Identity()
        self.absolute_pos_embed = nn.Parameter(torch.zeros(1, positions, width)) if positions else None
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = connection_layers(width, connection)
        self.tail = tail

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        mean = image.new_tensor(RGB_MEAN if self.channels == 3 else (0.0,)).view(-1, 1, 1)
        image = (pad_by_reflection(image, self.window) - mean) * self.image_range
        first = self.conv_first(image)
        x = self._with_positions(self.embed_norm(to_pixels(first)))
        layout = Layout.of(x, self.window)
        x = layout.partition(x)
        for layer in self.layers:
            x = layer(x, layout)
        y: Tensor = self.tail(self.conv_after_body(to_channels(layout.merge(self.norm(x)))) + first)
        if self.adds_image:
            y = y + image
        return (y / self.image_range + mean)[..., : height * self.scale, : width * self.scale]

    def _with_positions(self, x: Tensor) -> Tensor:
        if self.absolute_pos_embed is None:
            return x
        side = math.isqrt(self.absolute_pos_embed.shape[1])
        positions = to_channels(self.absolute_pos_embed.view(1, side, side, -1))
        size = [x.shape[1], x.shape[2]]
        return x + to_pixels(functional.interpolate(positions, size, mode="bilinear", align_corners=False))


def to_pixels(x: Tensor) -> Tensor:
    """Rearrange N×C×H×W to N×H×W×C."""
    return x.permute(0, 2, 3, 1)


def to_channels(x: Tensor) -> Tensor:
    """Rearrange N×H×W×C to N×C×H×W."""
    return x.permute(0, 3, 1, 2)


def connection_layers(width: int, connection: Connection) -> nn.Module:
    """Return the convolution at the end of a group and of the body, N×width×H×W → the same shape."""
    match connection:
        case "identity":
            return nn.Identity()
        case "1conv":
            return nn.Conv2d(width, width, 3, padding=1)
        case "3conv":
            inner = width // 4
            return nn.Sequential(
                nn.Conv2d(width, inner, 3, padding=1),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(inner, inner, 1),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(inner, width, 3, padding=1),
            )


def upsampling_layers(upsampler: Upsampler, channels: int, *, scale: int, width: int, features: int) -> nn.Sequential:
    """Return the last layers, N×width×H×W → N×channels×(scale·H)×(scale·W).

    features: channels while the size grows.

    Raises ValueError for a scale that the upsampler cannot make.
    """
    if upsampler == "none":
        return nn.Sequential(nn.Conv2d(width, channels, 3, padding=1))
    if upsampler == "pixelshuffledirect":
        return nn.Sequential(nn.Conv2d(width, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))
    layers: list[nn.Module] = [nn.Conv2d(width, features, 3, padding=1), nn.LeakyReLU(inplace=True)]
    for step in enlargements(scale):
        if upsampler == "pixelshuffle":
            layers += [grow(features, step), nn.PixelShuffle(step)]
        else:
            conv = nn.Conv2d(features, features, 3, padding=1)
            layers += [nn.Upsample(scale_factor=step), conv, nn.LeakyReLU(0.2, inplace=True)]
    if upsampler == "nearest+conv":
        layers += [nn.Conv2d(features, features, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(features, channels, 3, padding=1))


def swinir(
    channels: int = 3,
    *,
    scale: int = 4,
    width: int = 180,
    depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
    heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
    window: int = 8,
    hidden: int = 360,
    upsampler: Upsampler = "pixelshuffle",
    features: int = 64,
    connection: Connection = "1conv",
    qkv_bias: bool = True,
    patch_norm: bool = True,
    positions: int = 0,
    image_range: float = 1.0,
) -> WindowTransformer:
    """SwinIR: attention in windows, every other time in windows shifted by half a window.

    Args:
        channels: channels of the image.
        scale: output pixels per input pixel along a side.
        depths: number of attention blocks in each group.
        heads: number of attention heads in each group.
        hidden: channels between the two layers of each block.
        upsampler: "none" returns the sum of image and result.

    The other arguments are those of `WindowTransformer` and `upsampling_layers`.
    """

    def group(depth: int, heads: int) -> Group:
        blocks = [
            SwinBlock(width, heads=heads, window=window, is_shifted=block % 2 == 1, hidden=hidden, qkv_bias=qkv_bias)
            for block in range(depth)
        ]
        return Group(Blocks(blocks), connection_layers(width, connection))

    return WindowTransformer(
        channels,
        scale=scale,
        width=width,
        window=window,
        layers=[group(depth, count) for depth, count in zip(depths, heads, strict=True)],
        connection=connection,
        tail=upsampling_layers(upsampler, channels, scale=scale, width=width, features=features),
        adds_image=upsampler == "none",
        patch_norm=patch_norm,
        positions=positions,
        image_range=image_range,
        receptive_field=RECEPTIVE_WINDOWS * window,
    )
