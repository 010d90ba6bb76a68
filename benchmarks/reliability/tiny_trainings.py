"""Trainings of every task that take a moment, for the trials of this folder.

It imports no torch, whose threads would be missing in the processes that the trials fork.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

ENCODER = "vgg16.safetensors"
TINY = {
    "pix2pix": "--generator resnet-6 --width 4 --d-width 4 --load-size 0 --crop-size 32 32",
    "cyclegan": "--generator resnet-6 --width 4 --d-width 4 --load-size 0 --crop-size 32 32",
    "cut": "--generator resnet-6 --width 4 --d-width 4 --load-size 0 --crop-size 32 32",
    "super-resolution": "--blocks 1 --width 4 --d-width 4 --scale 2 --crop-size 32 --batch-size 1 --perceptual 0",
    "restoration": "--width 4 --blocks 1 1 1 --crop-size 32 --batch-size 1",
    "inpainting": "--width 4 --d-width 4 --batch-size 1 --load-size 0 --crop-size 64 64",
    "colourisation": (
        "--no-pretrained --width 4 --discriminator patch --d-width 4 --batch-size 2 --load-size 0 --crop-size 32 32"
    ),
    "stylization": (
        f"--encoder vgg16 --encoder-weights {{folder}}/{ENCODER} --width 4 --batch-size 1 --load-size 0 "
        "--crop-size 32 32"
    ),
    "synthesis": "--width 8 --latent 4 --batch-size 2 --load-size 0 --crop-size 32 32",
}
"""Options that make the training of each task small. {folder} is the place of the file of `write_encoder`."""
TWO_SIDED = ("pix2pix", "cyclegan", "cut", "stylization")
"""The tasks that learn from two folders, A and B."""
VGG16 = ((64, 2), (128, 2), (256, 3), (512, 1))
"""Channels and convolutions of each block, of the last one only the first."""


def tiny_options(task: str, folder: Path) -> str:
    """Return the options of a task, and write the files that they name into the folder."""
    if ENCODER in TINY[task] and not (folder / ENCODER).exists():
        write_encoder(folder / ENCODER)
    return TINY[task].format(folder=folder)


def write_encoder(path: Path) -> None:
    """Write a VGG16 of random weights, up to the layer that stylization uses, so that nothing is downloaded."""
    rng = np.random.default_rng(0)
    weights: dict[str, NDArray[np.float32]] = {}
    inputs, place = 3, 0
    for outputs, convs in VGG16:
        for _ in range(convs):
            weight = rng.standard_normal((outputs, inputs, 3, 3), np.float32) * np.float32((2 / (9 * inputs)) ** 0.5)
            weights |= {f"features.{place}.weight": weight, f"features.{place}.bias": np.zeros(outputs, np.float32)}
            inputs, place = outputs, place + 2  # a ReLU follows each convolution
        place += 1  # and a pooling each block
    save_file(weights, path)
