"""A plain copy of Real-CUGAN's published networks, and files of them."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

FLOAT16 = 0x01306B47
LEAKY = "9=2 -23310=1,1.000000e-01"

# The published networks, without their tiles.


class PublishedSE(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 8, 1)
        self.conv2 = nn.Conv2d(channels // 8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.mean(x, dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.conv2(torch.relu(self.conv1(mean))))


class PublishedConvs(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int, se: bool) -> None:
        super().__init__()
        layers = (nn.Conv2d(inputs, hidden, 3), nn.LeakyReLU(0.1), nn.Conv2d(hidden, outputs, 3), nn.LeakyReLU(0.1))
        self.conv = nn.Sequential(*layers)
        if se:
            self.seblock = PublishedSE(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.seblock(x) if hasattr(self, "seblock") else x


class PublishedUNet1(nn.Module):
    def __init__(self, inputs: int, outputs: int, w: tuple[int, ...], scale: int, se: bool) -> None:
        super().__init__()
        self.conv1 = PublishedConvs(inputs, w[0], w[1], se=False)
        self.conv1_down = nn.Conv2d(w[1], w[1], 2, 2)
        self.conv2 = PublishedConvs(w[1], w[2], w[1], se=se)
        self.conv2_up = nn.ConvTranspose2d(w[1], w[1], 2, 2)
        self.conv3 = nn.Conv2d(w[1], w[1], 3)
        form = (5, 3, 2) if scale == 3 else (4, 2, 3)
        self.conv_bottom = nn.ConvTranspose2d(w[1], outputs, *form)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.conv1(x)
        x2 = lrelu(self.conv2_up(self.conv2(lrelu(self.conv1_down(x1)))))
        return self.conv_bottom(lrelu(self.conv3(functional.pad(x1, (-4,) * 4) + x2)))


class PublishedUNet2(nn.Module):
    def __init__(self, inputs: int, outputs: int, w: tuple[int, ...], se: bool) -> None:
        super().__init__()
        self.conv1 = PublishedConvs(inputs, w[0], w[1], se=False)
        self.conv1_down = nn.Conv2d(w[1], w[1], 2, 2)
        self.conv2 = PublishedConvs(w[1], w[1], w[2], se=se)
        self.conv2_down = nn.Conv2d(w[2], w[2], 2, 2)
        self.conv3 = PublishedConvs(w[2], w[3], w[2], se=se)
        self.conv3_up = nn.ConvTranspose2d(w[2], w[2], 2, 2)
        self.conv4 = PublishedConvs(w[2], w[1], w[1], se=se)
        self.conv4_up = nn.ConvTranspose2d(w[1], w[1], 2, 2)
        self.conv5 = nn.Conv2d(w[1], w[1], 3)
        self.conv_bottom = nn.Conv2d(w[1], outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.conv1(x)
        x2 = self.conv2(lrelu(self.conv1_down(x1)))
        x3 = lrelu(self.conv3_up(self.conv3(lrelu(self.conv2_down(x2)))))
        x4 = lrelu(self.conv4_up(self.conv4(functional.pad(x2, (-4,) * 4) + x3)))
        return self.conv_bottom(lrelu(self.conv5(functional.pad(x1, (-16,) * 4) + x4)))


class PublishedUpCunet(nn.Module):
    def __init__(
        self, scale: int, w: tuple[int, ...], *, channels: int = 3, se: bool = True, pro: bool = False
    ) -> None:
        super().__init__()
        self.scale, self.pro = scale, pro
        inner = w[1] if scale == 4 else channels
        self.unet1 = PublishedUNet1(channels, inner, w, scale, se)
        self.unet2 = PublishedUNet2(inner, inner, w, se)
        if scale == 4:
            self.conv_final = nn.Conv2d(w[1], 4 * channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        image = x = x * 0.7 + 0.15 if self.pro else x
        height, width = x.shape[-2:]
        multiple, padding = (4, 14) if self.scale == 3 else (2, 19 if self.scale == 4 else 18)
        below, right = -height % multiple, -width % multiple
        x = functional.pad(x, (padding, padding + right, padding, padding + below), "reflect")
        x = self.unet1(x)
        x = self.unet2(x) + functional.pad(x, (-20,) * 4)
        if self.scale == 4:
            x = functional.pixel_shuffle(functional.pad(self.conv_final(x), (-1,) * 4), 2)
        x = x[..., : self.scale * height, : self.scale * width]
        if self.scale == 4:
            x = x + functional.interpolate(image, scale_factor=4, mode="nearest")
        return (x - 0.15) / 0.7 if self.pro else x


def lrelu(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


def trained(network: PublishedUpCunet, seed: int = 0) -> PublishedUpCunet:
    """Set random weights, large enough for each to have an effect."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 1.2 * parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.data.uniform_(-0.2, 0.2, generator=generator)
    return network.eval().requires_grad_(False)


def save_pth(network: PublishedUpCunet, path: Path) -> Path:
    torch.save(dict(network.state_dict()) | ({"pro": ""} if network.pro else {}), path)
    return path


