"""Trainings of every task that take a moment, for the trials of this folder."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from gan_tasks.losses.perceptual import CONVS_PER_BLOCK
from gan_tasks.networks.stylization import VGG_WIDTHS

ENCODER = "vgg16.safetensors"
TINY = {
    "pix2pix": "--generator resnet-6 --width 4 --d-width 4 --load-size 0 --crop-size 32 32",
    "cyclegan": "--generator resnet-6 --width 4 --d-width 4 --load-size 0 --crop-size 32 32",
    "cut": "--generator resnet-6 --width 4 --d-width 4 --load-size 0 --crop-size 32 32",
    "super-resolution": "--blocks 1 --width 4 --d-width 4 --scale 2 --crop-size 32 --batch-size 1 --perceptual 0",
    "inpainting": "--width 4 --d-width 4 --batch-size 1 --load-size 0 --crop-size 64 64",
    "stylization": (
        f"--encoder vgg16 --encoder-weights {{folder}}/{ENCODER} --width 4 --batch-size 1 --load-size 0 "
        "--crop-size 32 32"
    ),
}
"""Options that make the training of each task small. {folder} is the place of the file of `write_encoder`."""
TWO_SIDED = ("pix2pix", "cyclegan", "cut", "stylization")
"""The tasks that learn from two folders, A and B."""


def tiny_options(task: str, folder: Path) -> str:
    """Return the options of a task, and write the files that they name into the folder."""
    if ENCODER in TINY[task] and not (folder / ENCODER).exists():
        write_encoder(folder / ENCODER)
    return TINY[task].format(folder=folder)


def write_encoder(path: Path) -> None:
    """Write a VGG16 of random weights, up to the layer that stylization uses, so that nothing is downloaded."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, torch.Tensor] = {}
    inputs, place = 3, 0
    for outputs, convs in zip(VGG_WIDTHS, CONVS_PER_BLOCK["vgg16"], strict=False):
        for _ in range(convs):
            weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
            weights |= {f"features.{place}.weight": weight, f"features.{place}.bias": torch.zeros(outputs)}
            inputs, place = outputs, place + 2  # a ReLU follows each convolution
        place += 1  # and a pooling each block
    save_file(weights, path)
