"""Checkpoints of pix2pixHD: https://github.com/NVIDIA/pix2pixHD (Wang et al. 2018).

GlobalGenerator is the ResNet of pytorch-CycleGAN-and-pix2pix with another number of downs and the same names. The
published networks have instance norm. A file with batch norm is refused, because its convolutions have biases, which
ours do not have.
"""

import re
from functools import partial

from torch import Tensor, nn

from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    assemble,
    checked_count,
    conv_channels,
    find_norm,
    rename_modules,
)
from gan_tasks.pretrained.translation.jy import (
    MAX_PATCH_LAYERS,
    build_resnet,
    find_resnet_downs,
    patch_names,
    resnet_example,
    translator_usage,
)

FEATURES_KEY = re.compile(r"scale\d+_layer\d+\.\d+\.\w+")
MAX_SCALES = 16
"""Upper limit of the number of scales, more than any real discriminator has."""
PLAIN_KEY = re.compile(r"layer\d+\.\d+\.\w+")


class NamedOutputs(nn.Module):
    """A multi-scale discriminator with the outputs of the published one.

    It maps N×C×H×W to a dict `scale{s}_layer{l}` of features. Scale 0 has the full resolution, and the last layer of
    each scale holds the logits N×1×h×w. With `features=False` there are only the logits, as layer 0; with a single
    scale they are returned as a tensor instead of a dict.

    features: whether the discriminator was trained with feature matching.
    """

    def __init__(self, discriminator: MultiScaleDiscriminator, *, features: bool) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.features = features

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        scales: list[list[Tensor]] = self.discriminator(x)
        if not self.features:
            scales = [layers[-1:] for layers in scales]
        outputs = {f"scale{s}_layer{i}": output for s, layers in enumerate(scales) for i, output in enumerate(layers)}
        return outputs if len(outputs) > 1 else outputs["scale0_layer0"]


def is_global_generator(state: State) -> bool:
    """Return whether it may be a GlobalGenerator. With 2 downs it is equal to JY's ResNet, which is tried first."""
    return find_resnet_downs(state) is not None


def is_multiscale_discriminator(state: State) -> bool:
    return any(
        first in state and all(pattern.fullmatch(key) for key in state)
        for first, pattern in (("scale0_layer0.0.weight", FEATURES_KEY), ("layer0.0.weight", PLAIN_KEY))
    )


def build_multiscale_discriminator(state: State) -> NamedOutputs:
    features = all(FEATURES_KEY.fullmatch(key) for key in state)
    norm = find_norm(state)
    scales = count(state, r"scale\d+_layer0\.0\.weight" if features else r"layer\d+\.0\.weight")
    checked_count(scales, "scales", MAX_SCALES)
    convs = [key for key in state if key.startswith(("scale0_", "layer0.")) and state[key].ndim == 4]
    layers = checked_count(len(convs) - 2, "layers", MAX_PATCH_LAYERS)
    names = multiscale_names(scales, layers, features=features)
    width, in_channels = conv_channels(state, names["scales.0.stages.0.0"])
    # The published code stops the doubling at 512 channels, whatever the width: read the number from the tensors.
    widest, _ = conv_channels(state, names[f"scales.0.stages.{layers}.0"])

    def make_scale() -> PatchDiscriminator:
        return PatchDiscriminator(in_channels, width=width, widest=widest, layers=layers, norm=norm, padding=2)

    discriminator = assemble(lambda: MultiScaleDiscriminator(make_scale, scales=scales), names, state)
    return NamedOutputs(discriminator, features=features)


def multiscale_names(scales: int, layers: int, *, features: bool) -> dict[str, str]:
    """Return our names → pix2pixHD's names.

    Our scale 0 has the full resolution; in pix2pixHD the scale with the highest number has it.
    """
    names: dict[str, str] = {}
    for scale in range(scales):
        ours, published = f"scales.{scale}.", scales - 1 - scale
        if features:
            names |= {
                f"{ours}stages.{i}.{part}": f"scale{published}_layer{i}.{part}"
                for i in range(layers + 2)
                for part in (0, 1)
            }
        else:
            names |= patch_names(layers, ours=ours, published=f"layer{published}.")
    return names


def count(state: State, pattern: str) -> int:
    """Count the keys that match a pattern."""
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def multiscale_example() -> State:
    discriminator = MultiScaleDiscriminator(
        lambda: PatchDiscriminator(3, width=4, layers=2, norm="instance", padding=2), scales=2
    )
    return rename_modules(discriminator.state_dict(), multiscale_names(2, 2, features=True))


GLOBAL_GENERATOR = Architecture(
    "pix2pixHD",
    "GlobalGenerator",
    is_global_generator,
    build_resnet,
    partial(resnet_example, downs=4),
    translator_usage,
    files="any width and number of halvings and blocks, instance norm",
    training="pix2pix --generator global --norm instance",
)
MULTISCALE_DISCRIMINATOR = Architecture(
    "pix2pixHD",
    "MultiscaleDiscriminator",
    is_multiscale_discriminator,
    build_multiscale_discriminator,
    multiscale_example,
)
