"""Checkpoints of vintagify (PyPI `vintagify`), a CycleGAN with its own code.

Its generator is the ResNet of pytorch-CycleGAN-and-pix2pix, but its instance norms have weights, and the names within
the blocks differ.
"""

import re
from functools import partial

from gan_tasks.networks.translation import resnet
from gan_tasks.pretrained.conversion import Architecture, State, rename_modules
from gan_tasks.pretrained.translation.jy import build_resnet, find_resnet_downs, resnet_names, translator_usage

BLOCK_KEY = re.compile(r"model\.\d+\.block\.\d+\.\w+")


def is_resnet(state: State) -> bool:
    return find_resnet_downs(state) is not None and any(BLOCK_KEY.fullmatch(key) for key in state)


def resnet_example() -> State:
    network = resnet(3, 3, width=4, blocks=1, norm="affine-instance")
    return rename_modules(network.state_dict(), resnet_names(2, 1, dropout=False, block="block"))


RESNET_GENERATOR = Architecture(
    "vintagify",
    "ResnetGenerator",
    is_resnet,
    partial(build_resnet, norm="affine-instance", block="block"),
    resnet_example,
    translator_usage,
    files="any width and number of blocks",
    training="cyclegan --generator resnet-9 --norm affine-instance",
)
