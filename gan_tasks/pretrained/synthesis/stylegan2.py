"""Checkpoints of NVIDIA's StyleGAN2 and StyleGAN2-ADA: https://github.com/NVlabs/stylegan2-ada-pytorch.

The files are network-snapshot-….pkl with `G`, `D` and the averaged generator `G_ema`, or their state dicts.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.resampling import BILINEAR_TAPS, fir_filter
from gan_tasks.networks.synthesis.stylegan2 import StyleGAN2Discriminator, StyleMapping, stylegan2_generator
from gan_tasks.pretrained.conversion import (
    MAX_CHANNELS,
    Architecture,
    State,
    Usage,
    assemble,
    checked_count,
    conv_channels,
    describe,
    rename_modules,
)
from gan_tasks.pretrained.synthesis.usage import synthesis_usage

FILTER = ".resample_filter"
MAX_TAPS = 64
"""Most taps of a low-pass filter."""
MAX_DOUBLINGS = 10
"""Most layers that double the size: 4096 pixels."""
MAPPING_LAYER = re.compile(r"mapping\.fc\d+\.weight")
GENERATOR_STAGE = re.compile(r"synthesis\.b\d+\.conv0\.weight")
DISCRIMINATOR_STAGE = re.compile(r"b\d+\.conv0\.weight")


class StyleGAN2Logits(nn.Module):
    """The published discriminator: images N×C×H×W in [-1, 1], labels N×classes if it has classes → logits N×1."""

    def __init__(self, discriminator: StyleGAN2Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        logits: Tensor = self.discriminator(image, label)[0][-1]
        return logits.flatten(1)


def split_filter(state: State, ending: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the low-pass filter of a checkpoint with the sum 1, and the other tensors.

    ending: of the filters' names.
    Raises UserError if the filters differ, or are none.
    """
    others = {key: tensor for key, tensor in state.items() if not key.endswith(ending)}
    filter = fir_filter(BILINEAR_TAPS)
    for number, key in enumerate(key for key in state if key.endswith(ending)):
        found = state[key].float()
        total = found.sum()
        if found.ndim not in (1, 2) or not 2 <= found.shape[0] == found.shape[-1] <= MAX_TAPS or not total:
            raise UserError(f"{key} is {describe(found)}, expected a low-pass filter such as 4×4")
        if number and not torch.equal(filter, found / total):
            raise UserError(f"{key} differs from the other filters, expected the same at all sizes")
        filter = found / total
    return filter, others


def linear_sizes(state: State, module: str) -> tuple[int, int]:
    """Return (outputs, inputs) of a linear layer. Raises UserError if it is none, or has more than MAX_CHANNELS."""
    weight = state.get(f"{module}.weight")
    if weight is None or weight.ndim != 2 or not weight.numel() or max(weight.shape) > MAX_CHANNELS:
        raise UserError(f"{module}.weight is {describe(weight)}, expected the weight of a linear layer")
    return weight.shape[0], weight.shape[1]


def deviation_channels(inputs: int, width: int) -> int:
    """Return how many channels the minibatch deviation appends to features, given the inputs of the convolution."""
    appended = checked_count(inputs - width, "channels of the minibatch deviation")
    if appended and width % appended:
        raise UserError(f"its last convolution has {inputs} inputs: expected {width}, and a divisor of it")
    return appended


def mapping_sizes(state: State, *, has_latent: bool) -> dict[str, Any]:
    """Return the arguments of `StyleMapping` for the layers `mapping.…` of a checkpoint."""
    layers = checked_count(sum(bool(MAPPING_LAYER.fullmatch(key)) for key in state), "mapping layers")
    width, inputs = linear_sizes(state, "mapping.fc0")
    style, _ = linear_sizes(state, f"mapping.fc{layers - 1}")
    embedding, classes = linear_sizes(state, "mapping.embed") if "mapping.embed.weight" in state else (0, 0)
    if inputs < embedding + has_latent:
        raise UserError(f"mapping.fc0 has {inputs} inputs: expected those of a label's embedding, {embedding}, too")
    return {
        "latent": inputs - embedding,
        "classes": classes,
        "style": style,
        "layers": layers,
        "embedding": embedding,
        "width": width,
        "tracks_average": "mapping.w_avg" in state,
    }


def mapping_names(layers: int, ours: str = "mapping") -> dict[str, str]:
    names = {f"{ours}.embed": "mapping.embed", f"{ours}.average": "mapping.w_avg"}
    return names | {f"{ours}.layers.{number}": f"mapping.fc{number}" for number in range(layers)}


def is_generator(state: State) -> bool:
    return {"synthesis.b4.const", "synthesis.b4.conv1.weight", "mapping.fc0.weight"} <= state.keys()


