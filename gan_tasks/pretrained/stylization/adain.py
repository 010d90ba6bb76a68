"""Checkpoints of AdaIN: https://github.com/naoto0804/pytorch-AdaIN (Huang and Belongie 2017).

A model is two files: `vgg_normalised.pth`, the encoder, which holds a whole VGG19 of which the layers up to relu4_1
are used, and `decoder.pth`. Each is a plain sequence of layers, whose numbers are the names. The published code takes
and gives images in [0, 1].
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.layers import Conv2d
from gan_tasks.networks.stylization import ENCODER_CONVS, Decoder, Encoder, Stylizer, stylizer_spec
from gan_tasks.pretrained.conversion import Architecture, State, Usage, assemble, conv_channels, rename_modules

ENCODER_LAYERS = (0, 2, 5, 9, 12, 16, 19, 22, 25, 29)
"""Numbers of the convolutions up to relu4_1."""
UNUSED = re.compile(r"(3[2-9]|4\d|5[0-2])\.(weight|bias)")
"""Tensors of the VGG19 after relu4_1."""
DECODER_LAYERS = (1, 5, 8, 11, 14, 18, 21, 25, 28)
CONVS = ENCODER_CONVS["vgg19"]
PARTS = ("encoder.", "decoder.")
"""Prefixes of the tensors of the two files, where they are one model."""
HALF = "is half of a model: put it into a folder with {} alone, and give the folder"


def is_encoder(state: State) -> bool:
    return has_convs(used(state), ENCODER_LAYERS)


def is_decoder(state: State) -> bool:
    return has_convs(state, DECODER_LAYERS)


def is_stylizer(state: State) -> bool:
    encoder, decoder = (part_of(state, prefix) for prefix in PARTS)
    return len(encoder) + len(decoder) == len(state) and is_encoder(encoder) and is_decoder(decoder)


def has_convs(state: State, numbers: Sequence[int]) -> bool:
    """Return whether the tensors are those of convolutions with these numbers."""
    return state.keys() == {f"{number}.{tensor}" for number in numbers for tensor in ("weight", "bias")}


def used(state: State) -> State:
    return {key: tensor for key, tensor in state.items() if not UNUSED.fullmatch(key)}


def part_of(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def build_encoder(state: State) -> Encoder:
    state = used(state)
    widths = [conv_channels(state, str(number))[0] for number in (2, 9, 16, 29)]
    names = names_of(Encoder((1, 1, 1, 1), CONVS), ENCODER_LAYERS)
    return assemble(partial(Encoder, widths, CONVS), names, state)


def build_decoder(state: State) -> Decoder:
    _, channels = conv_channels(state, "1")
    widths = [conv_channels(state, str(number))[0] for number in (25, 18, 5)]
    names = names_of(Decoder(1, (1, 1, 1), CONVS), DECODER_LAYERS)
    return assemble(partial(Decoder, channels, widths, CONVS), names, state)


def build_stylizer(state: State) -> Stylizer:
    encoder, decoder = build_encoder(part_of(state, PARTS[0])), build_decoder(part_of(state, PARTS[1]))
    given, taken = convolutions(encoder)[-1].out_channels, convolutions(decoder)[0].in_channels
    if given != taken:
        raise UserError(
            f"its encoder gives {given} channels of features and its decoder takes {taken}: give two files that were "
            "trained together"
        )
    return Stylizer(encoder, decoder)


def convolutions(network: nn.Module) -> list[Conv2d]:
    """Return the convolutions in the order in which they run."""
    return [part for part in network.modules() if isinstance(part, Conv2d)]


def names_of(network: nn.Module, numbers: Sequence[int]) -> dict[str, str]:
    """Return our names of the convolutions → their published numbers."""
    convs = [name for name, part in network.named_modules() if isinstance(part, Conv2d)]
    return {name: str(number) for name, number in zip(convs, numbers, strict=True)}


def joined(files: Mapping[str, Sequence[State]]) -> dict[str, Tensor]:
    """Return the tensors of an encoder's file and a decoder's file as those of one model.

    files: the state dicts in each file of a folder, by the name of the file.

    Raises UserError if they are not one of each.
    """
    parts = {
        prefix: [(name, state) for name, states in files.items() for state in states if recognise(state)]
        for prefix, recognise in zip(PARTS, (is_encoder, is_decoder), strict=True)
    }
    if any(len(found) != 1 for found in parts.values()):
        counts = ", ".join(f"{len(found)} with the {prefix[:-1]} of AdaIN" for prefix, found in parts.items())
        raise UserError(
            f"of its checkpoints ({', '.join(files)}) there are {counts}: expected one of each, vgg_normalised.pth "
            "and decoder.pth. Any other model is one file: give that file"
        )
    return {f"{prefix}{key}": tensor for prefix, found in parts.items() for key, tensor in found[0][1].items()}


def for_our_range(stylizer: Stylizer) -> Stylizer:
    """Change a published stylizer from images in [0, 1] to images in [-1, 1], so that it can be trained on."""
    take_our_range(convolutions(stylizer.frame.stem)[0])
    with torch.no_grad():
        last = convolutions(stylizer.frame.head)[-1]
        last.weight.mul_(2)
        biases_of(last).mul_(2).sub_(1)
    return stylizer


@torch.no_grad()
def take_our_range(conv: Conv2d) -> None:
    """Change the first convolution of an encoder from images in [0, 1] to images in [-1, 1]."""
    conv.weight.div_(2)
    biases_of(conv).add_(conv.weight.sum(dim=(1, 2, 3)))


def biases_of(conv: Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def stylizer_usage(stylizer: Stylizer) -> Usage:
    width = convolutions(stylizer.frame.stem)[-1].out_channels
    spec = replace(stylizer_spec("stylization", stylizer), trained_with=("vgg19",))
    return Usage(spec, width, value_range=(0.0, 1.0))


def encoder_example() -> State:
    network = Encoder((4, 4, 4, 4), CONVS)
    return rename_modules(network.state_dict(), names_of(network, ENCODER_LAYERS))


def decoder_example() -> State:
    network = Decoder(4, (4, 4, 4), CONVS)
    return rename_modules(network.state_dict(), names_of(network, DECODER_LAYERS))


def stylizer_example() -> State:
    parts = zip(PARTS, (encoder_example(), decoder_example()), strict=True)
    return {f"{prefix}{key}": tensor for prefix, state in parts for key, tensor in state.items()}


ENCODER = Architecture(
    "AdaIN", "encoder", is_encoder, build_encoder, encoder_example, alone=HALF.format("decoder.pth")
)
DECODER = Architecture(
    "AdaIN", "decoder", is_decoder, build_decoder, decoder_example, alone=HALF.format("vgg_normalised.pth")
)
STYLIZER = Architecture(
    "AdaIN",
    "encoder and decoder",
    is_stylizer,
    build_stylizer,
    stylizer_example,
    stylizer_usage,
    files="a folder with the files of both",
    training="stylization",
)
