"""Checkpoints of BasicSR's MSRResNet: https://github.com/XPixelGroup/BasicSR."""

import math
import re

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.super_resolution.convolutional import msr_resnet
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    rename_modules,
)
from gan_tasks.pretrained.super_resolution.esrgan import numbered
from gan_tasks.pretrained.super_resolution.usage import upscaler_usage


def is_msr_resnet(state: State) -> bool:
    return all(f"{name}.weight" in state for name in ("conv_first", "body.0.conv1", "upconv1", "conv_hr"))


def msr_resnet_names(blocks: int, ups: tuple[str, ...]) -> dict[str, str]:
    """Return our names → published names."""
    names = {"stem.0": "conv_first", "head.0": "conv_hr", "head.2": "conv_last"}
    for block in range(blocks):
        names |= {f"body.{block}.layers.{2 * i}": f"body.{block}.conv{i + 1}" for i in range(2)}
    return names | {f"ups.{i}.0": up for i, up in enumerate(ups)}


def build_msr_resnet(state: State) -> Generator:
    """Build an MSRResNet: one upsampling step for scale 2 or 3, two steps for scale 4."""
    blocks = sum(re.fullmatch(r"body\.\d+\.conv1\.weight", key) is not None for key in state)
    checked_count(blocks, "blocks")
    ups = numbered(state, "upconv")
    width, in_channels = conv_channels(state, "conv_first")
    out_channels, _ = conv_channels(state, "conv_last")
    grown, _ = conv_channels(state, "upconv1")
    step = math.isqrt(grown // width)
    if step not in (2, 3) or (step == 3 and len(ups) > 1):
        raise UserError(
            f"upconv1 has {width} input and {grown} output channels, with {len(ups)} steps: expected a scale of 2, 3 "
            "or 4"
        )
    scale = step ** len(ups)
    names = msr_resnet_names(blocks, ups)
    return assemble(
        lambda: msr_resnet(in_channels, out_channels, scale=scale, width=width, blocks=blocks), names, state
    )


def msr_resnet_example() -> State:
    return rename_modules(msr_resnet(scale=2, width=4, blocks=1).state_dict(), msr_resnet_names(1, ("upconv1",)))


MSR_RESNET = Architecture(
    "BasicSR",
    "MSRResNet",
    is_msr_resnet,
    build_msr_resnet,
    msr_resnet_example,
    upscaler_usage,
    files="all sizes, scales 2, 3 and 4; ncnn's",
    training="super-resolution --network msr-resnet",
)
