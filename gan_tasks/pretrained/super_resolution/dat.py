"""Checkpoints of DAT and DAT-light: https://github.com/zhengchen1999/DAT (Chen et al. 2023)."""

import math
import re
from collections import Counter

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.super_resolution.dat import BlockSize, GroupSize, Window, dat
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    describe,
    rename_modules,
)
from gan_tasks.pretrained.super_resolution.swinir import read_steps
from gan_tasks.pretrained.super_resolution.usage import upscaler_usage

FIRST_BLOCK = "layers.0.blocks.0."
BLOCK = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.")
CONSTANTS = ("rpe_biases", "relative_position_index", "attn_mask_0", "attn_mask_1")
"""Tensors of files that are no weights. They follow from the sizes of windows and image, and are computed."""
LARGEST_WINDOW = 64
"""Largest side of a window in pixels. The largest public one has 32."""


def is_dat(state: State) -> bool:
    return {"conv_first.weight", "before_RG.1.weight", f"{FIRST_BLOCK}attn.qkv.weight"} <= state.keys()


def build_dat(state: State) -> Generator:
    """Build a DAT. Its sizes follow from the names and shapes, and those of the window from its offsets."""
    width, channels = conv_channels(state, "conv_first")
    groups = find_groups(state, width)
    hidden = len(tensor_of(state, f"{FIRST_BLOCK}ffn.fc1.weight", 2))
    block = BlockSize(width, hidden, find_window(state), qkv_bias=f"{FIRST_BLOCK}attn.qkv.bias" in state)
    bottleneck = "conv_after_body.0.weight" in state
    tail_width = None
    steps: tuple[int, ...] = ()
    if "conv_last.weight" in state:
        _, tail_width = conv_channels(state, "conv_last")
        steps = read_steps(state, tail_width)
        scale = math.prod(steps)
    else:
        outputs, _ = conv_channels(state, "upsample.0")
        scale = math.isqrt(outputs // channels)
    return assemble(
        lambda: dat(channels, scale=scale, groups=groups, block=block, bottleneck=bottleneck, tail_width=tail_width),
        dat_names(groups, bottleneck=bottleneck, ups=len(steps), is_direct=tail_width is None),
        {key: tensor for key, tensor in state.items() if key.rpartition(".")[2] not in CONSTANTS},
    )


def find_groups(state: State, width: int) -> list[GroupSize]:
    """Return the sizes of the residual groups."""
    found = {match.groups() for match in map(BLOCK.match, state) if match}
    checked_count(len(found), "blocks")
    blocks = Counter(group for group, _ in found)

    def find_group(number: int) -> GroupSize:
        first = f"layers.{number}.blocks.0.attn.attns.0.pos.pos3.2.weight"
        spatial_heads = channel_heads = len(tensor_of(state, first, 2))
        count = blocks[str(number)]
        if count > 1:
            channel_heads = len(tensor_of(state, f"layers.{number}.blocks.1.attn.temperature", 3))
        if width % (2 * spatial_heads) or width % channel_heads:
            raise UserError(
                f"its {width} channels cannot be divided among the attention heads of group {number}: 2 × "
                f"{spatial_heads} along space, {channel_heads} along channels"
            )
        return GroupSize(count, spatial_heads, channel_heads)

    return [find_group(number) for number in range(len(blocks))]


def find_window(state: State) -> Window:
    """Return the window of the first half of the channels. The largest offsets in it are its sides less 1."""
    key = f"{FIRST_BLOCK}attn.attns.0.rpe_biases"
    offsets = tensor_of(state, key, 2)
    sides = [int(offset) + 1 for offset in offsets[-1].float().nan_to_num().clamp(-1, LARGEST_WINDOW).tolist()]
    if len(sides) != 2 or not 1 <= min(sides) <= max(sides) <= LARGEST_WINDOW or max(sides) % min(sides):
        raise UserError(
            f"{key} ends with {offsets[-1].tolist()[:2]}: expected the sides of a window less 1, where one side is a "
            f"multiple of the other and at most {LARGEST_WINDOW}"
        )
    return Window(*sides)


def tensor_of(state: State, key: str, axes: int) -> Tensor:
    """Return a tensor. Raises UserError if it is absent or empty, or has another number of axes."""
    tensor = state.get(key)
    if tensor is None or tensor.ndim != axes or not tensor.numel():
        raise UserError(f"{key} is {describe(tensor)}, expected a tensor of {axes} axes")
    return tensor


PARTS = {
    "attention_norm": "norm1",
    "attention": "attn",
    "attention.qkv": "attn.qkv",
    "attention.project": "attn.proj",
    **{f"attention.conv.{i}": f"attn.dwconv.{i}" for i in (0, 1)},
    **{f"attention.channel_gates.{i}": f"attn.channel_interaction.{i}" for i in (1, 2, 4)},
    **{f"attention.pixel_gates.{i}": f"attn.spatial_interaction.{i}" for i in (0, 1, 3)},
    **{
        f"attention.position_biases.{half}.{ours}": f"attn.attns.{half}.pos.{published}"
        for half in (0, 1)
        for ours, published in (
            ("first", "pos_proj"),
            *((f"layers.{3 * i}", f"pos{i + 1}.0") for i in range(3)),
            *((f"layers.{3 * i + 2}", f"pos{i + 1}.2") for i in range(3)),
        )
    },
    "feed_forward_norm": "norm2",
    "feed_forward.expand": "ffn.fc1",
    "feed_forward.norm": "ffn.sg.norm",
    "feed_forward.conv": "ffn.sg.conv",
    "feed_forward.reduce": "ffn.fc2",
}
"""Our names → published names of the modules of a block."""


def dat_names(groups: list[GroupSize], *, bottleneck: bool, ups: int, is_direct: bool) -> dict[str, str]:
    """Return our names → published names.

    ups: number of upsampling steps.
    is_direct: whether one convolution computes all pixels of the output, instead of steps.
    """
    names = {"stem.1": "conv_first", "body.first_norm": "before_RG.1", "body.last_norm": "norm"}
    ends = {"body.conv": "conv_after_body"}
    for number, group in enumerate(groups):
        ends[f"body.groups.{number}.conv"] = f"layers.{number}.conv"
        for block in range(group.blocks):
            ours, published = f"body.groups.{number}.blocks.{block}", f"layers.{number}.blocks.{block}"
            names |= {f"{ours}.{part}": f"{published}.{name}" for part, name in PARTS.items()}
    for ours, published in ends.items():
        names |= {f"{ours}{i}": f"{published}{i}" for i in ((".0", ".2", ".4") if bottleneck else ("",))}
    if is_direct:
        return {**names, "head.0": "upsample.0"}
    steps = {f"ups.{i + 1}.0": f"upsample.{2 * i}" for i in range(ups)}
    return {**names, "ups.0.0": "conv_before_upsample.0", **steps, "head.0": "conv_last"}


def dat_example() -> State:
    window = Window(2, 4)
    groups, block = [GroupSize(2, 2, 2)], BlockSize(32, 32, window, qkv_bias=True)
    network = dat(groups=groups, block=block, tail_width=4)
    offsets = torch.tensor([[side - 1.0 for side in window]])  # of which the file has all
    return rename_modules(network.state_dict(), dat_names(groups, bottleneck=False, ups=1, is_direct=False)) | {
        f"{FIRST_BLOCK}attn.attns.0.rpe_biases": offsets
    }


DAT = Architecture(
    "DAT/DAT-light",
    "DAT",
    is_dat,
    build_dat,
    dat_example,
    upscaler_usage,
    files="DAT, DAT-S, DAT-2, DAT-light and other sizes, all scales",
)
