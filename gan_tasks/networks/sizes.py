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


def sizes_of(network: nn.Module) -> Sizes:
    """What all sized parts of a network take together."""
    parts = [part for part in network.modules() if isinstance(part, SizedModule)]
    if not parts:
        return Sizes()
    return Sizes(
        math.lcm(*(part.size_multiple for part in parts)),
        max(part.minimum_size for part in parts),
        max(part.receptive_field for part in parts),
    )
