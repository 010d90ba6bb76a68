"""Fast Fourier convolutions: a part of the channels is filtered in the spectrum of the whole image.

Chi et al. 2020, https://papers.nips.cc/paper/2020/hash/2fd5d41ec6cfab47e32164d5624269b1-Abstract.html
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gan_tasks.networks.layers import Conv2d, ReflectionPad2d, at_least_float32


class Channels(NamedTuple):
    """Numbers of local channels, which are filtered in space alone, and of the global ones after them."""

    of_local: int
    of_global: int


class FourierConv(nn.Module):
    """Fast Fourier convolution with batch norm and ReLU, N×C×H×W → N×C'×⌈H/stride⌉×⌈W/stride⌉.

    3×3 convolutions with reflection padding connect local channels with local and global ones, and global channels
    with local ones. A `SpectralTransform` connects global channels with global ones, so it needs stride 1. H and W
    must be at least 2.

    Args:
        inputs, outputs: the channels; either kind may be absent.
        stride: step of the convolutions.
        quadrants: see `SpectralTransform`.
    """

    def __init__(self, inputs: Channels, outputs: Channels, *, stride: int = 1, quadrants: bool = False) -> None:
        super().__init__()
        self.inputs = inputs
        self.from_local, self.from_global, self.norms = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for target, width in (("to_local", outputs.of_local), ("to_global", outputs.of_global)):
            if width == 0:
                continue
            self.norms[target] = nn.BatchNorm2d(width)
            if inputs.of_local:
                self.from_local[target] = padded_conv(inputs.of_local, width, stride=stride)
            if inputs.of_global and target == "to_local":
                self.from_global[target] = padded_conv(inputs.of_global, width, stride=stride)
            elif inputs.of_global:
                self.from_global[target] = SpectralTransform(inputs.of_global, width, quadrants=quadrants)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        local_part, global_part = x.split(self.inputs, dim=1)
        outputs = []
        for target, norm in self.norms.items():
            terms = []
            if self.inputs.of_local:
                terms.append(self.from_local[target](local_part))
            if self.inputs.of_global:
                terms.append(self.from_global[target](global_part))
            outputs.append(self.activation(norm(terms[0] + terms[1] if len(terms) > 1 else terms[0])))
        return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]


def padded_conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Module:
    """Return a 3×3 convolution with reflection padding and without a bias."""
    return nn.Sequential(ReflectionPad2d(1), Conv2d(inputs, outputs, 3, stride=stride, bias=False))


class SpectralTransform(nn.Module):
    """Filter the spectrum of the whole image, N×C×H×W → N×C'×H×W, with half of the output's channels in between.

    quadrants: filter also the spectrum of the quadrants of the image (the local Fourier unit of the paper). H and W
        must then be even, and C' a multiple of 8.
    """

    def __init__(self, inputs: int, outputs: int, *, quadrants: bool = False) -> None:
        super().__init__()
        width = outputs // 2
        self.reduce = nn.Sequential(
            Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.unit = FourierUnit(width)
        self.quadrant_unit = FourierUnit(width) if quadrants else None
        self.expand = Conv2d(width, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        y = x + self.unit(x)
        if self.quadrant_unit is not None:
            y = y + self.quadrant_unit(quadrants_of(x[:, : x.shape[1] // 4])).repeat(1, 1, 2, 2)
        transformed: Tensor = self.expand(y)
        return transformed


def quadrants_of(x: Tensor) -> Tensor:
    """Stack the four quadrants along the channels, N×C×H×W → N×4C×(H/2)×(W/2): top and bottom left, then right."""
    for axis in (2, 3):
        x = torch.cat(x.unflatten(axis, (2, -1)).unbind(axis), dim=1)
    return x


class FourierUnit(nn.Module):
    """A 1×1 convolution, batch norm and ReLU on the real and imaginary parts of the spectrum, N×C×H×W → N×C×H×W."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = at_least_float32(x)  # there is no Fourier transform of every size in half precision
        make = MatrixTransform if torch.compiler.is_exporting() else FastTransform
        transform = make(x)
        spectrum = self.activation(self.norm(self.conv(transform.spectrum_of(x))))
        return transform.image_of(at_least_float32(spectrum))


