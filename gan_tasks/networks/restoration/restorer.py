"""Generators of restoration: one corrects the whole image, the other finds damage and mends it there alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.restoration.unet import residual_unet

FOUND, SURE = 0.5, 0.7
"""Probabilities of damage up to which a pixel stays as it is, and from which on it is replaced."""


class Mended(NamedTuple):
    """What a `Mender` makes of an image."""

    image: Tensor
    """The image with its damage replaced, N×C×H×W."""
    fill: Tensor
    """What replaces the image where it is damaged, N×C×H×W."""
    logits: Tensor
    """Of the probability that a pixel is damaged, N×1×H×W."""


def corrector(channels: int, *, width: int, blocks: tuple[int, int, int]) -> Generator:
    """Return a generator N×C×H×W → N×C×H×W that adds a residual to the image. It starts as the identity."""
    generator = residual_unet(channels, channels, width=width, blocks=blocks)
    generator.shortcut = nn.Identity()
    return generator


class Mender(nn.Module):
    """A generator that finds damage and mends it, N×C×H×W in [-1, 1] → N×C×H×W.

    output = image + share · (fill − image). The share is 0 up to a probability of FOUND, so that the pixel is exactly
    that of the image, and increases linearly to 1 at SURE: a jump would make rounding visible.
    """

    def __init__(self, channels: int, *, width: int, blocks: tuple[int, int, int]) -> None:
        super().__init__()
        self.frame = residual_unet(channels, channels + 1, width=width, blocks=blocks)
        self.channels = channels

    def mend(self, image: Tensor) -> Mended:
        """Return the image mended by the probability as it is, and what it is made of. Training needs this."""
        correction, logits = self._heads(image)
        return Mended(image + torch.sigmoid(logits) * correction, image + correction, logits)

    def forward(self, image: Tensor) -> Tensor:
        correction, logits = self._heads(image)
        share = ((torch.sigmoid(logits) - FOUND) / (SURE - FOUND)).clamp(0, 1)
        return image + share * correction

    def _heads(self, image: Tensor) -> tuple[Tensor, Tensor]:
        y: Tensor = self.frame(image)
        return y[:, : self.channels], y[:, self.channels :]
