"""The field's public checkpoints as networks of ours: what a file holds is found from its tensors alone."""

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
"""Asked in this order; the first that recognises a file builds it."""


@dataclass(frozen=True)
class Pretrained:
    """The network of a public checkpoint, as `load_network` gives it, and what it was found to be."""

    network: nn.Module
    architecture: Architecture
    usage: Usage | None
    """None for a discriminator."""


def load_network(path: Path | str) -> nn.Module:
    """The network of a public checkpoint file, in eval mode and without gradients, float32 on the CPU.

    Of ncnn's two files give the `.param`.

    Its input is N×C×H×W in [-1, 1], or [0, 1] for super-resolution (see `Usage.value_range`); one of inpainting takes
    a mask behind it, N×1×H×W, 1 in holes (`Usage.inputs`, and see `Inpainter`). A generator returns the image,
    N×C×(s·H)×(s·W) in the same range; a discriminator its logits, N×1×h×w; one with several outputs a dict of them
    (`scale0_layer0` …, see `pix2pixhd`).

    Raises UserError where the file cannot be read safely, is of none of ARCHITECTURES, or is like one of
    them but with a tensor too many, too few or of another shape.
    """
    return load_pretrained(path).network


def load_pretrained(path: Path | str) -> Pretrained:
    """As `load_network`, with what else the file tells."""
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
        f"{path} holds no network that is known here: expected one of {known}; its first tensors are called "
        f"{', '.join(map(repr, list(state)[:4]))}. Check that it is a network's weights, not an optimiser's"
    )
