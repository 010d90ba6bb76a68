"""Checkpoints of LaMa, against stored outputs of the published network and against its layers restated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from interop import TOLERANCE, interop_case, interop_names
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.apart.run import run_session
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.model import open_session
from gan_tasks.pretrained.load import load_network, load_pretrained

State = dict[str, Tensor]


@pytest.mark.parametrize("name", interop_names("lama"))
def test_stored_outputs(name: str) -> None:
    case = interop_case(name)
    network = load_network(case.path)
    (x,) = case.inputs
    torch.testing.assert_close(network(x), case.outputs["output"], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(network(x[:, :3], x[:, 3:]), case.outputs["output"], rtol=0, atol=TOLERANCE)


# The published network, restated: a list of layers by number, and what each computes.


class Published:
    """A random state dict under the published names, and the network's output for it.

    ngf: channels of the first layer. halvings, blocks: numbers of layers. ratio: share of global channels.
    """

    def __init__(
        self,
        ngf: int,
        *,
        halvings: int = 3,
        blocks: int = 1,
        ratio: float = 0.75,
        lfu: bool = False,
        widest: int = 1024,
    ) -> None:
        self.random = torch.Generator().manual_seed(ngf)
        self.state: State = {}
        self.halvings, self.blocks, self.lfu = halvings, blocks, lfu
        widths = [min(widest, ngf * 2**i) for i in range(halvings + 1)]
        self.of_global = int(widths[-1] * ratio)
        self.of_local = widths[-1] - self.of_global
        self.add_ffc("model.1", (4, 0), (ngf, 0), 7)
        for i in range(halvings):
            after = (widths[i + 1], 0) if i < halvings - 1 else (self.of_local, self.of_global)
            self.add_ffc(f"model.{2 + i}", (widths[i], 0), after, 3)
        both = (self.of_local, self.of_global)
        for i in range(blocks):
            for conv in ("conv1", "conv2"):
                self.add_ffc(f"model.{2 + halvings + i}.{conv}", both, both, 3)
        self.first_up = 3 + halvings + blocks
        for i in range(halvings):
            number = self.first_up + 3 * i
            self.add_conv(f"model.{number}", widths[-2 - i], widths[-1 - i], 3, bias=True, transposed=True)
            self.add_norm(f"model.{number + 1}", widths[-2 - i])
        self.last = f"model.{self.first_up + 3 * halvings + 1}"
        self.add_conv(self.last, 3, ngf, 7, bias=True)

    def add_conv(
        self, name: str, outputs: int, inputs: int, kernel: int, *, bias: bool = False, transposed: bool = False
    ) -> None:
        shape = (inputs, outputs, kernel, kernel) if transposed else (outputs, inputs, kernel, kernel)
        gain = (4 if transposed else 1) * 1.5 / (inputs * kernel**2)
        self.state[f"{name}.weight"] = torch.randn(shape, generator=self.random) * gain**0.5
        if bias:
            self.state[f"{name}.bias"] = torch.randn(outputs, generator=self.random) * 0.1

    def add_norm(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = 0.5 + torch.rand(channels, generator=self.random)
        self.state[f"{name}.bias"] = torch.randn(channels, generator=self.random) * 0.1
        self.state[f"{name}.running_mean"] = torch.randn(channels, generator=self.random) * 0.1
        self.state[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=self.random)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(1)

    def add_ffc(self, name: str, inputs: tuple[int, int], outputs: tuple[int, int], kernel: int) -> None:
        for source, before in zip("lg", inputs, strict=True):
            for target, after in zip("lg", outputs, strict=True):
                if not before or not after:
                    continue
                part = f"{name}.ffc.conv{source}2{target}"
                if source == target == "g":
                    half = after // 2
                    self.add_conv(f"{part}.conv1.0", half, before, 1)
                    self.add_norm(f"{part}.conv1.1", half)
                    for unit in ("fu", "lfu") if self.lfu else ("fu",):
                        self.add_conv(f"{part}.{unit}.conv_layer", 2 * half, 2 * half, 1)
                        self.add_norm(f"{part}.{unit}.bn", 2 * half)
                    self.add_conv(f"{part}.conv2", after, half, 1)
                else:
                    self.add_conv(part, after, before, kernel)
        for target, after in zip("lg", outputs, strict=True):
            if after:
                self.add_norm(f"{name}.bn_{target}", after)

    def __call__(self, x: Tensor) -> Tensor:
        pad = functional.pad
        local = self.ffc("model.1", pad(x, (3, 3, 3, 3), mode="reflect"), None, padding=0)[0]
        wide = None
        for i in range(self.halvings):
            local, wide = self.ffc(f"model.{2 + i}", local, None, stride=2)
        for i in range(self.blocks):
            number = 2 + self.halvings + i
            first = self.ffc(f"model.{number}.conv1", local, wide)
            second = self.ffc(f"model.{number}.conv2", *first)
            local = local if local is None else local + second[0]
            wide = wide if wide is None else wide + second[1]
        y = torch.cat([part for part in (local, wide) if part is not None], dim=1)
        for i in range(self.halvings):
            number = self.first_up + 3 * i
            weight, bias = self.get(f"model.{number}.weight"), self.get(f"model.{number}.bias")
            y = functional.conv_transpose2d(y, weight, bias, stride=2, padding=1, output_padding=1)
            y = functional.relu(self.norm(f"model.{number + 1}", y))
        y = pad(y, (3, 3, 3, 3), mode="reflect")
        return torch.sigmoid(functional.conv2d(y, self.get(f"{self.last}.weight"), self.get(f"{self.last}.bias")))

    def get(self, key: str) -> Tensor:
        return self.state[key].double()

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (
            self.get(f"{name}.{end}") for end in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, var, weight, bias)

    def ffc(
        self, name: str, local: Tensor | None, wide: Tensor | None, *, stride: int = 1, padding: int = 1
    ) -> tuple[Tensor, Tensor | None]:
        outputs: list[Tensor | None] = []
        for target in "lg":
            total: Tensor | None = None
            for source, x in (("l", local), ("g", wide)):
                part = f"{name}.ffc.conv{source}2{target}"
                if x is None or not any(key.startswith(f"{part}.") for key in self.state):
                    continue
                if source == target == "g":
                    term = self.spectral(part, x)
                else:
                    padded = functional.pad(x, (padding,) * 4, mode="reflect") if padding else x
                    term = functional.conv2d(padded, self.get(f"{part}.weight"), stride=stride)
                total = term if total is None else total + term
            outputs.append(None if total is None else functional.relu(self.norm(f"{name}.bn_{target}", total)))
        return outputs[0], outputs[1]  # type: ignore[return-value]

    def spectral(self, part: str, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(f"{part}.conv1.1", functional.conv2d(x, self.get(f"{part}.conv1.0.weight"))))
        total = x + self.unit(f"{part}.fu", x)
        if self.lfu:
            rows = x[:, : x.shape[1] // 4].split(x.shape[2] // 2, dim=2)
            tiles = torch.cat(torch.cat(rows, dim=1).split(x.shape[3] // 2, dim=3), dim=1)
            total = total + self.unit(f"{part}.lfu", tiles).repeat(1, 1, 2, 2)
        return functional.conv2d(total, self.get(f"{part}.conv2.weight"))

    def unit(self, part: str, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfftn(x, dim=(-2, -1), norm="ortho")
        n, channels, height, width = spectrum.shape
        stacked = torch.stack([spectrum.real, spectrum.imag], dim=2).reshape(n, 2 * channels, height, width)
        mixed = functional.conv2d(stacked, self.get(f"{part}.conv_layer.weight"))
        mixed = functional.relu(self.norm(f"{part}.bn", mixed)).reshape(n, channels, 2, height, width)
        values = torch.complex(mixed[:, :, 0], mixed[:, :, 1])
        return torch.fft.irfftn(values, s=x.shape[-2:], dim=(-2, -1), norm="ortho")


VARIANTS = {
    "big": Published(8, blocks=2),
    "half": Published(6, ratio=0.5, halvings=2, blocks=3),
    "quarter": Published(4, ratio=0.25, widest=16),
    "lfu": Published(8, ratio=0.5, lfu=True),
    "no blocks": Published(4, blocks=0),
    "all global": Published(4, ratio=1.0, halvings=1),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_published_networks(name: str, tmp_path: Path) -> None:
    published = VARIANTS[name]
    lightning = {f"generator.{key}": tensor for key, tensor in published.state.items()}
    beside = {
        "discriminator.model0.0.weight": torch.ones(4, 3, 4, 4),
        "loss_resnet_pl.impl.conv.weight": torch.ones(2),
    }
    torch.save(
        {"state_dict": lightning | beside, "epoch": 3, "optimizer_states": [{"state": {}}]}, tmp_path / "n.ckpt"
    )
    found = load_pretrained(tmp_path / "n.ckpt")
    random = torch.Generator().manual_seed(1)
    # A multiple of the padding, but the features have odd sides where there is no lfu.
    image = torch.rand(2, 3, 48, 80 if published.lfu else 88, generator=random, dtype=torch.double)
    mask = (torch.rand(2, 1, *image.shape[-2:], generator=random) > 0.7).double()
    x = torch.cat([image * (1 - mask), mask], dim=1)
    expected = published(x)
    assert expected.std() > 0.05, "the weights would verify nothing"
    network = found.network.double()
    for output in (network(x), network(image, mask)):
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
    assert found.usage is not None
    spec = found.usage.spec
    assert (found.usage.value_range, found.usage.width) == ((0, 1), published.state["model.1.bn_l.weight"].numel())
    assert [each.name for each in spec.inputs] == ["image", "mask"]
    assert (spec.in_channels, spec.out_channels, spec.size_multiple, spec.fixed_size) == (3, 3, 1, False)


def test_other_sizes_are_padded_as_the_published_program_does(tmp_path: Path) -> None:
    published = VARIANTS["big"]
    torch.save(published.state, tmp_path / "n.pth")
    network = load_network(tmp_path / "n.pth").double()
    x = torch.rand(1, 4, 33, 20, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 7), (0, 4)), mode="symmetric")
    expected = published(torch.from_numpy(padded))[..., :33, :20]
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-6)
    for size in ((1, 1), (8, 30), (15, 16)):
        assert network(torch.rand(1, 4, *size, dtype=torch.double)).shape == (1, 3, *size)


@pytest.mark.slow
def test_it_is_exported_at_free_sizes(tmp_path: Path) -> None:
    torch.save(Published(4, halvings=1).state, tmp_path / "n.pth")
    model = PretrainedModel(tmp_path / "n.pth", device="cpu")
    report = export_onnx(model, tmp_path / "n.onnx", model_name="lama")
    assert report.verification.ok and report.max_error <= TOLERANCE
    session = open_session(read_onnx(tmp_path / "n.onnx"), device="cpu")
    rng = np.random.default_rng(0)
    for height, width in ((50, 37), (24, 90)):
        image = rng.random((2, 3, height, width), np.float32)
        mask = (rng.random((2, 1, height, width)) > 0.7).astype(np.float32)
        output = run_session(session, {"image": image, "mask": mask})
        expected = model.run(image * 2 - 1, mask) * 0.5 + 0.5
        assert np.abs(output - expected).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model.2.ffc.convl2l.weight": None}, "followed by no downsampling"),
        (
            {"model.5.conv1.bn_g.weight": None},
            r"LaMa FFCResNetGenerator, but model\.5\.conv1\.bn_g\.weight is absent",
        ),
        ({"model.1.ffc.convl2l.weight": torch.ones(8, 1, 7, 7)}, "takes 1 channels"),
        ({"extra.weight": torch.ones(1)}, r"extra\.weight is 1 where absent"),
        ({"model.5.conv1.ffc.convg2g.lfu.bn.weight": torch.ones(4)}, "lfu.*is 4|lfu.*absent"),
    ],
)
def test_misfits_are_named(tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
    state = {**VARIANTS["big"].state, **change}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        load_network(tmp_path / "n.pth")
