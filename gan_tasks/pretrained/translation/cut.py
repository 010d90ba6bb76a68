"""Checkpoints of CUT and FastCUT: https://github.com/taesungp/contrastive-unpaired-translation (Park et al. 2020).

Generator and discriminator are those of pytorch-CycleGAN-and-pix2pix, and the layers that blur where the size changes
are layers of their own. Each stores its filter as a buffer `filt`, which is the same in all files. Files without a
`filt` (trained with --no_antialias and --no_antialias_up) are those of pytorch-CycleGAN-and-pix2pix.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.anti_alias import DOWN_FILTER, UP_FILTER
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.discriminators import PatchDiscriminator
from gan_tasks.networks.patch_projection import PatchProjection, patches_at
from gan_tasks.networks.translation import resnet
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    find_norm,
    rename_modules,
)
from gan_tasks.pretrained.patch_logits import PatchLogits
from gan_tasks.pretrained.translation.jy import (
    MAX_PATCH_LAYERS,
    MAX_RESNET_DOWNS,
    RESNET_KEY,
    count_convs,
    find_resnet_blocks,
    resnet_names,
    translator_usage,
)

FILTER_KEY = re.compile(r"model\.(\d+)\.filt")
PATCH_KEY = re.compile(r"model\.\d+\.\w+")
PROJECTION_KEY = re.compile(r"mlp_(\d+)\.[02]\.(weight|bias)")


class Blurs(NamedTuple):
    """The numbers of the layers that blur: where a network downsamples, and where it upsamples."""

    down: Sequence[int] = ()
    up: Sequence[int] = ()


def resnet_blurs(downs: int, blocks: int, *, anti_alias: bool, bilinear: bool) -> Blurs:
    """Return where a ResNet blurs; see `jy.resnet_names`."""
    first_up = 4 + (4 if anti_alias else 3) * downs + blocks
    return Blurs(
        [7 + 4 * i for i in range(downs)] if anti_alias else (),
        [first_up + 4 * i for i in range(downs)] if bilinear else (),
    )


def filter_layers(state: State) -> list[int]:
    """Return the numbers of the layers that blur."""
    return sorted(int(match[1]) for match in map(FILTER_KEY.fullmatch, state) if match)


def filter_of(weights: Sequence[int], gain: int) -> Tensor:
    """Return the published filter k×k of a row of weights. Its sum is the gain."""
    row = torch.tensor(weights, dtype=torch.float32)
    return gain * torch.outer(row, row) / row.sum() ** 2


PUBLISHED_DOWN, PUBLISHED_UP = filter_of(DOWN_FILTER, 1), filter_of(UP_FILTER, 4)


def without_filters(state: State, blurs: Blurs) -> dict[str, Tensor]:
    """Return the state without the filters of its blurs, which our layers have built in.

    Raises UserError if a filter is missing, superfluous, or another one.
    """
    rest = dict(state)
    for layers, expected in ((blurs.down, PUBLISHED_DOWN), (blurs.up, PUBLISHED_UP)):
        for layer in layers:
            found = rest.pop(f"model.{layer}.filt", None)
            if found is None or not is_filter(found, expected):
                what = "absent" if found is None else "another filter"
                raise UserError(f"model.{layer}.filt is {what}, expected that of the published networks")
    if more := filter_layers(rest):
        raise UserError(f"model.{more[0]}.filt was not expected there")
    return rest


def with_filters(state: State, blurs: Blurs) -> dict[str, Tensor]:
    """Return the state with the filters of its blurs, in the order of the layers."""
    if blurs == Blurs():
        return dict(state)
    channels = {layer: state[f"model.{layer - 3}.weight"].shape[0] for layer in blurs.down}
    channels |= {layer: state[f"model.{layer + 1}.weight"].shape[1] for layer in blurs.up}
    filters = {
        f"model.{layer}.filt": (PUBLISHED_DOWN if layer in blurs.down else PUBLISHED_UP).repeat(count, 1, 1, 1)
        for layer, count in channels.items()
    }
    return dict(sorted({**state, **filters}.items(), key=lambda item: int(item[0].split(".")[1])))


def is_filter(found: Tensor, expected: Tensor) -> bool:
    """Return whether a tensor holds C×1×k×k times the expected filter, as exactly as float16 stores it."""
    return (
        found.ndim == 4
        and found.shape[2:] == expected.shape
        and torch.allclose(found.float(), expected.expand_as(found), rtol=0, atol=1e-3)
    )


def is_resnet(state: State) -> bool:
    return bool(filter_layers(state) and find_resnet_blocks(state)) and all(map(RESNET_KEY.fullmatch, state))


def build_resnet(state: State) -> Generator:
    """Build a ResNet that blurs where it downsamples, where it upsamples, or both."""
    blocks = find_resnet_blocks(state)
    checked_count(len(blocks), "blocks")
    blurs = filter_layers(state)
    anti_alias, bilinear = blurs[0] < blocks[0], blurs[-1] > blocks[-1]
    downs = checked_count((blocks[0] - 4) // (4 if anti_alias else 3), "downs", MAX_RESNET_DOWNS)
    state = without_filters(state, resnet_blurs(downs, len(blocks), anti_alias=anti_alias, bilinear=bilinear))
    dropout = f"model.{blocks[0]}.conv_block.5.weight" not in state
    norm = find_norm(state)
    names = resnet_names(downs, len(blocks), dropout=dropout, anti_alias=anti_alias, bilinear=bilinear)
    width, in_channels = conv_channels(state, names["stem.1"])
    out_channels, _ = conv_channels(state, names["head.1"])

    def make() -> Generator:
        return resnet(
            in_channels,
            out_channels,
            width=width,
            downs=downs,
            blocks=len(blocks),
            norm=norm,
            dropout=dropout,
            upsampling="bilinear" if bilinear else "transposed",
            anti_alias=anti_alias,
        )

    return assemble(make, names, state)


def is_discriminator(state: State) -> bool:
    return "model.0.weight" in state and bool(filter_layers(state)) and all(map(PATCH_KEY.fullmatch, state))


def patch_names(layers: int) -> dict[str, str]:
    """Return our names → those of CUT's `NLayerDiscriminator`. Each stage but the last two ends with a blur."""
    names = {"stages.0.0": "model.0"}
    for i in range(1, layers + 1):
        names |= {f"stages.{i}.{part}": f"model.{4 * i - 1 + part}" for part in (0, 1)}
    return {**names, f"stages.{layers + 1}.0": f"model.{4 * layers + 2}"}


