"""Checkpoints of pix2pix and CycleGAN. JY is https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix.

The files are state dicts without a wrapper (`latest_net_G.pth`). Dropout has no tensors. In a ResNet the numbers in
the keys show whether there is dropout; in a U-Net nothing shows it. `export/formats/jy.py` writes such files.
"""

import re

from torch import nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Norm
from gan_tasks.networks.discriminators import PatchDiscriminator
from gan_tasks.networks.sizes import sizes_of
from gan_tasks.networks.translation import resnet, unet
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    Usage,
    assemble,
    checked_count,
    conv_channels,
    find_norm,
    rename_modules,
)
from gan_tasks.pretrained.patch_logits import PatchLogits
from gan_tasks.spec import InputSpec, ModelSpec

RESNET_KEY = re.compile(r"model\.(\d+)\.((?:conv_)?block\.\d+\.)?\w+")
MAX_RESNET_DOWNS = 8
"""Upper limit of the number of downs, more than any real network has; each down doubles the width."""
MAX_UNET_DOWNS = 16
"""Upper limit of the number of downs, more than any real network has; the names of each contain those around it."""
MAX_PATCH_LAYERS = 16
"""Upper limit of the number of layers, more than any real discriminator has."""


def unet_names(downs: int) -> dict[str, str]:
    """Return our names → those of JY's `UnetGenerator`.

    Its levels are nested. Each level is module 3 of the level around it, or module 1 of the outermost one.
    """
    levels = ["model.model.1" + ".model.3" * i for i in range(downs - 1)]
    names = {"stem": "model.model.0"}
    for i, level in enumerate(levels):
        names |= {f"downs.{i}.1": f"{level}.model.1", f"downs.{i}.2": f"{level}.model.2"}
    for i, level in enumerate(reversed(levels)):
        conv = 3 if i == 0 else 5  # The innermost level has no norm on the way down, and contains no further level.
        names |= {f"ups.{i}.1": f"{level}.model.{conv}", f"ups.{i}.2": f"{level}.model.{conv + 1}"}
    return {**names, "head.1": "model.model.3"}


def resnet_names(
    downs: int,
    blocks: int,
    *,
    dropout: bool,
    block: str = "conv_block",
    anti_alias: bool = False,
    bilinear: bool = False,
) -> dict[str, str]:
    """Return our names → those of JY's `ResnetGenerator` (2 downs) and of pix2pixHD's `GlobalGenerator`.

    Both are a flat list of layers. `block` is the name of the list of layers in a residual block. In CUT's form of it
    the blurs are layers too: with `anti_alias` each down ends with one, with `bilinear` each up begins with one.
    """
    down_layers, up_layers = 4 if anti_alias else 3, 4 if bilinear else 3
    first_block = 4 + down_layers * downs
    first_up = first_block + blocks
    second_conv = 6 if dropout else 5
    names = {"stem.1": "model.1", "stem.2": "model.2"}
    for i in range(downs):
        names |= {f"downs.{i}.{part}": f"model.{4 + down_layers * i + part}" for part in (0, 1)}
    for i in range(blocks):
        ours, published = f"body.{i}.layers", f"model.{first_block + i}.{block}"
        names |= {f"{ours}.{part}": f"{published}.{part}" for part in (1, 2)}
        names |= {f"{ours}.{6 + part}": f"{published}.{second_conv + part}" for part in (0, 1)}
    for i in range(downs):
        conv = first_up + up_layers * i + (1 if bilinear else 0)
        names |= {f"ups.{i}.0.1" if bilinear else f"ups.{i}.0": f"model.{conv}", f"ups.{i}.1": f"model.{conv + 1}"}
    return {**names, "head.1": f"model.{first_up + up_layers * downs + 1}"}


def patch_names(layers: int, *, ours: str, published: str) -> dict[str, str]:
    """Return our names → those of JY's `NLayerDiscriminator` and `PixelDiscriminator`, with the two prefixes."""
    names = {f"{ours}stages.0.0": f"{published}0"}
    for i in range(1, layers + 1):
        names |= {f"{ours}stages.{i}.{part}": f"{published}{3 * i - 1 + part}" for part in (0, 1)}
    return {**names, f"{ours}stages.{layers + 1}.0": f"{published}{3 * layers + 2}"}


def is_unet(state: State) -> bool:
    return all(f"model.model.{end}.weight" in state for end in (0, 3)) and count_unet_downs(state) >= 5


def build_unet(state: State) -> Generator:
    """Build a U-Net. Its dropout is the default of the published code; it makes no difference in eval mode."""
    downs, norm = count_unet_downs(state), find_norm(state)
    names = unet_names(checked_count(downs, "downs", MAX_UNET_DOWNS))
    width, in_channels = conv_channels(state, names["stem"])
    _, out_channels = conv_channels(state, names["head.1"])
    return assemble(lambda: unet(in_channels, out_channels, width=width, downs=downs, norm=norm), names, state)


def count_unet_downs(state: State) -> int:
    """Return the number of halvings of a U-Net."""
    return 1 + sum(key.endswith(".model.1.weight") for key in state)


def is_jy_resnet(state: State) -> bool:
    return find_resnet_downs(state) == 2


