"""LaMa's checkpoints: https://github.com/advimman/lama (Suvorov et al. 2022).

A file of the training program holds the generator with the prefix `generator.`, beside the discriminator. Its layers
are the entries of one `Sequential`, so their numbers depend on the numbers of downsamplings and blocks. The last
activation is in no tensor: it is a sigmoid in all published configurations.
"""

from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.inpainting.lama import Lama, fourier_resnet
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    Usage,
    assemble,
    checked_count,
    conv_channels,
    rename_modules,
)
from gan_tasks.spec import InputSpec, ModelSpec

STEM = "model.1"
MAX_HALVINGS = 8
"""Most halvings of the size. The published networks have 3; each doubles the multiple of the size."""

FOURIER_NAMES = {
    "from_local.to_local.1": "ffc.convl2l",
    "from_local.to_global.1": "ffc.convl2g",
    "from_global.to_local.1": "ffc.convg2l",
    "from_global.to_global.reduce.0": "ffc.convg2g.conv1.0",
    "from_global.to_global.reduce.1": "ffc.convg2g.conv1.1",
    "from_global.to_global.unit.conv": "ffc.convg2g.fu.conv_layer",
    "from_global.to_global.unit.norm": "ffc.convg2g.fu.bn",
    "from_global.to_global.quadrant_unit.conv": "ffc.convg2g.lfu.conv_layer",
    "from_global.to_global.quadrant_unit.norm": "ffc.convg2g.lfu.bn",
    "from_global.to_global.expand": "ffc.convg2g.conv2",
    "norms.to_local": "bn_l",
    "norms.to_global": "bn_g",
}
"""Modules of a `FourierConv` → published names. Those of channels that are absent are in no file."""


def is_lama(state: State) -> bool:
    return {f"{STEM}.ffc.convl2l.weight", f"{STEM}.bn_l.weight"} <= state.keys()


def lama_names(halvings: int, blocks: int) -> dict[str, str]:
    """Return our names → published names."""
    names = {"coarse.stem.1": f"{STEM}.ffc.convl2l", "coarse.stem.2": f"{STEM}.bn_l"}
    for i in range(halvings - 1):
        names |= {f"coarse.downs.{i}.1": f"model.{2 + i}.ffc.convl2l", f"coarse.downs.{i}.2": f"model.{2 + i}.bn_l"}
    layers = {f"coarse.downs.{halvings - 1}": f"model.{1 + halvings}"}
    for i in range(blocks):
        layers |= {f"coarse.body.{i}.layers.{j}": f"model.{2 + halvings + i}.conv{j + 1}" for j in range(2)}
    for ours, theirs in layers.items():
        names |= {f"{ours}.{part}": f"{theirs}.{published}" for part, published in FOURIER_NAMES.items()}
    first_up = 3 + halvings + blocks  # after a module that joins the channels
    for i in range(halvings):
        names |= {f"coarse.ups.{i}.{part}": f"model.{first_up + 3 * i + part}" for part in range(2)}
    return names | {"coarse.head.1": f"model.{first_up + 3 * halvings + 1}"}


def build_lama(state: State) -> Lama:
    halvings = checked_count(count_layers(state, 2, "ffc"), "halvings", MAX_HALVINGS)
    blocks = count_layers(state, 2 + halvings, "conv1.ffc")
    if halvings == 0:
        raise UserError(f"{STEM} is followed by no downsampling layer model.2.ffc")
    names = lama_names(halvings, blocks)
    first_width, inputs = conv_channels(state, f"{STEM}.ffc.convl2l")
    outputs, _ = conv_channels(state, names["coarse.head.1"])
    between = [conv_channels(state, f"model.{2 + i}.ffc.convl2l")[0] for i in range(halvings - 1)]
    of_local, of_global = (
        conv_channels(state, name)[0] if f"{name}.weight" in state else 0
        for name in (f"model.{1 + halvings}.ffc.convl2l", f"model.{1 + halvings}.ffc.convl2g")
    )
    has_quadrants = any(".ffc.convg2g.lfu." in key for key in state)
    if has_quadrants and of_global % 8:
        raise UserError(
            f"it has {of_global} global channels: expected a multiple of 8 for a local Fourier unit (lfu)"
        )
    if inputs < 2:
        raise UserError(f"{STEM}.ffc.convl2l takes {inputs} channels: expected those of an image and a mask")
    return assemble(
        lambda: Lama(
            fourier_resnet(
                inputs,
                outputs,
                widths=[first_width, *between, of_local + of_global],
                blocks=blocks,
                of_global=of_global,
                last=nn.Sigmoid(),
                quadrants=has_quadrants,
            )
        ),
        names,
        state,
    )


def count_layers(state: State, first: int, part: str) -> int:
    """Return the number of consecutive layers, from number `first` on, that have this part."""
    count = 0
    while any(key.startswith(f"model.{first + count}.{part}.") for key in state):
        count = checked_count(count + 1, "layers")
    return count


def lama_usage(network: Lama) -> Usage:
    names = dict(network.named_modules())
    first, last = names["coarse.stem.1"], names["coarse.head.1"]
    spec = ModelSpec(
        "inpainting",
        "inpaint",
        (InputSpec("image", "image", first.in_channels - 1, "any"), InputSpec("mask", "mask")),
        last.out_channels,
        size_multiple=network.size_multiple,
        minimum_size=network.minimum_size,
        receptive_field=network.receptive_field,
    )
    return Usage(spec, first.out_channels, (0.0, 1.0))


def lama_example() -> State:
    network = Lama(fourier_resnet(4, 3, widths=[4, 4, 8], blocks=1, of_global=6, last=nn.Sigmoid()))
    return rename_modules(network.state_dict(), lama_names(2, 1))


LAMA = Architecture(
    "LaMa",
    "FFCResNetGenerator",
    is_lama,
    build_lama,
    lama_example,
    lama_usage,
    files="any width, number of blocks and ratio, with or without local Fourier units",
    training="inpainting --network lama",
)
