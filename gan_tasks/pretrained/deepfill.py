"""DeepFill v2's checkpoints as nipponjo publishes them: https://github.com/nipponjo/deepfillv2-pytorch.

Files are `{"G": …, "D": …}`. The generator comes in two namings: with weights of his own training, nested, and with
those converted from the TensorFlow original, flat; the second also computes as TensorFlow does.
"""

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.discriminators import SNPatchDiscriminator
from gan_tasks.networks.inpainting import Inpainter, deepfill_v2
from gan_tasks.networks.sizes import sizes_of
from gan_tasks.pretrained.conversion import Architecture, State, Usage, assemble, conv_channels
from gan_tasks.pretrained.jy import PatchLogits
from gan_tasks.spec import InputSpec, ModelSpec

CONDITIONS = 2
"""Channels that the first network sees beside the image: sketch and mask."""

OURS = (
    "coarse.stem",
    *(f"coarse.downs.{i}.{part}" for i in range(2) for part in range(2)),
    *(f"coarse.body.{i}" for i in range(7)),
    *(f"coarse.ups.{i}.{part}" for i in range(2) for part in (1, 2)),
    "coarse.head.0",
    *(f"refine.body.0.imagining.{i}" for i in range(10)),
    *(f"refine.body.0.describing.{i}" for i in range(6)),
    *(f"refine.body.0.borrowing.{i}" for i in range(2)),
    *(f"refine.body.{i}" for i in (1, 2)),
    *(f"refine.ups.{i}.{part}" for i in range(2) for part in (1, 2)),
    "refine.head.0",
)
"""The layers in the order they are run, the branch of attention after the other."""


def downs(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}down_block{i}.{conv}" for i in (1, 2) for conv in ("conv1_downsample", "conv2"))


def ups(prefix: str) -> tuple[str, ...]:
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
    """The layers that have these numbers, each named after what it does as well."""

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
    """Ours → published. What ends both networks has no gates, and is itself the convolution."""
    pairs = zip(OURS, published, strict=True)
    return {ours if ".head." in ours else f"{ours}.conv": f"{theirs}.conv" for ours, theirs in pairs}


def is_nested_generator(state: State) -> bool:
    return all(f"{name}.conv.weight" in state for name in ("stage1.conv1", "stage2.ca_conv1"))


def is_flat_generator(state: State) -> bool:
    return all(f"{name}.conv.weight" in state for name in ("conv1", "xconv1", "pmconv1"))


def build_nested_generator(state: State) -> Inpainter:
    # The kernel by which the scores are fused is in the file, though it is a constant.
    fuse = state.get(FUSE_KEY)
    if fuse is not None and not torch.equal(fuse.float().flatten(), torch.eye(3).flatten()):
        raise UserError(f"{FUSE_KEY} is not the identity of 3×3, by which alone scores are fused here")
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
            f"{first} makes {width} channels of {inputs}: expected a multiple of 4, of an image, sketch and mask"
        )
    return assemble(lambda: deepfill_v2(inputs - CONDITIONS, width=width, tensorflow=tensorflow), names, state)


def inpainter_usage(inpainter: Inpainter) -> Usage:
    """Of one that takes an image in [-1, 1] and its mask, without a sketch, as the published ones are used."""
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


def build_discriminator(state: State) -> PatchLogits:
    names: dict[str, str] = {}
    for i in range(6):
        ours, theirs = f"stages.{i}.0", f"conv{i + 1}.conv_sn"
        names |= {ours: theirs, f"{ours}.parametrizations.weight.original": f"{theirs}.weight"}
        names |= {f"{ours}.parametrizations.weight.0._{end}": f"{theirs}.weight_{end}" for end in "uv"}
    width, in_channels = conv_channels(state, "conv1.conv_sn")
    return PatchLogits(
        assemble(lambda: SNPatchDiscriminator(in_channels, width=width), names, with_singular_vectors(state))
    )


def with_singular_vectors(state: State) -> dict[str, Tensor]:
    """With both vectors of each spectral norm, of which the published code keeps one, u.

    It divides the weights in their place, so that those in the file count as they are. v has the length for which
    their norm, uᵀWv, is 1. Its direction is that of the power iteration, and training reads no more of it.
    """
    full = dict(state)
    for key, u in state.items():
        weight = state.get(key.removesuffix("_u"))
        if not key.endswith(".weight_u") or weight is None or u.numel() != len(weight):
            continue  # `assemble` says what is amiss.
        v = weight.float().flatten(1).T @ u.float().flatten()
        full |= {key: u.flatten(), key.replace("weight_u", "weight_v"): v / v.square().sum()}
    return full


GENERATOR = Architecture("DeepFill v2", "Generator", is_nested_generator, build_nested_generator, inpainter_usage)
TENSORFLOW_GENERATOR = Architecture(
    "DeepFill v2", "Generator (TensorFlow)", is_flat_generator, build_flat_generator, inpainter_usage
)
DISCRIMINATOR = Architecture("DeepFill v2", "Discriminator", is_discriminator, build_discriminator)
