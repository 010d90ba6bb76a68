"""StyleGAN2 (Karras et al. 2020, https://arxiv.org/abs/1912.04958) with the conditions of StyleGAN2-ADA.

A mapping network turns a latent into a style. Each convolution of the generator multiplies its inputs by factors that
an affine map of the style gives, and divides its outputs by the deviation that these factors cause (demodulation).
The images of all stages are enlarged and added. The discriminator is residual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.layers import at_least_float32
from gan_tasks.networks.synthesis.frame import DrawNoise, Mapping, Stage, SynthesisGenerator, doublings_for
from gan_tasks.networks.synthesis.layers import EqualisedConv2d, EqualisedLinear, MinibatchDeviation, pixel_norm
from gan_tasks.networks.synthesis.resampling import BILINEAR_TAPS, Upsample, downsample, fir_filter, upfirdn

SLOPE = 0.2
"""Of the leaky ReLU below 0."""
GAIN = math.sqrt(2)
"""Factor after a leaky ReLU, which keeps the variance. It is applied before it, which is the same and costs less."""
BASE = 4
"""Height and width of the first features, in pixels."""


def activate(x: Tensor) -> Tensor:
    """Return the leaky ReLU of features that have their gain already."""
    return functional.leaky_relu(x, SLOPE)


class ActivatedLinear(EqualisedLinear):
    """Linear layer with a leaky ReLU, N×inputs → N×outputs."""

    def __init__(self, inputs: int, outputs: int, *, lr_multiplier: float = 1.0) -> None:
        super().__init__(inputs, outputs, gain=GAIN, lr_multiplier=lr_multiplier)
        self.bias_gain *= GAIN

    def forward(self, x: Tensor) -> Tensor:
        return activate(super().forward(x))


class ActivatedConv2d(EqualisedConv2d):
    """Convolution with a leaky ReLU, which keeps the size, N×inputs×H×W → N×outputs×H×W."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, gain=GAIN)
        self.bias_gain *= GAIN

    def forward(self, x: Tensor) -> Tensor:
        return activate(super().forward(x))


class StyleMapping(Mapping):
    """The mapping network: the normalised latent, beside the normalised embedding of the label, → a style.

    Args:
        latent: length of a latent vector; 0 for a network of labels alone, as the discriminator has one.
        classes: number of classes; 0 without labels.
        style: length D of a style.
        layers: number of layers, 8 in the paper, 2 in the automatic configuration of StyleGAN2-ADA.
        embedding: length of a label's embedding, by default D.
        width: outputs of the layers before the last, by default D.
        lr_multiplier: learning rate of the layers, relative to the other networks'.
        tracks_average: whether styles can be truncated towards their average.
    """

    def __init__(
        self,
        latent: int = 512,
        classes: int = 0,
        *,
        style: int = 512,
        layers: int = 8,
        embedding: int | None = None,
        width: int | None = None,
        lr_multiplier: float = 0.01,
        tracks_average: bool = True,
    ) -> None:
        super().__init__(latent, classes)
        self.style_length = style
        embedding = 0 if not classes else style if embedding is None else embedding
        self.embed = EqualisedLinear(classes, embedding) if classes else None
        sizes = [latent + embedding, *[style if width is None else width] * (layers - 1), style]
        self.layers = nn.ModuleList(
            ActivatedLinear(inputs, outputs, lr_multiplier=lr_multiplier) for inputs, outputs in pairwise(sizes)
        )
        if tracks_average:
            self.average = torch.zeros(style)

    def forward(self, latent: Tensor | None, label: Tensor | None = None) -> Tensor:
        """Map latents N×latent, and labels N×classes of zeros and a one, to a style each, N×D."""
        parts = [] if latent is None else [pixel_norm(latent)]
        if self.embed is not None:
            assert label is not None, "a network with classes needs labels"
            parts.append(pixel_norm(self.embed(label.to(self.embed.weight.dtype))))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = layer(x)
        return x

    @torch.no_grad()
    def track(self, mean_style: Tensor, decay: float = 0.998) -> None:
        """Move the average, a buffer D, towards the mean of the styles of a step, D."""
        assert self.average is not None
        self.average.copy_(torch.lerp(mean_style.to(self.average), self.average, decay))


