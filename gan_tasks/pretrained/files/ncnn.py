"""Read networks in the format of ncnn, https://github.com/Tencent/ncnn: a `.param` lists layers, a `.bin` has
weights.

The files contain neither the network's name nor those of its weights. The layers and their inputs are therefore
compared with those of each known network. If they are equal, the weights get the published names of that network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError

PARAM_SUFFIX, BIN_SUFFIX = ".param", ".bin"
MAGIC = "7767517"
MAX_PARAM_BYTES = 4 << 20
"""Largest size of a .param. RRDBNet with 23 blocks has 999 layers, which need 117 kB."""
MAX_LAYERS = 8192
"""Largest number of layers of a .param."""
MAX_SIZE = 1 << 31
"""Upper limit of the counts in a layer's parameters; larger numbers are refused."""
FLOAT32, FLOAT16 = 0, 0x01306B47
"""Values of the four bytes before a convolution's weights, which say how the weights are stored."""

Params = Mapping[int, tuple[float, ...]]

DEFAULTS: Mapping[str, Params] = {
    # Dilation, stride and activation; kernel, dilation, stride and padding of the vertical direction.
    "Convolution": {2: (1,), 3: (1,), 9: (0,), 11: (3,), 12: (1,), 13: (1,), 14: (1,), 15: (1,), 16: (1,)},
    "BinaryOp": {0: (0,)},
    "Concat": {0: (0,)},
    "Interp": {3: (0,), 4: (0,), 6: (0,)},
    "PixelShuffle": {1: (0,)},
    "Reorg": {1: (0,)},
    "Eltwise": {},
    "PReLU": {},
    "Input": {},
    "Split": {},
}
"""The supported kinds of layers, and their parameters at the default values."""
SIZES: Mapping[str, tuple[int, ...]] = {"Convolution": (0, 6), "PReLU": (0,), "Input": (0, 1, 2)}
"""Parameters that count outputs and weights. They differ between networks of the same architecture."""

CONV: Params = {1: (3,), 4: (1,), 5: (1,)}  # 3×3, padded by 1, with bias
LEAKY_CONV: Params = {**CONV, 9: (2,), -23310: (1, 0.2)}
LESS_LEAKY_CONV: Params = {**CONV, 9: (2,), -23310: (1, 0.1)}
RELU_CONV: Params = {**CONV, 9: (1,)}
RESIDUAL: Params = {0: (1,), -23301: (2, 0.2, 1.0)}  # 0.2 · first + second


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    params: the parameters without the default ones and without `sizes`.
    inputs: the numbers of the layers that it takes its inputs from. Split layers only copy, and have no number.
    sizes: the parameters of SIZES. They are ignored in comparisons.
    """

    kind: str
    params: Params
    inputs: tuple[int, ...]
    sizes: Params = field(default_factory=dict, compare=False)

    def size(self, key: int) -> int:
        """Return a parameter that is a count. Raises UserError if its value is no valid count."""
        return self._count(key, self.sizes.get(key, (0,)))

    def factor(self) -> int:
        """Return the factor of a pixel shuffle or unshuffle. Raises UserError if its value is no valid count."""
        return self._count(0, self.params.get(0, (1,)))

    def _count(self, key: int, values: tuple[float, ...]) -> int:
        value = values[0] if len(values) == 1 else math.nan
        if not 1 <= value < MAX_SIZE or value != int(value):
            raise UserError(
                f"a {self.kind} has {value:g} for its parameter {key}, expected a whole number from 1 to 2**31 - 1"
            )
        return int(value)

    def __str__(self) -> str:
        params = " ".join(f"{key}={','.join(f'{v:g}' for v in values)}" for key, values in self.params.items())
        return f"{self.kind} {params} of {', '.join(f'layer {number}' for number in self.inputs)}"


def read_ncnn(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a `.param` and the `.bin` beside it, float16 or float32, with the names of Real-ESRGAN's
    files.

    Raises UserError with the name of the file if a file is missing or damaged, or the network is not a known one.
    """
    weights = path.with_suffix(BIN_SUFFIX)
    for file in (path, weights):
        if not file.is_file():
            raise UserError(f"there is no file {file}: a network of ncnn is a .param and a .bin of the same name")
    try:
        layers = read_param(path)
        names = recognise(layers)
    except UserError as error:
        raise UserError(f"cannot use {path}: {error}") from error
    try:
        tensors = read_bin(weights, layers, names)
        check_channels(layers, tensors)
    except UserError as error:
        raise UserError(f"cannot use {weights}: {error}") from error
    return tensors


