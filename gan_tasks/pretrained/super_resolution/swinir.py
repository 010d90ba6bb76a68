"""Checkpoints of SwinIR: https://github.com/JingyunLiang/SwinIR (Liang et al. 2021). HAT's share their frame.

All sizes are read from the tensors. Three facts are not in the files:
- Every other block of a group has windows shifted by half a window, as in all published models.
- The image is multiplied by 255 in a network without upsampling whose windows have 7 pixels, as in the published
  models for JPEG artefacts, and by 1 in all others.
- The scale of one nearest-neighbour step is 2.
"""

import math
import re
from typing import TypedDict

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.sizes import sizes_of
from gan_tasks.networks.super_resolution.swinir import Connection, Upsampler, WindowTransformer, swinir
from gan_tasks.networks.super_resolution.windows import window_positions
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    Usage,
    assemble,
    checked_count,
    conv_channels,
    describe,
    rename_modules,
)
from gan_tasks.pretrained.super_resolution.esrgan import MAX_UPS, numbered
from gan_tasks.spec import InputSpec, ModelSpec

BLOCK = "layers.{group}.residual_group.blocks.{block}"
TABLE = "attn.relative_position_bias_table"
FIRST_BLOCK = BLOCK.format(group=0, block=0)
POSITIONS = "absolute_pos_embed"
JPEG_WINDOW, JPEG_RANGE = 7, 255.0
MAX_WINDOW = 32
"""Largest height and width of a window, in pixels. Those of the published models have up to 24."""


class FrameSizes(TypedDict):
    """The arguments that `swinir` and `hat` share."""

    channels: int
    scale: int
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    hidden: int
    upsampler: Upsampler
    features: int
    connection: Connection
    qkv_bias: bool
    patch_norm: bool
    positions: int


def is_swinir(state: State) -> bool:
    return {"conv_first.weight", f"{FIRST_BLOCK}.{TABLE}", f"{FIRST_BLOCK}.attn.qkv.weight"} <= state.keys()


def frame_sizes(state: State) -> FrameSizes:
    """Read the sizes of a SwinIR or HAT. Raises UserError if the tensors have no such shapes."""
    depths = read_depths(state)
    tables = [state.get(f"{BLOCK.format(group=group, block=0)}.{TABLE}") for group in range(len(depths))]
    width, channels = conv_channels(state, "conv_first")
    heads = tuple(table.shape[1] if table is not None and table.ndim == 2 else 1 for table in tables)
    if any(count < 1 or width % count for count in heads):
        raise UserError(f"it has {width} channels and groups of {heads} attention heads, which do not divide them")
    upsampler, scale, features = read_upsampling(state, channels)
    embedding = state.get(POSITIONS)
    positions = 0 if embedding is None or embedding.ndim != 3 else embedding.shape[1]
    if math.isqrt(positions) ** 2 != positions:
        raise UserError(f"{POSITIONS} is {describe(embedding)}, expected the positions of a square")
    return FrameSizes(
        channels=channels,
        scale=scale,
        width=width,
        depths=depths,
        heads=heads,
        window=checked_count(
            (table_side(state, f"{FIRST_BLOCK}.{TABLE}") + 1) // 2, "pixels in a window", MAX_WINDOW
        ),
        hidden=rows_of(state, f"{FIRST_BLOCK}.mlp.fc1.weight"),
        upsampler=upsampler,
        features=features,
        connection="3conv" if "layers.0.conv.0.weight" in state else "1conv",
        qkv_bias=f"{FIRST_BLOCK}.attn.qkv.bias" in state,
        patch_norm="patch_embed.norm.weight" in state,
        positions=positions,
    )


def read_depths(state: State) -> tuple[int, ...]:
    """Return the number of blocks in each group."""
    found = [re.match(r"layers\.(\d+)\.residual_group\.blocks\.(\d+)\.norm1\.weight", key) for key in state]
    groups = [int(match[1]) for match in found if match]
    count = checked_count(len(set(groups)), "groups")
    checked_count(len(groups), "blocks")
    return tuple(groups.count(group) for group in range(count))


def table_side(state: State, name: str) -> int:
    """Return the side of a square table of biases. Raises UserError if it is none."""
    table = state.get(name)
    side = math.isqrt(len(table)) if table is not None and table.ndim == 2 else 0
    if table is None or not side % 2 or side**2 != len(table):
        raise UserError(f"{name} is {describe(table)}, expected the square of an odd number as its first size")
    return side


