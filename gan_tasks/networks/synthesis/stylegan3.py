"""StyleGAN3's generator: it treats features as continuous signals, so that details move with what they belong to.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks", https://arxiv.org/abs/2106.12423. The features begin
as waves of random frequencies in the plane. Each layer is a modulated convolution and a leaky ReLU. The ReLU is
applied at twice the sampling rate between two low-pass filters, so that the frequencies that it adds cause no
aliasing. Cut-off frequency and sampling rate grow from layer to layer. A margin around the image hides its border.

Configuration T is equivariant to translation. R, with 1×1 convolutions and radial filters, also to rotation.
Frequencies are in cycles and sampling rates in samples per longer side of the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.layers import at_least_float32
from gan_tasks.networks.synthesis.filter_design import low_pass, radial_low_pass
from gan_tasks.networks.synthesis.frame import Stage, SynthesisGenerator
from gan_tasks.networks.synthesis.layers import EqualisedLinear
from gan_tasks.networks.synthesis.resampling import upfirdn
from gan_tasks.networks.synthesis.stylegan2 import GAIN, SLOPE, StyledRGB, StyleMapping

FIRST_CUTOFF = 2.0
"""Cut-off frequency of the first features."""
FIRST_STOPBAND = 2**2.1
"""Frequency from which nothing is left of the first features."""
LAST_STOPBAND = 2**0.3
"""The same of the last features, relative to their cut-off frequency, which is half the resolution."""
OVERSAMPLING = 2
"""Sampling rate of the leaky ReLU, relative to the features'."""
LARGEST_VALUE = 256.0
"""Limit of the features behind a leaky ReLU."""
OUTPUT_SCALE = 0.25
"""Factor on the image, so that the layers have outputs of a usual size."""
SMALLEST_SIDE = 16
"""Smallest longer side of an image, in pixels."""


@dataclass(frozen=True)
class Signal:
    """The sampling of features, and their band limits."""

    size: tuple[int, int]
    """(height, width) in samples, margins included."""
    rate: int
    """Samples per longer side of the image."""
    cutoff: float
    """Cut-off frequency."""
    half_width: float
    """Half of the width of the transition band."""


def signals_of_layers(
    size: tuple[int, int], layers: int = 14, *, critical: int = 2, margin: int = 10
) -> tuple[Signal, ...]:
    """Return the outputs of all layers, and of the map to the image as the last. The first is also the input.

    size: (height, width) of the image in pixels.
    critical: layers at the end with the cut-off frequency of the image. They are sampled critically: their transition
        band reaches beyond half the sampling rate. In the others it ends below it.
    margin: samples around the image on each side, in all layers but the last.

    Raises UserError for a size that is not a power of two along the longer side, or no multiple of a 16th of it.
    """
    side = max(size)
    if side < SMALLEST_SIDE or side & (side - 1) or any(length * SMALLEST_SIDE % side for length in size):
        raise UserError(
            f"StyleGAN3 makes no images of {size[0]}×{size[1]} pixels: give a longer side of a power of two from "
            f"{SMALLEST_SIDE} on, and a shorter one of a multiple of a {SMALLEST_SIDE}th of it"
        )
    if not 0 <= critical < layers:
        raise UserError(f"{critical} of {layers} layers are sampled critically: expected 0 to {layers - 1}")
    last_cutoff = side / 2
    part = np.minimum(np.arange(layers + 1) / (layers - critical), 1)
    cutoffs = FIRST_CUTOFF * (last_cutoff / FIRST_CUTOFF) ** part
    stopbands = FIRST_STOPBAND * (last_cutoff * LAST_STOPBAND / FIRST_STOPBAND) ** part
    rates = np.exp2(np.ceil(np.log2(np.minimum(2 * stopbands, side)))).astype(int)
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    return tuple(
        Signal(
            (size[0], size[1]) if number >= layers - 1 else margins_added(size, rate, side, margin),
            rate,
            float(cutoffs[number]),
            float(half_widths[number]),
        )
        for number, rate in enumerate(map(int, rates))
    )


