"""DeepFill v1 and v2: two stages, dilated convolutions and contextual attention."""

from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import GatedConv
from gan_tasks.networks.inpainting.contextual_attention import ContextualAttention
from gan_tasks.networks.inpainting.inpainter import LARGEST_RECEPTIVE_FIELD, Inpainter, init_inpainter
from gan_tasks.networks.layers import Conv2d


class MakeConv(Protocol):
    """Makes a convolution with its activation (ELU by default), N×inputs×H×W → N×outputs×⌈H/stride⌉×⌈W/stride⌉."""

    def __call__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        /,
        *,
        stride: int = 1,
        dilation: int = 1,
        activation: nn.Module | None = None,
    ) -> nn.Module: ...


def plain_conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    /,
    *,
    stride: int = 1,
    dilation: int = 1,
    activation: nn.Module | None = None,
) -> nn.Module:
    """Return a plain convolution and its activation, see `MakeConv`."""
    padding = dilation * (kernel - 1) // 2
    conv = Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation)
    return nn.Sequential(conv, activation or nn.ELU())


def deepfill_v2(channels: int = 3, *, width: int = 48, tensorflow: bool = False) -> Inpainter:
    """DeepFill v2: gated convolutions and contextual attention, in two stages.

    Yu et al. 2019, https://arxiv.org/abs/1806.03589

    Args:
        channels: channels of the image.
        width: channels after the first halving. The channels of the other layers are multiples and fractions of it.
        tensorflow: compute exactly as the original TensorFlow code, for weights converted from it: with SAME padding
            and aligned corners, and without the fusing of scores.

    Raises ValueError if the width is not a multiple of 4.
    """
    conv: MakeConv = partial(GatedConv, tensorflow=tensorflow)
    return deepfill(channels, width, conv, ContextualAttention(fuse=not tensorflow, tensorflow=tensorflow))


def deepfill_v1(channels: int = 3, *, width: int = 64) -> Inpainter:
    """DeepFill v1: plain convolutions and contextual attention, in two stages with the layers of v2.

    Yu et al. 2018, https://arxiv.org/abs/1801.07892. Two things differ from the paper: the output is limited by tanh,
    where the paper's is clipped, and the layers of the second stage do not get the mask, except the attention.

    Args:
        channels: channels of the image.
        width: channels after the first halving; the default is that of the paper.

    Raises ValueError if the width is not a multiple of 4.
    """
    return deepfill(channels, width, plain_conv, ContextualAttention())


def deepfill(channels: int, width: int, conv: MakeConv, attention: ContextualAttention) -> Inpainter:
    """Build both stages. The refinement has two branches: dilated convolutions, and contextual attention."""
    if width < 4 or width % 4:
        raise ValueError(f"the width must be a multiple of 4, got {width}")
    half, wide = width // 2, 2 * width

    def dilated() -> list[nn.Module]:
        return [conv(wide, wide, dilation=dilation) for dilation in (2, 4, 8, 16)]

    def up(inputs: int, within: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Upsample(scale_factor=2), conv(inputs, within), conv(within, outputs))

    def generator(stem: nn.Module, downs: list[nn.Module], body: nn.Module) -> Generator:
        return Generator(
            stem=stem,
            downs=downs,
            body=body,
            ups=[up(wide, width, width), up(width, half, width // 4)],
            head=nn.Sequential(Conv2d(width // 4, channels, 3, padding=1), nn.Tanh()),
            # The body has a quarter of the size, and the attention halves it once more.
            size_multiple=8,
            minimum_size=8,
            receptive_field=LARGEST_RECEPTIVE_FIELD,
        )

    coarse = generator(
        conv(channels + 2, half, 5),
        [
            nn.Sequential(conv(half, width, stride=2), conv(width, width)),
            nn.Sequential(conv(width, wide, stride=2), conv(wide, wide)),
        ],
        nn.Sequential(conv(wide, wide), *dilated(), conv(wide, wide), conv(wide, wide)),
    )
    dilated_branch = nn.Sequential(
        conv(channels, half, 5),
        *(conv(half, half, stride=2), conv(half, width)),
        *(conv(width, width, stride=2), conv(width, wide)),
        *(conv(wide, wide), *dilated()),
    )
    attention_encoder = nn.Sequential(
        conv(channels, half, 5),
        *(conv(half, half, stride=2), conv(half, width)),
        *(conv(width, wide, stride=2), conv(wide, wide)),
        conv(wide, wide, activation=nn.ReLU()),
    )
    attention_decoder = nn.Sequential(conv(wide, wide), conv(wide, wide))
    branches = Branches(dilated_branch, attention_encoder, attention, attention_decoder)
    refine = generator(nn.Identity(), [], nn.Sequential(branches, conv(2 * wide, wide), conv(wide, wide)))
    for part in (coarse, refine):
        init_inpainter(part)
    return Inpainter(coarse, refine)


class Branches(nn.Module):
    """Two branches whose features are concatenated: dilated convolutions, and contextual attention.

    The input is N×(C + 1)×H×W; its last channel is the mask. The output is N×2C'×(H/4)×(W/4).
    """

    def __init__(
        self,
        dilated_branch: nn.Module,
        attention_encoder: nn.Module,
        attention: ContextualAttention,
        attention_decoder: nn.Module,
    ) -> None:
        super().__init__()
        self.dilated_branch = dilated_branch
        self.attention_encoder = attention_encoder
        self.attention = attention
        self.attention_decoder = attention_decoder

    def forward(self, x: Tensor) -> Tensor:
        image, mask = x[:, :-1], x[:, -1:]
        attended = self.attention_decoder(self.attention(self.attention_encoder(image), mask))
        return torch.cat([self.dilated_branch(image), attended], dim=1)
