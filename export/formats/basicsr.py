"""Convert super-resolution generators to the checkpoints of the projects that publish them.

https://github.com/XPixelGroup/BasicSR and https://github.com/xinntao/Real-ESRGAN; SPAN and RealPLKSR as neosr,
traiNNer-redux and chaiNNer load them. `gan_tasks/pretrained/super_resolution/` reads these checkpoints.
"""

import io

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import DenseBlock
from gan_tasks.pretrained.conversion import ModuleNames, State, rename_modules
from gan_tasks.pretrained.super_resolution.esrgan import new_naming
from gan_tasks.pretrained.super_resolution.msrresnet import msr_resnet_names
from gan_tasks.pretrained.super_resolution.realplksr import published_realplksr
from gan_tasks.pretrained.super_resolution.span import published_span
from gan_tasks.pretrained.super_resolution.srvgg import srvgg_names

WRAPPER = "params_ema"
"""Key of the state dict that the loaders of both projects try first."""


def to_basicsr(generator: Generator) -> dict[str, Tensor]:
    """Return a copy of the generator's tensors on the CPU, with exactly the keys that the projects' code loads.

    Raises UserError for a generator that they do not have.
    """
    state = published_span(generator) or published_realplksr(generator) or published_basicsr(generator)
    if state is None:
        raise UserError(
            "this generator has no counterpart in BasicSR or Real-ESRGAN: expected an RRDBNet of scale 1, 2 or 4, an "
            "SRVGGNetCompact, an MSRResNet of scale 2, 3 or 4, a SPAN that is not fused, or a RealPLKSR"
        )
    return {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in state.items()}


def published_basicsr(generator: Generator) -> dict[str, Tensor] | None:
    """Return the tensors of one of BasicSR's networks by its names; None for any other generator."""
    names, state = names_in_basicsr(generator), generator.state_dict()
    if names is None or any(key.rpartition(".")[0] not in names for key in state):
        return None
    return rename_modules(state, names)


def names_in_basicsr(generator: Generator) -> ModuleNames | None:
    """Map our module names to BasicSR's; None for a network that is none of its three."""
    dense_blocks = sum(isinstance(module, DenseBlock) for module in generator.modules())
    ups = range(1, len(generator.ups) + 1)
    if dense_blocks:
        # RRDBNet always upscales twice by 2; smaller scales apply pixel unshuffle first.
        if len(ups) != 2:
            return None
        return new_naming(tuple(f"conv_up{i}" for i in ups)).names(dense_blocks // 3)
    if not isinstance(generator.shortcut, nn.Upsample) or not isinstance(generator.body, nn.Sequential):
        return None
    if generator.shortcut.mode == "nearest":
        return srvgg_names(len(generator.body))
    if generator.scale not in (2, 3, 4):
        return None
    return msr_resnet_names(len(generator.body), tuple(f"upconv{i}" for i in ups))


def basicsr_bytes(state: State) -> bytes:
    """Return the content of a `.pth` file."""
    buffer = io.BytesIO()
    torch.save({WRAPPER: dict(state)}, buffer)
    return buffer.getvalue()
