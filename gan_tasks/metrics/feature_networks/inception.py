"""The Inception v3 network that FID, KID and the Inception Score are defined by.

Its weights are TensorFlow's of 2015-12-05 in pytorch-fid's port, whose keys it has. It differs from later Inception
v3s, torchvision's among them: 1008 classes, average pooling that leaves the padding out, and a maximum where the last
block should have an average.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURES, CLASSES = 2048, 1008
SIZE_PX = 299

# A convolution: (name, channels out, kernel height, kernel width). A chain of them is a branch of a block; where the
# last place of a chain holds two, both see what came before, and their outputs lie side by side.
Conv = tuple[str, int, int, int]
Chain = Sequence[Conv | tuple[Conv, Conv]]


class Inception2015(nn.Module):
    """N×3×299×299 RGB in [-1, 1] → pooled features N×2048. https://arxiv.org/abs/1512.00567"""

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
        seen: Tensor = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return seen.mean(dim=(2, 3))


class ConvNorm(nn.Module):
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
    """Chains of convolutions side by side, and a branch of pooling: mean or max, of `pool_channels`, keep the size;
    "halve" is a maximum as it stands beside chains whose last convolution has stride 2."""

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
    chains: list[Chain] = [
        [("branch1x1", 64, 1, 1)],
        [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 5)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)],
    ]
    return Mixed(channels, chains, pool="mean", pool_channels=pool)


def mixed_c(width: int) -> Mixed:
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
