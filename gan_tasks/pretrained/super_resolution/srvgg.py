"""Checkpoints of Real-ESRGAN's small generator SRVGGNetCompact: a flat list of convolutions and PReLUs."""

import math
import re

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.super_resolution.convolutional import srvgg
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    rename_modules,
)
from gan_tasks.pretrained.super_resolution.usage import upscaler_usage

KEY = re.compile(r"body\.\d+\.(?:weight|bias)")


def is_srvgg(state: State) -> bool:
    return {"body.0.weight", "body.2.weight"} <= state.keys() and all(KEY.fullmatch(key) for key in state)


def srvgg_names(convs: int) -> dict[str, str]:
    """Return our names → published names, where even numbers are convolutions and odd numbers are PReLUs."""
    names = {"stem.0": "body.0", "stem.1": "body.1", "head.0": f"body.{2 * convs + 2}"}
    return names | {f"body.{i}.{part}": f"body.{2 * i + 2 + part}" for i in range(convs) for part in (0, 1)}


def build_srvgg(state: State) -> Generator:
    convs = checked_count(max(0, sum(tensor.ndim == 4 for tensor in state.values()) - 2), "convolutions")
    names = srvgg_names(convs)
    width, channels = conv_channels(state, names["stem.0"])
    outputs, _ = conv_channels(state, names["head.0"])
    # The upsampled input is added to the result, so both have the same number of channels.
    scale = math.isqrt(outputs // channels)
    if outputs != channels * scale**2:
        raise UserError(
            f"{names['head.0']} has {outputs} output channels: expected {channels} times the square of the scale"
        )
    return assemble(lambda: srvgg(channels, channels, scale=scale, width=width, convs=convs), names, state)


def srvgg_example() -> State:
    return rename_modules(srvgg(width=4, convs=1).state_dict(), srvgg_names(1))


SRVGG_NET_COMPACT = Architecture(
    "Real-ESRGAN",
    "SRVGGNetCompact",
    is_srvgg,
    build_srvgg,
    srvgg_example,
    upscaler_usage,
    files="all sizes and scales; ncnn's",
    training="super-resolution --network srvgg",
)
