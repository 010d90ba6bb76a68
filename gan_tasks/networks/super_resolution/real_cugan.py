"""Real-CUGAN: a U-Net that enlarges the image, and a second one that corrects its result.

https://github.com/bilibili/ailab/tree/main/Real-CUGAN, after waifu2x's CUNet. Convolutions do not pad: the image is
padded once, and the skip connections are cropped. Modules have the names of the published code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.blocks import pad_to_multiple
from gan_tasks.networks.sizes import BlockwiseModule, RunPart, WholeImageLayer

REDUCTION = 8
"""Channels of a block over those of its squeeze-and-excitation."""
CORRECTION_MARGIN = 20
"""Pixels that the second U-Net removes from each side."""
BLOCK_MULTIPLE, SMALLEST_BLOCK = 4, 64
"""What the sides of blocks are multiples of, because of two downsamplings, and their least length in pixels."""
PRO_GAIN, PRO_OFFSET = 0.7, 0.15
"""The `pro` networks work on 0.7 · image + 0.15, so that their output can exceed the range of the image."""


@dataclass(frozen=True)
class Enlargement:
    """What differs between the scales."""

    padding: int
    """Pixels that are added to each side of the image."""
    minimum: int
    """The smallest height and width that can be reflected by so much, in pixels."""
    multiple: int
    """Height and width are padded to multiples of this, in pixels."""
    kernel: int
    """Kernel size of the transposed convolution that enlarges the features of the first U-Net."""
    stride: int
    crop: int
    """Padding of the transposed convolution, which crops its output."""


ENLARGEMENTS = {
    2: Enlargement(18, 20, 2, 4, 2, 3),
    3: Enlargement(14, 18, 4, 5, 3, 2),
    4: Enlargement(19, 20, 2, 4, 2, 3),
}


@dataclass(frozen=True)
class Widths:
    """Numbers of channels, in the order of the published 32, 64, 128 and 256."""

    first: int = 32
    features: int = 64
    middle: int = 128
    deep: int = 256


class RealCugan(BlockwiseModule):
    """UpCunet2x, 3x or 4x of Real-CUGAN, N×C×H×W in [0, 1] → N×C'×(scale·H)×(scale·W) in [0, 1].

    Args:
        scale: output pixels per input pixel along a side: 2, 3 or 4. At scale 4 the U-Nets double the size, a
            pixel shuffle doubles it again, and the image, enlarged without interpolation, is added.
        attention: scale channels by squeeze-and-excitation, which takes the mean over the whole image. Networks of
            the `no crop line` files have none.
        pro: the network works on 0.7 · image + 0.15.

    Attributes:
        receptive_field: declared receptive-field radius, in pixels. The convolutions see 20 pixels, but attention
            sees the whole image. On a photograph of 384×384 px, tiles of 256 px with means of their own differed from
            it by up to 15 of 255 levels (99.9 %: 7). ONNX files run in such tiles; PyTorch computes the means of the
            whole image first (`means_of`), and tiles equal it. The value keeps tiles large and the transitions
            between them long.
        tile_multiple: the grid of the features is the same in each tile, because of the downsamplings.
    """

    size_multiple = 1
    receptive_field = 48
    tile_multiple = 4

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        scale: int,
        widths: Widths = Widths(),
        attention: bool = True,
        pro: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.scale, self.widths, self.pro = scale, widths, pro
        self.enlargement = ENLARGEMENTS[scale]
        self.minimum_size = self.enlargement.minimum
        inner = widths.features if scale == 4 else out_channels
        self.unet1 = EnlargingUNet(in_channels, inner, widths, self.enlargement, attention=attention)
        self.unet2 = CorrectingUNet(inner, inner, widths, attention=attention)
        self.conv_final = nn.Conv2d(inner, 4 * out_channels, 3) if scale == 4 else None
        self._takes_padded = False

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W of any size to N×C'×(scale·H)×(scale·W)."""
        height, width = x.shape[-2:]
        if height < self.minimum_size or width < self.minimum_size:
            x = pad_to_multiple(x, 1, self.minimum_size)
        y = (self.run(x * PRO_GAIN + PRO_OFFSET) - PRO_OFFSET) / PRO_GAIN if self.pro else self.run(x)
        return y[..., : height * self.scale, : width * self.scale]

    def run(self, x: Tensor) -> Tensor:
        """Run the layers in their own range of values. H and W must be `minimum_size` or more, to be reflected."""
        if self._takes_padded:
            return self.run_padded(x)
        y = self.run_padded(reflected(x, self.enlargement.padding, self.enlargement.multiple))
        # torch.export cannot know that a slice of this length lies within the result.
        return picked(y, *(torch.arange(self.scale * side, device=x.device) for side in x.shape[-2:]))

    def run_padded(self, padded: Tensor) -> Tensor:
        """Run the layers on a padded image, or on a block of one. They remove the padding."""
        enlarged: Tensor = self.unet1(padded)
        y: Tensor = cropped(enlarged, CORRECTION_MARGIN) + self.unet2(enlarged)
        if self.conv_final is not None:
            y = functional.pixel_shuffle(cropped(self.conv_final(y), 1), 2)
            image = cropped(padded, self.enlargement.padding)
            y = y + functional.interpolate(image, scale_factor=float(self.scale), mode="nearest")
        return y

    @contextmanager
    def means_of(self, height: int, width: int, *, max_pixels: int, run: RunPart) -> Iterator[None]:
        """See `BlockwiseModule`. No layer pads, so that blocks of the padded image are exact parts of it.

        Each mean needs a run of the layers before it.
        """
        padding, multiple = self.enlargement.padding, self.enlargement.multiple
        margin = 2 * padding
        side = max(SMALLEST_BLOCK, (int(max_pixels**0.5) - margin) // BLOCK_MULTIPLE * BLOCK_MULTIPLE)

        def parts(length: int) -> list[Tensor]:
            indices = reflected_indices(length, padding, multiple, torch.device("cpu"))
            return [indices[start : start + side + margin] for start in range(0, len(indices) - margin, side)]

        rows, columns = parts(height), parts(width)
        attentions = self._attentions()
        try:
            for attention, density in attentions:
                total, count, kept = torch.zeros(()), 0, int(side * density)
                for (row, block_rows), (column, block_columns) in product(enumerate(rows), enumerate(columns)):
                    features = self._features_before(attention, partial(run, block_rows, block_columns))
                    # What blocks share belongs to the one before.
                    features = features[..., : kept if row + 1 < len(rows) else None, :]
                    features = features[..., : kept if column + 1 < len(columns) else None]
                    total = total.to(features) + features.sum((2, 3), keepdim=True)
                    count += features.shape[-2] * features.shape[-1]
                attention.mean = total / count
            yield
        finally:
            for attention, _ in attentions:
                attention.mean = None

    def _attentions(self) -> list[tuple[SqueezeExcitation, float]]:
        """Return what uses means, in the order in which it runs, with the features per pixel of a side."""
        stride = self.enlargement.stride
        densities = {self.unet1.conv2: 1 / 2, self.unet2.conv2: stride / 2, self.unet2.conv3: stride / 4}
        densities[self.unet2.conv4] = stride / 2
        parts = ((convs.seblock, density) for convs, density in densities.items())
        return [(part, density) for part, density in parts if isinstance(part, SqueezeExcitation)]

    def _features_before(self, part: nn.Module, run: Callable[[], None]) -> Tensor:
        """Run the layers on a block of a padded image up to this part, and return its input."""

        def stop(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            raise Reached(inputs[0])

        handle = part.register_forward_pre_hook(stop)
        self._takes_padded = True
        try:
            run()
        except Reached as reached:
            return reached.features
        finally:
            self._takes_padded = False
            handle.remove()
        raise AssertionError("the part did not run")


class Reached(Exception):
    """Ends a run of the layers before a part, whose input it holds."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


class EnlargingUNet(nn.Module):
    """The first U-Net, with one downsampling, and a transposed convolution as its last layer."""

    def __init__(
        self, inputs: int, outputs: int, widths: Widths, enlargement: Enlargement, *, attention: bool
    ) -> None:
        super().__init__()
        features = widths.features
        self.conv1 = TwoConvs(inputs, widths.first, features, attention=False)
        self.conv1_down = nn.Conv2d(features, features, 2, stride=2)
        self.conv2 = TwoConvs(features, widths.middle, features, attention=attention)
        self.conv2_up = nn.ConvTranspose2d(features, features, 2, stride=2)
        self.conv3 = nn.Conv2d(features, features, 3)
        self.conv_bottom = nn.ConvTranspose2d(
            features, outputs, enlargement.kernel, stride=enlargement.stride, padding=enlargement.crop
        )

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.conv1(x)
        deep = activated(self.conv2_up(self.conv2(activated(self.conv1_down(shallow)))))
        y: Tensor = self.conv_bottom(activated(self.conv3(cropped(shallow, 4) + deep)))
        return y


class CorrectingUNet(nn.Module):
    """The second U-Net, with two downsamplings; H and W must be multiples of 4."""

    def __init__(self, inputs: int, outputs: int, widths: Widths, *, attention: bool) -> None:
        super().__init__()
        features, middle = widths.features, widths.middle
        self.conv1 = TwoConvs(inputs, widths.first, features, attention=False)
        self.conv1_down = nn.Conv2d(features, features, 2, stride=2)
        self.conv2 = TwoConvs(features, features, middle, attention=attention)
        self.conv2_down = nn.Conv2d(middle, middle, 2, stride=2)
        self.conv3 = TwoConvs(middle, widths.deep, middle, attention=attention)
        self.conv3_up = nn.ConvTranspose2d(middle, middle, 2, stride=2)
        self.conv4 = TwoConvs(middle, features, features, attention=attention)
        self.conv4_up = nn.ConvTranspose2d(features, features, 2, stride=2)
        self.conv5 = nn.Conv2d(features, features, 3)
        self.conv_bottom = nn.Conv2d(features, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x)
        second = self.conv2(activated(self.conv1_down(first)))
        deep = activated(self.conv3_up(self.conv3(activated(self.conv2_down(second)))))
        deep = activated(self.conv4_up(self.conv4(cropped(second, 4) + deep)))
        y: Tensor = self.conv_bottom(activated(self.conv5(cropped(first, 16) + deep)))
        return y


class TwoConvs(nn.Module):
    """Two 3×3 convolutions and an optional squeeze-and-excitation, N×inputs×H×W → N×outputs×(H-4)×(W-4)."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, attention: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 3), nn.LeakyReLU(0.1), nn.Conv2d(hidden, outputs, 3), nn.LeakyReLU(0.1)
        )
        self.seblock = SqueezeExcitation(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.seblock(self.conv(x))
        return y


class SqueezeExcitation(WholeImageLayer):
    """Multiply each channel by a weight that follows from the mean of all channels over the image.

    Hu et al. 2018, https://arxiv.org/abs/1709.01507

    Attributes:
        mean: the mean of each channel, if the input is only a part of the image; None: that of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: Tensor | None = None
        self.conv1 = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.conv2 = nn.Conv2d(channels // REDUCTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True) if self.mean is None else self.mean
        return x * torch.sigmoid(self.conv2(functional.relu(self.conv1(mean))))


def activated(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


def cropped(x: Tensor, margin: int) -> Tensor:
    """Remove `margin` pixels from each side."""
    return x[..., margin:-margin, margin:-margin]


def reflected(x: Tensor, padding: int, multiple: int) -> Tensor:
    """Pad N×C×H×W by reflection: below and on the right to multiples of `multiple`, then `padding` on each side.

    Sides must be longer than what is added to one of their ends.
    """
    return picked(x, *(reflected_indices(side, padding, multiple, x.device) for side in x.shape[-2:]))


def picked(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return these rows and columns of N×C×H×W."""
    return x.index_select(-2, rows).index_select(-1, columns)


def reflected_indices(side: int, padding: int, multiple: int, device: torch.device) -> Tensor:
    """Return the pixel of a side of the image that each pixel of the padded side shows."""
    # Written as a product, so that torch.export knows that the U-Nets can halve the size.
    count = (side + multiple - 1) // multiple * multiple + 2 * padding
    last = side - 1
    positions = torch.arange(count, device=device) - padding
    return last - (last - positions.abs()).abs()
