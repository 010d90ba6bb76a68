"""A VGG16 with random weights, for what needs its shapes and not its sight."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24,))
"""The convolutions' numbers in torchvision's `features`, up to the fifth block's first."""
CHANNELS = (64, 128, 256, 512, 512)


def write_vgg16(path: Path) -> Path:
    """A file of weights that keep a signal's size from layer to layer."""
    generator = torch.Generator().manual_seed(0)
    weights, inputs = {}, 3
    for block, outputs in zip(BLOCKS, CHANNELS, strict=True):
        for number in block:
            weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
            weights |= {f"features.{number}.weight": weight, f"features.{number}.bias": torch.zeros(outputs)}
            inputs = outputs
    save_file(weights, path)
    return path
