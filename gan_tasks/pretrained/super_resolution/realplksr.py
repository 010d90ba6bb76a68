"""Checkpoints of RealPLKSR: https://github.com/neosr-project/neosr and traiNNer-redux."""

from __future__ import annotations

import math
import re

from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.super_resolution.realplksr import NORM_GROUPS, PartialLargeKernel, PlkNorm, realplksr
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    rename_modules,
)
from gan_tasks.pretrained.super_resolution.usage import upscaler_usage

BLOCK = {
    "layers.0": "layer_norm",
    "layers.1": "channel_mixer.0",
    "layers.3": "channel_mixer.2",
    "layers.4.conv": "lk.conv",
    "layers.5.conv": "attn.f.0",
    "layers.6": "refine",
    "layers.7": "norm",
}
"""Names inside a block: ours → published."""
UPSAMPLER = {
    "upsampler.last": "to_img.end_conv",
    "upsampler.offset": "to_img.offset",
    "upsampler.scope": "to_img.scope",
    "upsampler.positions": "to_img.init_pos",
}


def is_realplksr(state: State) -> bool:
    return {"feats.0.weight", "feats.1.channel_mixer.0.weight", "feats.1.lk.conv.weight"} <= state.keys()


def realplksr_names(blocks: int) -> dict[str, str]:
    """Return our names → published names. The layer before the last one is a dropout without weights."""
    names = {"stem": "feats.0", "head.0": f"feats.{blocks + 2}", **UPSAMPLER}
    for block in range(blocks):
        names |= {f"body.{block}.{ours}": f"feats.{block + 1}.{published}" for ours, published in BLOCK.items()}
    return names


def build_realplksr(state: State) -> Generator:
    """Build a RealPLKSR. All sizes follow from the shapes, apart from the groups of the group norm."""
    count = sum(re.fullmatch(r"feats\.\d+\.refine\.weight", key) is not None for key in state)
    blocks = checked_count(count, "blocks")
    width, channels = conv_channels(state, "feats.0")
    split, _ = conv_channels(state, "feats.1.lk.conv")
    if split > width:
        raise UserError(f"feats.1.lk.conv takes {split} of {width} channels: expected at most all")
    kernel = state["feats.1.lk.conv.weight"].shape[-1]
    outputs, _ = conv_channels(state, f"feats.{blocks + 2}")
    scale = math.isqrt(outputs // channels)
    if not scale or outputs != channels * scale**2:
        raise UserError(
            f"feats.{blocks + 2} has {outputs} output channels: expected {channels} times the square of the scale"
        )
    if kernel % 2 == 0:
        raise UserError(f"feats.1.lk.conv has a kernel of {kernel} px: expected an odd number")
    norm = find_norm(state)
    if norm in ("group", "both") and width % NORM_GROUPS:
        raise UserError(f"it has {width} channels: a group norm needs a multiple of {NORM_GROUPS}")
    return assemble(
        lambda: realplksr(
            channels,
            scale=scale,
            width=width,
            blocks=blocks,
            kernel=kernel,
            split=split,
            attention="feats.1.attn.f.0.weight" in state,
            norm=norm,
            dysample_groups=dysample_groups(state, channels, scale),
            dysample_conv="to_img.end_conv.weight" in state,
        ),
        realplksr_names(blocks),
        state,
    )


def find_norm(state: State) -> PlkNorm:
    match "feats.1.layer_norm.weight" in state, "feats.1.norm.weight" in state:
        case True, True:
            return "both"
        case True, False:
            return "layer"
        case False, True:
            return "group"
    return "none"


def dysample_groups(state: State, channels: int, scale: int) -> int | None:
    """Return the groups of DySample; None for a network with a pixel shuffle."""
    if "to_img.offset.weight" not in state:
        return None
    outputs, _ = conv_channels(state, "to_img.offset")
    groups = outputs // (2 * scale**2)
    if not groups or channels * scale**2 % groups:
        raise UserError(
            f"to_img.offset has {outputs} output channels: expected {2 * scale**2} times a divisor of "
            f"{channels * scale**2}"
        )
    return groups


def published_realplksr(generator: Generator) -> dict[str, Tensor] | None:
    """Return the tensors of a RealPLKSR by their published names; None for any other generator."""
    body = generator.body
    if not isinstance(body, nn.Sequential) or not any(
        isinstance(part, PartialLargeKernel) for part in body.modules()
    ):
        return None
    return rename_modules(generator.state_dict(), realplksr_names(len(body)))


def realplksr_example() -> State:
    return rename_modules(realplksr(width=4, blocks=1, kernel=3).state_dict(), realplksr_names(1))


REAL_PLKSR = Architecture(
    "neosr/traiNNer-redux",
    "RealPLKSR",
    is_realplksr,
    build_realplksr,
    realplksr_example,
    upscaler_usage,
    files="all sizes and scales, layer or group norm, pixel shuffle or DySample",
    training="super-resolution --network realplksr",
)