def read_param(path: Path) -> list[Layer]:
    """Read the layers in their order. Raises UserError if the file is damaged or has unsupported kinds of layers."""
    if (size := path.stat().st_size) > MAX_PARAM_BYTES:
        raise UserError(f"it has {size:,} bytes, expected at most {MAX_PARAM_BYTES:,}")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        lines = [line for line in lines if line.strip()]
        if lines[:1] != [MAGIC]:
            raise UserError(f"it does not begin with {MAGIC}: expected a .param of ncnn in text form")
        if int(lines[1].split()[0]) != len(lines) - 2:
            raise UserError(f"it claims {lines[1].split()[0]} layers and lists {len(lines) - 2}. Download it again")
        if len(lines) - 2 > MAX_LAYERS:
            raise UserError(f"it lists {len(lines) - 2:,} layers, expected at most {MAX_LAYERS:,}")
        return parse_layers(lines[2:])
    except UserError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise UserError(
            f"it is damaged, or not a file of ncnn ({type(error).__name__}: {error}). Download it again"
        ) from error


def parse_layers(lines: list[str]) -> list[Layer]:
    """Parse the lines of a `.param`, one layer each."""
    layers: list[Layer] = []
    made_by: dict[str, int] = {}
    for line in lines:
        kind, name, input_count, output_count, *rest = line.split()
        if kind not in DEFAULTS:
            raise UserError(f"its layer {name} is of type {kind}, expected one of {', '.join(DEFAULTS)}")
        count, blobs = int(input_count), int(input_count) + int(output_count)
        if not 0 <= count <= blobs <= len(rest):
            raise UserError(f"its layer {name} claims {blobs} inputs and outputs and names {len(rest)}")
        inputs = tuple(made_by[blob] for blob in rest[:count])
        if kind == "Split":
            made_by |= dict.fromkeys(rest[count:blobs], inputs[0])
            continue
        made_by |= dict.fromkeys(rest[count:blobs], len(layers))
        params = dict(parse_param(text) for text in rest[blobs:])
        sizes = {key: params.pop(key) for key in SIZES.get(kind, ()) if key in params}
        usual = DEFAULTS[kind]
        params = {key: value for key, value in params.items() if usual.get(key) != value}
        layers.append(Layer(kind, params, tuple(sorted(inputs)) if kind == "BinaryOp" else inputs, sizes))
    return layers


def parse_param(text: str) -> tuple[int, tuple[float, ...]]:
    """Parse KEY=VALUE or KEY=VALUE,VALUE…"""
    key, _, value = text.partition("=")
    return int(key), tuple(float(part) for part in value.split(","))


class Chain:
    """The layers that a known network has, and the published names of those with weights."""

    def __init__(self) -> None:
        self.layers = [Layer("Input", {}, ())]
        self.names: list[str] = []

    def add(self, kind: str, params: Params, *inputs: int, name: str = "") -> int:
        """Append a layer and return its number. `name` is the published name of a layer with weights."""
        self.layers.append(Layer(kind, params, tuple(inputs)))
        if name:
            self.names.append(name)
        return len(self.layers) - 1


