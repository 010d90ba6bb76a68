"""DeepFill v2's checkpoints of nipponjo: https://github.com/nipponjo/deepfillv2-pytorch (Yu et al. 2019).

Files are `{"G": …, "D": …}`. There are two kinds of generators with different keys. Those that nipponjo trained have
nested keys. Those converted from the TensorFlow original have flat keys, and compute as TensorFlow does.
"""

from functools import partial

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.discriminators import SNPatchDiscriminator
from gan_tasks.networks.inpainting.deepfill import deepfill_v2
from gan_tasks.networks.inpainting.inpainter import Inpainter
from gan_tasks.networks.sizes import sizes_of
from gan_tasks.pretrained.conversion import Architecture, State, Usage, assemble, conv_channels, rename_modules
from gan_tasks.pretrained.patch_logits import PatchLogits
from gan_tasks.spec import InputSpec, ModelSpec

CONDITIONS = 2
"""Input channels of the first network besides the image: sketch and mask."""

OURS = (
    "coarse.stem",
    *(f"coarse.downs.{i}.{part}" for i in range(2) for part in range(2)),
    *(f"coarse.body.{i}" for i in range(7)),
    *(f"coarse.ups.{i}.{part}" for i in range(2) for part in (1, 2)),
    "coarse.head.0",
    *(f"refine.body.0.dilated_branch.{i}" for i in range(10)),
    *(f"refine.body.0.attention_encoder.{i}" for i in range(6)),
    *(f"refine.body.0.attention_decoder.{i}" for i in range(2)),
    *(f"refine.body.{i}" for i in (1, 2)),
    *(f"refine.ups.{i}.{part}" for i in range(2) for part in (1, 2)),
    "refine.head.0",
)
"""Our layers in the order in which they run; the attention branch comes after the dilated branch."""


def downs(prefix: str) -> tuple[str, ...]:
    """Return the nested names of the downsampling layers."""
    return tuple(f"{prefix}down_block{i}.{conv}" for i in (1, 2) for conv in ("conv1_downsample", "conv2"))


def ups(prefix: str) -> tuple[str, ...]:
    """Return the nested names of the upsampling layers."""
    return tuple(f"{prefix}up_block{i}.{conv}" for i in (1, 2) for conv in ("conv1_upsample.conv", "conv2"))


NESTED = (
    *("stage1.conv1", *downs("stage1."), *(f"stage1.conv_bn{i}" for i in range(1, 8))),
    *(*ups("stage1."), "stage1.conv_to_rgb"),
    *("stage2.conv_conv1", *downs("stage2.conv_"), *(f"stage2.conv_conv_bn{i}" for i in range(1, 6))),
    *("stage2.ca_conv1", *downs("stage2.ca_"), *(f"stage2.ca_conv_bn{i}" for i in (1, 4, 5))),
    *("stage2.conv_bn6", "stage2.conv_bn7", *ups("stage2."), "stage2.conv_to_rgb"),
)
FUSE_KEY = "stage2.contextual_attention.fuse_weight"


def flat(prefix: str, numbers: range) -> tuple[str, ...]:
    """Return the flat names of the layers with these numbers; a suffix says what a layer does."""

    def name(number: int) -> str:
        if number in (2, 4):
            return f"{prefix}conv{number}_downsample"
        if 7 <= number <= 10 and prefix != "pm":
            return f"{prefix}conv{number}_atrous"
        return f"{prefix}conv{number}_upsample.conv" if number in (13, 15) else f"{prefix}conv{number}"

    return tuple(name(number) for number in numbers)


FLAT = (
    *flat("", range(1, 18)),
    *flat("x", range(1, 11)),
    *(*flat("pm", range(1, 7)), *flat("pm", range(9, 11))),
    *flat("all", range(11, 18)),
)


def generator_names(published: tuple[str, ...]) -> dict[str, str]:
    """Return our names → published names. The heads are plain convolutions; all other layers are gated."""
    pairs = zip(OURS, published, strict=True)
    return {ours if ".head." in ours else f"{ours}.conv": f"{theirs}.conv" for ours, theirs in pairs}


def is_nested_generator(state: State) -> bool:
    return all(f"{name}.conv.weight" in state for name in ("stage1.conv1", "stage2.ca_conv1"))


def is_flat_generator(state: State) -> bool:
    return all(f"{name}.conv.weight" in state for name in ("conv1", "xconv1", "pmconv1"))