def margins_added(size: tuple[int, int], rate: int, side: int, margin: int) -> tuple[int, int]:
    """Return the size of features of a sampling rate, for an image whose longer side is `side`."""
    height, width = (length * rate // side + 2 * margin for length in size)
    return height, width


def widths_of_layers(signals: Sequence[Signal], *, channel_base: int = 32768, channel_max: int = 512) -> list[int]:
    """Return the channels of all layers: channel_base per 2 cycles of the cut-off frequency, up to channel_max."""
    return [round(min(channel_base / 2 / signal.cutoff, channel_max)) for signal in signals[:-1]]


def stylegan3_generator(
    mapping: StyleMapping,
    signals: Sequence[Signal],
    widths: Sequence[int],
    *,
    critical: int = 2,
    kernel: int = 3,
    radial: bool = False,
    filter_size: int = 6,
    channels: int = 3,
) -> SynthesisGenerator:
    """Make StyleGAN3's generator. The defaults are those of configuration T; R has kernel 1 and radial filters.

    signals: see `signals_of_layers`.
    widths: channels of all layers, see `widths_of_layers`.
    critical: layers at the end that are sampled critically. Their filters are never radial.
    kernel: kernel size of the convolutions.
    radial: whether the filters before downsampling are radial.
    filter_size: taps of the filters per step of the coarser sampling.
    channels: of the image.
    """
    style, inputs = mapping.style_length, [widths[0], *widths]
    layers = [
        FilteredLayer(
            inputs[number],
            width,
            style,
            before=signals[max(0, number - 1)],
            after=signals[number],
            kernel=kernel,
            radial=radial and number < len(widths) - critical,
            filter_size=filter_size,
        )
        for number, width in enumerate(widths)
    ]
    return SynthesisGenerator(
        mapping=mapping,
        base=FourierInput(widths[0], style, signals[0]),
        stages=layers,
        to_rgb=[ImageLayer(widths[-1], channels, style)],
        rgb="last",
        output_size=signals[-1].size,
        out_channels=channels,
        style_count=len(widths) + 2,
    )


class FourierInput(nn.Module):
    """A style N×D → the first features N×width×H×W: waves of fixed random frequencies, mixed by a 1×1 convolution.

    The style turns and shifts the waves.

    Attributes:
        transform: a user's inverse transform of the image, 3×3: the point p of the image shows what belongs to
            `transform`·p, where (x, y) is in longer sides of the image, from its centre.
        frequencies: width×2, along x and y, in cycles per longer side.
        phases: width, in cycles.
    """

    styles = 1
    transform: Tensor
    frequencies: Tensor
    phases: Tensor

    def __init__(self, width: int, style: int, signal: Signal) -> None:
        super().__init__()
        self.signal = signal
        # Uniform in a disc of the radius of the cut-off: for a normal draw, exp(-r²/2) is uniform in [0, 1].
        drawn = torch.randn(width, 2)
        radii = drawn.square().sum(1, keepdim=True).sqrt()
        self.register_buffer("frequencies", drawn / (radii * (radii.square() / 4).exp()) * signal.cutoff)
        self.register_buffer("phases", torch.rand(width) - 0.5)
        self.register_buffer("transform", torch.eye(3))
        self.weight = nn.Parameter(torch.randn(width, width))
        self.affine = EqualisedLinear(style, 4)  # cosine and sine of the rotation, shift along x and y
        with torch.no_grad():
            self.affine.weight.zero_()
            assert self.affine.bias is not None
            self.affine.bias[0] = 1

    def forward(self, style: Tensor) -> Tensor:
        placed = self.affine(at_least_float32(style))
        placed = placed / placed[:, :2].square().sum(1, keepdim=True).sqrt()
        cosine, sine = placed[:, 0:1], placed[:, 1:2]
        along_x, along_y = self.frequencies.unbind(1)
        turned = torch.stack(
            [along_x * cosine + along_y * sine, along_y * cosine - along_x * sine], dim=2
        )  # N×width×2
        shift = self.transform[:2, 2] - placed[:, 2:]
        phases = self.phases + (turned @ shift[:, :, None])[:, :, 0]
        turned = turned @ self.transform[:2, :2]
        # A transform may scale waves beyond the band. They fade out up to half the sampling rate.
        signal = self.signal
        beyond = (turned.square().sum(2).sqrt() - signal.cutoff) / (signal.rate / 2 - signal.cutoff)
        ys, xs = (torch.arange(length, device=style.device) - (length - 1) / 2 for length in signal.size)
        cycles = (
            turned[:, :, 0, None, None] * xs / signal.rate + turned[:, :, 1, None, None] * ys[:, None] / signal.rate
        )
        waves = torch.sin(2 * math.pi * (cycles + phases[:, :, None, None]))
        waves = waves * (1 - beyond).clamp(0, 1)[:, :, None, None]
        return functional.conv2d(waves, self.weight[:, :, None, None] / math.sqrt(len(self.weight)))


class Magnitude(nn.Module):
    """Divides features by their root mean square, of which it keeps a running average.

    Attributes:
        mean_square: the average, which `track_magnitudes` changes.
        latest: mean square of the last features in training mode.
    """

    mean_square: Tensor
    latest: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_square", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.latest = at_least_float32(x.detach()).square().mean()
        return x * self.mean_square.rsqrt().to(x.dtype)


@torch.no_grad()
def track_magnitudes(
    generator: SynthesisGenerator, mean: Callable[[Tensor], Tensor] = lambda value: value, *, decay: float = 0.999
) -> None:
    """Move the running averages of all layers towards the magnitudes of the last step in training mode.

    mean: returns the mean of a number over the ranks.
    """
    for layer in generator.modules():
        if isinstance(layer, Magnitude) and layer.latest is not None:
            layer.mean_square.copy_(torch.lerp(mean(layer.latest), layer.mean_square, decay))


class FilteredLayer(Stage):
    """A modulated convolution and a filtered leaky ReLU: features N×inputs×h×w and a style → N×outputs×H×W.

    before, after: the features that come and go.
    radial: whether the filter before downsampling is radial.
    """

    styles = 1
    up_filter: Tensor
    down_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        style: int,
        *,
        before: Signal,
        after: Signal,
        kernel: int,
        radial: bool,
        filter_size: int,
    ) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style, inputs, bias_init=1.0)
        self.magnitude = Magnitude()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        rate = OVERSAMPLING * max(before.rate, after.rate)  # of the leaky ReLU
        self.up, self.down = rate // before.rate, rate // after.rate
        up_taps, down_taps = filter_size * self.up, filter_size * self.down
        up = low_pass(up_taps, cutoff=before.cutoff, width=2 * before.half_width, rate=rate)
        design = radial_low_pass if radial else low_pass
        down = design(down_taps, cutoff=after.cutoff, width=2 * after.half_width, rate=rate)
        self.register_buffer("up_filter", torch.from_numpy(up.astype(np.float32)))
        self.register_buffer("down_filter", torch.from_numpy(down.astype(np.float32)))
        (top, bottom), (left, right) = (
            self._padding(length, wanted, kernel, up_taps + down_taps)
            for length, wanted in zip(before.size, after.size, strict=True)
        )
        self.padding = (left, right, top, bottom)

    def _padding(self, length: int, wanted: int, kernel: int, taps: int) -> tuple[int, int]:
        """Return the padding before and behind the oversampled features along an axis."""
        total = (wanted - 1) * self.down + 1 - (length + kernel - 1) * self.up + taps - 2
        first = (total + self.up) // 2
        return first, total - first

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        factors = self.affine(styles[:, 0])
        x = self.magnitude(x) * factors[:, :, None, None].to(x.dtype)
        x = functional.conv2d(x, self.weight, padding=self.weight.shape[-1] - 1)
        x = x * self.demodulation(factors)[:, :, None, None].to(x.dtype) + self.bias[:, None, None]
        x = upfirdn(x, self.up_filter, up=self.up, padding=self.padding, gain=self.up**2)
        x = (GAIN * functional.leaky_relu(x, SLOPE)).clamp(-LARGEST_VALUE, LARGEST_VALUE)
        return upfirdn(x, self.down_filter, down=self.down)

    def demodulation(self, factors: Tensor) -> Tensor:
        """Return 1 / the deviation of each output for inputs of deviation 1, N×outputs, given factors N×inputs."""
        energy = at_least_float32(self.weight).square().sum((2, 3))
        return torch.rsqrt(at_least_float32(factors).square() @ energy.t() + 1e-8)


class ImageLayer(StyledRGB):
    """Features N×inputs×H×W and a style N×D → an image N×channels×H×W: a modulated 1×1 convolution, no filters."""

    def __init__(self, inputs: int, channels: int, style: int) -> None:
        super().__init__(inputs, channels, style)
        self.magnitude = Magnitude()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        image = super().forward(self.magnitude(x), style)
        return OUTPUT_SCALE * image.clamp(-LARGEST_VALUE, LARGEST_VALUE)
