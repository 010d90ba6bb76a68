"""A VGG16 with random weights, for tests that need only the shapes of its features."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file

BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24,))
"""Indices of the convolutions in torchvision's `features`, up to the first one of the fifth block."""
CHANNELS = (64, 128, 256, 512, 512)


@cache
def shared_vgg16() -> Path:
    """Return a file of weights that all tests of this process share."""
    folder = tempfile.mkdtemp(prefix="gan-tasks-vgg-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return write_vgg16(Path(folder) / "vgg16.safetensors")


def write_vgg16(path: Path) -> Path:
    """Write a file of weights with He initialisation, which keeps the scale of the signal."""
    generator = torch.Generator().manual_seed(0)
    weights, inputs = {}, 3
    for block, outputs in zip(BLOCKS, CHANNELS, strict=True):
        for number in block:
            weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
            weights |= {f"features.{number}.weight": weight, f"features.{number}.bias": torch.zeros(outputs)}
            inputs = outputs
    save_file(weights, path)
    return path
