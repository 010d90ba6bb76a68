"""Checkpoints of https://github.com/rosinality/stylegan2-pytorch, such as stylegan2-ffhq-config-f.pt.

A file of its training holds `g`, `d` and the averaged generator `g_ema`; one converted from NVIDIA's has `g_ema` and
the mean style `latent_avg`. The names are also those of the decoders of pSp and e4e.
"""

import re
from typing import Any

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.resampling import BILINEAR_TAPS, fir_filter
from gan_tasks.networks.synthesis.stylegan2 import StyleGAN2Discriminator, StyleMapping, stylegan2_generator
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    Usage,
    assemble,
    checked_count,
    conv_channels,
    describe,
    rename_modules,
)
from gan_tasks.pretrained.files.unwrap import MEAN_STYLE
from gan_tasks.pretrained.synthesis.stylegan2 import (
    MAX_DOUBLINGS,
    StyleGAN2Logits,
    deviation_channels,
    linear_sizes,
    split_filter,
)
from gan_tasks.pretrained.synthesis.usage import synthesis_usage

FILTER = ".kernel"
MAPPING_LAYER = re.compile(r"style\.\d+\.weight")
GENERATOR_STAGE = re.compile(r"to_rgbs\.\d+\.conv\.weight")
DISCRIMINATOR_STAGE = re.compile(r"convs\.\d+\.conv1\.0\.weight")
AVERAGED_LATENTS = 4096
"""Styles whose mean is the average of a file without one, as in the published program."""


def is_generator(state: State) -> bool:
    return {"style.1.weight", "input.input", "conv1.conv.weight"} <= state.keys()


def is_discriminator(state: State) -> bool:
    return {"convs.0.0.weight", "final_conv.0.weight", "final_linear.0.weight"} <= state.keys()


def without_unit_axes(state: State) -> dict[str, Tensor]:
    """Remove the axes of length 1 in front of weights, constants, noise and its strength, and around RGB's biases."""

    def shorter(key: str, tensor: Tensor) -> Tensor:
        axes = 4 if tensor.ndim == 5 else 3 if key == "input.input" else 2 if key.startswith("noises.") else None
        if key.endswith(".noise.weight"):
            axes = 0
        if axes is not None and tensor.numel() == tensor[(0,) * max(0, tensor.ndim - axes)].numel():
            return tensor.reshape(tensor.shape[tensor.ndim - axes :])
        return tensor.flatten() if key.startswith("to_rgb") and key.endswith("bias") and tensor.ndim == 4 else tensor

    return {key: shorter(key, tensor) for key, tensor in state.items()}


def generator_names(doublings: int, mapping_layers: int) -> dict[str, str]:
    """Return our names → published names."""
    names = {"base.const": "input.input", "mapping.average": MEAN_STYLE}
    names |= {f"mapping.layers.{number}": f"style.{number + 1}" for number in range(mapping_layers)}
    convs = {"base.conv": "conv1"}
    convs |= {f"stages.{number // 2}.conv{number % 2}": f"convs.{number}" for number in range(2 * doublings)}
    for number, (ours, published) in enumerate(convs.items()):
        names |= {
            f"{ours}.weight": f"{published}.conv.weight",
            f"{ours}.affine": f"{published}.conv.modulation",
            f"{ours}.bias": f"{published}.activate.bias",
            f"{ours}.noise_strength": f"{published}.noise.weight",
            f"{ours}.noise": f"noises.noise_{number}",
        }
    for level in range(doublings + 1):
        published = f"to_rgbs.{level - 1}" if level else "to_rgb1"
        names |= {
            f"to_rgb.{level}.weight": f"{published}.conv.weight",
            f"to_rgb.{level}.affine": f"{published}.conv.modulation",
            f"to_rgb.{level}.bias": f"{published}.bias",
        }
    return names


