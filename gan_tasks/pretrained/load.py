"""Load public checkpoints into our networks. The tensors alone decide which architecture it is."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained import deepfill, esrgan, jy, msrresnet, pix2pixhd, srvgg, vintagify
from gan_tasks.pretrained.conversion import Architecture, Usage, drop_instance_norm_statistics
from gan_tasks.pretrained.files.ncnn import PARAM_SUFFIX, read_ncnn
from gan_tasks.pretrained.files.safe_load import read_state_dict

__all__ = ["ARCHITECTURES", "Pretrained", "Usage", "load_network", "load_pretrained", "read_state_dict"]

ARCHITECTURES: tuple[Architecture, ...] = (
    vintagify.RESNET_GENERATOR,
    jy.UNET_GENERATOR,
    jy.RESNET_GENERATOR,
    jy.NLAYER_DISCRIMINATOR,
    jy.PIXEL_DISCRIMINATOR,
    pix2pixhd.GLOBAL_GENERATOR,
    pix2pixhd.MULTISCALE_DISCRIMINATOR,
    esrgan.RRDB_NET,
    srvgg.SRVGG_NET_COMPACT,
    msrresnet.MSR_RESNET,
    esrgan.UNET_DISCRIMINATOR,
    deepfill.GENERATOR,
    deepfill.TENSORFLOW_GENERATOR,
    deepfill.DISCRIMINATOR,
)
"""Tried in this order. The first architecture that recognises a file builds the network."""


@dataclass(frozen=True)
class Pretrained:
    """The network of a public checkpoint, as `load_network` returns it, with its architecture and usage."""

    network: nn.Module
    architecture: Architecture
    usage: Usage | None
    """None for a discriminator."""


def load_network(path: Path | str) -> nn.Module:
    """Load the network of a public checkpoint file, in eval mode and without gradients, in float32 on the CPU.

    path: the file; of the two files of ncnn, the `.param`.

    The network's input is N×C×H×W in [-1, 1], or in [0, 1] for super-resolution (see `Usage.value_range`). An
    inpainting network takes a mask as its second input, N×1×H×W with 1 for masked pixels (see `Usage.inputs`). A
    generator returns an image N×C×(scale·H)×(scale·W) in the same range. A discriminator returns its logits N×1×h×w,
    or a dict of its outputs (`scale0_layer0` …, see `pix2pixhd`).

    Raises UserError if the file cannot be read safely, if its network is none of ARCHITECTURES, or if a tensor is
    missing, superfluous or of the wrong shape.
    """
    return load_pretrained(path).network


def load_pretrained(path: Path | str) -> Pretrained:
    """Load a public checkpoint as `load_network` does, and return its architecture and usage too."""
    path = Path(path)
    is_ncnn = path.suffix.lower() == PARAM_SUFFIX
    state = read_ncnn(path) if is_ncnn else drop_instance_norm_statistics(read_state_dict(path))
    for architecture in ARCHITECTURES:
        if architecture.recognise(state):
            try:
                network = architecture.build(state).eval().requires_grad_(False)
            except UserError as error:
                raise UserError(f"{path} looks like a {architecture.title}, but {error}") from error
            return Pretrained(network, architecture, architecture.usage(network) if architecture.usage else None)
    known = ", ".join(architecture.title for architecture in ARCHITECTURES)
    raise UserError(
        f"{path} holds no known network: expected one of {known}; its first tensors are called "
        f"{', '.join(map(repr, list(state)[:4]))}. Check that it holds the weights of a network, not of an optimizer"
    )
