"""Checkpoints of vintagify (PyPI `vintagify`), a CycleGAN with its own code.

Its generator is the ResNet of pytorch-CycleGAN-and-pix2pix, but its instance norms have weights, and the names within
the blocks differ.
"""

import re
from functools import partial

from gan_tasks.pretrained.conversion import Architecture, State
from gan_tasks.pretrained.translation.jy import build_resnet, find_resnet_downs, translator_usage

BLOCK_KEY = re.compile(r"model\.\d+\.block\.\d+\.\w+")


def is_resnet(state: State) -> bool:
    return find_resnet_downs(state) is not None and any(BLOCK_KEY.fullmatch(key) for key in state)


RESNET_GENERATOR = Architecture(
    "vintagify",
    "ResnetGenerator",
    is_resnet,
    partial(build_resnet, norm="affine-instance", block="block"),
    translator_usage,
)