class StyledConv(nn.Module):
    """Modulated 3×3 convolution with demodulation, noise, bias and leaky ReLU: N×inputs×h×w → N×outputs×H×W.

    The inputs are multiplied by the factors of the style, and the outputs by those of the demodulation. That equals a
    convolution with weights of each sample's own, and needs no weights per sample.

    Args:
        style: length D of a style.
        size: (H, W) of the output in pixels, for the constant noise.
        filter: the low-pass filter behind a convolution that doubles the size; None for one that keeps the size.
    """

    draw_noise: DrawNoise | None = None
    noise: Tensor
    filter: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, style: int, size: tuple[int, int], filter: Tensor | None = None
    ) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style, inputs, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(size))
        self.register_buffer("filter", filter, persistent=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        factors = self.affine(style)
        x = self._convolved(x * factors[:, :, None, None].to(x.dtype))
        scale, bias = GAIN * self.demodulation(factors)[:, :, None, None], GAIN * self.bias[:, None, None]
        x = x * scale.to(x.dtype) + bias.to(x.dtype)
        noise = self.noise
        if self.draw_noise is not None:
            noise = self.draw_noise(x.shape[0], 1, x.shape[2], x.shape[3])
        return activate(x + (GAIN * self.noise_strength * noise).to(x.dtype))

    def _convolved(self, x: Tensor) -> Tensor:
        if self.filter is None:
            return functional.conv2d(x, self.weight, padding=1)
        x = functional.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)  # 2h + 1 × 2w + 1
        first, last = (self.filter.shape[-1] - 1) // 2, (self.filter.shape[-1] - 2) // 2
        return upfirdn(x, self.filter, padding=(first, last, first, last), gain=4)

    def demodulation(self, factors: Tensor) -> Tensor:
        """Return 1 / the deviation of each output for inputs of deviation 1, N×outputs, given factors N×inputs."""
        energy = at_least_float32(self.weight).square().sum((2, 3))
        return torch.rsqrt(at_least_float32(factors).square() @ energy.t() + 1e-8)


class StyledRGB(nn.Module):
    """Features N×inputs×H×W and a style N×D → an image N×channels×H×W: a modulated 1×1 convolution."""

    def __init__(self, inputs: int, channels: int, style: int) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style, inputs, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        factors = self.affine(style) / math.sqrt(self.weight.shape[1])
        weights = self.weight.flatten(1) * factors[:, None]  # N×channels×inputs: fewer numbers than the features
        image: Tensor = (weights.to(x.dtype) @ x.flatten(2)).unflatten(2, x.shape[2:])
        return image + self.bias[:, None, None]


class StyledBase(nn.Module):
    """A style N×D → the first features N×width×4×4: learned constants and a convolution."""

    styles = 1

    def __init__(self, width: int, style: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.randn(width, BASE, BASE))
        self.conv = StyledConv(width, width, style, (BASE, BASE))

    def forward(self, style: Tensor) -> Tensor:
        x: Tensor = self.conv(self.const[None], style)
        return x


class StyledStage(Stage):
    """Features N×inputs×h×w and two styles → features N×outputs×2h×2w. size: (2h, 2w)."""

    styles = 2

    def __init__(self, inputs: int, outputs: int, style: int, size: tuple[int, int], filter: Tensor) -> None:
        super().__init__()
        self.conv0 = StyledConv(inputs, outputs, style, size, filter)
        self.conv1 = StyledConv(outputs, outputs, style, size)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        y: Tensor = self.conv1(self.conv0(x, styles[:, 0]), styles[:, 1])
        return y


