"""The layers of the known networks in the form of ncnn, https://github.com/Tencent/ncnn.

A `.param` contains neither the network's name nor those of its weights. Its layers and their inputs are therefore
compared with those of each known network. If they are equal, the weights get the published names of that network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.super_resolution.real_cugan import CORRECTION_MARGIN, ENLARGEMENTS

MAX_SIZE = 1 << 31
"""Upper limit of the counts in a layer's parameters; larger numbers are refused."""

Params = Mapping[int, tuple[float, ...]]

CONV: Params = {1: (3,), 4: (1,), 5: (1,)}  # 3×3, padded by 1, with bias
LEAKY_CONV: Params = {**CONV, 9: (2,), -23310: (1, 0.2)}
LESS_LEAKY_CONV: Params = {**CONV, 9: (2,), -23310: (1, 0.1)}
RELU_CONV: Params = {**CONV, 9: (1,)}
RESIDUAL: Params = {0: (1,), -23301: (2, 0.2, 1.0)}  # 0.2 · first + second
VALID_CONV: Params = {1: (3,), 5: (1,)}  # 3×3, not padded, with bias
LESS_LEAKY: Params = {9: (2,), -23310: (1, 0.1)}
HALVING: Params = {1: (2,), 3: (2,), 5: (1,), **LESS_LEAKY}  # 2×2, stride 2
GLOBAL_MEAN: Params = {0: (1,), 4: (1,)}
RELU_PRODUCT: Params = {1: (1,), 9: (1,)}
SIGMOID_PRODUCT: Params = {1: (1,), 9: (4,)}
MULTIPLY: Params = {0: (2,)}


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    params: the parameters without the default ones and without `sizes`.
    inputs: the numbers of the layers that it takes its inputs from. Split layers only copy, and have no number.
    sizes: the parameters of SIZES. They are ignored in comparisons.
    """

    kind: str
    params: Params
    inputs: tuple[int, ...]
    sizes: Params = field(default_factory=dict, compare=False)

    def size(self, key: int) -> int:
        """Return a parameter that is a count. Raises UserError if its value is no valid count."""
        return self._count(key, self.sizes.get(key, (0,)))

    def weight_count(self) -> int:
        """Return the number of weights. Raises UserError if it is no valid count."""
        return self.size(2 if self.kind == "InnerProduct" else 6)

    def kernel(self) -> int:
        """Return the kernel size of a convolution; 1 for an inner product, which is one of a single pixel."""
        return 1 if self.kind == "InnerProduct" else int(self.params[1][0])

    def factor(self) -> int:
        """Return the factor of a pixel shuffle or unshuffle. Raises UserError if its value is no valid count."""
        return self._count(0, self.params.get(0, (1,)))

    def _count(self, key: int, values: tuple[float, ...]) -> int:
        value = values[0] if len(values) == 1 else math.nan
        if not 1 <= value < MAX_SIZE or value != int(value):
            raise UserError(
                f"a {self.kind} has {value:g} for its parameter {key}, expected a whole number from 1 to 2**31 - 1"
            )
        return int(value)

    def __str__(self) -> str:
        params = " ".join(f"{key}={','.join(f'{v:g}' for v in values)}" for key, values in self.params.items())
        return f"{self.kind} {params} of {', '.join(f'layer {number}' for number in self.inputs)}"


class Chain:
    """The layers that a known network has, and the published names of those with weights."""

    def __init__(self) -> None:
        self.layers = [Layer("Input", {}, ())]
        self.names: list[str] = []

    def add(self, kind: str, params: Params, *inputs: int, name: str = "") -> int:
        """Append a layer and return its number. `name` is the published name of a layer with weights."""
        self.layers.append(Layer(kind, params, tuple(inputs)))
        if name:
            self.names.append(name)
        return len(self.layers) - 1


def rrdb_chain(blocks: int, ups: int, unshuffle: int = 1) -> Chain:
    """Return the layers of RRDBNet."""
    chain, image = Chain(), 0
    if unshuffle > 1:
        image = chain.add("Reorg", {0: (unshuffle,)}, 0)
    x = first = chain.add("Convolution", CONV, image, name="conv_first")
    for block in range(blocks):
        block_input = x
        for dense in range(1, 4):
            name = f"body.{block}.rdb{dense}.conv"
            features = [x]
            for conv in range(1, 5):
                joined = chain.add("Concat", {}, *features) if len(features) > 1 else x
                features.append(chain.add("Convolution", LEAKY_CONV, joined, name=f"{name}{conv}"))
            joined = chain.add("Concat", {}, *features)
            last = chain.add("Convolution", CONV, joined, name=f"{name}5")
            x = chain.add("Eltwise", RESIDUAL, last, x)
        x = chain.add("Eltwise", RESIDUAL, x, block_input)
    body = chain.add("Convolution", CONV, x, name="conv_body")
    x = chain.add("BinaryOp", {}, first, body)
    for up in range(1, ups + 1):
        x = chain.add("Interp", nearest(2), x)
        x = chain.add("Convolution", LEAKY_CONV, x, name=f"conv_up{up}")
    x = chain.add("Convolution", LEAKY_CONV, x, name="conv_hr")
    chain.add("Convolution", CONV, x, name="conv_last")
    return chain


def srvgg_chain(convs: int, scale: int) -> Chain:
    """Return the layers of SRVGGNetCompact."""
    chain, x = Chain(), 0
    for i in range(convs):
        x = chain.add("Convolution", CONV, x, name=f"body.{2 * i}")
        x = chain.add("PReLU", {}, x, name=f"body.{2 * i + 1}")
    x = chain.add("Convolution", CONV, x, name=f"body.{2 * convs}")
    shuffled = chain.add("PixelShuffle", {0: (scale,)}, x)
    enlarged = chain.add("Interp", nearest(scale), 0)
    chain.add("BinaryOp", {}, shuffled, enlarged)
    return chain


def msr_resnet_chain(blocks: int, steps: Sequence[int]) -> Chain:
    """Return the layers of MSRResNet."""
    chain = Chain()
    x = chain.add("Convolution", LESS_LEAKY_CONV, 0, name="conv_first")
    for block in range(blocks):
        inner = chain.add("Convolution", RELU_CONV, x, name=f"body.{block}.conv1")
        inner = chain.add("Convolution", CONV, inner, name=f"body.{block}.conv2")
        x = chain.add("BinaryOp", {}, x, inner)
    for up, step in enumerate(steps, start=1):
        # Here the activation comes before the pixel shuffle, which gives the same result.
        x = chain.add("Convolution", LESS_LEAKY_CONV, x, name=f"upconv{up}")
        x = chain.add("PixelShuffle", {0: (step,)}, x)
    x = chain.add("Convolution", LESS_LEAKY_CONV, x, name="conv_hr")
    last = chain.add("Convolution", CONV, x, name="conv_last")
    chain.add("BinaryOp", {}, last, chain.add("Interp", bilinear(math.prod(steps)), 0))
    return chain


def real_cugan_chain(scale: int, *, attention: bool) -> Chain:
    """Return the layers of Real-CUGAN's UpCunet. The files contain neither the padding of the image nor, at scale 4,
    the sum with the image. Those of the `pro` networks contain their range of values in the weights.
    """
    chain, enlargement = Chain(), ENLARGEMENTS[scale]

    def crop(x: int, margin: int) -> int:
        axes = (-2, -1) if attention else (1, 2)  # the same axes, written by two converters
        return chain.add("Crop", {-23309: (2, margin, margin), -23310: (2, -margin, -margin), -23311: (2, *axes)}, x)

    def two_convs(x: int, name: str, *, attends: bool) -> int:
        for number in (0, 2):
            x = chain.add("Convolution", {**VALID_CONV, **LESS_LEAKY}, x, name=f"{name}.conv.{number}")
        if not attends:
            return x
        weight = chain.add("Pooling", GLOBAL_MEAN, x)
        weight = chain.add("InnerProduct", RELU_PRODUCT, weight, name=f"{name}.seblock.conv1")
        weight = chain.add("InnerProduct", SIGMOID_PRODUCT, weight, name=f"{name}.seblock.conv2")
        return chain.add("BinaryOp", MULTIPLY, x, weight)

    def down(x: int, name: str) -> int:
        return chain.add("Convolution", HALVING, x, name=name)

    def up(x: int, skipped: int, margin: int, name: str) -> int:
        skipped = crop(skipped, margin)
        return chain.add("BinaryOp", {}, skipped, chain.add("Deconvolution", HALVING, x, name=name))

    first = two_convs(0, "unet1.conv1", attends=False)
    x = two_convs(down(first, "unet1.conv1_down"), "unet1.conv2", attends=attention)
    x = up(x, first, 4, "unet1.conv2_up")
    x = chain.add("Convolution", {**VALID_CONV, **LESS_LEAKY}, x, name="unet1.conv3")
    sizes = {1: (enlargement.kernel,), 3: (enlargement.stride,), 4: (enlargement.crop,), 5: (1,)}
    enlarged = chain.add("Deconvolution", sizes, x, name="unet1.conv_bottom")
    first = two_convs(enlarged, "unet2.conv1", attends=False)
    second = two_convs(down(first, "unet2.conv1_down"), "unet2.conv2", attends=attention)
    x = two_convs(down(second, "unet2.conv2_down"), "unet2.conv3", attends=attention)
    x = two_convs(up(x, second, 4, "unet2.conv3_up"), "unet2.conv4", attends=attention)
    x = up(x, first, 16, "unet2.conv4_up")
    kept = crop(enlarged, CORRECTION_MARGIN) if attention else 0
    x = chain.add("Convolution", {**VALID_CONV, **LESS_LEAKY}, x, name="unet2.conv5")
    x = chain.add("Convolution", VALID_CONV, x, name="unet2.conv_bottom")
    kept = kept or crop(enlarged, CORRECTION_MARGIN)
    x = chain.add("BinaryOp", {}, *sorted((x, kept)))
    if scale == 4:
        x = crop(chain.add("Convolution", VALID_CONV, x, name="conv_final"), 1)
        chain.add("PixelShuffle", {0: (2,)}, x)
    return chain


def nearest(factor: int) -> Params:
    """Return the parameters of nearest-neighbour upsampling."""
    return {0: (1,), 1: (float(factor),), 2: (float(factor),)}


def bilinear(factor: int) -> Params:
    """Return the parameters of bilinear upsampling."""
    return {**nearest(factor), 0: (2,)}


def recognise(layers: list[Layer]) -> list[str]:
    """Return the published names of the layers with weights, in their order.

    Raises UserError with the first layer that differs if the layers are not exactly those of RRDBNet,
    SRVGGNetCompact, MSRResNet or Real-CUGAN.
    """
    kinds = [layer.kind for layer in layers]
    convs = kinds.count("Convolution")
    shuffles, unshuffles = (
        [layer.factor() for layer in layers if layer.kind == kind] for kind in ("PixelShuffle", "Reorg")
    )
    if "Crop" in kinds:
        strides = [layer.params.get(3) for layer in layers if layer.kind == "Deconvolution"]
        scale = 4 if shuffles else 3 if (3,) in strides else 2
        title, chain = "Real-CUGAN", real_cugan_chain(scale, attention="Pooling" in kinds)
    elif "PReLU" in kinds:
        title, chain = "SRVGGNetCompact", srvgg_chain(convs - 1, shuffles[0] if shuffles else 1)
    elif shuffles:
        title, chain = "MSRResNet", msr_resnet_chain((convs - len(shuffles) - 3) // 2, shuffles)
    else:
        title, ups = "RRDBNet", kinds.count("Interp")
        chain = rrdb_chain((convs - ups - 4) // 15, ups, unshuffles[0] if unshuffles else 1)
    for number, (found, expected) in enumerate(zip_longest(layers, chain.layers)):
        if found != expected:
            raise UserError(
                f"it looks like a {title}, but its layer {number} is {found or 'absent'} where {expected or 'none'} "
                "was expected"
            )
    return chain.names