def build_resnet(state: State, *, norm: Norm | None = None, block: str = "conv_block") -> Generator:
    """Build a ResNet with any number of downs; pix2pixHD's generator is the same network with more downs.

    norm: None finds the norm from the state.
    block: see `resnet_names`.
    """
    blocks = find_resnet_blocks(state)
    checked_count(len(blocks), "blocks")
    downs, norm = (blocks[0] - 4) // 3, norm or find_norm(state)
    dropout = f"model.{blocks[0]}.{block}.5.weight" not in state
    names = resnet_names(downs, len(blocks), dropout=dropout, block=block)
    width, in_channels = conv_channels(state, names["stem.1"])
    out_channels, _ = conv_channels(state, names["head.1"])
    return assemble(
        lambda: resnet(
            in_channels, out_channels, width=width, downs=downs, blocks=len(blocks), norm=norm, dropout=dropout
        ),
        names,
        state,
    )


def find_resnet_downs(state: State) -> int | None:
    """Return the number of downs of a ResNet; None if it is not a ResNet."""
    blocks = find_resnet_blocks(state)
    if not blocks or not all(RESNET_KEY.fullmatch(key) for key in state):
        return None
    downs, rest = divmod(blocks[0] - 4, 3)
    return downs if rest == 0 and 1 <= downs <= MAX_RESNET_DOWNS else None


def find_resnet_blocks(state: State) -> list[int]:
    """Return the numbers of the residual blocks in the list of layers."""
    matches = (RESNET_KEY.fullmatch(key) for key in state)
    return sorted({int(match[1]) for match in matches if match and match[2]})


def is_nlayer_discriminator(state: State) -> bool:
    return "model.0.weight" in state and all(re.fullmatch(r"model\.\d+\.\w+", key) for key in state)


def build_nlayer_discriminator(state: State) -> PatchLogits:
    layers, norm = checked_count(count_convs(state) - 2, "layers", MAX_PATCH_LAYERS), find_norm(state)
    names = patch_names(layers, ours="", published="model.")
    width, in_channels = conv_channels(state, names["stages.0.0"])
    return PatchLogits(
        assemble(lambda: PatchDiscriminator(in_channels, width=width, layers=layers, norm=norm), names, state)
    )


def is_pixel_discriminator(state: State) -> bool:
    return "net.0.weight" in state and all(re.fullmatch(r"net\.\d+\.\w+", key) for key in state)


def build_pixel_discriminator(state: State) -> PatchLogits:
    norm = find_norm(state)
    names = patch_names(1, ours="", published="net.")
    width, in_channels = conv_channels(state, names["stages.0.0"])
    return PatchLogits(
        assemble(
            lambda: PatchDiscriminator(
                in_channels, width=width, layers=1, norm=norm, padding=0, kernel=1, head_bias=norm == "instance"
            ),
            names,
            state,
        )
    )


def count_convs(state: State) -> int:
    """Return the number of convolutions."""
    return sum(tensor.ndim == 4 for tensor in state.values())


def translator_usage(generator: Generator, *, task: str = "pix2pix") -> Usage:
    """Return the usage of a translation generator, which maps an image in [-1, 1] to another in [-1, 1].

    task: see `Usage.spec`.
    """
    convs = [module for module in generator.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    first, last = convs[0], convs[-1]
    spec = ModelSpec(
        task,
        "translate",
        (InputSpec("image", "image", first.in_channels, "any"),),
        last.out_channels,
        **sizes_of(generator)._asdict(),
    )
    return Usage(spec, first.out_channels)


def unet_example() -> State:
    return rename_modules(unet(3, 3, width=1).state_dict(), unet_names(8))


def resnet_example(downs: int = 2) -> State:
    return rename_modules(
        resnet(3, 3, width=4, downs=downs, blocks=1).state_dict(), resnet_names(downs, 1, dropout=False)
    )


def nlayer_example() -> State:
    network = PatchDiscriminator(3, width=4, layers=2)
    return rename_modules(network.state_dict(), patch_names(2, ours="", published="model."))


def pixel_example() -> State:
    network = PatchDiscriminator(3, width=4, layers=1, padding=0, kernel=1, head_bias=False)
    return rename_modules(network.state_dict(), patch_names(1, ours="", published="net."))


UNET_GENERATOR = Architecture(
    "pix2pix",
    "UnetGenerator",
    is_unet,
    build_unet,
    unet_example,
    translator_usage,
    files="five or more halvings, batch or instance norm",
    training="pix2pix --generator unet-256",
)
RESNET_GENERATOR = Architecture(
    "CycleGAN/pix2pix",
    "ResnetGenerator",
    is_jy_resnet,
    build_resnet,
    resnet_example,
    translator_usage,
    files="any width and number of blocks, batch or instance norm, with or without dropout",
    training="cyclegan --generator resnet-9",
)
NLAYER_DISCRIMINATOR = Architecture(
    "CycleGAN/pix2pix", "NLayerDiscriminator", is_nlayer_discriminator, build_nlayer_discriminator, nlayer_example
)
PIXEL_DISCRIMINATOR = Architecture(
    "pix2pix", "PixelDiscriminator", is_pixel_discriminator, build_pixel_discriminator, pixel_example
)
