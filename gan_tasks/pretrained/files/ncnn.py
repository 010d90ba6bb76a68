"""Read networks in the format of ncnn, https://github.com/Tencent/ncnn: a `.param` lists layers, a `.bin` has
weights.

Only the networks of `ncnn_networks.py` are read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files.ncnn_networks import Layer, Params, recognise

PARAM_SUFFIX, BIN_SUFFIX = ".param", ".bin"
MAGIC = "7767517"
MAX_PARAM_BYTES = 4 << 20
"""Largest size of a .param. RRDBNet with 23 blocks has 999 layers, which need 117 kB."""
MAX_LAYERS = 8192
"""Largest number of layers of a .param."""
FLOAT32, FLOAT16 = 0, 0x01306B47
"""Values of the four bytes before the weights of a layer, which say how the weights are stored."""

DEFAULTS: Mapping[str, Params] = {
    # Dilation, stride and activation; kernel, dilation, stride and padding of the vertical direction.
    "Convolution": {2: (1,), 3: (1,), 9: (0,), 11: (3,), 12: (1,), 13: (1,), 14: (1,), 15: (1,), 16: (1,)},
    "Deconvolution": {2: (1,), 3: (1,), 9: (0,)},
    "InnerProduct": {9: (0,)},
    "Pooling": {},
    "Crop": {},
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
SIZES: Mapping[str, tuple[int, ...]] = {
    "Convolution": (0, 6),
    "Deconvolution": (0, 6),
    "InnerProduct": (0, 2),
    "PReLU": (0,),
    "Input": (0, 1, 2),
}
"""Parameters that count outputs and weights. They differ between networks of the same architecture."""
WEIGHTED = ("Convolution", "Deconvolution", "InnerProduct", "PReLU")
"""The kinds of layers with weights."""


def read_ncnn(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a `.param` and the `.bin` beside it, float16 or float32, with the published names.

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


def read_bin(path: Path, layers: list[Layer], names: list[str]) -> dict[str, Tensor]:
    """Read the tensors of a `.bin`, float16 or float32, by their published names.

    Raises UserError if the file has more or fewer bytes than the layers need, or another type of weights.
    """
    tensors: dict[str, Tensor] = {}
    with path.open("rb") as file:
        weighted = [layer for layer in layers if layer.kind in WEIGHTED]
        for layer, name in zip(weighted, names, strict=True):
            outputs = layer.size(0)
            if layer.kind == "PReLU":
                tensors[f"{name}.weight"] = take(file, outputs, torch.float32)
                continue
            tag = int.from_bytes(take_bytes(file, 4), "little")
            if tag not in (FLOAT16, FLOAT32):
                raise UserError(f"the weights of {name} are stored as {tag:#010x}, expected float16 or float32")
            weights = take(file, layer.weight_count(), torch.float16 if tag == FLOAT16 else torch.float32)
            side = layer.kernel()
            if len(weights) % (outputs * side**2):
                raise UserError(
                    f"{name} has {len(weights)} weights, expected a multiple of {side}×{side} for {outputs} outputs"
                )
            weights = weights.reshape(outputs, -1, side, side)
            # A transposed convolution of PyTorch has its inputs first.
            tensors[f"{name}.weight"] = weights.transpose(0, 1) if layer.kind == "Deconvolution" else weights
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