class FastTransform:
    """The orthonormal Fourier transform of real images of a size, and its inverse.

    A spectrum is N×2C×H×(W // 2 + 1): the real and the imaginary part of a channel follow one another.
    """

    def __init__(self, like: Tensor) -> None:
        self.size = like.shape[-2:]

    def spectrum_of(self, image: Tensor) -> Tensor:
        """Map N×C×H×W to its spectrum."""
        spectrum = torch.view_as_real(torch.fft.rfft2(image, norm="ortho"))
        return spectrum.permute(0, 1, 4, 2, 3).flatten(1, 2)

    def image_of(self, spectrum: Tensor) -> Tensor:
        """Map a spectrum to N×C×H×W. The imaginary part of the frequencies 0 and W/2 is ignored if it is not 0."""
        parts = spectrum.unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2)
        image: Tensor = torch.fft.irfft2(torch.view_as_complex(parts.contiguous()), s=self.size, norm="ortho")
        return image


class MatrixTransform:
    """The same as products with matrices, which a graph computes for the size of its input.

    ONNX's own Fourier transforms are missing in many runtimes. PyTorch's are faster than these products.
    """

    def __init__(self, like: Tensor) -> None:
        height, width = like.shape[-2:]
        # Both matrices map to the real parts of all frequencies, and then their imaginary parts. The one of the
        # columns maps from complex numbers in the same order.
        cosine, sine = waves(width, width // 2 + 1, width, like)
        self.of_rows = torch.cat([cosine, -sine])
        cosine, sine = waves(height, height, height, like)
        self.of_columns = torch.cat([torch.cat([cosine, sine], dim=1), torch.cat([-sine, cosine], dim=1)])
        # The other half of the spectrum mirrors this one, without the frequencies 0 and W/2.
        frequency = torch.arange(width // 2 + 1, device=like.device)
        is_single = (frequency == 0) | (2 * frequency == torch.full_like(frequency[:1], width))
        self.count = torch.where(is_single, 1.0, 2.0).to(like.dtype).repeat(2)[:, None]

    def spectrum_of(self, image: Tensor) -> Tensor:
        """Map N×C×H×W to its spectrum."""
        of_rows = torch.cat(transposed_halves(linear(image, self.of_rows)), dim=-1)
        return torch.stack(transposed_halves(linear(of_rows, self.of_columns)), dim=2).flatten(1, 2)

    def image_of(self, spectrum: Tensor) -> Tensor:
        """Map a spectrum to N×C×H×W."""
        real, imaginary = spectrum.unflatten(1, (-1, 2)).unbind(2)
        of_rows = linear(torch.cat([real.mT, imaginary.mT], dim=-1), self.of_columns.mT)
        return linear(torch.cat(transposed_halves(of_rows), dim=-1), (self.count * self.of_rows).mT)


def transposed_halves(x: Tensor) -> list[Tensor]:
    """Split the last dimension, N×C×rows×2·columns, and transpose each half: N×C×columns×rows."""
    return [half.mT for half in x.unflatten(-1, (2, -1)).unbind(-2)]


def waves(period: int, rows: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin of 2π·row·column/period, divided by √period, each rows×columns.

    Whole periods are removed in integers, so that the angles are exact.
    """
    row, column = (torch.arange(count, device=like.device) for count in (rows, columns))
    length = torch.full((1,), period, device=like.device)  # a tensor, because ONNX has no other free number
    angle = (row[:, None] * column % length).to(like.dtype) * (2 * math.pi) / length.to(like.dtype)
    scale = length.to(like.dtype).rsqrt()
    return angle.cos() * scale, angle.sin() * scale