def build_generator(state: State) -> SynthesisGenerator:
    filter, state = split_filter(without_unit_axes(state), FILTER)
    doublings = checked_count(sum(bool(GENERATOR_STAGE.fullmatch(key)) for key in state), "doublings", MAX_DOUBLINGS)
    layers = checked_count(sum(bool(MAPPING_LAYER.fullmatch(key)) for key in state), "mapping layers")
    style, latent = linear_sizes(state, "style.1")
    rgb = [
        conv_channels(state, f"to_rgbs.{level - 1}.conv" if level else "to_rgb1.conv")
        for level in range(doublings + 1)
    ]
    widths, channels = [inputs for _, inputs in rgb], rgb[0][0]
    size = 4 << doublings
    average = state.get(MEAN_STYLE)
    if average is not None and (average.ndim not in (1, 2) or average.shape[-1] != style or not len(average)):
        raise UserError(f"{MEAN_STYLE} is {describe(average)} where {style} numbers were expected")
    # pSp and e4e repeat it for each layer
    state[MEAN_STYLE] = torch.zeros(style) if average is None else average.reshape(-1, style)[0]

    def make() -> SynthesisGenerator:
        mapping = StyleMapping(latent, style=style, layers=layers)
        return stylegan2_generator((size, size), mapping, widths, channels=channels, filter=filter)

    generator = assemble(make, generator_names(doublings, layers), state)
    if average is None:
        generator.mapping.average = mean_style(generator)
    return generator


@torch.no_grad()
def mean_style(generator: SynthesisGenerator) -> Tensor:
    """Return the mean of the styles of latents that are always the same."""
    latents = torch.randn(AVERAGED_LATENTS, generator.latent, generator=torch.Generator().manual_seed(0))
    styles: Tensor = generator.mapping(latents)
    return styles.mean(0)


def generator_usage(generator: Any) -> Usage:
    return synthesis_usage(generator, generator.base.const.shape[0])


def generator_example() -> State:
    generator = stylegan2_generator((8, 8), StyleMapping(4, style=4, layers=2), (4, 4))
    published = rename_modules(generator.state_dict(), generator_names(1, 2))
    published |= {
        "input.input": published["input.input"][None],
        "convs.0.conv.blur.kernel": fir_filter(BILINEAR_TAPS),
    }
    return {key: tensor for key, tensor in published.items() if key != MEAN_STYLE}


def discriminator_names(doublings: int) -> dict[str, str]:
    """Return our names → published names."""
    names = {"linear": "final_linear.0", "out": "final_linear.1"}
    convs = {"from_rgb": "convs.0", "conv": "final_conv"}
    for stage in range(doublings):
        published = f"convs.{stage + 1}"
        convs[f"stages.{stage}.conv0"] = f"{published}.conv1"
        names |= {
            f"stages.{stage}.conv1.weight": f"{published}.conv2.1.weight",
            f"stages.{stage}.conv1.bias": f"{published}.conv2.2.bias",
            f"stages.{stage}.skip": f"{published}.skip.1",
        }
    for ours, published in convs.items():
        names |= {f"{ours}.weight": f"{published}.0.weight", f"{ours}.bias": f"{published}.1.bias"}
    return names


def build_discriminator(state: State) -> StyleGAN2Logits:
    filter, state = split_filter(state, FILTER)
    state.pop(MEAN_STYLE, None)
    doublings = checked_count(
        sum(bool(DISCRIMINATOR_STAGE.fullmatch(key)) for key in state), "halvings", MAX_DOUBLINGS
    )
    largest, channels = conv_channels(state, "convs.0.0")
    outputs = [conv_channels(state, f"convs.{stage + 1}.conv2.1")[0] for stage in range(doublings)]
    widths = [*reversed(outputs), largest]
    head, inputs = conv_channels(state, "final_conv.0")
    linear, _ = linear_sizes(state, "final_linear.0")
    appended = deviation_channels(inputs, widths[0])
    size = 4 << doublings

    def make() -> StyleGAN2Discriminator:
        return StyleGAN2Discriminator(
            (size, size), widths, channels=channels, head=(head, linear), deviation=(4, appended), filter=filter
        )

    return StyleGAN2Logits(assemble(make, discriminator_names(doublings), state))


def discriminator_example() -> State:
    return rename_modules(StyleGAN2Discriminator((8, 8), (4, 4)).state_dict(), discriminator_names(1))


GENERATOR = Architecture(
    "rosinality",
    "StyleGAN2 Generator",
    is_generator,
    build_generator,
    generator_example,
    generator_usage,
    files="all sizes, widths and mapping networks; the decoders of pSp and e4e",
)
DISCRIMINATOR = Architecture(
    "rosinality",
    "StyleGAN2 Discriminator",
    is_discriminator,
    build_discriminator,
    discriminator_example,
    alone="makes no image: give a file with the generator, `g_ema`",
)