def widths_for(size: tuple[int, int], *, channel_base: int = 16384, channel_max: int = 512) -> list[int]:
    """Return the widths of features of 4, 8, 16, … pixels along the longer side, up to that of an image.

    channel_base: the width times the pixels along the longer side; 32768 in configuration f from 512² pixels on.
    channel_max: largest width.
    """
    doublings, _ = doublings_for(size, BASE)
    return [max(1, min(channel_base // (BASE << level), channel_max)) for level in range(doublings + 1)]


def stylegan2_generator(
    size: tuple[int, int],
    mapping: StyleMapping,
    widths: Sequence[int],
    *,
    channels: int = 3,
    filter: Tensor | None = None,
) -> SynthesisGenerator:
    """Make StyleGAN2's generator for images of a size (height, width) in pixels.

    widths: channels of the features, from 4 pixels to the size, see `widths_for`.
    channels: of the image.
    filter: the low-pass filter where the size doubles, by default that of BILINEAR_TAPS.

    Raises UserError for sizes that no cropped base gives.
    """
    doublings, (height, width) = doublings_for(size, BASE)
    filter = fir_filter(BILINEAR_TAPS) if filter is None else filter
    style = mapping.style_length
    stages = [
        StyledStage(widths[level - 1], widths[level], style, (height << level, width << level), filter)
        for level in range(1, doublings + 1)
    ]
    return SynthesisGenerator(
        mapping=mapping,
        base=StyledBase(widths[0], style),
        stages=stages,
        to_rgb=[StyledRGB(width, channels, style) for width in widths],
        rgb="skip",
        output_size=size,
        base_size=None if (height, width) == (BASE, BASE) else (height, width),
        out_channels=channels,
        style_count=2 * doublings + 2,
        enlarge=Upsample(filter),
    )


class ResidualStage(nn.Module):
    """A stage of the discriminator, N×inputs×H×W → N×outputs×(H/2)×(W/2), with a shortcut.

    The mean of branch and shortcut has the factor √½, so that the variance stays. It is part of their weights.
    """

    filter: Tensor

    def __init__(self, inputs: int, outputs: int, filter: Tensor) -> None:
        super().__init__()
        self.conv0 = ActivatedConv2d(inputs, inputs)
        self.conv1 = EqualisedConv2d(inputs, outputs, 3, stride=2, gain=GAIN * math.sqrt(0.5))
        self.skip = EqualisedConv2d(inputs, outputs, 1, bias=False, gain=math.sqrt(0.5))
        self.register_buffer("filter", filter, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        first, last = (self.filter.shape[-1] + 1) // 2, self.filter.shape[-1] // 2
        y = activate(self.conv1(upfirdn(self.conv0(x), self.filter, padding=(first, last, first, last))))
        shortcut: Tensor = self.skip(downsample(x, self.filter))
        return shortcut + y


class StyleGAN2Discriminator(nn.Module):
    """StyleGAN2's residual discriminator: images N×channels×H×W, labels N×classes → one scale with a logit N×1×1×1.

    Args:
        size: (height, width) of the images in pixels.
        widths: channels of the features, from 4 pixels to the size, see `widths_for`.
        channels: of the image.
        label_mapping: of a conditional discriminator: the network that maps labels to vectors, on which the features
            of an image are projected (Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637).
        head: channels of the last convolution and outputs of the layer after it, by default widths[0].
        deviation: images in a group of the minibatch deviation, and how many channels it appends; 0 for none.
        filter: the low-pass filter where the size is halved, by default that of BILINEAR_TAPS.

    Raises UserError for sizes that a repeated halving does not bring to 4 pixels or a part of it.
    """

    def __init__(
        self,
        size: tuple[int, int],
        widths: Sequence[int],
        *,
        channels: int = 3,
        label_mapping: StyleMapping | None = None,
        head: tuple[int, int] | None = None,
        deviation: tuple[int, int] = (4, 1),
        filter: Tensor | None = None,
    ) -> None:
        super().__init__()
        doublings, (height, width) = doublings_for(size, BASE)
        filter = fir_filter(BILINEAR_TAPS) if filter is None else filter
        group, appended = deviation
        conv_width, linear_width = head or (widths[0], widths[0])
        self.classes = 0 if label_mapping is None else label_mapping.classes
        self.from_rgb = ActivatedConv2d(channels, widths[doublings], 1)
        self.stages = nn.ModuleList(
            ResidualStage(widths[level], widths[level - 1], filter) for level in range(doublings, 0, -1)
        )
        self.deviation = MinibatchDeviation(group, channels=appended) if appended else nn.Identity()
        self.conv = ActivatedConv2d(widths[0] + appended, conv_width)
        self.linear = ActivatedLinear(conv_width * height * width, linear_width)
        self.out = EqualisedLinear(linear_width, 1 if label_mapping is None else label_mapping.style_length)
        self.label_mapping = label_mapping

    def forward(self, image: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        x = self.from_rgb(image)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        x = self.conv(self.deviation(x))
        features.append(x)
        logits = self.out(self.linear(x.flatten(1)))
        if self.label_mapping is not None:
            direction = self.label_mapping(None, label)
            logits = (logits * direction).sum(1, keepdim=True) / math.sqrt(direction.shape[1])
        return [[*features, logits[:, :, None, None]]]
