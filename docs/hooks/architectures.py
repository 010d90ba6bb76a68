"""The table of the published networks that open here, from the code that opens and uses them."""

from __future__ import annotations

import torch
from text import table
from torch import nn

from gan_tasks.networks.sizes import BlockwiseModule
from gan_tasks.pretrained.load import ARCHITECTURES
from gan_tasks.spec import ModelSpec

SIDE = 256
"""Height and width, in pixels, of an image that the small networks do not see as a whole unless large ones do not."""


def generators() -> list[str]:
    """Each network that makes an image: its files, its ONNX file, what trains it here, and how it runs in tiles."""
    rows = []
    torch.manual_seed(0)
    for architecture in ARCHITECTURES:
        if architecture.usage is not None:
            network = architecture.build(architecture.example()).eval().requires_grad_(False)
            spec = architecture.usage(network).spec
            training = f"`train {architecture.training}`" if architecture.training else ""
            rows.append((architecture.title, architecture.files, exported(spec), training, tiles(spec, network)))
    return table(("Network", "Files", "ONNX file", "Trained here", "Tiles"), rows)


def others() -> list[str]:
    """The networks that make no image by themselves."""
    return [f"- {each.title}" for each in ARCHITECTURES if each.usage is None]


def exported(spec: ModelSpec) -> str:
    """The sizes of images that the ONNX file takes, or its inputs if it takes no image."""
    if spec.use == "generate":
        return ", ".join(given.name for given in spec.inputs)
    if spec.fixed_size:
        return "one size"
    return "any size" if spec.size_multiple == 1 else f"multiples of {spec.size_multiple} px"


def tiles(spec: ModelSpec, network: nn.Module) -> str:
    """How an image that is too large for the memory is processed."""
    if spec.use == "generate":
        return "—"
    if spec.use == "inpaint":
        return "masked regions"
    if not spec.runs_in_tiles:
        return "whole image"
    if isinstance(network, BlockwiseModule):
        return "blocks"
    if any(isinstance(layer, nn.GroupNorm | nn.InstanceNorm2d) for layer in network.modules()):
        return "different"
    return "slightly different" if spec.global_statistics or sees_whole_image(network, spec) else "equal"


def sees_whole_image(network: nn.Module, spec: ModelSpec) -> bool:
    """Whether the top left corner of an image influences the bottom right corner of the output."""
    image = torch.rand(1, spec.in_channels, SIDE, SIDE, requires_grad=True)
    network(image)[..., -1, -1].sum().backward()
    assert image.grad is not None
    return bool(image.grad[..., :16, :16].any())