def is_discriminator(state: State) -> bool:
    return {"b4.conv.weight", "b4.fc.weight", "b4.out.weight"} <= state.keys()


def generator_names(doublings: int, mapping_layers: int) -> dict[str, str]:
    """Return our names → published names, where a stage is called by its size in pixels."""
    names = mapping_names(mapping_layers) | {"base.const": "synthesis.b4.const"}
    convs = {"base.conv": "synthesis.b4.conv1"}
    for level in range(doublings + 1):
        block = f"synthesis.b{4 << level}"
        names |= {f"to_rgb.{level}{part}": f"{block}.torgb{part}" for part in ("", ".affine")}
        if level:
            convs |= {f"stages.{level - 1}.conv{number}": f"{block}.conv{number}" for number in (0, 1)}
    for ours, published in convs.items():
        names |= {ours: published, f"{ours}.affine": f"{published}.affine"}
        names |= {f"{ours}.noise": f"{published}.noise_const"}
    return names


def build_generator(state: State) -> SynthesisGenerator:
    filter, state = split_filter(state, FILTER)
    doublings = checked_count(sum(bool(GENERATOR_STAGE.fullmatch(key)) for key in state), "doublings", MAX_DOUBLINGS)
    mapping = mapping_sizes(state, has_latent=True)
    rgb = [conv_channels(state, f"synthesis.b{4 << level}.torgb") for level in range(doublings + 1)]
    widths, channels = [inputs for _, inputs in rgb], rgb[0][0]
    size = 4 << doublings

    def make() -> SynthesisGenerator:
        return stylegan2_generator((size, size), StyleMapping(**mapping), widths, channels=channels, filter=filter)

    return assemble(make, generator_names(doublings, mapping["layers"]), state)


def generator_usage(generator: Any) -> Usage:
    return synthesis_usage(generator, generator.base.const.shape[0])


def generator_example() -> State:
    generator = stylegan2_generator((8, 8), StyleMapping(4, style=4, layers=2), (4, 4))
    return rename_modules(generator.state_dict(), generator_names(1, 2)) | {
        f"synthesis.b{size}{FILTER}": fir_filter(BILINEAR_TAPS) for size in (4, 8)
    }


def discriminator_names(doublings: int, mapping_layers: int) -> dict[str, str]:
    """Return our names → published names, where a stage is called by its size in pixels."""
    names = {"conv": "b4.conv", "linear": "b4.fc", "out": "b4.out", "from_rgb": f"b{4 << doublings}.fromrgb"}
    for stage in range(doublings):
        for layer in ("conv0", "conv1", "skip"):
            names[f"stages.{stage}.{layer}"] = f"b{4 << (doublings - stage)}.{layer}"
    return names | mapping_names(mapping_layers, ours="label_mapping")


def build_discriminator(state: State) -> StyleGAN2Logits:
    filter, state = split_filter(state, FILTER)
    doublings = checked_count(
        sum(bool(DISCRIMINATOR_STAGE.fullmatch(key)) for key in state), "halvings", MAX_DOUBLINGS
    )
    stages = [conv_channels(state, f"b{8 << level}.conv1") for level in range(doublings)]
    largest, channels = conv_channels(state, f"b{4 << doublings}.fromrgb")
    widths = [*(outputs for outputs, _ in stages), largest]
    head, inputs = conv_channels(state, "b4.conv")
    linear, _ = linear_sizes(state, "b4.fc")
    appended = deviation_channels(inputs, widths[0])
    mapping = mapping_sizes(state, has_latent=False) if "mapping.embed.weight" in state else None
    size = 4 << doublings

    def make() -> StyleGAN2Discriminator:
        return StyleGAN2Discriminator(
            (size, size),
            widths,
            channels=channels,
            label_mapping=StyleMapping(**mapping) if mapping else None,
            head=(head, linear),
            deviation=(4, appended),
            filter=filter,
        )

    return StyleGAN2Logits(assemble(make, discriminator_names(doublings, mapping["layers"] if mapping else 0), state))


def discriminator_example() -> State:
    state = StyleGAN2Discriminator((8, 8), (4, 4)).state_dict()
    return rename_modules(state, discriminator_names(1, 0)) | {f"b8{FILTER}": fir_filter(BILINEAR_TAPS)}


GENERATOR = Architecture(
    "NVIDIA",
    "StyleGAN2 Generator",
    is_generator,
    build_generator,
    generator_example,
    generator_usage,
    files="StyleGAN2-ADA; all sizes, widths, classes and mapping networks; `.pkl` and state dicts",
)
DISCRIMINATOR = Architecture(
    "NVIDIA",
    "StyleGAN2 Discriminator",
    is_discriminator,
    build_discriminator,
    discriminator_example,
    alone="makes no image: give the generator's file, such as network-snapshot-025000.pkl",
)