class NcnnWriter:
    """Writes the layers in forward order, as pnnx does."""

    def __init__(self, *, attention: bool) -> None:
        self.axes = "-2,-1" if attention else "1,2"
        self.layers: list[tuple[str, list[int], str]] = [("Input", [], "")]
        self.weights = b""

    def add(self, kind: str, inputs: list[int], params: str) -> int:
        self.layers.append((kind, inputs, params))
        return len(self.layers) - 1

    def weighted(self, kind: str, module: nn.Module, x: int, params: str) -> int:
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None
        weight = module.weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else module.weight
        data = weight.detach().numpy().astype(np.float16).tobytes()
        self.weights += (
            struct.pack("<I", FLOAT16) + data + b"\0" * (-len(data) % 4) + module.bias.detach().numpy().tobytes()
        )
        count = f"2={weight.numel()}" if kind == "InnerProduct" else f"6={weight.numel()}"
        return self.add(kind, [x], f"0={len(module.bias)} {count} {params}")

    def conv(self, module: nn.Module, x: int, activation: str = LEAKY) -> int:
        return self.weighted("Convolution", module, x, f"1=3 5=1 {activation}")

    def down(self, module: nn.Module, x: int) -> int:
        return self.weighted("Convolution", module, x, f"1=2 3=2 5=1 {LEAKY}")

    def crop(self, x: int, margin: int) -> int:
        return self.add("Crop", [x], f"-23309=2,{margin},{margin} -23310=2,-{margin},-{margin} -23311=2,{self.axes}")

    def convs(self, module: PublishedConvs, x: int) -> int:
        x = self.conv(module.conv[2], self.conv(module.conv[0], x))
        if not hasattr(module, "seblock"):
            return x
        mean = self.add("Pooling", [x], "0=1 4=1")
        hidden = self.weighted("InnerProduct", module.seblock.conv1, mean, "1=1 9=1")
        return self.add(
            "BinaryOp", [x, self.weighted("InnerProduct", module.seblock.conv2, hidden, "1=1 9=4")], "0=2"
        )

    def up(self, module: nn.Module, x: int, skipped: int, margin: int) -> int:
        crop = self.crop(skipped, margin)
        return self.add("BinaryOp", [crop, self.weighted("Deconvolution", module, x, f"1=2 3=2 5=1 {LEAKY}")], "0=0")

    def text(self) -> str:
        """Return the `.param`, with a Split for each blob that several layers read."""
        readers = Counter(number for _, inputs, _ in self.layers for number in inputs)
        waiting: dict[int, list[str]] = {}
        lines = []
        for number, (kind, inputs, params) in enumerate(self.layers):
            taken = "".join(f" {waiting[i].pop(0)}" for i in inputs)
            blob = {0: "in0", len(self.layers) - 1: "out0"}.get(number, str(number))
            lines.append(f"{kind} layer{number} {len(inputs)} 1{taken} {blob} {params}".rstrip())
            waiting[number] = [blob]
            if readers[number] > 1:
                waiting[number] = [f"{blob}_{i}" for i in range(readers[number])]
                lines.append(f"Split split{number} 1 {readers[number]} {blob} {' '.join(waiting[number])}")
        return "\n".join(["7767517", f"{len(lines)} {2 * len(lines)}", *lines, ""])


def save_ncnn(network: PublishedUpCunet, path: Path) -> Path:
    """Write a `.param` and a `.bin` of float16, as realcugan-ncnn-vulkan has them: without padding and sum with the
    image."""
    attention = hasattr(network.unet1.conv2, "seblock")
    writer, one, two = NcnnWriter(attention=attention), network.unet1, network.unet2
    first = writer.convs(one.conv1, 0)
    x = writer.up(one.conv2_up, writer.convs(one.conv2, writer.down(one.conv1_down, first)), first, 4)
    bottom = one.conv_bottom
    form = f"1={bottom.kernel_size[0]} 3={bottom.stride[0]} 4={bottom.padding[0]} 5=1"
    enlarged = writer.weighted("Deconvolution", bottom, writer.conv(one.conv3, x), form)
    first = writer.convs(two.conv1, enlarged)
    second = writer.convs(two.conv2, writer.down(two.conv1_down, first))
    x = writer.convs(two.conv3, writer.down(two.conv2_down, second))
    x = writer.convs(two.conv4, writer.up(two.conv3_up, x, second, 4))
    x = writer.up(two.conv4_up, x, first, 16)
    kept = writer.crop(enlarged, 20) if attention else None
    x = writer.conv(two.conv_bottom, writer.conv(two.conv5, x), activation="")
    x = writer.add("BinaryOp", [x, writer.crop(enlarged, 20) if kept is None else kept], "0=0")
    if network.scale == 4:
        writer.add("PixelShuffle", [writer.crop(writer.conv(network.conv_final, x, activation=""), 1)], "0=2")
    path.write_text(writer.text())
    path.with_suffix(".bin").write_bytes(writer.weights)
    return path