def rrdb_chain(blocks: int, ups: int, unshuffle: int = 1) -> Chain:
    """Return the layers of RRDBNet."""
    chain, image = Chain(), 0
    if unshuffle > 1:
        image = chain.add("Reorg", {0: (unshuffle,)}, 0)
    x = first = chain.add("Convolution", CONV, image, name="conv_first")
    for block in range(blocks):
        block_input = x
        for dense in range(1, 4):
            name = f"body.{block}.rdb{dense}.conv"
            features = [x]
            for conv in range(1, 5):
                joined = chain.add("Concat", {}, *features) if len(features) > 1 else x
                features.append(chain.add("Convolution", LEAKY_CONV, joined, name=f"{name}{conv}"))
            joined = chain.add("Concat", {}, *features)
            last = chain.add("Convolution", CONV, joined, name=f"{name}5")
            x = chain.add("Eltwise", RESIDUAL, last, x)
        x = chain.add("Eltwise", RESIDUAL, x, block_input)
    body = chain.add("Convolution", CONV, x, name="conv_body")
    x = chain.add("BinaryOp", {}, first, body)
    for up in range(1, ups + 1):
        x = chain.add("Interp", nearest(2), x)
        x = chain.add("Convolution", LEAKY_CONV, x, name=f"conv_up{up}")
    x = chain.add("Convolution", LEAKY_CONV, x, name="conv_hr")
    chain.add("Convolution", CONV, x, name="conv_last")
    return chain


def srvgg_chain(convs: int, scale: int) -> Chain:
    """Return the layers of SRVGGNetCompact."""
    chain, x = Chain(), 0
    for i in range(convs):
        x = chain.add("Convolution", CONV, x, name=f"body.{2 * i}")
        x = chain.add("PReLU", {}, x, name=f"body.{2 * i + 1}")
    x = chain.add("Convolution", CONV, x, name=f"body.{2 * convs}")
    shuffled = chain.add("PixelShuffle", {0: (scale,)}, x)
    enlarged = chain.add("Interp", nearest(scale), 0)
    chain.add("BinaryOp", {}, shuffled, enlarged)
    return chain


def msr_resnet_chain(blocks: int, steps: Sequence[int]) -> Chain:
    """Return the layers of MSRResNet."""
    chain = Chain()
    x = chain.add("Convolution", LESS_LEAKY_CONV, 0, name="conv_first")
    for block in range(blocks):
        inner = chain.add("Convolution", RELU_CONV, x, name=f"body.{block}.conv1")
        inner = chain.add("Convolution", CONV, inner, name=f"body.{block}.conv2")
        x = chain.add("BinaryOp", {}, x, inner)
    for up, step in enumerate(steps, start=1):
        # Here the activation comes before the pixel shuffle, which gives the same result.
        x = chain.add("Convolution", LESS_LEAKY_CONV, x, name=f"upconv{up}")
        x = chain.add("PixelShuffle", {0: (step,)}, x)
    x = chain.add("Convolution", LESS_LEAKY_CONV, x, name="conv_hr")
    last = chain.add("Convolution", CONV, x, name="conv_last")
    chain.add("BinaryOp", {}, last, chain.add("Interp", bilinear(math.prod(steps)), 0))
    return chain


def nearest(factor: int) -> Params:
    """Return the parameters of nearest-neighbour upsampling."""
    return {0: (1,), 1: (float(factor),), 2: (float(factor),)}


def bilinear(factor: int) -> Params:
    """Return the parameters of bilinear upsampling."""
    return {**nearest(factor), 0: (2,)}


