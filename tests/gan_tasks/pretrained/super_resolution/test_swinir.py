"""Checkpoints of SwinIR and HAT against a plain copy: attention among all pixels, of those that see one another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.pretrained.load import load_network, load_pretrained

State = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """Arguments of the published networks; `larger` makes it a HAT."""

    channels: int = 3
    width: int = 8
    depths: tuple[int, ...] = (2,)
    heads: tuple[int, ...] = (2,)
    window: int = 4
    hidden: int = 12
    upsampler: str = "pixelshuffledirect"
    scale: int = 2
    features: int = 6
    connection: str = "1conv"
    qkv_bias: bool = True
    patch_norm: bool = True
    positions: int = 0
    larger: int = 0

    @property
    def steps(self) -> list[int]:
        return [3] if self.scale == 3 else [2] * (self.scale.bit_length() - 1)


def make_state(sizes: Sizes, seed: int = 0) -> State:
    """Random tensors under the published names."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def layer(name: str, outputs: int, inputs: int, kernel: int | None = None, *, bias: bool = True) -> None:
        shape = (outputs, inputs) if kernel is None else (outputs, inputs, kernel, kernel)
        weight = torch.randn(shape, generator=generator)
        state[f"{name}.weight"] = weight / weight[0].numel() ** 0.5
        if bias:
            state[f"{name}.bias"] = 0.2 * torch.randn(outputs, generator=generator)

    def norm(name: str) -> None:
        state[f"{name}.weight"] = 0.5 + torch.rand(sizes.width, generator=generator)
        state[f"{name}.bias"] = 0.2 * torch.randn(sizes.width, generator=generator)

    def attention(name: str, heads: int, side: int) -> None:
        layer(f"{name}.qkv", 3 * width, width, bias=sizes.qkv_bias)
        layer(f"{name}.proj", width, width)
        state[f"{name}.relative_position_bias_table"] = torch.randn(side**2, heads, generator=generator)

    def perceptron(name: str) -> None:
        layer(f"{name}.fc1", sizes.hidden, width)
        layer(f"{name}.fc2", width, sizes.hidden)

    def connection(name: str) -> None:
        if sizes.connection == "1conv":
            layer(name, width, width, 3)
        else:
            layer(f"{name}.0", width // 4, width, 3)
            layer(f"{name}.2", width // 4, width // 4, 1)
            layer(f"{name}.4", width, width // 4, 3)

    width = sizes.width
    layer("conv_first", width, sizes.channels, 3)
    if sizes.patch_norm:
        norm("patch_embed.norm")
    if sizes.positions:
        state["absolute_pos_embed"] = torch.randn(1, sizes.positions, width, generator=generator)
    for group, (depth, heads) in enumerate(zip(sizes.depths, sizes.heads, strict=True)):
        for block in range(depth):
            name = f"layers.{group}.residual_group.blocks.{block}"
            norm(f"{name}.norm1")
            attention(f"{name}.attn", heads, 2 * sizes.window - 1)
            norm(f"{name}.norm2")
            perceptron(f"{name}.mlp")
            if sizes.larger:
                layer(f"{name}.conv_block.cab.0", 3, width, 3)
                layer(f"{name}.conv_block.cab.2", width, 3, 3)
                layer(f"{name}.conv_block.cab.3.attention.1", 2, width, 1)
                layer(f"{name}.conv_block.cab.3.attention.3", width, 2, 1)
        if sizes.larger:
            name = f"layers.{group}.residual_group.overlap_attn"
            norm(f"{name}.norm1")
            attention(name, heads, sizes.window + sizes.larger - 1)
            norm(f"{name}.norm2")
            perceptron(f"{name}.mlp")
        connection(f"layers.{group}.conv")
    norm("norm")
    connection("conv_after_body")
    features = sizes.features
    if sizes.upsampler == "pixelshuffledirect":
        layer("upsample.0", sizes.channels * sizes.scale**2, width, 3)
        return state
    if sizes.upsampler == "none":
        layer("conv_last", sizes.channels, width, 3)
        return state
    layer("conv_before_upsample.0", features, width, 3)
    for i, step in enumerate(sizes.steps):
        if sizes.upsampler == "pixelshuffle":
            layer(f"upsample.{2 * i}", features * step**2, features, 3)
        else:
            layer(f"conv_up{i + 1}", features, features, 3)
    if sizes.upsampler == "nearest+conv":
        layer("conv_hr", features, features, 3)
    layer("conv_last", sizes.channels, features, 3)
    return state


class Published:
    """The published networks, written plainly for images N×C×H×W whose sides are multiples of the window."""

    def __init__(self, state: State, sizes: Sizes, image_range: float = 1.0) -> None:
        self.state, self.sizes, self.image_range = state, sizes, image_range

    def conv(self, name: str, x: Tensor) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return functional.conv2d(x, weight, self.state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def perceptron(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.fc2", functional.gelu(self.linear(f"{name}.fc1", x)))

    def connection(self, name: str, x: Tensor) -> Tensor:
        if self.sizes.connection == "1conv":
            return self.conv(name, x)
        for part in ("0", "2"):
            x = functional.leaky_relu(self.conv(f"{name}.{part}", x), 0.2)
        return self.conv(f"{name}.4", x)

    def attend(self, name: str, q: Tensor, k: Tensor, v: Tensor, index: Tensor, seen: Tensor, heads: int) -> Tensor:
        """q N×L×C; k, v N×K×C; index L×K of the table; seen L×K."""
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        table = self.state[f"{name}.relative_position_bias_table"]
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        scores = scores + table[index.where(seen, 0)].permute(2, 0, 1)
        scores = scores.masked_fill(~seen, -torch.inf)
        return self.linear(f"{name}.proj", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    def window_attention(self, name: str, x: Tensor, *, is_shifted: bool, heads: int) -> Tensor:
        """x N×H×W×C. A pixel sees those of its window; at the borders shifted windows are smaller."""
        window, (height, width) = self.sizes.window, x.shape[1:3]
        shift = window // 2 if is_shifted else 0
        row, column = pixels(height, width)
        seen = same((row - shift) // window) & same((column - shift) // window)
        index = (row[:, None] - row + window - 1) * (2 * window - 1) + column[:, None] - column + window - 1
        q, k, v = self.linear(f"{name}.qkv", x.flatten(1, 2)).chunk(3, -1)
        return self.attend(name, q, k, v, index, seen, heads).view_as(x)

    def overlapping_attention(self, name: str, x: Tensor, heads: int) -> Tensor:
        window, larger, (height, width) = self.sizes.window, self.sizes.larger, x.shape[1:3]
        margin = (larger - window) // 2
        qkv = self.linear(f"{name}.qkv", x)
        q = qkv[..., : x.shape[-1]].flatten(1, 2)
        padded = functional.pad(qkv[..., x.shape[-1] :], (0, 0, margin, margin, margin, margin))
        k, v = padded.flatten(1, 2).chunk(2, -1)
        offsets = []
        for own, other in zip(pixels(height, width), pixels(height + 2 * margin, width + 2 * margin), strict=True):
            offsets.append((other - own[:, None] // window * window, own[:, None] % window))
        seen = torch.stack([(offset >= 0) & (offset < larger) for offset, _ in offsets]).all(0)
        down, across = (offset - own + window - larger + 1 for offset, own in offsets)
        return self.attend(name, q, k, v, down * (window + larger - 1) + across, seen, heads).view_as(x)

    def conv_block(self, name: str, x: Tensor) -> Tensor:
        y = self.conv(f"{name}.2", functional.gelu(self.conv(f"{name}.0", x.permute(0, 3, 1, 2))))
        squeezed = torch.relu(self.conv(f"{name}.3.attention.1", y.mean((2, 3), keepdim=True)))
        return (y * self.conv(f"{name}.3.attention.3", squeezed).sigmoid()).permute(0, 2, 3, 1)

    def group(self, name: str, x: Tensor, depth: int, heads: int) -> Tensor:
        y = x
        for i in range(depth):
            block = f"{name}.residual_group.blocks.{i}"
            normed = self.norm(f"{block}.norm1", y)
            y = y + self.window_attention(f"{block}.attn", normed, is_shifted=i % 2 == 1, heads=heads)
            if self.sizes.larger:
                y = y + 0.01 * self.conv_block(f"{block}.conv_block.cab", normed)
            y = y + self.perceptron(f"{block}.mlp", self.norm(f"{block}.norm2", y))
        if self.sizes.larger:
            block = f"{name}.residual_group.overlap_attn"
            y = y + self.overlapping_attention(block, self.norm(f"{block}.norm1", y), heads)
            y = y + self.perceptron(f"{block}.mlp", self.norm(f"{block}.norm2", y))
        return x + self.connection(f"{name}.conv", y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def upsampled(self, x: Tensor) -> Tensor:
        if self.sizes.upsampler == "none":
            return self.conv("conv_last", x)
        if self.sizes.upsampler == "pixelshuffledirect":
            return functional.pixel_shuffle(self.conv("upsample.0", x), self.sizes.scale)
        x = functional.leaky_relu(self.conv("conv_before_upsample.0", x), 0.01)
        for i, step in enumerate(self.sizes.steps):
            if self.sizes.upsampler == "pixelshuffle":
                x = functional.pixel_shuffle(self.conv(f"upsample.{2 * i}", x), step)
            else:
                x = functional.interpolate(x, scale_factor=2, mode="nearest")
                x = functional.leaky_relu(self.conv(f"conv_up{i + 1}", x), 0.2)
        if self.sizes.upsampler == "nearest+conv":
            x = functional.leaky_relu(self.conv("conv_hr", x), 0.2)
        return self.conv("conv_last", x)

    def __call__(self, image: Tensor) -> Tensor:
        mean = torch.tensor((0.4488, 0.4371, 0.4040)).view(3, 1, 1) if self.sizes.channels == 3 else torch.zeros(1)
        image = (image - mean) * self.image_range
        first = self.conv("conv_first", image)
        x = first.permute(0, 2, 3, 1)
        x = self.norm("patch_embed.norm", x) if self.sizes.patch_norm else x
        if self.sizes.positions:
            x = x + self.state["absolute_pos_embed"].view(1, *x.shape[1:])
        for group, (depth, heads) in enumerate(zip(self.sizes.depths, self.sizes.heads, strict=True)):
            x = self.group(f"layers.{group}", x, depth, heads)
        y = self.upsampled(self.connection("conv_after_body", self.norm("norm", x).permute(0, 3, 1, 2)) + first)
        return (y + image if self.sizes.upsampler == "none" else y) / self.image_range + mean


def pixels(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Row and column of each pixel."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return rows.flatten(), columns.flatten()


def same(values: Tensor) -> Tensor:
    return values[:, None] == values


SWINIR = {
    "two groups": Sizes(depths=(3, 1), heads=(2, 4)),
    "pixelshuffle x4": Sizes(upsampler="pixelshuffle", scale=4, width=12, heads=(3,)),
    "pixelshuffle x3": Sizes(upsampler="pixelshuffle", scale=3, channels=1, qkv_bias=False),
    "pixelshuffle x8": Sizes(upsampler="pixelshuffle", scale=8, features=4, hidden=32),
    "nearest x4, 3conv": Sizes(upsampler="nearest+conv", scale=4, connection="3conv"),
    "nearest x2": Sizes(upsampler="nearest+conv", scale=2, patch_norm=False),
    "gray denoising": Sizes(upsampler="none", scale=1, channels=1, window=8),
    "JPEG": Sizes(upsampler="none", scale=1, window=7),
    "position embedding": Sizes(positions=12 * 12),
}
HAT = {
    "hat": Sizes(upsampler="pixelshuffle", larger=6),
    "hat x4, two groups": Sizes(upsampler="pixelshuffle", scale=4, depths=(1, 2), heads=(4, 2), larger=8, window=8),
    "hat without biases": Sizes(upsampler="pixelshuffle", scale=3, qkv_bias=False, larger=8, window=4),
}


@pytest.mark.parametrize("name", [*SWINIR, *HAT])
def test_network_equals_the_published_one(tmp_path: Path, name: str) -> None:
    sizes = {**SWINIR, **HAT}[name]
    state = make_state(sizes)
    torch.save({"params_ema": state}, tmp_path / "n.pth")
    published = Published(state, sizes, 255.0 if name == "JPEG" else 1.0)
    height, width = (3 if sizes.positions else 2) * sizes.window, 3 * sizes.window
    image = torch.rand(2, sizes.channels, height, width, generator=torch.Generator().manual_seed(1))
    network = load_network(tmp_path / "n.pth")
    expected = published(image)
    assert expected.std() > 0.1, "the weights have no effect on the output"
    torch.testing.assert_close(network(image), expected, rtol=TOLERANCE, atol=TOLERANCE)
    # Other sizes are padded below and on the right by reflection.
    cropped = image[..., : height - 1, : width - 2]
    padded = functional.pad(cropped, (0, 2, 0, 1), mode="reflect")
    expected = published(padded)[..., : (height - 1) * sizes.scale, : (width - 2) * sizes.scale]
    torch.testing.assert_close(network(cropped), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", [*SWINIR, *HAT])
def test_usage(tmp_path: Path, name: str) -> None:
    sizes = {**SWINIR, **HAT}[name]
    torch.save(make_state(sizes), tmp_path / "n.pth")
    pretrained = load_pretrained(tmp_path / "n.pth")
    usage = pretrained.usage
    assert usage is not None
    assert pretrained.architecture.name == ("HAT" if sizes.larger else "SwinIR")
    assert (usage.width, usage.spec.scale, usage.value_range) == (sizes.width, sizes.scale, (0, 1))
    assert (usage.spec.in_channels, usage.spec.out_channels) == (sizes.channels, sizes.channels)
    assert (usage.spec.size_multiple, usage.spec.tile_multiple) == (1, sizes.window)
    assert usage.spec.global_statistics == bool(sizes.larger), "HAT has channel attention"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2)])
def test_small_images(tmp_path: Path, size: tuple[int, int]) -> None:
    """They are reflected more than once."""
    torch.save(make_state(Sizes()), tmp_path / "n.pth")
    network = load_network(tmp_path / "n.pth")
    image = torch.rand(1, 3, *size)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), *((0, -side % 4) for side in size)), mode="reflect")
    expected = network(torch.from_numpy(padded))[..., : 2 * size[0], : 2 * size[1]]
    torch.testing.assert_close(network(image), expected, rtol=0, atol=0)


def test_masks_and_indices_of_the_file(tmp_path: Path) -> None:
    """Masks are those of the training's size and not used; other indices than the published ones are refused."""
    state = make_state(Sizes())
    name = "layers.0.residual_group.blocks.1.attn"
    row, column = pixels(4, 4)
    index = 7 * (row[:, None] - row + 3) + column[:, None] - column + 3
    extra = {
        "layers.0.residual_group.blocks.1.attn_mask": torch.rand(9, 16, 16),
        f"{name}.relative_position_index": index,
    }
    torch.save(state, tmp_path / "bare.pth")
    torch.save(state | extra, tmp_path / "n.pth")
    image = torch.rand(1, 3, 12, 12)
    assert torch.equal(load_network(tmp_path / "n.pth")(image), load_network(tmp_path / "bare.pth")(image))
    torch.save(state | extra | {f"{name}.relative_position_index": index.T}, tmp_path / "n.pth")
    with pytest.raises(UserError, match="relative_position_index has other indices than the published code"):
        load_network(tmp_path / "n.pth")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conv_after_body.weight": None}, "conv_after_body.weight is absent where 8×8×3×3 was expected"),
        ({"absolute_pos_embed": torch.ones(1, 12, 8)}, "expected the positions of a square"),
        ({"extra.weight": torch.ones(1)}, "extra.weight is 1 where absent"),
        (
            {"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.ones(48, 2)},
            "square of an odd",
        ),
        ({"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.ones(49, 3)}, "do not divide"),
        ({"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.ones(401**2, 2)}, "at most 32"),
        ({"layers.0.residual_group.blocks.0.mlp.fc1.weight": None}, "expected the weight of a layer"),
        (
            {"layers.1.residual_group.blocks.300.norm1.weight": torch.ones(8)},
            "layers.1.residual_group.blocks.0.norm1.weight is absent",
        ),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**make_state(Sizes()), **change}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")


def test_an_upsampling_by_five_is_refused(tmp_path: Path) -> None:
    state = make_state(Sizes(upsampler="pixelshuffle")) | {"upsample.0.weight": torch.ones(150, 6, 3, 3)}
    torch.save(state, tmp_path / "n.pth")
    with pytest.raises(UserError, match="enlarges by 5: expected steps of 2, or one of 3"):
        load_network(tmp_path / "n.pth")


@pytest.mark.parametrize(
    "sizes", [Sizes(upsampler="none", scale=1, window=8), Sizes(upsampler="pixelshuffle", larger=6)]
)
def test_exported_graph_takes_any_size(tmp_path: Path, sizes: Sizes) -> None:
    torch.save(make_state(sizes), tmp_path / "n.pth")
    model = PretrainedModel(tmp_path / "n.pth", device="cpu")
    report = export_onnx(model, tmp_path / "n.onnx", model_name="windows")
    assert report.verification.ok and (1, 1) in report.sizes
    exported = OnnxModel(tmp_path / "n.onnx", device="cpu")
    assert exported.spec == model.spec
    for size in ((5, 19), (16, 24)):
        image = np.random.default_rng(0).uniform(-1, 1, (2, 3, *size)).astype(np.float32)
        np.testing.assert_allclose(exported.run(image), model.run(image), rtol=0, atol=2 * TOLERANCE)


def test_a_position_embedding_is_resized(tmp_path: Path) -> None:
    state = make_state(Sizes(positions=16))
    state["absolute_pos_embed"] = state["absolute_pos_embed"].mean(1, keepdim=True).expand(1, 16, 8)
    torch.save(state, tmp_path / "n.pth")
    torch.save(
        state | {"absolute_pos_embed": state["absolute_pos_embed"][:, :1].expand(1, 144, 8)}, tmp_path / "m.pth"
    )
    image = torch.rand(1, 3, 12, 12)
    expected = load_network(tmp_path / "m.pth")(image)
    torch.testing.assert_close(load_network(tmp_path / "n.pth")(image), expected, rtol=0, atol=TOLERANCE)


def test_tiles_have_the_windows_of_the_whole_image(tmp_path: Path) -> None:
    torch.save(make_state(Sizes(upsampler="none", scale=1)), tmp_path / "n.pth")
    model = PretrainedModel(tmp_path / "n.pth", device="cpu")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 23, 150)).astype(np.float32)
    whole = model.run(image)
    model.max_memory_bytes = model.bytes_per_pixel * 24 * 100
    assert model.runs_in_tiles(23, 150)
    assert np.abs(model.run(image) - whole).max() < 2 * 2 / 255 * whole.std()


@pytest.mark.parametrize("name", interop_names("swinir", "hat"))
def test_interop(name: str) -> None:
    case = interop_case(name)
    output = load_network(case.path)(*case.inputs)
    torch.testing.assert_close(output, case.outputs["output"], rtol=0, atol=TOLERANCE)
