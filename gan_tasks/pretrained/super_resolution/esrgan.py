"""Checkpoints of ESRGAN and Real-ESRGAN: https://github.com/xinntao/Real-ESRGAN (Wang et al. 2018, 2021).

Their generator RRDBNet has been published with three sets of names. Real-ESRGAN's SRVGGNetCompact is in `srvgg.py`.
"""

import math
import re
from dataclasses import dataclass

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.discriminators import UNetDiscriminator
from gan_tasks.networks.super_resolution.convolutional import rrdb
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    rename_modules,
)
from gan_tasks.pretrained.patch_logits import PatchLogits
from gan_tasks.pretrained.super_resolution.usage import upscaler_usage

MAX_UPS = 4
"""Most upsampling steps of a network. The largest public ones have 3, for a scale of 8."""
NEW_DENSE = "body.{block}.rdb{dense}.conv{conv}"


@dataclass(frozen=True)
class Naming:
    """Names of RRDBNet's convolutions. Blocks count from 0, and dense blocks and their convolutions from 1."""

    first: str
    dense: str
    body: str
    ups: tuple[str, ...]
    high: str
    last: str

    def names(self, blocks: int) -> dict[str, str]:
        """Return our names → published names, for this number of blocks."""
        names = {"stem.1": self.first, f"body.layers.{blocks}": self.body}
        for block in range(blocks):
            for dense in range(3):
                for conv in range(5):
                    ours = f"body.layers.{block}.layers.{dense}.convs.{conv}"
                    names[ours] = self.dense.format(block=block, dense=dense + 1, conv=conv + 1)
        names |= {f"ups.{i}.1": up for i, up in enumerate(self.ups)}
        return {**names, "head.0": self.high, "head.2": self.last}


def new_naming(ups: tuple[str, ...]) -> Naming:
    """Return the names of BasicSR and Real-ESRGAN."""
    return Naming("conv_first", NEW_DENSE, "conv_body", ups, "conv_hr", "conv_last")


def count_blocks(state: State, dense: str) -> int:
    """Count the blocks that have a first convolution. `assemble` raises the error if one is missing."""
    before, after = dense.format(block="|", dense=1, conv=1).split("|")
    pattern = re.compile(rf"{re.escape(before)}\d+{re.escape(after)}\.weight")
    return sum(pattern.fullmatch(key) is not None for key in state)


def find_naming(state: State) -> tuple[Naming, int] | None:
    """Return the naming of the tensors and the number of blocks; None if they are not of an RRDBNet."""
    old = "RRDB_trunk.{block}.RDB{dense}.conv{conv}"
    oldest = "model.1.sub.{block}.RDB{dense}.conv{conv}.0"
    if blocks := count_blocks(state, NEW_DENSE):
        return new_naming(numbered(state, "conv_up")), blocks
    if blocks := count_blocks(state, old):
        return Naming("conv_first", old, "trunk_conv", numbered(state, "upconv"), "HRconv", "conv_last"), blocks
    if blocks := count_blocks(state, oldest):
        # A flat list of layers: upsampling, convolution and activation for each up, and then the head.
        count = next((n for n in range(MAX_UPS + 1) if f"model.{3 * n + 4}.weight" in state), 0)
        ups, head = tuple(f"model.{3 * i}" for i in range(1, count + 1)), 3 * count + 2
        body = f"model.1.sub.{blocks}"
        return Naming("model.0", oldest, body, ups, f"model.{head}", f"model.{head + 2}"), blocks
    return None


def numbered(state: State, name: str) -> tuple[str, ...]:
    """Return name1, name2 … up to the first that is missing."""
    names = [f"{name}{i}" for i in range(1, MAX_UPS + 1)]
    present = [f"{name}.weight" in state for name in names]
    return tuple(names[: present.index(False)] if False in present else names)


def is_rrdb(state: State) -> bool:
    return find_naming(state) is not None


def build_rrdb(state: State) -> Generator:
    """Build an RRDBNet. Width, growth, blocks, scale and unshuffling follow from the shapes and names."""
    found = find_naming(state)
    assert found is not None  # `recognise` has checked it
    naming, blocks = found
    checked_count(blocks, "blocks")
    if 15 * blocks > len(state):  # each has 15 convolutions
        raise UserError(f"it names {blocks} blocks but has only {len(state)} tensors")
    names = naming.names(blocks)
    width, inputs = conv_channels(state, names["stem.1"])
    growth, _ = conv_channels(state, names["body.layers.0.layers.0.convs.0"])
    out_channels, _ = conv_channels(state, names["head.2"])
    # A pixel unshuffle with 2 or 4 shows as 4 or 16 input channels per output channel.
    unshuffle = math.isqrt(inputs // out_channels) if inputs in (4 * out_channels, 16 * out_channels) else 1
    scale, rest = divmod(2 ** len(naming.ups), unshuffle)
    if rest:
        raise UserError(
            f"it has {inputs} input channels and {len(naming.ups)} upsampling steps: its output would be smaller "
            "than its input"
        )
    return assemble(
        lambda: rrdb(
            inputs // unshuffle**2,
            out_channels,
            scale=scale,
            unshuffle=unshuffle,
            width=width,
            growth=growth,
            blocks=blocks,
        ),
        names,
        state,
    )


SPECTRAL_KEYS = {"original": "weight_orig", "0._u": "weight_u", "0._v": "weight_v"}
"""Names of the tensors of a spectral norm: in current PyTorch → in the published files."""


def is_unet_discriminator(state: State) -> bool:
    return all(key in state for key in ("conv0.weight", "conv1.weight_orig", "conv9.weight"))


def unet_discriminator_names() -> dict[str, str]:
    """Return our names → Real-ESRGAN's names."""
    normed = [*(f"downs.{i}" for i in range(3)), *(f"ups.{i}" for i in range(3)), "flat.0", "flat.1"]
    names = {"first": "conv0", "last": "conv9"}
    for number, ours in enumerate(normed, start=1):
        names |= {
            f"{ours}.parametrizations.weight.{new}": f"conv{number}.{old}" for new, old in SPECTRAL_KEYS.items()
        }
    return names


def build_unet_discriminator(state: State) -> PatchLogits:
    names = unet_discriminator_names()
    width, in_channels = conv_channels(state, "conv0")
    return PatchLogits(assemble(lambda: UNetDiscriminator(in_channels, width=width), names, state))


def rrdb_example() -> State:
    return rename_modules(
        rrdb(width=4, growth=2, blocks=1).state_dict(), new_naming(("conv_up1", "conv_up2")).names(1)
    )


def unet_discriminator_example() -> State:
    return rename_modules(UNetDiscriminator(width=4).state_dict(), unet_discriminator_names())


RRDB_NET = Architecture(
    "ESRGAN/Real-ESRGAN",
    "RRDBNet",
    is_rrdb,
    build_rrdb,
    rrdb_example,
    upscaler_usage,
    files="all sizes and scales, in the names of BasicSR and in two older ones; ncnn's",
    training="super-resolution --network rrdb",
)
UNET_DISCRIMINATOR = Architecture(
    "Real-ESRGAN",
    "UNetDiscriminatorSN",
    is_unet_discriminator,
    build_unet_discriminator,
    unet_discriminator_example,
)