def recognise(layers: list[Layer]) -> list[str]:
    """Return the published names of the layers with weights, in their order.

    Raises UserError with the first layer that differs if the layers are not exactly those of RRDBNet, SRVGGNetCompact
    or MSRResNet.
    """
    kinds = [layer.kind for layer in layers]
    convs = kinds.count("Convolution")
    shuffles, unshuffles = (
        [layer.factor() for layer in layers if layer.kind == kind] for kind in ("PixelShuffle", "Reorg")
    )
    if "PReLU" in kinds:
        title, chain = "SRVGGNetCompact", srvgg_chain(convs - 1, shuffles[0] if shuffles else 1)
    elif shuffles:
        title, chain = "MSRResNet", msr_resnet_chain((convs - len(shuffles) - 3) // 2, shuffles)
    else:
        title, ups = "RRDBNet", kinds.count("Interp")
        chain = rrdb_chain((convs - ups - 4) // 15, ups, unshuffles[0] if unshuffles else 1)
    for number, (found, expected) in enumerate(zip_longest(layers, chain.layers)):
        if found != expected:
            raise UserError(
                f"it looks like a {title}, but its layer {number} is {found or 'absent'} where {expected or 'none'} "
                "was expected"
            )
    return chain.names


def read_bin(path: Path, layers: list[Layer], names: list[str]) -> dict[str, Tensor]:
    """Read the tensors of a `.bin`, float16 or float32, by their published names.

    Raises UserError if the file has more or fewer bytes than the layers need, or another type of weights.
    """
    tensors: dict[str, Tensor] = {}
    with path.open("rb") as file:
        weighted = [layer for layer in layers if layer.kind in ("Convolution", "PReLU")]
        for layer, name in zip(weighted, names, strict=True):
            outputs = layer.size(0)
            if layer.kind == "PReLU":
                tensors[f"{name}.weight"] = take(file, outputs, torch.float32)
                continue
            tag = int.from_bytes(take_bytes(file, 4), "little")
            if tag not in (FLOAT16, FLOAT32):
                raise UserError(f"the weights of {name} are stored as {tag:#010x}, expected float16 or float32")
            weights = take(file, layer.size(6), torch.float16 if tag == FLOAT16 else torch.float32)
            if len(weights) % (outputs * 9):
                raise UserError(
                    f"{name} has {len(weights)} weights, expected a multiple of 3×3 for {outputs} outputs"
                )
            tensors[f"{name}.weight"] = weights.reshape(outputs, -1, 3, 3)
            tensors[f"{name}.bias"] = take(file, outputs, torch.float32)
        if file.read(1):
            raise UserError("it has more bytes than the layers need: give the .bin that belongs to the .param")
    return tensors


def check_channels(layers: list[Layer], tensors: Mapping[str, Tensor]) -> None:
    """Check that RRDBNet's channels agree with the factor of its pixel unshuffle. Raises UserError if they do not.

    This is necessary because `build_rrdb` finds the factor from the channels alone.
    """
    if "conv_body.weight" not in tensors:
        return
    unshuffle = next((layer.factor() for layer in layers if layer.kind == "Reorg"), 1)
    inputs, outputs = tensors["conv_first.weight"].shape[1], len(tensors["conv_last.weight"])
    if unshuffle not in (1, 2, 4) or inputs != outputs * unshuffle**2:
        raise UserError(
            f"conv_first has {inputs} input channels with {outputs} output channels and a pixel unshuffle of "
            f"{unshuffle}: expected {outputs * unshuffle**2} channels, and an unshuffle of 1, 2 or 4"
        )


def take(file: BinaryIO, count: int, dtype: torch.dtype) -> Tensor:
    """Read the next `count` numbers. Two padding bytes follow an odd number of float16 values."""
    size_bytes = count * dtype.itemsize
    data = take_bytes(file, -(-size_bytes // 4) * 4)
    return torch.frombuffer(bytearray(data[:size_bytes]), dtype=dtype)


def take_bytes(file: BinaryIO, count: int) -> bytes:
    """Read the next `count` bytes. Raises UserError if there are fewer."""
    left = Path(file.name).stat().st_size - file.tell()
    if count > left:
        raise UserError(f"it ends too early: {count:,} bytes are needed and {left:,} left. Download it again")
    return file.read(count)
