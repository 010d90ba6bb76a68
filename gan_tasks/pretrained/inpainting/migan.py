"""MI-GAN's inference checkpoints: https://github.com/Picsart-AI-Research/MI-GAN (Sargsyan et al. 2023).

The layers are called by the size of their features: `encoder.b256` … `encoder.b4`, `synthesis.b4` … `synthesis.b256`.
A file also holds the constant filters of the resampling, under names that differ between two versions of the code.
"""

import math
import re

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.inpainting.migan import LOWEST_RESOLUTION, MiGan, blur_of_each
from gan_tasks.pretrained.conversion import Architecture, State, Usage, assemble, conv_channels, rename_modules
from gan_tasks.spec import InputSpec, ModelSpec

SIDE = re.compile(r"encoder\.b(\d{1,4})\.fromrgb\.weight")
LARGEST_SIDE = 1024
"""Largest size of a network, in pixels. The largest public one is 512."""
CONSTANTS = (
    "downsample.filter.weight",
    "upsample.filter.weight",
    "upsample.filter_const",
    "upsample.insert_zeros.weight",
)
"""Ends of the names of constant filters."""


def is_migan(state: State) -> bool:
    return {"synthesis.b4.conv1.conv1.weight", "encoder.b4.conv1.conv1.weight"} <= state.keys()


def separable_names(ours: str, theirs: str) -> dict[str, str]:
    """Return our names → published names of a `SeparableConv`."""
    noise = {f"{ours}.noise": f"{theirs}.noise_const", f"{ours}.noise_strength": f"{theirs}.noise_strength"}
    return {f"{ours}.depthwise": f"{theirs}.conv1", f"{ours}.pointwise": f"{theirs}.conv2"} | noise


def migan_names(levels: int) -> dict[str, str]:
    """Return our names → published names."""
    sides = [LOWEST_RESOLUTION * 2**level for level in range(levels)]
    names = {"from_image": f"encoder.b{sides[-1]}.fromrgb"}
    for level, side in enumerate(sides):
        names |= separable_names(f"encoder.{level}.keep", f"encoder.b{side}.conv1")
        names |= separable_names(f"encoder.{level}.down", f"encoder.b{side}.conv2")
        names |= separable_names(f"decoder.{level}.up", f"synthesis.b{side}.conv1")
        names |= separable_names(f"decoder.{level}.keep", f"synthesis.b{side}.conv2")
        names[f"decoder.{level}.to_image"] = f"synthesis.b{side}.torgb"
    return names


def build_migan(state: State) -> MiGan:
    found = [int(match[1]) for match in map(SIDE.fullmatch, state) if match]
    side = found[0] if len(found) == 1 else 0
    allowed = [LOWEST_RESOLUTION * 2**level for level in range(1, int(math.log2(LARGEST_SIDE)) - 1)]
    if side not in allowed:
        raise UserError(f"it has first layers encoder.bN.fromrgb for N in {found[:4]}: expected one of {allowed}")
    levels = allowed.index(side) + 2
    names = migan_names(levels)
    widths = [conv_channels(state, names[f"encoder.{level}.keep.depthwise"])[0] for level in range(levels)]
    _, inputs = conv_channels(state, names["from_image"])
    if inputs < 2:
        raise UserError(f"{names['from_image']} takes {inputs} channels: expected those of a mask and an image")
    return assemble(lambda: MiGan(inputs - 1, widths), names, without_constants(state))


def without_constants(state: State) -> dict[str, Tensor]:
    """Remove the constant filters. Raises UserError for one that is not that of the published code."""
    kept = {}
    for key, tensor in state.items():
        end = next((end for end in CONSTANTS if key.endswith(f".{end}")), None)
        if end is None:
            kept[key] = tensor
        elif tensor.ndim != 4 or not tensor.numel() or not torch.equal(tensor.float(), constant(end, tensor.float())):
            raise UserError(f"{key} is not the filter that the published code has there")
    return kept


def constant(end: str, like: Tensor) -> Tensor:
    """Return the constant of a name, of the shape of `like`, which has four dimensions and is not empty."""
    blur = blur_of_each(like[:1]).to(like)[:1]
    match end:
        case "downsample.filter.weight":
            return blur.expand(len(like), 1, 4, 4)
        case "upsample.filter.weight":
            return 4 * blur.expand(len(like), 1, 4, 4)
        case _:  # one of four pixels is kept, or each becomes one of four
            kept = torch.zeros_like(like)
            kept[..., ::2, ::2] = 1
            return kept


def migan_usage(network: MiGan) -> Usage:
    channels = network.from_image.in_channels - 1
    inputs = (InputSpec("image", "image", channels, "any"), InputSpec("mask", "mask"))
    spec = ModelSpec(
        "inpainting",
        "inpaint",
        inputs,
        channels,
        minimum_size=network.side,
        fixed_size=True,
        receptive_field=network.receptive_field,
    )
    return Usage(spec, network.from_image.out_channels)


def migan_example() -> State:
    return rename_modules(MiGan(3, [4, 4, 4]).state_dict(), migan_names(3))


MIGAN = Architecture(
    "MI-GAN",
    "Generator",
    is_migan,
    build_migan,
    migan_example,
    migan_usage,
    files="generators for inference of 256, 512 and other sizes",
)
