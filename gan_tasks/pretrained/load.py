"""Load public checkpoints into our networks. The tensors alone decide which architecture it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.conversion import Architecture, Usage, drop_instance_norm_statistics
from gan_tasks.pretrained.files.folders import weights_files
from gan_tasks.pretrained.files.ncnn import PARAM_SUFFIX, read_ncnn
from gan_tasks.pretrained.files.safe_load import read_state_dict, read_state_dicts
from gan_tasks.pretrained.files.unwrap import MAX_DEPTH, StateDict, several, split_by_prefix
from gan_tasks.pretrained.inpainting import deepfill, lama, migan
from gan_tasks.pretrained.resemblance import Resemblance, most_similar
from gan_tasks.pretrained.stylization import adain
from gan_tasks.pretrained.super_resolution import (
    dat,
    esrgan,
    hat,
    msrresnet,
    omnisr,
    real_cugan,
    realplksr,
    span,
    srvgg,
    swinir,
)
from gan_tasks.pretrained.synthesis import dcgan, pggan, r3gan, rosinality, stylegan2, stylegan3
from gan_tasks.pretrained.translation import cut, jy, pix2pixhd, vintagify

__all__ = ["ARCHITECTURES", "Pretrained", "Usage", "load_network", "load_pretrained", "read_state_dict"]

ARCHITECTURES: tuple[Architecture, ...] = (
    vintagify.RESNET_GENERATOR,
    cut.RESNET_GENERATOR,
    cut.NLAYER_DISCRIMINATOR,
    cut.PATCH_SAMPLER,
    jy.UNET_GENERATOR,
    jy.RESNET_GENERATOR,
    jy.NLAYER_DISCRIMINATOR,
    jy.PIXEL_DISCRIMINATOR,
    pix2pixhd.GLOBAL_GENERATOR,
    pix2pixhd.MULTISCALE_DISCRIMINATOR,
    esrgan.RRDB_NET,
    srvgg.SRVGG_NET_COMPACT,
    msrresnet.MSR_RESNET,
    span.SPAN,
    realplksr.REAL_PLKSR,
    omnisr.OMNI_SR,
    dat.DAT,
    hat.HAT,
    swinir.SWINIR,
    real_cugan.REAL_CUGAN,
    esrgan.UNET_DISCRIMINATOR,
    deepfill.GENERATOR,
    deepfill.TENSORFLOW_GENERATOR,
    deepfill.DISCRIMINATOR,
    lama.LAMA,
    migan.MIGAN,
    adain.STYLIZER,
    adain.ENCODER,
    adain.DECODER,
    dcgan.GENERATOR,
    dcgan.DISCRIMINATOR,
    pggan.GENERATOR,
    pggan.DISCRIMINATOR,
    stylegan2.GENERATOR,
    stylegan2.DISCRIMINATOR,
    rosinality.GENERATOR,
    rosinality.DISCRIMINATOR,
    stylegan3.GENERATOR,
    r3gan.GENERATOR,
    r3gan.DISCRIMINATOR,
)
"""Tried in this order. The first architecture that recognises a file builds the network."""


@dataclass(frozen=True)
class Pretrained:
    """The network of a public checkpoint, as `load_network` returns it, with its architecture and usage."""

    network: nn.Module
    architecture: Architecture
    usage: Usage | None
    """None for a network that makes no image by itself."""
    weights: str = ""
    """Which weights of the file these are, such as "params_ema, averaged (not used: params)"; empty for a bare state
    dict."""


def load_network(path: Path | str) -> nn.Module:
    """Load the network of a public checkpoint file, in eval mode and without gradients, in float32 on the CPU.

    path: the file; of the two files of ncnn, the `.param`; of the two files of AdaIN, a folder with nothing else.

    The network's input is N×C×H×W in [-1, 1], or in [0, 1] for super-resolution (see `Usage.value_range`). An
    inpainting network takes a mask as its second input, N×1×H×W with 1 for masked pixels (see `Usage.inputs`). A
    generator returns an image N×C×(scale·H)×(scale·W) in the same range. A discriminator returns its logits N×1×h×w,
    or a dict of its outputs (`scale0_layer0` …, see `pix2pixhd`), and so do the halves of AdaIN (see `adain`). CUT's
    patch sampler takes feature maps, see `cut`.

    A generator of synthesis takes latents N×L, and labels N×K if it has classes, and returns an image in [-1, 1]. Its
    discriminator returns what the published one does: see `PgganScore` and `DcganProbability`.

    Raises UserError if the file cannot be read safely, if its network is none of ARCHITECTURES, or if a tensor is
    missing, superfluous or of the wrong shape.
    """
    return load_pretrained(path).network


def load_pretrained(path: Path | str) -> Pretrained:
    """Load a public checkpoint as `load_network` does, and return its architecture and usage too.

    A file may hold several networks. A generator is preferred to a discriminator, and averaged weights to raw ones.
    Raises UserError, which lists them, if several remain.
    """
    path = Path(path)
    states = read_states(path)
    found = [network for state in states for network in find_networks(state, MAX_DEPTH)]
    if not found:
        known = ", ".join(architecture.title for architecture in ARCHITECTURES)
        first = ", ".join(map(repr, list(states[0].tensors)[:4]))
        similar = [each for state in states for each in resemblances(state, MAX_DEPTH)]
        nearest = max(similar, key=lambda each: each.known, default=None)
        found_instead = str(nearest) if nearest else f"its first tensors are called {first}"
        raise UserError(
            f"{path} holds no known network: {found_instead}; expected one of {known}. "
            "Check that it holds the weights of a network, not of an optimizer"
        )
    try:
        chosen, others = select_network(found)
    except UserError as error:
        raise UserError(f"cannot use {path}: {error}") from error
    architecture = chosen.architecture
    try:
        network = architecture.build(chosen.state.tensors).eval().requires_grad_(False)
        usage = architecture.usage(network) if architecture.usage else None
    except ValueError as error:  # a UserError, or that of a network or specification with such sizes
        raise UserError(f"{path} looks like a {architecture.title}, but {error}") from error
    return Pretrained(network, architecture, usage, describe_choice(chosen.state, others))


def read_states(path: Path) -> Sequence[StateDict]:
    """Read the state dicts of a checkpoint: a file, the `.param` of ncnn, or a folder with the files of one model."""
    if path.suffix.lower() == PARAM_SUFFIX:
        return [StateDict("", read_ncnn(path))]
    if not (paths := weights_files(path)):
        return read_state_dicts(path)
    files = {file.name: [state.tensors for state in read_state_dicts(file)] for file in paths}
    try:
        return [StateDict("", adain.joined(files))]
    except UserError as error:
        raise UserError(f"cannot use the folder {path}: {error}") from error


@dataclass(frozen=True)
class FoundNetwork:
    """A state dict of a file, and the architecture that recognises it."""

    state: StateDict
    architecture: Architecture


def find_networks(state: StateDict, depth: int) -> Iterator[FoundNetwork]:
    """Yield the known networks in a state dict: itself, or else the parts of its keys with a common prefix."""
    state = replace(state, tensors=drop_instance_norm_statistics(state.tensors))
    architecture = next((each for each in ARCHITECTURES if each.recognise(state.tensors)), None)
    if architecture is not None:
        yield FoundNetwork(state, architecture)
    elif depth:
        for part in split_by_prefix(state):
            yield from find_networks(part, depth - 1)


def resemblances(state: StateDict, depth: int) -> Iterator[Resemblance]:
    """Yield the architectures that a state dict resembles, or else those of its parts, see `find_networks`."""
    nearest = most_similar(state.tensors, ARCHITECTURES)
    if nearest is not None:
        yield nearest
    elif depth:
        for part in split_by_prefix(state):
            yield from resemblances(part, depth - 1)


def select_network(found: Sequence[FoundNetwork]) -> tuple[FoundNetwork, list[FoundNetwork]]:
    """Return the network to use and the others that could have been meant.

    Raises UserError if it is not clear: if there are several generators, each with other weights.
    """
    networks = [network for network in found if network.architecture.usage is not None] or list(found)
    different: list[FoundNetwork] = []
    for network in networks:
        if not any(are_equal(network.state, other.state) for other in different):
            different.append(network)
    averaged = [network for network in different if network.state.is_averaged]
    raw = [network for network in different if not network.state.is_averaged]
    if len(averaged) > 1 or len(raw) > 1:
        raise UserError(several([network.state.name for network in different]))
    return (averaged or raw)[0], raw if averaged else []


def are_equal(one: StateDict, other: StateDict) -> bool:
    """Return whether two state dicts have the same tensors."""
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(tensor, other.tensors[key]) for key, tensor in one.tensors.items()
    )


def describe_choice(chosen: StateDict, others: Sequence[FoundNetwork]) -> str:
    """Return the words for `Pretrained.weights`."""
    name = chosen.name or ("averaged" if chosen.is_averaged else "")
    averaged = ", averaged" if chosen.is_averaged and chosen.name else ""
    not_used = f" (not used: {', '.join(other.state.name for other in others)})" if others else ""
    return f"{name}{averaged}{not_used}"
