"""The Inception v3 network that defines FID, KID and the Inception Score.

Its weights are those of TensorFlow of 2015-12-05, in the port of pytorch-fid and with its keys. It differs from later
versions, such as torchvision's: it has 1008 classes, average pooling without the padding, and maximum instead of
average pooling in the last block.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURES, CLASSES = 2048, 1008
SIZE_PX = 299

# A convolution is (name, output channels, kernel height, kernel width). A chain of them is a branch of a block. The
# last item of a chain may be a pair of convolutions with the same input; their outputs are concatenated.
Conv = tuple[str, int, int, int]
Chain = Sequence[Conv | tuple[Conv, Conv]]


class Inception2015(nn.Module):
    """Inception v3, N×3×299×299 RGB in [-1, 1] → averaged features N×2048.

    Szegedy et al. 2015, https://arxiv.org/abs/1512.00567
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, 3, pad=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, 3)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, 3, pad=False)
        self.Mixed_5b = mixed_a(192, pool=32)
        self.Mixed_5c = mixed_a(256, pool=64)
        self.Mixed_5d = mixed_a(288, pool=64)
        self.Mixed_6a = Mixed(
            288,
            [
                [("branch3x3", 384, 3, 3)],
                [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)],
            ],
            pool="halve",
        )
        self.Mixed_6b = mixed_c(128)
        self.Mixed_6c = mixed_c(160)
        self.Mixed_6d = mixed_c(160)
        self.Mixed_6e = mixed_c(192)
        self.Mixed_7a = Mixed(
            768,
            [
                [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 3)],
                [
                    ("branch7x7x3_1", 192, 1, 1),
                    ("branch7x7x3_2", 192, 1, 7),
                    ("branch7x7x3_3", 192, 7, 1),
                    ("branch7x7x3_4", 192, 3, 3),
                ],
            ],
            pool="halve",
        )
        self.Mixed_7b = mixed_e(1280, pool="mean")
        self.Mixed_7c = mixed_e(2048, pool="max")
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = functional.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = functional.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        features: Tensor = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return features.mean(dim=(2, 3))


class ConvNorm(nn.Module):
    """Convolution, batch norm and ReLU, N×C_in×H×W → N×C_out×H'×W'."""

    def __init__(
        self, channels_in: int, channels_out: int, height: int, width: int, *, stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        padding = (height // 2, width // 2) if pad and stride == 1 else 0
        self.conv = nn.Conv2d(channels_in, channels_out, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Inception block: parallel chains of convolutions and a pooling branch, concatenated along the channels.

    chains: the convolutions, see `Chain`.
    pool: "mean" and "max" keep the size, and a 1×1 convolution to `pool_channels` follows. "halve" is max pooling
        that halves the size, without a convolution; the last convolution of each chain then has stride 2.
    """

    def __init__(self, channels: int, chains: Sequence[Chain], *, pool: str, pool_channels: int = 0) -> None:
        super().__init__()
        self.pool, self.chains = pool, []
        for chain in chains:
            names, channels_in = [], channels
            for place, convs in enumerate(chain):
                side_by_side = (convs,) if isinstance(convs[0], str) else convs
                stride = 2 if pool == "halve" and place == len(chain) - 1 else 1
                for name, channels_out, height, width in side_by_side:
                    self.add_module(name, ConvNorm(channels_in, channels_out, height, width, stride=stride))
                names.append([conv[0] for conv in side_by_side])
                channels_in = side_by_side[0][1]
            self.chains.append(names)
        if pool != "halve":
            self.branch_pool = ConvNorm(channels, pool_channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for chain in self.chains:
            y = x
            for names in chain:
                y = torch.cat([self.get_submodule(name)(y) for name in names], dim=1)
            outputs.append(y)
        if self.pool == "halve":
            outputs.append(functional.max_pool2d(x, 3, stride=2))
        elif self.pool == "max":
            outputs.append(self.branch_pool(functional.max_pool2d(x, 3, stride=1, padding=1)))
        else:
            mean = functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
            outputs.append(self.branch_pool(mean))
        return torch.cat(outputs, dim=1)


def mixed_a(channels: int, *, pool: int) -> Mixed:
    """Block A, for features of 35×35; `pool` is the number of channels of the pooling branch."""
    chains: list[Chain] = [
        [("branch1x1", 64, 1, 1)],
        [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 5)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)],
    ]
    return Mixed(channels, chains, pool="mean", pool_channels=pool)


def mixed_c(width: int) -> Mixed:
    """Block C, for features of 17×17; `width` is the number of channels within the chains."""
    chains: list[Chain] = [
        [("branch1x1", 192, 1, 1)],
        [("branch7x7_1", width, 1, 1), ("branch7x7_2", width, 1, 7), ("branch7x7_3", 192, 7, 1)],
        [
            ("branch7x7dbl_1", width, 1, 1),
            ("branch7x7dbl_2", width, 7, 1),
            ("branch7x7dbl_3", width, 1, 7),
            ("branch7x7dbl_4", width, 7, 1),
            ("branch7x7dbl_5", 192, 1, 7),
        ],
    ]
    return Mixed(768, chains, pool="mean", pool_channels=192)


def mixed_e(channels: int, *, pool: str) -> Mixed:
    """Block E, for features of 8×8; `pool` is "mean" or "max"."""
    chains: list[Chain] = [
        [("branch1x1", 320, 1, 1)],
        [("branch3x3_1", 384, 1, 1), (("branch3x3_2a", 384, 1, 3), ("branch3x3_2b", 384, 3, 1))],
        [
            ("branch3x3dbl_1", 448, 1, 1),
            ("branch3x3dbl_2", 384, 3, 3),
            (("branch3x3dbl_3a", 384, 1, 3), ("branch3x3dbl_3b", 384, 3, 1)),
        ],
    ]
    return Mixed(channels, chains, pool=pool, pool_channels=192)
