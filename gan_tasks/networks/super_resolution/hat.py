"""HAT, the hybrid attention transformer: SwinIR with channel attention and overlapping windows.

Chen et al. 2023, https://arxiv.org/abs/2205.04437
"""

from collections.abc import Sequence

from torch import Tensor, nn

from gan_tasks.networks.sizes import WholeImageLayer
from gan_tasks.networks.super_resolution.swinir import (
    RECEPTIVE_WINDOWS,
    Blocks,
    Connection,
    Group,
    SwinBlock,
    Upsampler,
    WindowTransformer,
    connection_layers,
    mlp,
    to_channels,
    to_pixels,
    upsampling_layers,
)
from gan_tasks.networks.super_resolution.windows import Layout, OverlappingAttention

CONV_SCALE = 0.01
"""Factor of the convolutions beside the attention, a constant of the published models."""


class ChannelAttention(WholeImageLayer):
    """Multiply each channel by a factor that depends on the means of all channels (Zhang et al. 2018, RCAN)."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        factors: Tensor = self.attention(x)
        return x * factors


class ConvBlock(nn.Module):
    """Two convolutions with fewer channels between, and channel attention; N×C×H×W → the same shape."""

    def __init__(self, width: int, *, compressed: int, squeezed: int) -> None:
        super().__init__()
        self.cab = nn.Sequential(
            nn.Conv2d(width, compressed, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(compressed, width, 3, padding=1),
            ChannelAttention(width, squeezed),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cab(x)
        return y


class HybridBlock(SwinBlock):
    """`SwinBlock` with convolutions beside the attention."""

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        window: int,
        is_shifted: bool,
        hidden: int,
        compressed: int,
        squeezed: int,
        qkv_bias: bool,
    ) -> None:
        super().__init__(width, heads=heads, window=window, is_shifted=is_shifted, hidden=hidden, qkv_bias=qkv_bias)
        self.conv_block = ConvBlock(width, compressed=compressed, squeezed=squeezed)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        normed = self.norm1(x)
        convolved = layout.partition(to_pixels(self.conv_block(to_channels(layout.merge(normed)))))
        x = x + self.attn(normed, layout) + CONV_SCALE * convolved
        y: Tensor = self.mlp(self.norm2(x))
        return x + y


class OverlappingBlock(OverlappingAttention):
    """Attention in overlapping windows, then two layers for each pixel, each added to its input."""

    def __init__(
        self, width: int, *, heads: int, window: int, larger: int, hidden: int, qkv_bias: bool = True
    ) -> None:
        super().__init__(width, heads=heads, window=window, larger=larger, qkv_bias=qkv_bias)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = mlp(width, hidden)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        x = x + super().forward(self.norm1(x), layout)
        y: Tensor = self.mlp(self.norm2(x))
        return x + y


def hat(
    channels: int = 3,
    *,
    scale: int = 4,
    width: int = 180,
    depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
    heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
    window: int = 16,
    larger: int = 24,
    hidden: int = 360,
    compressed: int = 60,
    squeezed: int = 6,
    upsampler: Upsampler = "pixelshuffle",
    features: int = 64,
    connection: Connection = "1conv",
    qkv_bias: bool = True,
    patch_norm: bool = True,
    positions: int = 0,
) -> WindowTransformer:
    """HAT: groups of hybrid attention blocks, each with one attention in overlapping windows at the end.

    Args:
        larger: height and width of the overlapping windows, in pixels.
        compressed: channels between the two convolutions beside the attention.
        squeezed: channels between the two layers of the channel attention.

    The other arguments are those of `swinir`.
    """

    def group(depth: int, heads: int) -> Group:
        blocks = [
            HybridBlock(
                width,
                heads=heads,
                window=window,
                is_shifted=block % 2 == 1,
                hidden=hidden,
                compressed=compressed,
                squeezed=squeezed,
                qkv_bias=qkv_bias,
            )
            for block in range(depth)
        ]
        overlapping = OverlappingBlock(
            width, heads=heads, window=window, larger=larger, hidden=hidden, qkv_bias=qkv_bias
        )
        return Group(Blocks(blocks, overlapping), connection_layers(width, connection))

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
        image_range=1.0,
        receptive_field=RECEPTIVE_WINDOWS * window,
    )