def build_discriminator(state: State) -> PatchLogits:
    filters = filter_layers(state)
    layers = checked_count(count_convs(state) - len(filters) - 2, "layers", MAX_PATCH_LAYERS)
    state = without_filters(state, Blurs([4 * i + 2 for i in range(layers)]))
    names, norm = patch_names(layers), find_norm(state)
    width, in_channels = conv_channels(state, names["stages.0.0"])
    return PatchLogits(
        assemble(
            lambda: PatchDiscriminator(in_channels, width=width, layers=layers, norm=norm, anti_alias=True),
            names,
            state,
        )
    )


class PublishedPatchSampler(nn.Module):
    """CUT's `PatchSampleF`: takes patches of feature maps at given positions, and maps them to vectors.

    It is called with the feature maps N×C×h×w, and with their positions, one row of P numbers for each map, the same
    for all N images. It returns a dict of `feat0`, `feat1` …, (N·P)×width each, the patches of the first image first.
    """

    def __init__(self, projection: PatchProjection) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        *features, positions = inputs
        patches = [
            patches_at(each, places.expand(len(each), -1)) for each, places in zip(features, positions, strict=True)
        ]
        return {f"feat{i}": vectors.flatten(0, 1) for i, vectors in enumerate(self.projection(patches))}


def is_patch_sampler(state: State) -> bool:
    return "mlp_0.0.weight" in state and all(map(PROJECTION_KEY.fullmatch, state))


def build_patch_sampler(state: State) -> PublishedPatchSampler:
    count = checked_count(len({key.split(".")[0] for key in state}), "feature maps")
    weights = [state.get(f"mlp_{i}.0.weight") for i in range(count)]
    channels = [0 if weight is None or weight.ndim != 2 or not len(weight) else weight.shape[1] for weight in weights]
    if not all(channels):
        raise UserError(f"mlp_{channels.index(0)}.0.weight is not a matrix with rows and columns")
    width = state["mlp_0.0.weight"].shape[0]
    return PublishedPatchSampler(
        assemble(lambda: PatchProjection(channels, width=width), patch_sampler_names(count), state)
    )


def patch_sampler_names(count: int) -> dict[str, str]:
    """Return our names → published names, for this number of feature maps."""
    return {f"mlps.{i}.{layer}": f"mlp_{i}.{layer}" for i in range(count) for layer in (0, 2)}


def resnet_example() -> State:
    network = resnet(3, 3, width=4, blocks=1, upsampling="bilinear", anti_alias=True)
    names = resnet_names(2, 1, dropout=False, anti_alias=True, bilinear=True)
    blurs = resnet_blurs(2, 1, anti_alias=True, bilinear=True)
    return with_filters(rename_modules(network.state_dict(), names), blurs)


def discriminator_example() -> State:
    network = PatchDiscriminator(3, width=4, layers=2, norm="instance", anti_alias=True)
    filters = {f"model.{2 + 4 * i}.filt": PUBLISHED_DOWN.repeat(4 * 2**i, 1, 1, 1) for i in range(2)}
    return rename_modules(network.state_dict(), patch_names(2)) | filters


def patch_sampler_example() -> State:
    return rename_modules(PatchProjection([3, 4], width=4).state_dict(), patch_sampler_names(2))


RESNET_GENERATOR = Architecture(
    "CUT",
    "ResnetGenerator",
    is_resnet,
    build_resnet,
    resnet_example,
    partial(translator_usage, task="cut"),
    files="CUT and FastCUT; anti-aliasing on the way down, up, or both",
    training="cut --generator resnet-9",
)
NLAYER_DISCRIMINATOR = Architecture(
    "CUT", "NLayerDiscriminator", is_discriminator, build_discriminator, discriminator_example
)
PATCH_SAMPLER = Architecture("CUT", "PatchSampleF", is_patch_sampler, build_patch_sampler, patch_sampler_example)
