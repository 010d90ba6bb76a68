"""Which image sizes a network takes, asked of the network itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from torch import Tensor, nn


class SizedModule(nn.Module):
    """A network that says which image sizes it takes without padding, and how far it sees. All in pixels."""

    size_multiple: int
    """Height and width divide by this."""
    minimum_size: int
    """The smallest height and width."""
    receptive_field: int
    """Radius of the input that decides an output pixel."""
    tile_multiple: int = 1
    """Tiles of an image start at multiples of this, so that attention windows and downsampling grids are at the same
    places in each."""


class WholeImageLayer(nn.Module):
    """A layer that uses means over the whole image, as squeeze-and-excitation does."""


class OwnSizeLayer(WholeImageLayer):
    """A layer that sees the whole image at a size of its own, whatever the size of the image."""


def least_measured_side(network: nn.Module) -> int:
    """Return the smallest side, in pixels, of an image whose memory is proportional to that of larger images.

    At a small size, most of the memory of a network with an `OwnSizeLayer` belongs to that layer.
    """
    return 2048 if any(isinstance(part, OwnSizeLayer) for part in network.modules()) else 1


RunPart = Callable[[Tensor, Tensor], None]
"""Runs the network on these rows and columns of the image, which may repeat; the indices are on the CPU."""


class BlockwiseModule(SizedModule):
    """A sized module that can compute its means over the image in blocks, so that tiles equal the whole image."""

    def means_of(self, height: int, width: int, *, max_pixels: int, run: RunPart) -> AbstractContextManager[None]:
        """Compute the means over an image of height × width pixels, and use them inside the context.

        Height and width are at least `minimum_size`.

        max_pixels: the most pixels that `run` gets at once, unless the smallest block has more.
        run: runs the network that contains this module.
        """
        raise NotImplementedError


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
    is_blockwise = any(isinstance(part, BlockwiseModule) for part in parts)
    global_statistics = uses_whole_image(network) and not is_blockwise
    if not parts:
        return Sizes(global_statistics=global_statistics)
    return Sizes(
        math.lcm(*(part.size_multiple for part in parts)),
        max(part.minimum_size for part in parts),
        max(part.receptive_field for part in parts),
        global_statistics,
        math.lcm(*(part.tile_multiple for part in parts)),
    )


def uses_whole_image(network: nn.Module) -> bool:
    """Whether a layer uses means over the whole image: instance and group norm, and each `WholeImageLayer`."""
    return any(
        isinstance(layer, nn.GroupNorm | WholeImageLayer)
        or (isinstance(layer, nn.InstanceNorm2d) and not layer.track_running_stats)
        for layer in network.modules()
    )