def rows_of(state: State, name: str) -> int:
    """Return the first size of a tensor. Raises UserError if it has none."""
    tensor = state.get(name)
    if tensor is None or not tensor.ndim or not tensor.numel():
        raise UserError(f"{name} is {describe(tensor)}, expected the weight of a layer")
    return tensor.shape[0]


def read_upsampling(state: State, channels: int) -> tuple[Upsampler, int, int]:
    """Return the upsampler, the scale and the channels while the size grows."""
    if "conv_before_upsample.0.weight" not in state:
        if "upsample.0.weight" not in state:
            return "none", 1, 0
        outputs, _ = conv_channels(state, "upsample.0")
        return "pixelshuffledirect", max(1, math.isqrt(outputs // channels)), 0
    features, _ = conv_channels(state, "conv_before_upsample.0")
    if "conv_hr.weight" in state:
        return "nearest+conv", 2 ** len(numbered(state, "conv_up")), features
    return "pixelshuffle", math.prod(read_steps(state, features)), features


def read_steps(state: State, features: int) -> tuple[int, ...]:
    """Return the factors of the pixel shuffles of BasicSR's upsampling: steps of 2, or one of 3.

    features: channels while the size grows.

    Raises UserError for other factors.
    """
    count = sum(re.fullmatch(r"upsample\.\d+\.weight", key) is not None for key in state)
    checked_count(count, "upsampling steps", MAX_UPS)
    steps = tuple(math.isqrt(conv_channels(state, f"upsample.{2 * i}")[0] // features) for i in range(count))
    if steps not in ((2,) * count, (3,)):
        raise UserError(f"upsample enlarges by {' × '.join(map(str, steps))}: expected steps of 2, or one of 3")
    return steps


def frame_names(upsampler: Upsampler, scale: int) -> dict[str, str]:
    """Return our names → published names, where they differ."""
    names = {"embed_norm": "patch_embed.norm", POSITIONS: POSITIONS}
    count = 1 if scale == 3 else scale.bit_length() - 1
    match upsampler:
        case "none":
            tail = {0: "conv_last"}
        case "pixelshuffledirect":
            tail = {0: "upsample.0"}
        case "pixelshuffle":
            tail = {0: "conv_before_upsample.0", **{2 + 2 * i: f"upsample.{2 * i}" for i in range(count)}}
            tail[2 + 2 * count] = "conv_last"
        case "nearest+conv":
            tail = {0: "conv_before_upsample.0", **{3 + 3 * i: f"conv_up{i + 1}" for i in range(count)}}
            tail |= {2 + 3 * count: "conv_hr", 4 + 3 * count: "conv_last"}
    return names | {f"tail.{index}": name for index, name in tail.items()}


def without_constants(state: State, constants: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove masks, which hold at the size of the training images only, and tables of indices.

    constants: the end of a table's name → the expected indices.

    Raises UserError for other indices.
    """
    kept = {}
    for key, tensor in state.items():
        name = key.rpartition(".")[2]
        if name in constants:
            expected = constants[name]
            if tensor.shape != expected.shape or not torch.equal(tensor.long(), expected):
                raise UserError(f"{key} has other indices than the published code makes")
        elif name != "attn_mask":
            kept[key] = tensor
    return kept


def build_swinir(state: State) -> WindowTransformer:
    sizes = frame_sizes(state)
    window = sizes["window"]
    constants = {"relative_position_index": window_positions(window, window, torch.device("cpu"))}
    is_for_jpeg = sizes["upsampler"] == "none" and window == JPEG_WINDOW
    return assemble(
        lambda: swinir(**sizes, image_range=JPEG_RANGE if is_for_jpeg else 1.0),
        frame_names(sizes["upsampler"], sizes["scale"]),
        without_constants(state, constants),
    )


def window_usage(network: WindowTransformer) -> Usage:
    """Return the usage of a SwinIR or HAT, which maps an image in [0, 1] to one in [0, 1]."""
    spec = ModelSpec(
        "super-resolution",
        "upscale",
        (InputSpec("image", "image", network.channels, "any"),),
        network.channels,
        scale=network.scale,
        **sizes_of(network)._asdict(),
    )
    return Usage(spec, network.width, (0.0, 1.0))


def swinir_example() -> State:
    network = swinir(scale=2, width=4, depths=(2,), heads=(2,), window=4, hidden=4, features=4)
    return rename_modules(network.state_dict(), frame_names("pixelshuffle", 2))


SWINIR = Architecture(
    "SwinIR",
    "SwinIR",
    is_swinir,
    build_swinir,
    swinir_example,
    window_usage,
    files="all sizes, scales and kinds of upsampling",
)
