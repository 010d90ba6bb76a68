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
    """Tiles start and end at multiples of this, so that windows of attention are those of the whole image."""


class Sizes(NamedTuple):
    """See `ModelSpec`, whose fields these are."""

    size_multiple: int = 1
    minimum_size: int = 1
    receptive_field: int = 24
    tile_multiple: int = 1


def sizes_of(network: nn.Module) -> Sizes:
    """What all sized parts of a network take together."""
    parts = [part for part in network.modules() if isinstance(part, SizedModule)]
    if not parts:
        return Sizes()
    return Sizes(
        math.lcm(*(part.size_multiple for part in parts)),
        max(part.minimum_size for part in parts),
        max(part.receptive_field for part in parts),
        math.lcm(*(part.tile_multiple for part in parts)),
    )