def build_nested_generator(state: State) -> Inpainter:
    # The file contains the constant kernel that fuses the scores.
    fuse = state.get(FUSE_KEY)
    if fuse is not None and not torch.equal(fuse.float().flatten(), torch.eye(3).flatten()):
        raise UserError(f"{FUSE_KEY} is not the identity of 3×3, which is the constant of the published code")
    return build_generator(
        {key: tensor for key, tensor in state.items() if key != FUSE_KEY}, NESTED, tensorflow=False
    )


def build_flat_generator(state: State) -> Inpainter:
    return build_generator(state, FLAT, tensorflow=True)


def build_generator(state: State, published: tuple[str, ...], *, tensorflow: bool) -> Inpainter:
    names = generator_names(published)
    first = names["coarse.stem.conv"]
    width, inputs = conv_channels(state, first)
    if width % 4 or inputs <= CONDITIONS:
        raise UserError(
            f"{first} makes {width} channels of {inputs} input channels: expected a multiple of 4 of image, "
            "sketch and mask"
        )
    return assemble(lambda: deepfill_v2(inputs - CONDITIONS, width=width, tensorflow=tensorflow), names, state)


def inpainter_usage(inpainter: Inpainter) -> Usage:
    """Return the usage of an inpainter that takes an image in [-1, 1] and a mask, without a sketch."""
    names = dict(inpainter.named_modules())
    first, last = names["coarse.stem.conv"], names["coarse.head.0"]
    spec = ModelSpec(
        "inpainting",
        "inpaint",
        (InputSpec("image", "image", first.in_channels - CONDITIONS, "any"), InputSpec("mask", "mask")),
        last.out_channels,
        **sizes_of(inpainter)._asdict(),
    )
    return Usage(spec, first.out_channels)


def is_discriminator(state: State) -> bool:
    return all(f"conv{i}.conv_sn.weight" in state for i in (1, 6))


def discriminator_names() -> dict[str, str]:
    """Return our names → published names; the published files lack those of the vectors v."""
    names: dict[str, str] = {}
    for i in range(6):
        ours, theirs = f"stages.{i}.0", f"conv{i + 1}.conv_sn"
        names |= {ours: theirs, f"{ours}.parametrizations.weight.original": f"{theirs}.weight"}
        names |= {f"{ours}.parametrizations.weight.0._{end}": f"{theirs}.weight_{end}" for end in "uv"}
    return names


def build_discriminator(state: State) -> PatchLogits:
    names = discriminator_names()
    width, in_channels = conv_channels(state, "conv1.conv_sn")
    return PatchLogits(
        assemble(lambda: SNPatchDiscriminator(in_channels, width=width), names, with_singular_vectors(state))
    )


def with_singular_vectors(state: State) -> dict[str, Tensor]:
    """Add the second vector v of each spectral norm to the state, which contains u only.

    The published code divides the weights in place, so the weights in the file are already normalised. The length of
    v is chosen so that the norm uᵀWv is 1. Its direction is that of one step of the power iteration.
    """
    full = dict(state)
    for key, u in state.items():
        weight = state.get(key.removesuffix("_u"))
        if not key.endswith(".weight_u") or weight is None or weight.ndim != 4 or u.numel() != len(weight):
            continue  # `assemble` raises the error.
        v = weight.float().flatten(1).T @ u.float().flatten()
        full |= {key: u.flatten(), key.replace("weight_u", "weight_v"): v / v.square().sum()}
    return full


def generator_example(published: tuple[str, ...]) -> State:
    return rename_modules(deepfill_v2(width=4).state_dict(), generator_names(published))


def discriminator_example() -> State:
    state = rename_modules(SNPatchDiscriminator(width=4).state_dict(), discriminator_names())
    return {key: tensor for key, tensor in state.items() if not key.endswith(".weight_v")}


GENERATOR = Architecture(
    "DeepFill v2",
    "Generator",
    is_nested_generator,
    build_nested_generator,
    partial(generator_example, NESTED),
    inpainter_usage,
    files="any width",
    training="inpainting --network deepfill-v2",
)
TENSORFLOW_GENERATOR = Architecture(
    "DeepFill v2",
    "Generator (TensorFlow)",
    is_flat_generator,
    build_flat_generator,
    partial(generator_example, FLAT),
    inpainter_usage,
    files="any width, converted from TensorFlow",
)
DISCRIMINATOR = Architecture(
    "DeepFill v2", "Discriminator", is_discriminator, build_discriminator, discriminator_example
)
