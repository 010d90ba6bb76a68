"""The network of AdaIN: the statistics of a style image's features are given to the features of a photograph.

Huang and Belongie 2017, https://arxiv.org/abs/1703.06868. On the frame of all generators, stem and downs are the
first layers of a VGG, which encode both images and are not trained; body, ups and head decode.

    image → encoder → statistics of the style image's features → decoder → image

Padding reflects, and a pooling of an odd size rounds up, so that images of any size are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import init_convs, pad_to_multiple
from gan_tasks.networks.layers import Conv2d, ReflectionPad2d, at_least_float32
from gan_tasks.networks.sizes import sizes_of
from gan_tasks.spec import InputSpec, ModelSpec

VGG = Literal["vgg19", "vgg16"]
ENCODER_CONVS: Mapping[VGG, tuple[int, int, int]] = {"vgg19": (2, 2, 4), "vgg16": (2, 2, 3)}
"""Convolutions of the first three blocks. Of the fourth block only the first convolution is used."""
VGG_WIDTHS = (64, 128, 256, 512)
"""Channels of the four blocks of a published VGG."""
LEVELS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
"""The encoder's outputs, each at half the size of the one before. The last one is decoded."""
EPSILON = 1e-5
"""Added to the variance of features, as in the published code."""
MINIMUM_SIZE = 16
"""Height and width at which the smallest features have two rows and columns, so that they can be reflected."""
RGB = 3


def decoder_widths(width: int) -> tuple[int, int, int]:
    """Return the channels of a decoder's layers of each size, from the finest to the coarsest one."""
    return width, 2 * width, 4 * width


class Statistics(NamedTuple):
    """Mean and standard deviation of features over H and W, each N×C×1×1, float32 or float64."""

    mean: Tensor
    deviation: Tensor


class CeilMaxPool2d(nn.MaxPool2d):
    """Max pooling of 2×2 that rounds an odd size up: N×C×H×W → N×C×⌈H/2⌉×⌈W/2⌉.

    The last row and column are repeated, which an even size ignores. PyTorch's `ceil_mode` cannot be exported with a
    free size.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(functional.pad(x, (0, 1, 0, 1), mode="replicate"))
        return y


class Encoder(nn.Module):
    """The first layers of a VGG: N×3×H×W → the features of LEVELS by name.

    Its first convolution, of 1×1 pixels, turns colours into those that the VGG was trained with.

    widths: channels of the four blocks. convs: see ENCODER_CONVS.
    """

    def __init__(self, widths: Sequence[int] = VGG_WIDTHS, convs: Sequence[int] = ENCODER_CONVS["vgg19"]) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv2d(RGB, RGB, 1), *conv_relu(RGB, widths[0]))
        self.downs = nn.ModuleList(
            nn.Sequential(
                *(layer for _ in range(count - 1) for layer in conv_relu(width, width)),
                CeilMaxPool2d(),
                *conv_relu(width, wider),
            )
            for width, wider, count in zip(widths[:-1], widths[1:], convs, strict=True)
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = [self.stem(image)]
        for down in self.downs:
            features.append(down(features[-1]))
        return dict(zip(LEVELS, features, strict=True))


class Decoder(nn.Module):
    """The mirrored encoder: features of a photograph and of a style image → {"adain": features, "output": image}.

    The two inputs are N×C×h×w and N×C×h'×w'; the image is N×3×8h×8w.

    widths: channels of the features that it takes, and of its layers of each size, from the finest to the coarsest
        one. convs: see ENCODER_CONVS.
    """

    def __init__(
        self,
        channels: int = VGG_WIDTHS[-1],
        widths: Sequence[int] = VGG_WIDTHS[:-1],
        convs: Sequence[int] = ENCODER_CONVS["vgg19"],
    ) -> None:
        super().__init__()
        finest, *coarser = widths
        self.body = nn.Sequential(*conv_relu(channels, widths[-1]))
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2),
                *(layer for _ in range(count - 1) for layer in conv_relu(width, width)),
                *conv_relu(width, finer),
            )
            for width, finer, count in zip(
                reversed(coarser), reversed(widths[:-1]), reversed(list(convs)[1:]), strict=True
            )
        )
        self.ups.append(
            nn.Sequential(
                nn.Upsample(scale_factor=2),
                *(layer for _ in range(convs[0] - 1) for layer in conv_relu(finest, finest)),
            )
        )
        self.head = nn.Sequential(ReflectionPad2d(1), Conv2d(finest, RGB, 3))
        for part in (self.body, self.ups):
            init_convs(part, 1.0)  # PyTorch's own initial weights are so small that the first images are gray

    def forward(self, content: Tensor, style: Tensor) -> dict[str, Tensor]:
        x = features = with_statistics(content, statistics(style))
        for part in (self.body, *self.ups, self.head):
            x = part(x)
        return {"adain": features, "output": x}


class Stylizer(nn.Module):
    """Image and style image → image, N×3×H×W and N×3×h×w → N×3×H×W, with a style strength N×1 from 0 to 1.

    H, W, h and w are MINIMUM_SIZE or more; smaller images are padded by reflection. At the style strength 0 the
    decoder gets the photograph's own features.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        weights = {name: tensor.clone() for part in (encoder, decoder) for name, tensor in part.state_dict().items()}
        self.frame = Generator(
            stem=encoder.stem,
            downs=list(encoder.downs),
            body=decoder.body,
            ups=list(decoder.ups),
            head=decoder.head,
            minimum_size=MINIMUM_SIZE,
            receptive_field=0,  # the statistics are those of whole images, which are never cut into tiles
        )
        self.frame.load_state_dict(weights)  # the frame has initialised them
        for part in (self.frame.stem, self.frame.downs):
            part.requires_grad_(False)

    def forward(self, image: Tensor, style: Tensor, style_strength: Tensor) -> Tensor:
        features, of_style = (self.encode(each)[LEVELS[-1]] for each in (image, style))
        mixed = with_statistics(features, statistics(of_style), style_strength)
        return self.decode(mixed, (image.shape[-2], image.shape[-1]))

    def encode(self, image: Tensor) -> dict[str, Tensor]:
        """Return the features of LEVELS by name."""
        if not torch.compiler.is_exporting():  # there, the smallest size is part of the contract
            image = pad_to_multiple(image, 1, MINIMUM_SIZE)
        x = self.frame.run_part(self.frame.stem, image)
        features = [x]
        for down in self.frame.downs:
            x = self.frame.run_part(down, x)
            features.append(x)
        return dict(zip(LEVELS, features, strict=True))

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile `encode` and `decode` in place, which a training runs, and not `forward`. See `torch.compile`."""
        for name in ("encode", "decode"):
            setattr(self, name, torch.compile(getattr(self, name), *args, **options))

    def decode(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the image N×3×H×W of this size (H, W), whose features N×C×⌈H/8⌉×⌈W/8⌉ these are."""
        x = features
        for part in (self.frame.body, *self.frame.ups, self.frame.head):
            x = self.frame.run_part(part, x)
        return cropped(x, *size)


