"""Checkpoints of OmniSR: https://github.com/Francis0625/Omni-SR (Wang et al. 2023)."""

import math
import re
from collections import Counter

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.super_resolution.omnisr import HEADS, omnisr
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    describe,
    rename_modules,
)
from gan_tasks.pretrained.super_resolution.usage import upscaler_usage

BLOCK = re.compile(r"residual_layer\.(\d+)\.residual_layer\.(\d+)\.layer\.")
LARGEST_WINDOW = 64
"""Largest side of a window in pixels. Public ones have 8."""
POSITION_BIASES = "residual_layer.0.residual_layer.0.layer.2.fn.rel_pos_bias.weight"


def is_omnisr(state: State) -> bool:
    return {"input.weight", "up.0.weight", "residual_layer.0.residual_layer.0.layer.0.fn.0.weight"} <= state.keys()


def build_omnisr(state: State) -> Generator:
    """Build an OmniSR. Its sizes follow from the names and shapes, that of the window from the number of offsets."""
    width, channels = conv_channels(state, "input")
    outputs, _ = conv_channels(state, "up.0")
    table = state.get(POSITION_BIASES)
    window = 0 if table is None or not table.ndim else (math.isqrt(len(table)) + 1) // 2
    if not 1 <= window <= LARGEST_WINDOW:
        raise UserError(
            f"{POSITION_BIASES} is {describe(table)}: expected a row for each offset in a window of 1 to "
            f"{LARGEST_WINDOW} pixels"
        )
    if width % HEADS:
        raise UserError(f"its {width} channels cannot be divided among {HEADS} attention heads")
    found = {match.groups() for match in map(BLOCK.match, state) if match}
    blocks = Counter(group for group, _ in found)
    checked_count(len(found), "blocks")
    groups, most = len(blocks), max(blocks.values())
    if min(blocks.values()) < most:
        raise UserError(f"its groups have {min(blocks.values())} to {most} blocks: expected equal numbers")
    return assemble(
        lambda: omnisr(
            channels,
            scale=math.isqrt(outputs // channels),
            width=width,
            groups=groups,
            blocks=most,
            window=window,
            bias="input.bias" in state,
        ),
        omnisr_names(groups, most),
        state,
    )


SPATIAL = {"qkv": "to_qkv", "position_biases": "rel_pos_bias", "project": "to_out.0"}
CHANNEL = {"qkv.0": "qkv", "qkv.1": "qkv_dwconv", "project": "project_out"}
FEED_FORWARD = {"layers.0": "project_in", "layers.1": "dwconv", "project": "project_out"}
ATTENTIONS = (SPATIAL, FEED_FORWARD, CHANNEL, FEED_FORWARD)
LAYERS = dict(zip((2, 4, 5, 6, 8, 10, 11, 12), ATTENTIONS * 2, strict=True))
"""Published numbers of the layers of a block after the first → our names → published names of their modules."""
LOCAL = {"0": "0", "2": "2", "4.gates.0": "4.gate.1", "4.gates.2": "4.gate.3", "5": "5"}
"""Our names → published names of the modules of the first layer."""
PIXEL_GATES = {"reduce": "conv1", "near": "conv_f", "wide.0": "conv2", "wide.2": "conv3", "expand": "conv4"}


def block_names() -> dict[str, str]:
    """Return our names → published names of the modules of a block."""
    names = {f"0.layers.{ours}": f"layer.0.fn.{published}" for ours, published in LOCAL.items()}
    for number, (layer, parts) in enumerate(LAYERS.items(), start=1):
        names |= {f"{number}.layers.0": f"layer.{layer}.norm", f"{number}.layers.1": f"layer.{layer}.fn"}
        names |= {f"{number}.layers.1.{ours}": f"layer.{layer}.fn.{part}" for ours, part in parts.items()}
    return names


def omnisr_names(groups: int, blocks: int) -> dict[str, str]:
    """Return our names → published names."""
    names = {"stem.1": "input", f"body.layers.{groups}": "output", "head.0": "up.0"}
    for group in range(groups):
        ours, published = f"body.layers.{group}", f"residual_layer.{group}"
        for block in range(blocks):
            names |= {
                f"{ours}.0.layers.{block}.{part}": f"{published}.residual_layer.{block}.{name}"
                for part, name in block_names().items()
            }
        names[f"{ours}.0.layers.{blocks}"] = f"{published}.residual_layer.{blocks}"
        names |= {f"{ours}.1.{part}": f"{published}.esa.{name}" for part, name in PIXEL_GATES.items()}
    return names


def omnisr_example() -> State:
    return rename_modules(omnisr(scale=2, width=16, groups=1, window=4).state_dict(), omnisr_names(1, 1))


OMNI_SR = Architecture(
    "Omni-SR",
    "OmniSR",
    is_omnisr,
    build_omnisr,
    omnisr_example,
    upscaler_usage,
    files="all sizes, windows and scales",
)
