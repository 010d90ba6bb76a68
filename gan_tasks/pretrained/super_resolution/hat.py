"""Checkpoints of HAT: https://github.com/XPixelGroup/HAT (Chen et al. 2023). They have the frame of SwinIR's."""

import torch

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.super_resolution.hat import hat
from gan_tasks.networks.super_resolution.swinir import WindowTransformer
from gan_tasks.networks.super_resolution.windows import overlapping_positions, window_positions
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    rename_modules,
)
from gan_tasks.pretrained.super_resolution.swinir import (
    FIRST_BLOCK,
    MAX_WINDOW,
    frame_names,
    frame_sizes,
    is_swinir,
    table_side,
    window_usage,
    without_constants,
)

OVERLAP_TABLE = "layers.0.residual_group.overlap_attn.relative_position_bias_table"
CONVS = f"{FIRST_BLOCK}.conv_block.cab"

MAX_LARGER = MAX_WINDOW * 3 // 2
"""Largest height and width of an overlapping window, in pixels. Those of the published models have up to 24."""


def is_hat(state: State) -> bool:
    return is_swinir(state) and {OVERLAP_TABLE, f"{CONVS}.0.weight"} <= state.keys()


def build_hat(state: State) -> WindowTransformer:
    sizes = frame_sizes(state)
    window = sizes["window"]
    larger = checked_count(
        table_side(state, OVERLAP_TABLE) + 1 - window, "pixels in an overlapping window", MAX_LARGER
    )
    if larger < window or (larger - window) % 2:
        raise UserError(
            f"its windows have {window} px and the overlapping ones {larger}: expected an even number of px more"
        )
    compressed, _ = conv_channels(state, f"{CONVS}.0")
    squeezed, _ = conv_channels(state, f"{CONVS}.3.attention.1")
    if not any(key.startswith("layers.0.conv.") for key in state):
        sizes["connection"] = "identity"
    cpu = torch.device("cpu")
    constants = {
        "relative_position_index_SA": window_positions(window, window, cpu),
        "relative_position_index_OCA": overlapping_positions(window, larger, cpu),
    }
    return assemble(
        lambda: hat(**sizes, larger=larger, compressed=compressed, squeezed=squeezed),
        frame_names(sizes["upsampler"], sizes["scale"]),
        without_constants(state, constants),
    )


def hat_example() -> State:
    network = hat(
        scale=2,
        width=4,
        depths=(2,),
        heads=(2,),
        window=4,
        larger=6,
        hidden=4,
        compressed=2,
        squeezed=4,
        features=4,
    )
    return rename_modules(network.state_dict(), frame_names("pixelshuffle", 2))


HAT = Architecture(
    "HAT",
    "HAT",
    is_hat,
    build_hat,
    hat_example,
    window_usage,
    files="all sizes, scales and kinds of upsampling",
)
