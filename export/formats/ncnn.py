"""Convert super-resolution generators to ncnn's two files; `gan_tasks/pretrained/files/ncnn.py` reads them."""

from __future__ import annotations

import struct
from collections import Counter

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.networks.backbone import Generator
from gan_tasks.pretrained.conversion import State
from gan_tasks.pretrained.files.ncnn import FLOAT16, FLOAT32, MAGIC
from gan_tasks.pretrained.files.ncnn_networks import (
    Chain,
    Params,
    msr_resnet_chain,
    rrdb_chain,
    srvgg_chain,
)
from gan_tasks.pretrained.super_resolution.esrgan import is_rrdb
from gan_tasks.pretrained.super_resolution.msrresnet import is_msr_resnet
from gan_tasks.pretrained.super_resolution.srvgg import is_srvgg

INPUT, OUTPUT = "data", "output"
"""Names of input and output in Real-ESRGAN's files, which programs that run them expect."""


def to_ncnn(generator: Generator, *, half: bool = False) -> tuple[bytes, bytes]:
    """Return the contents of the `.param` and `.bin` files. Images are C×H×W in [0, 1], as in Real-ESRGAN.

    half: store the weights of convolutions as float16, as Real-ESRGAN's files do; biases and slopes stay float32.

    Raises UserError as `to_basicsr` does, and for its networks that are not in Real-ESRGAN's ncnn files.
    """
    state = to_basicsr(generator)
    if not any(is_one(state) for is_one in (is_srvgg, is_rrdb, is_msr_resnet)):
        raise UserError(
            "ncnn files are written for RRDBNet, SRVGGNetCompact and MSRResNet alone. Use --format basicsr or "
            "--format onnx"
        )
    chain = chain_of(generator, state)
    return param_text(chain, state).encode(), b"".join(packed(state, name, half=half) for name in chain.names)


def chain_of(generator: Generator, state: State) -> Chain:
    """Return the layers of a generator in ncnn's form."""
    if is_srvgg(state):
        return srvgg_chain(sum(tensor.ndim == 4 for tensor in state.values()) - 1, generator.scale)
    if is_rrdb(state):
        factors = [part.downscale_factor for part in generator.stem.modules() if isinstance(part, nn.PixelUnshuffle)]
        blocks = sum(key.endswith(".rdb1.conv1.weight") for key in state)
        return rrdb_chain(blocks, len(generator.ups), factors[0] if factors else 1)
    shuffles = [part.upscale_factor for part in generator.ups.modules() if isinstance(part, nn.PixelShuffle)]
    return msr_resnet_chain(sum(key.endswith(".conv1.weight") for key in state), shuffles)


def param_text(chain: Chain, state: State) -> str:
    """Return one line per layer. A blob that several layers read is split, so that each has its own."""
    readers = Counter(number for layer in chain.layers for number in layer.inputs)
    weighted = iter(chain.names)
    waiting: dict[int, list[str]] = {}
    lines, blob_count, last = [], 0, len(chain.layers) - 1
    for number, layer in enumerate(chain.layers):
        blob = INPUT if number == 0 else OUTPUT if number == last else str(number)
        params = dict(layer.params)
        if layer.kind in ("Convolution", "PReLU"):
            params = {**sizes(state[f"{next(weighted)}.weight"]), **params}
        lines.append(line(layer.kind, number, [waiting[i].pop() for i in layer.inputs], [blob], params))
        waiting[number] = [blob]
        blob_count += 1
        if readers[number] > 1:
            waiting[number] = [f"{blob}_splitncnn_{i}" for i in range(readers[number])]
            lines.append(line("Split", number, [blob], waiting[number], {}))
            blob_count += readers[number]
    return "\n".join([MAGIC, f"{len(lines)} {blob_count}", *lines, ""])


def line(kind: str, number: int, inputs: list[str], outputs: list[str], params: Params) -> str:
    """Return the line of one layer."""
    # ncnn reads a number without a decimal point as an integer, so floats are written in scientific notation.
    values = (
        f"{key}={','.join(f'{value:e}' if isinstance(value, float) else str(value) for value in params[key])}"
        for key in sorted(params, key=abs)
    )
    name = f"{kind.lower()}_{number}"
    return " ".join([f"{kind:<24} {name:<24} {len(inputs)} {len(outputs)}", *inputs, *outputs, *values])


def sizes(weight: Tensor) -> Params:
    """Return the output channels and number of weights of a convolution, or the number of slopes of a PReLU."""
    return {0: (len(weight),)} if weight.ndim == 1 else {0: (len(weight),), 6: (weight.numel(),)}


def packed(state: State, name: str, *, half: bool) -> bytes:
    """Return the bytes of a layer in the `.bin` file."""
    weight = state[f"{name}.weight"]
    if weight.ndim == 1:
        return raw(weight, torch.float32)
    weights = raw(weight, torch.float16 if half else torch.float32)
    tag = struct.pack("<I", FLOAT16 if half else FLOAT32)
    return tag + weights + b"\0" * (-len(weights) % 4) + raw(state[f"{name}.bias"], torch.float32)


def raw(tensor: Tensor, dtype: torch.dtype) -> bytes:
    return tensor.to(dtype).contiguous().numpy().tobytes()