def conv_relu(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return ReflectionPad2d(1), Conv2d(inputs, outputs, 3), nn.ReLU(inplace=True)


def cropped(x: Tensor, height: int, width: int) -> Tensor:
    """Crop N×C×H×W at the bottom and on the right."""
    if not torch.compiler.is_exporting():
        return x[..., :height, :width]
    # A slice of a free size would fix its remainder of 8; an index does not.
    rows, columns = (torch.arange(length, device=x.device) for length in (height, width))
    return x.index_select(2, rows).index_select(3, columns)


def statistics(features: Tensor) -> Statistics:
    """Return mean and standard deviation of N×C×H×W features over H and W. The variance is the unbiased one."""
    features = at_least_float32(features)
    count = features.shape[-2] * features.shape[-1]
    mean = features.mean(dim=(2, 3), keepdim=True)
    variance = (features - mean).square().sum(dim=(2, 3), keepdim=True) / (count - 1)
    return Statistics(mean, (variance + EPSILON).sqrt())


def with_statistics(features: Tensor, wanted: Statistics, strength: Tensor | None = None) -> Tensor:
    """Adaptive instance normalisation: return the features N×C×H×W with the statistics of others.

    strength: N×1, the share of the new features from 0 to 1; the rest is the features as they were.
    """
    precise = at_least_float32(features)
    mean, deviation = statistics(precise)
    mixed = (precise - mean) / deviation * wanted.deviation + wanted.mean
    if strength is not None:
        share = strength.to(precise.dtype)[..., None, None]
        mixed = share * mixed + (1 - share) * precise
    return mixed.to(features.dtype)


def stylizer_spec(task: str, stylizer: Stylizer) -> ModelSpec:
    """Return the specification of a stylizer that a task has trained, or whose data it reads."""
    inputs = (
        InputSpec("image", "image", RGB, "any"),
        InputSpec("style", "image", RGB, "any"),
        InputSpec("style_strength", "weight", 1, "none", optional=True),
    )
    return ModelSpec(task, "stylize", inputs, RGB, **sizes_of(stylizer)._asdict())
