"""Checkpoints of SPAN: https://github.com/hongyuanyu/SPAN, neosr and traiNNer-redux."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.super_resolution.reparameterised import ReparameterisedConv, one_convolution
from gan_tasks.networks.super_resolution.span import RGB_MEAN, Normalisation, SpanBody, span
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    rename_modules,
)
from gan_tasks.pretrained.super_resolution.usage import upscaler_usage

FUSED = "eval_conv"
"""The one convolution that a reparameterised one computes. Beside its parts it may be out of date."""
NOT_NORMALISED = "no_norm"
"""Tensor of the files whose network takes the input as it is. Its value has no meaning."""
NORMALISATION = "stem.0"
"""Our module with the constants that the files do not have."""


def is_span(state: State) -> bool:
    return {"conv_cat.weight", "upsampler.0.weight"} <= state.keys() and any(
        f"block_1.c1_r.{conv}.weight" in state for conv in ("sk", FUSED)
    )


def conv_names(blocks: int) -> dict[str, str]:
    """Return our names → published names of the convolutions that are reparameterised."""
    names = {"stem.1": "conv_1"}
    for block in range(blocks):
        names |= {f"body.blocks.{block}.convs.{i}": f"block_{block + 1}.c{i + 1}_r" for i in range(3)}
    return {**names, "body.last": "conv_2"}


def span_names(blocks: int, *, reparameterised: bool) -> dict[str, str]:
    """Return our names → published names of all modules with weights."""
    parts = {".skip": ".sk"} | {f".row.{i}": f".conv.{i}" for i in range(3)}
    if not reparameterised:
        parts = {"": f".{FUSED}"}
    names = {ours + a: published + b for ours, published in conv_names(blocks).items() for a, b in parts.items()}
    return {**names, "body.merge": "conv_cat", "head.0": "upsampler.0"}


def build_span(state: State) -> Generator:
    """Build a SPAN. A file with nothing but the fused convolutions gives a network of plain ones."""
    reparameterised = "conv_1.sk.weight" in state
    first = "sk" if reparameterised else FUSED
    count = sum(re.fullmatch(rf"block_\d+\.c1_r\.{first}\.weight", key) is not None for key in state)
    blocks = checked_count(count, "blocks")
    width, in_channels = conv_channels(state, f"conv_1.{first}")
    expanded = conv_channels(state, "conv_1.conv.0")[0] if reparameterised else in_channels
    outputs, _ = conv_channels(state, "upsampler.0")
    scale, out_channels = scale_and_channels(outputs, in_channels)
    normalised = NOT_NORMALISED not in state
    if normalised and in_channels != len(RGB_MEAN):
        raise UserError(
            f"its images have {in_channels} channels and it has no tensor {NOT_NORMALISED}: networks without it "
            "subtract the mean of RGB images"
        )
    kept = {
        key: tensor
        for key, tensor in state.items()
        if key != NOT_NORMALISED and not (reparameterised and f".{FUSED}." in key)
    }
    constants = Normalisation(in_channels, normalised=normalised).state_dict()
    return assemble(
        lambda: span(
            in_channels,
            out_channels,
            scale=scale,
            width=width,
            blocks=blocks,
            expansion=max(1, expanded // in_channels),
            normalised=normalised,
            reparameterised=reparameterised,
        ),
        span_names(blocks, reparameterised=reparameterised),
        kept | {f"{NORMALISATION}.{name}": tensor for name, tensor in constants.items()},
    )


def scale_and_channels(outputs: int, in_channels: int) -> tuple[int, int]:
    """Return the scale and the channels of the image from the channels before a pixel shuffle.

    A network has as many channels out as in, or else three or one.
    """
    for channels in (in_channels, 3, 1):
        scale = math.isqrt(outputs // channels)
        if scale and outputs == channels * scale**2:
            return scale, channels
    raise UserError(f"upsampler.0 has {outputs} output channels: expected those of an image, times a square")


def published_span(generator: Generator) -> dict[str, Tensor] | None:
    """Return the tensors of a SPAN by their published names, in the published order.

    The fused convolutions are among them: other programs recognise SPAN by their names, and compute them anew.

    Returns None for any other generator, and for a SPAN that has nothing but fused convolutions.
    """
    body, modules = generator.body, dict(generator.named_modules())
    normalisation = modules.get(NORMALISATION)
    if not isinstance(body, SpanBody) or not isinstance(normalisation, Normalisation):
        return None
    convs = {
        published: conv
        for ours, published in conv_names(len(body.blocks)).items()
        if isinstance(conv := modules[ours], ReparameterisedConv)
    }
    if not convs:
        return None
    state = {key: tensor for key, tensor in generator.state_dict().items() if not key.startswith(NORMALISATION)}
    result = {} if normalisation.normalises() else {NOT_NORMALISED: torch.zeros(1)}
    for key, tensor in rename_modules(state, span_names(len(body.blocks), reparameterised=True)).items():
        result[key] = tensor
        if key.endswith(".conv.2.bias"):  # the last of the parts
            name = key.removesuffix(".conv.2.bias")
            result |= {
                f"{name}.{FUSED}.{kind}": values for kind, values in one_convolution(convs[name]).state_dict().items()
            }
    return result


def span_example() -> State:
    published = published_span(span(width=4, blocks=2))
    assert published is not None
    return published


SPAN = Architecture(
    "BasicSR/neosr",
    "SPAN",
    is_span,
    build_span,
    span_example,
    upscaler_usage,
    files="all sizes and scales; also with nothing but the fused convolutions",
    training="super-resolution --network span",
)
