"""Published networks in their published sizes with random weights, and files of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.inpainting.migan import MiGan
from gan_tasks.networks.super_resolution.dat import BlockSize, GroupSize, Window, dat
from gan_tasks.networks.super_resolution.omnisr import omnisr
from gan_tasks.networks.super_resolution.realplksr import realplksr
from gan_tasks.networks.super_resolution.span import span
from gan_tasks.networks.super_resolution.swinir import WindowTransformer, swinir
from gan_tasks.pretrained.conversion import rename_modules
from gan_tasks.pretrained.super_resolution.dat import FIRST_BLOCK, dat_names
from gan_tasks.pretrained.super_resolution.omnisr import omnisr_names
from gan_tasks.pretrained.super_resolution.realplksr import published_realplksr
from gan_tasks.pretrained.super_resolution.span import published_span

CONTRAST = 0.2
"""Standard deviation of the last convolution's output, of values in [0, 1]. Photographs have about 0.25."""
LIGHT_GROUPS, LIGHT_WINDOW = [GroupSize(18, 3, 6)], Window(8, 32)


def dat_light() -> Generator:
    """DAT-light ×4: https://github.com/zhengchen1999/DAT."""
    block = BlockSize(60, 120, LIGHT_WINDOW, qkv_bias=True)
    return dat(scale=4, groups=LIGHT_GROUPS, block=block, bottleneck=True, tail_width=None)


def swinir_light() -> WindowTransformer:
    """The light SwinIR ×4: https://github.com/JingyunLiang/SwinIR."""
    sizes = (6, 6, 6, 6)
    return swinir(scale=4, width=60, depths=sizes, heads=sizes, hidden=120, upsampler="pixelshuffledirect")


def mi_gan() -> MiGan:
    """MI-GAN for 256×256 pixels: https://github.com/Picsart-AI-Research/MI-GAN."""
    return MiGan(3, [512, 512, 512, 512, 512, 256, 128])


def published_dat_light(network: Generator) -> dict[str, Tensor]:
    names = dat_names(LIGHT_GROUPS, bottleneck=True, ups=0, is_direct=True)
    offsets = torch.tensor([[side - 1.0 for side in LIGHT_WINDOW]])
    return rename_modules(network.state_dict(), names) | {f"{FIRST_BLOCK}attn.attns.0.rpe_biases": offsets}


def published_omnisr(network: Generator) -> dict[str, Tensor]:
    return rename_modules(network.state_dict(), omnisr_names(5, 1))


NETWORKS: dict[str, tuple[Callable[[], Generator], Callable[[Generator], dict[str, Tensor] | None]]] = {
    "span": (span, published_span),
    "realplksr": (realplksr, published_realplksr),
    "omnisr": (omnisr, published_omnisr),
    "dat-light": (dat_light, published_dat_light),
}
"""Scale 4. Each with the function that returns its tensors by their published names."""


def random_checkpoint(name: str) -> dict[str, Tensor]:
    """Return the tensors of a network with random weights whose output has the contrast of a photograph."""
    make, published = NETWORKS[name]
    torch.manual_seed(0)
    network = make().eval().requires_grad_(False)
    last = [module for module in network.head.modules() if isinstance(module, nn.Conv2d)][-1]
    outputs: list[Tensor] = []
    handle = last.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    network(torch.rand(1, 3, 32, 32))
    handle.remove()
    for tensor in last.parameters():
        tensor.mul_(CONTRAST / outputs[0].std())
    state = published(network)
    assert state is not None
    return state
