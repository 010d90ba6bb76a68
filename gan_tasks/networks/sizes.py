"""Which image sizes a network takes, asked of the network itself."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import nn


class SizedModule(nn.Module):
    """A network that says which image sizes it takes without padding, and how far it sees. All in pixels."""

    size_multiple: int
    """Height and width divide by this."""
    minimum_size: int
    """The smallest height and width."""
    receptive_field: int
    """Radius of the input that decides an output pixel."""
    tile_multiple: int = 1
    """Tiles of an image start at multiples of this, so that attention windows are at the same places in each."""


class BlockwiseModule(SizedModule):
    """A sized module that uses means over the whole image, so that tiles would differ from it.

    It can compute an image block by block, in more time and less memory, with the result of the whole image.
    """

    max_block_pixels: int | None = None
    """The most pixels of the image that it computes at once; None: all. Leave it None for export."""


class Sizes(NamedTuple):
    """See `ModelSpec`, whose fields these are."""

    size_multiple: int = 1
    minimum_size: int = 1
    receptive_field: int = 24
    global_statistics: bool = False
    tile_multiple: int = 1


def sizes_of(network: nn.Module) -> Sizes:
    """What all sized parts of a network take together."""
    parts = [part for part in network.modules() if isinstance(part, SizedModule)]
    global_statistics = any(has_global_statistics(part) for part in network.modules())
    if not parts:
        return Sizes(global_statistics=global_statistics)
    return Sizes(
        math.lcm(*(part.size_multiple for part in parts)),
        max(part.minimum_size for part in parts),
        max(part.receptive_field for part in parts),
        global_statistics,
        math.lcm(*(part.tile_multiple for part in parts)),
    )


def has_global_statistics(module: nn.Module) -> bool:
    """Whether a layer normalises its features with their mean and variance over the image."""
    if isinstance(module, nn.InstanceNorm2d):
        return not module.track_running_stats
    return isinstance(module, nn.GroupNorm)
