"""Public checkpoints against stored outputs of the published networks, and against copies of these networks."""

import collections
import copy
import io
import itertools
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.basicsr import to_basicsr
from gan_tasks.export.formats.jy import to_jy, write_jy
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Norm
from gan_tasks.networks.translation import resnet, unet
from gan_tasks.pretrained import conversion
from gan_tasks.pretrained.files import safe_load
from gan_tasks.pretrained.files.screening import vet_torch_file
from gan_tasks.pretrained.load import load_network, read_state_dict

INTEROP = Path(__file__).parents[3].parent / "shared" / "interop"
TOLERANCE = 1e-5


def interop_cases(*families: str) -> list[str]:
    index = INTEROP / "index.json"
    return [name for name in json.loads(index.read_text()) if name.startswith(families)] if index.exists() else []


# The published networks with their own numbering. Modules without an effect in eval mode are left out.


def norm_of(kind: Norm, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels)


class JyBlock(nn.Module):
    def __init__(self, channels: int, norm: Norm, dropout: bool) -> None:
        super().__init__()
        bias = norm == "instance"
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_of(norm, channels),
            nn.ReLU(),
            *([nn.Dropout(0.5)] if dropout else []),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_of(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class JyResnet(nn.Module):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        blocks: int,
        norm: Norm = "instance",
        dropout: bool = False,
        downs: int = 2,
    ) -> None:
        super().__init__()
        bias = norm == "instance"
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7, bias=bias), norm_of(norm, width), nn.ReLU()]
        for _ in range(downs):
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), norm_of(norm, 2 * width), nn.ReLU()]
            width *= 2
        layers += [JyBlock(width, norm, dropout) for _ in range(blocks)]
        for _ in range(downs):
            up = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1, bias=bias)
            layers += [up, norm_of(norm, width // 2), nn.ReLU()]
            width //= 2
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class JyLevel(nn.Module):
    """A level of the U-Net, which contains the inner levels."""

    def __init__(self, outer: int, inner: int, within: nn.Module | None, norm: Norm) -> None:
        super().__init__()
        bias = norm == "instance"
        down = [nn.LeakyReLU(0.2), nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)]
        middle = [] if within is None else [norm_of(norm, inner), within]
        up = nn.ConvTranspose2d(inner if within is None else 2 * inner, outer, 4, 2, 1, bias=bias)
        self.model = nn.Sequential(*down, *middle, nn.ReLU(), up, norm_of(norm, outer))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], 1)


class JyUnet(nn.Module):
    def __init__(self, inputs: int, outputs: int, width: int, downs: int, norm: Norm = "batch") -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width] + [8 * width] * (downs - 3)
        level = None
        for outer, inner in reversed(list(itertools.pairwise(widths))):
            level = JyLevel(outer, inner, level, norm)
        outermost = nn.Sequential(
            nn.Conv2d(inputs, width, 4, 2, 1, bias=norm == "instance"),
            level,
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, outputs, 4, 2, 1),
            nn.Tanh(),
        )
        self.model = nn.Module()
        self.model.model = outermost

    def forward(self, x: Tensor) -> Tensor:
        return self.model.model(x)


def patch_stages(inputs: int, widths: list[int], norm: Norm, padding: int) -> list[list[nn.Module]]:
    stages: list[list[nn.Module]] = [[nn.Conv2d(inputs, widths[0], 4, 2, padding), nn.LeakyReLU(0.2)]]
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        stride = 1 if i == len(widths) - 2 else 2
        conv = nn.Conv2d(a, b, 4, stride, padding, bias=norm == "instance")
        stages.append([conv, norm_of(norm, b), nn.LeakyReLU(0.2)])
    return [*stages, [nn.Conv2d(widths[-1], 1, 4, 1, padding)]]


class JyPatch(nn.Module):
    def __init__(self, inputs: int, width: int, layers: int, norm: Norm) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        self.model = nn.Sequential(*(part for stage in patch_stages(inputs, widths, norm, 1) for part in stage))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class JyPixel(nn.Module):
    def __init__(self, inputs: int, width: int, norm: Norm) -> None:
        super().__init__()
        bias = norm == "instance"
        first, second = nn.Conv2d(inputs, width, 1), nn.Conv2d(width, 2 * width, 1, bias=bias)
        last = nn.Conv2d(2 * width, 1, 1, bias=bias)
        self.net = nn.Sequential(first, nn.LeakyReLU(0.2), second, norm_of(norm, 2 * width), nn.LeakyReLU(0.2), last)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class HdDiscriminator(nn.Module):
    def __init__(self, inputs: int, width: int, layers: int, scales: int, features: bool) -> None:
        super().__init__()
        widths = [min(width * 2**i, 512) for i in range(layers + 1)]
        self.scales = []
        for scale in range(scales):
            stages = [nn.Sequential(*stage) for stage in patch_stages(inputs, widths, "instance", 2)]
            self.scales.insert(0, stages)
            if features:
                for i, stage in enumerate(stages):
                    self.add_module(f"scale{scale}_layer{i}", stage)
            else:
                self.add_module(f"layer{scale}", nn.Sequential(*(part for stage in stages for part in stage)))
        self.features = features

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        outputs = {}
        for scale, stages in enumerate(self.scales):
            y = x
            for i, stage in enumerate(stages):
                y = stage(y)
                if self.features:
                    outputs[f"scale{scale}_layer{i}"] = y
            if not self.features:
                outputs[f"scale{scale}_layer0"] = y
            x = nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return outputs


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Set random weights and running statistics, so that none has its neutral initial value."""
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif tensor.ndim < 2:
            tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
    return network.eval().requires_grad_(False)


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def assert_same_outputs(path: Path, published: nn.Module, *shape: int) -> nn.Module:
    network = load_network(path)
    x = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    double = x.double()  # instance norm of few positions enlarges the rounding of float32
    torch.testing.assert_close(
        copy.deepcopy(network).double()(double), published.double()(double), rtol=0, atol=TOLERANCE
    )
    published.float()
    return network


@pytest.mark.skipif(not INTEROP.exists(), reason="the folder shared/interop of reference cases is not there")
class TestReferenceCases:
    @pytest.mark.parametrize(
        "name", interop_cases("pix2pix_", "cyclegan_", "pix2pixhd_", "esrgan_", "srvgg_", "msrresnet_", "realesrgan_")
    )
    def test_outputs_equal_the_stored_ones(self, name: str) -> None:
        network = load_network(INTEROP / f"{name}.pth")
        arrays = {key: torch.from_numpy(array) for key, array in np.load(INTEROP / f"{name}.npz").items()}
        inputs = [arrays.pop(f"input{i}") for i in range(sum(key.startswith("input") for key in arrays))]
        outputs = network(*inputs)
        outputs = {"output": outputs} if isinstance(outputs, Tensor) else outputs
        torch.testing.assert_close(outputs, arrays, rtol=0, atol=TOLERANCE)

    @pytest.mark.parametrize("name", interop_cases("pix2pix_unet", "pix2pix_resnet", "cyclegan_resnet"))
    def test_exported_generators_equal_the_checkpoints(self, name: str) -> None:
        published = torch.load(INTEROP / f"{name}.pth", weights_only=True)
        back = to_jy(load_network(INTEROP / f"{name}.pth"))
        assert list(back) == list(published)
        assert all(torch.equal(back[key], published[key]) for key in published)

    @pytest.mark.parametrize("name", interop_cases("esrgan_", "srvgg_", "msrresnet_"))
    def test_exported_super_resolution_generators_equal_the_checkpoints(self, name: str) -> None:
        """Checkpoints with older names are exported with the new names."""
        back = to_basicsr(load_network(INTEROP / f"{name}.pth"))
        published = read_state_dict(INTEROP / f"{name}.pth")
        if not name.endswith(("_old", "_oldest")):
            assert list(back) == list(published)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(back.values(), published.values(), strict=True))


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize(("inputs", "outputs", "width", "blocks"), [(3, 3, 4, 9), (1, 3, 8, 6), (4, 1, 12, 2)])
def test_resnet_generator(
    tmp_path: Path, inputs: int, outputs: int, width: int, blocks: int, dropout: bool, norm: Norm
) -> None:
    published = trained(JyResnet(inputs, outputs, width, blocks, norm, dropout), seed=width)
    network = assert_same_outputs(saved(published, tmp_path / "n.pth"), published, 2, inputs, 16, 24)
    assert any(isinstance(module, nn.Dropout) for module in network.modules()) == dropout


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("inputs", "outputs", "width", "downs"), [(3, 3, 4, 7), (1, 3, 4, 8), (3, 1, 12, 5)])
def test_unet_generator(tmp_path: Path, inputs: int, outputs: int, width: int, downs: int, norm: Norm) -> None:
    published = trained(JyUnet(inputs, outputs, width, downs, norm), seed=downs)
    # Instance norm needs more than one value per channel: the innermost features are 2×1.
    assert_same_outputs(saved(published, tmp_path / "n.pth"), published, 2, inputs, 2 * 2**downs, 2**downs)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("inputs", "width", "layers"), [(6, 4, 3), (3, 8, 2), (2, 12, 4), (3, 4, 1), (3, 4, 5)])
def test_nlayer_discriminator(tmp_path: Path, inputs: int, width: int, layers: int, norm: Norm) -> None:
    published = trained(JyPatch(inputs, width, layers, norm))
    assert_same_outputs(saved(published, tmp_path / "n.pth"), published, 1, inputs, 96, 128)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_pixel_discriminator(tmp_path: Path, norm: Norm) -> None:
    published = trained(JyPixel(4, 12, norm))
    assert_same_outputs(saved(published, tmp_path / "n.pth"), published, 2, 4, 8, 9)


@pytest.mark.parametrize(("inputs", "width", "downs", "blocks"), [(3, 4, 4, 9), (36, 4, 3, 1), (3, 12, 1, 3)])
def test_global_generator(tmp_path: Path, inputs: int, width: int, downs: int, blocks: int) -> None:
    published = trained(JyResnet(inputs, 3, width, blocks, downs=downs))
    assert_same_outputs(saved(published, tmp_path / "n.pth"), published, 1, inputs, 32, 64)


@pytest.mark.parametrize(("inputs", "width", "blocks"), [(3, 4, 9), (1, 8, 2)])
def test_vintagify_generator(tmp_path: Path, inputs: int, width: int, blocks: int) -> None:
    """JY's ResNet with weights in the instance norms, and `block` instead of `conv_block`."""
    published = JyResnet(inputs, 3, width, blocks)
    for layers in (module for module in published.modules() if isinstance(module, nn.Sequential)):
        for index, layer in enumerate(layers):
            if isinstance(layer, nn.InstanceNorm2d):
                layers[index] = nn.InstanceNorm2d(layer.num_features, affine=True)
    trained(published)
    state = {key.replace(".conv_block.", ".block."): tensor for key, tensor in published.state_dict().items()}
    torch.save(state, tmp_path / "n.pth")
    assert_same_outputs(tmp_path / "n.pth", published, 2, inputs, 16, 24)

    del state["model.10.block.2.weight"]
    torch.save(state, tmp_path / "n.pth")
    with pytest.raises(UserError, match=r"vintagify ResnetGenerator, but model\.10\.block\.2\.weight is absent"):
        load_network(tmp_path / "n.pth")


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize(
    ("inputs", "width", "layers", "scales"), [(6, 4, 3, 3), (3, 8, 2, 2), (39, 12, 3, 2), (3, 4, 5, 2)]
)
def test_multiscale_discriminator(
    tmp_path: Path, inputs: int, width: int, layers: int, scales: int, features: bool
) -> None:
    published = trained(HdDiscriminator(inputs, width, layers, scales, features))
    assert_same_outputs(saved(published, tmp_path / "n.pth"), published, 1, inputs, 65, 96)


def test_multiscale_discriminator_of_one_scale(tmp_path: Path) -> None:
    with_features = trained(HdDiscriminator(3, 4, 3, 1, True))
    assert_same_outputs(saved(with_features, tmp_path / "f.pth"), with_features, 1, 3, 64, 64)

    plain = trained(HdDiscriminator(3, 4, 3, 1, False))
    logits = load_network(saved(plain, tmp_path / "p.pth"))(torch.zeros(1, 3, 64, 64))
    torch.testing.assert_close(logits, plain(torch.zeros(1, 3, 64, 64))["scale0_layer0"], rtol=0, atol=TOLERANCE)


def test_networks_are_in_eval_mode_without_gradients(tmp_path: Path) -> None:
    network = load_network(str(saved(JyResnet(3, 3, 4, 2, "batch", True), tmp_path / "n.pth")))
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_loading_does_not_change_the_global_random_state(tmp_path: Path) -> None:
    path = saved(JyPatch(3, 4, 3, "batch"), tmp_path / "n.pth")
    before = torch.get_rng_state()
    load_network(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_network_works_after_its_file_is_deleted(tmp_path: Path) -> None:
    published = trained(JyPatch(3, 4, 3, "batch"))
    network = load_network(saved(published, tmp_path / "n.pth"))
    (tmp_path / "n.pth").write_bytes(b"")
    x = torch.ones(1, 3, 32, 32)
    torch.testing.assert_close(network(x), published(x), rtol=0, atol=TOLERANCE)


class TestOldAndUnusualFiles:
    def test_statistics_of_instance_norms_are_dropped(self, tmp_path: Path) -> None:
        published = trained(JyResnet(3, 3, 4, 6))
        state = published.state_dict()
        for module in ("model.2", "model.10.conv_block.2"):
            state |= {f"{module}.running_mean": torch.ones(4), f"{module}.running_var": torch.ones(4)}
            state[f"{module}.num_batches_tracked"] = torch.tensor(3)
        torch.save(state, tmp_path / "n.pth")
        assert_same_outputs(tmp_path / "n.pth", published, 1, 3, 16, 16)

    def test_batch_norms_without_a_counter(self, tmp_path: Path) -> None:
        published = trained(JyUnet(3, 3, 4, 5))
        state = {k: v for k, v in published.state_dict().items() if not k.endswith("num_batches_tracked")}
        torch.save(state, tmp_path / "n.pth")
        network = assert_same_outputs(tmp_path / "n.pth", published, 1, 3, 32, 32)
        assert all(m.num_batches_tracked == 0 for m in network.modules() if isinstance(m, nn.BatchNorm2d))

    def test_half_precision_becomes_float32(self, tmp_path: Path) -> None:
        published = trained(JyPatch(3, 4, 3, "batch"))
        state = {k: v.half() if v.is_floating_point() else v for k, v in published.state_dict().items()}
        torch.save(state, tmp_path / "n.pth")
        network = load_network(tmp_path / "n.pth")
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
        x = torch.ones(1, 3, 32, 32)
        torch.testing.assert_close(network(x), published(x), rtol=0, atol=0.01)


class TestExport:
    @pytest.mark.parametrize("norm", ["batch", "instance"])
    @pytest.mark.parametrize("dropout", [False, True])
    def test_resnet_has_the_published_keys_and_shapes(self, norm: Norm, dropout: bool) -> None:
        ours = to_jy(resnet(1, 3, width=4, blocks=6, norm=norm, dropout=dropout))
        published = JyResnet(1, 3, 4, 6, norm, dropout).state_dict()
        assert [(k, v.shape, v.dtype) for k, v in ours.items()] == [
            (k, v.shape, v.dtype) for k, v in published.items()
        ]

    @pytest.mark.parametrize("norm", ["batch", "instance"])
    @pytest.mark.parametrize("downs", [5, 7, 8])
    def test_unet_has_the_published_keys_and_shapes(self, norm: Norm, downs: int) -> None:
        ours = to_jy(unet(3, 1, width=4, downs=downs, norm=norm))
        published = JyUnet(3, 1, 4, downs, norm).state_dict()
        assert [(k, v.shape, v.dtype) for k, v in ours.items()] == [
            (k, v.shape, v.dtype) for k, v in published.items()
        ]

    @pytest.mark.parametrize(
        "generator",
        [
            unet(3, 3, width=4, downs=7),
            unet(1, 2, width=2, downs=8, norm="instance", dropout=False),
            resnet(3, 3, width=4, blocks=9),
            resnet(2, 3, width=4, blocks=6, norm="batch", dropout=True),
            resnet(3, 3, width=4, downs=4, blocks=2),
            resnet(3, 3, width=4, downs=3, blocks=2, dropout=True),
        ],
    )
    def test_written_file_loads_as_the_same_network(self, tmp_path: Path, generator: Generator) -> None:
        trained(generator)
        write_jy(tmp_path / "latest_net_G.pth", generator)
        back = load_network(tmp_path / "latest_net_G.pth").state_dict()
        assert list(back) == list(generator.state_dict())
        assert all(torch.equal(back[key], tensor) for key, tensor in generator.state_dict().items())
        bare = torch.load(tmp_path / "latest_net_G.pth", weights_only=True)
        assert list(bare) == list(to_jy(generator))

    def test_result_is_a_copy(self) -> None:
        generator = unet(3, 3, width=2, downs=5)
        back = to_jy(generator)
        before = back["model.model.0.weight"].clone()
        nn.init.zeros_(generator.stem.weight)
        assert torch.equal(back["model.model.0.weight"], before)

    @pytest.mark.parametrize(
        "generator",
        [
            resnet(3, 3, width=4, blocks=2, norm="none"),
            resnet(3, 3, width=4, downs=4, blocks=2, norm="batch"),
            Generator(stem=nn.Conv2d(3, 3, 1), downs=[], body=nn.InstanceNorm2d(3), ups=[], head=nn.Conv2d(3, 3, 1)),
        ],
    )
    def test_generators_of_no_published_project_are_refused(self, generator: Generator) -> None:
        with pytest.raises(UserError, match="no counterpart"):
            to_jy(generator)


class TestReadingWeights:
    tensors = trained(JyPatch(3, 4, 2, "batch")).state_dict()

    def assert_read(self, path: Path) -> None:
        found = read_state_dict(path)
        assert set(found) == set(self.tensors)
        assert all(torch.equal(found[key], tensor) for key, tensor in self.tensors.items())

    @pytest.mark.parametrize("name", ["n.pth", "n.pt", "n.ckpt", "N.PTH"])
    def test_torch_suffixes(self, tmp_path: Path, name: str) -> None:
        torch.save(self.tensors, tmp_path / name)
        self.assert_read(tmp_path / name)

    def test_safetensors(self, tmp_path: Path) -> None:
        safetensors.torch.save_file(self.tensors, tmp_path / "n.safetensors", {"format": "pt"})
        self.assert_read(tmp_path / "n.safetensors")

    def test_format_before_pytorch_1_6(self, tmp_path: Path) -> None:
        torch.save(self.tensors, tmp_path / "n.pth", _use_new_zipfile_serialization=False)
        self.assert_read(tmp_path / "n.pth")

    @pytest.mark.parametrize("wrapper", ["params_ema", "params", "model_state_dict", "state_dict", "model", "net"])
    def test_wrappers(self, tmp_path: Path, wrapper: str) -> None:
        torch.save({"epoch": 3, wrapper: self.tensors, "lr": 0.1, "history": [1.0]}, tmp_path / "n.pth")
        self.assert_read(tmp_path / "n.pth")

    def test_averaged_weights_are_preferred(self, tmp_path: Path) -> None:
        other = {key: torch.zeros_like(tensor) for key, tensor in self.tensors.items()}
        torch.save({"params": other, "params_ema": self.tensors}, tmp_path / "n.pth")
        self.assert_read(tmp_path / "n.pth")

    @pytest.mark.parametrize("prefix", ["module.", "netG.", "module.netG.", "netG.module."])
    def test_prefixes_within_two_wrappers(self, tmp_path: Path, prefix: str) -> None:
        prefixed = {prefix + key: tensor for key, tensor in self.tensors.items()}
        torch.save({"model": {"state_dict": prefixed}}, tmp_path / "n.pth")
        self.assert_read(tmp_path / "n.pth")

    def test_parameters_become_plain_tensors(self, tmp_path: Path) -> None:
        torch.save({"a": nn.Parameter(torch.ones(2))}, tmp_path / "n.pth")
        found = read_state_dict(tmp_path / "n.pth")["a"]
        assert type(found) is Tensor
        assert not found.requires_grad


def nested(depth: int) -> object:
    return {"model": nested(depth - 1)} if depth else {"a": torch.ones(1)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([torch.ones(2)], "a list"),
        (torch.ones(2), "a Tensor"),
        ({}, "an empty dict"),
        ({"epoch": 3}, "'epoch' is a int"),
        ({"a": torch.ones(2), "b": [1]}, "'b' is a list"),
        ({1: torch.ones(2)}, "a key of type int"),
        ({"a": torch.ones(1).expand(1000, 1000)}, "4000000 bytes, more than the file has"),
        (nested(9), "'model' is a dict"),
        (collections.Counter("ab"), r"would call collections\.Counter"),
        ({"a": bytearray(b"x")}, r"would call .*bytearray"),
    ],
)
def test_other_content_than_a_dict_of_tensors_is_refused(tmp_path: Path, content: object, says: str) -> None:
    torch.save(content, tmp_path / "n.pth")
    with pytest.raises(UserError, match=says):
        read_state_dict(tmp_path / "n.pth")


def test_whole_modules_are_refused_with_the_name_of_the_call(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "n.pth")
    with pytest.raises(UserError, match=r"would call torch\.nn\.modules\.conv\.Conv2d.*state_dict\(\)"):
        read_state_dict(tmp_path / "n.pth")


class TestObjectsOfOtherPrograms:
    """Plain objects beside the weights are skipped: their classes need not exist here."""

    OPTIONS = b"cmissing.program\nOptions\n)\x81}U\2lrK\1sb"

    @pytest.mark.parametrize("legacy", [False, True])
    def test_they_are_skipped(self, tmp_path: Path, legacy: bool) -> None:
        weights = tensor_pickle(16, legacy=legacy).removeprefix(b"\x80\2").removesuffix(b".")
        content = b"\x80\2}U\7optionsq\1" + self.OPTIONS + b"sU\1n" + weights + b"s."
        file = legacy_file(content, 16) if legacy else torch_zip(content, **{"0": b"\0" * 64})
        (tmp_path / "n.pth").write_bytes(file)
        assert read_state_dict(tmp_path / "n.pth")["a"].tolist() == [0] * 16
        assert "missing.program" not in sys.modules

    def test_more_classes_than_programs_have_are_refused(self, tmp_path: Path) -> None:
        names = b"".join(b"cp\nC%d\n" % number for number in range(101))
        (tmp_path / "n.pth").write_bytes(torch_zip(b"\x80\2(" + names + b"l}."))
        with pytest.raises(UserError, match="more than 100 classes"):
            read_state_dict(tmp_path / "n.pth")

    @pytest.mark.parametrize("root", [True, False])
    def test_a_file_of_them_alone_is_refused_with_their_class(self, tmp_path: Path, root: bool) -> None:
        content = self.OPTIONS if root else b"}U\1m" + self.OPTIONS + b"s"
        (tmp_path / "n.pth").write_bytes(torch_zip(b"\x80\2" + content + b"."))
        with pytest.raises(UserError, match=r"would call missing\.program\.Options.*state_dict\(\)"):
            read_state_dict(tmp_path / "n.pth")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.pth", b""),
        ("text.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
        ("page.pth", b"<!DOCTYPE html><html></html>"),
        ("short.pth", b"PK\3\4"),
        ("empty.safetensors", b""),
        ("text.safetensors", b"not tensors at all"),
        ("long-header.safetensors", struct.pack("<Q", 1 << 40) + b"{}"),
        ("no-json.safetensors", struct.pack("<Q", 4) + b"{{{{"),
        (
            "out-of-bounds.safetensors",
            struct.pack("<Q", 59) + b'{"a":{"dtype":"F32","shape":[999],"data_offsets":[0,3996]}}' + b"\0" * 8,
        ),
        ("weights.bin", b"1234"),
        ("weights", b"1234"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=f"cannot use {tmp_path / name}: "):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("name", ["missing.pth", "folder.pth"])
def test_missing_file_and_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UserError, match="there is no file"):
        load_network(tmp_path / name)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, legacy: bool, kept: float) -> None:
    path = tmp_path / "n.pth"
    torch.save(JyPatch(3, 4, 3, "batch").state_dict(), path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UserError, match="cannot use"):
        read_state_dict(path)


def torch_file(tensors: dict[str, Tensor], *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


SMALL_FILES = {
    ".pth": torch_file({"a": torch.ones(4), "b": torch.ones(3)}),
    ".pt": torch_file({"a": torch.ones(4), "b": torch.ones(3)}, legacy=True),
    ".safetensors": safetensors.torch.save({"a": torch.ones(4), "b": torch.ones(3)}),
}


@settings(max_examples=300, deadline=None)
@given(
    suffix=st.sampled_from(sorted(SMALL_FILES)), changes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)))
)
def test_damaged_files_raise_only_user_errors(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, changes: list[tuple[float, bytes]]
) -> None:
    data = bytearray(SMALL_FILES[suffix])
    for where, change in changes:
        start = int(where * len(data))
        data[start : start + len(change)] = change
    path = tmp_path_factory.getbasetemp() / f"garbled{suffix}"
    path.write_bytes(data)
    try:
        tensors = read_state_dict(path)
    except UserError:
        return
    assert sum(tensor.nbytes for tensor in tensors.values()) <= len(data)


class TestWrongTensors:
    def test_unknown_network_error_lists_the_known_ones(self, tmp_path: Path) -> None:
        torch.save({"conv9.weight": torch.ones(1, 1, 3, 3)}, tmp_path / "n.pth")
        with pytest.raises(UserError, match=r"'conv9\.weight'.*UnetGenerator.*MultiscaleDiscriminator"):
            load_network(tmp_path / "n.pth")

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"model.4.weight": torch.ones(8, 5, 3, 3)}, "model.4.weight is 8×5×3×3 where 8×4×3×3"),
            ({"model.4.weight": None}, "model.4.weight is absent where 8×4×3×3"),
            ({"model.9.bias": torch.ones(2)}, "model.9.bias is 2 where absent"),
            ({"model.9.num_batches_tracked": torch.tensor(1), "model.9.weight": torch.ones(1)}, "model.9"),
            ({"model.1.weight": torch.ones(3)}, "model.1.weight is 3, expected the weight of a convolution"),
            ({"model.1.weight": torch.ones(0, 3, 7, 7)}, "model.1.weight is 0×3×7×7, expected the weight"),
        ],
    )
    def test_first_wrong_tensor_is_named(self, tmp_path: Path, change: dict[str, Tensor | None], says: str) -> None:
        state = {**JyResnet(3, 3, 4, 6).state_dict(), **change}
        torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, tmp_path / "n.pth")
        with pytest.raises(UserError, match=f"looks like a CycleGAN/pix2pix ResnetGenerator, but {says}"):
            load_network(tmp_path / "n.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    state = to_jy(unet(3, 3, width=4, downs=5))
    state["model.model.3.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "n.pth")
    with pytest.raises(UserError, match=r"model\.model\.3\.weight has values that are NaN or infinite"):
        load_network(tmp_path / "n.pth")


# Hostile files: each must be refused without running its code and without using much memory.


class Touch:
    """An object whose pickle calls a command that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def zip_file(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def torch_zip(pickled: bytes, compression: int = zipfile.ZIP_STORED, **storages: bytes) -> bytes:
    members = {"n/data.pkl": pickled, "n/version": b"3\n", "n/byteorder": b"little"}
    return zip_file(members | {f"n/data/{name}": data for name, data in storages.items()}, compression)


def overlapping_zip() -> bytes:
    """Write a zip file whose directory lists one megabyte two thousand times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("n/data.pkl", pickle.dumps({}, 2))
        archive.writestr("n/data/0", b"\0" * (1 << 20))
        archive.filelist.extend([archive.filelist[-1]] * 2000)
    return buffer.getvalue()


def with_lying_directory(data: bytes) -> bytes:
    """Write a zip file whose last member claims 2 GiB."""
    entry = data.rindex(b"PK\1\2")
    return data[: entry + 20] + struct.pack("<2L", 2**31 - 1, 2**31 - 1) + data[entry + 28 :]


def tensor_pickle(numel: int, *, legacy: bool = False) -> bytes:
    """Pickle a tensor with `numel` values whose storage claims the same number."""
    size = b"J" + struct.pack("<i", numel)
    view = b"N" if legacy else b""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpu" + size + view + b"tQ"
    arguments = b"(" + storage + b"K\0(" + size + b"t(K\1t\x89ccollections\nOrderedDict\n)Rt"
    return b"\x80\2}X\1\0\0\0actorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


def legacy_file(content: bytes, numel: int) -> bytes:
    """Write the format before PyTorch 1.6, with a storage that claims `numel` values and has 16."""
    example = torch_file({"a": torch.ones(1)}, legacy=True)
    head = example[: example.index(b"\x80\2", example.index(b"little_endian"))]
    return head + content + pickle.dumps(["0"], 2) + struct.pack("<q", numel) + b"\0" * 64


def wide_resnet(channels: int) -> bytes:
    """Write small tensors that look like a network with 256 times the channels: terabytes of weights or more."""
    one = torch.zeros(1, 1, 1, 1)
    first = torch.zeros(channels, 1, 1, 1, dtype=torch.uint8)
    return torch_file({"model.1.weight": first, "model.28.conv_block.1.weight": one, "model.54.weight": one})


def many_names(pattern: str, *others: str) -> bytes:
    """Write 4,000 empty tensors, whose names look like those of an endless network."""
    names = (*others, *(pattern.format(number) for number in range(4_000)))
    return safetensors.torch.save({name: torch.zeros(1, 0, 1, 1) for name in names})


def dicts_in_dicts() -> bytes:
    """Write a dict that stands in itself forty times, and dicts of dicts with a million million ways through them."""
    inner: dict[str, object] = {"a": torch.zeros(1)}
    for _ in range(7):
        inner = {str(number): inner for number in range(60)}
    inner |= {f"self{number}": inner for number in range(40)}
    return torch_file(inner)


def many_dicts() -> bytes:
    return torch_file({str(number): {"a": torch.zeros(0)} for number in range(300)} | {"epoch": 1})


def doubled(begin: bytes, innermost: bytes, middle: bytes, end: bytes) -> bytes:
    """Pickle an object that holds two of itself, forty times over."""
    again = (b"q" + bytes([number]) + middle + b"h" + bytes([number]) + end for number in range(40))
    return begin * 40 + innermost + b"".join(again)


LIST, TUPLE = doubled(b"](", b"]", b"", b"e"), doubled(b"", b")", b"", b"\x86")
DICT = doubled(b"}(U\1a", b"}", b"U\1b", b"u")
ORDERED_DICT = b"ccollections\nOrderedDict\n"


def endless_pickles() -> dict[str, bytes]:
    """Pickles whose objects take years or terabytes to hash, to show or to copy."""
    pairs = b"](" + b"](K\1Ne" * 20_000 + b"e"
    colliding = (pickle.encode_long(number * (2**61 - 1)) for number in range(1, 25_000))
    entries = b"".join(b"\x8a" + bytes([len(number)]) + number + b"N" for number in colliding)
    return {
        "tuple-as-key": b"}" + TUPLE + b"Ns",
        "tuple-as-key-of-pairs": ORDERED_DICT + b"](](" + TUPLE + b"Nee\x85R",
        "list-is-called": LIST + b")R",
        "dict-is-called": DICT + b")R",
        "list-as-storage": b"(U\7storage" + LIST + b"U\1aNNtQ",
        "list-as-argument": b"ctorch._utils\n_rebuild_parameter\n" + LIST + b"R",
        "copies": b"](" + pairs + b"q\1" + ORDERED_DICT + b"q\2" + b"h\2h\1\x85R" * 20_000 + b"e",
        "equal-hashes": b"}(" + entries + b"u",
        "class-is-called": b"}U\1acmissing.program\nrun\n)Rs",
        "class-with-arguments": b"}U\1acmissing.program\nOptions\nK\1\x85\x81s",
        "class-of-torch": b"}U\1actorch.nn.parameter\nParameter\n)\x81s",
        "object-as-key": b"}cmissing.program\nOptions\n)\x81Ns",
        "many-objects": b"]cmissing.program\nOptions\nq\1(" + b"h\1)\x81" * 2_000 + b"e",
        "module": b"(U\6module" + ORDERED_DICT + b"U\1aU\1btQ",
    }


def hostile_files(canary: Path) -> dict[str, bytes]:
    many_objects = b"\x80\2(" + b"}" * (16 << 20) + b"l."
    return {
        "code-protocol-2.pth": pickle.dumps(Touch(canary), 2),
        "code-protocol-4.pth": pickle.dumps(Touch(canary), 4),
        "code-in-zip.pth": torch_zip(pickle.dumps({"a": Touch(canary)}, 2)),
        "code-in-second-pickle.pth": zip_file(
            {"n/data.pkl": pickle.dumps({}, 2), "n/DATA.pkl": pickle.dumps(Touch(canary), 2)}
        ),
        "code-after-legacy-head.pth": legacy_file(pickle.dumps(Touch(canary), 2), 16),
        "code.pkl": pickle.dumps({"G_ema": Touch(canary)}),
        "many-objects.pkl": many_objects,
        "compressed.pth": torch_zip(many_objects, zipfile.ZIP_DEFLATED),
        "overlapping.pth": overlapping_zip(),
        "lying-directory.pth": with_lying_directory(torch_file({"a": torch.ones(4)})),
        "bytearray.pth": torch_zip(b"\x80\2cbuiltins\nbytearray\n(J\0\0\0\x60tR."),
        "bytearray-legacy.pth": b"\x80\2cbuiltins\nbytearray\n(J\0\0\0\x60tR.",
        "many-objects.pth": torch_zip(many_objects),
        **{f"{name}.pth": torch_zip(b"\x80\2" + pickled + b".") for name, pickled in endless_pickles().items()},
        **{f"{name}-legacy.pth": b"\x80\2" + pickled + b"." for name, pickled in endless_pickles().items()},
        "deep-tuple.pth": torch_zip(b"\x80\2}K\1" + b"\x85" * 100_000 + b"K\2s."),
        "deep-tuple-from-memo.pth": torch_zip(b"\x80\2}K\1q\1" + b"h\1\x86q\1" * 20_000 + b"K\2s."),
        "long-storage.pth": torch_zip(tensor_pickle(2**31 - 1), **{"0": b"\0" * 64}),
        "long-storage-legacy.pth": legacy_file(tensor_pickle(2**31 - 1, legacy=True), 2**31 - 1),
        "expanded.pth": torch_file({"a": torch.ones(1).expand(1 << 20, 1 << 20)}),
        "wide-network.pth": wide_resnet(1 << 12),
        "wider-network.pth": wide_resnet(1 << 22),
        "many-downs.safetensors": many_names("{}.model.1.weight", "model.model.0.weight", "model.model.3.weight"),
        "many-blocks.safetensors": many_names("body.{}.rdb1.conv1.weight"),
        "many-layers.safetensors": many_names("model.{}.weight"),
        "many-parts.safetensors": many_names("{0}.{0}.{0}.{0}.weight"),
        "many-resnet-blocks.safetensors": many_names("model.1{:04}.conv_block.1.weight", "model.1.weight"),
        "many-convs.safetensors": many_names("body.{}.weight"),
        "many-scales.safetensors": many_names("scale{}_layer0.0.weight"),
        "long-names.safetensors": many_names("a." * 300 + "{}"),
        "dicts-in-dicts.pth": dicts_in_dicts(),
        "many-dicts.pth": many_dicts(),
        "other-instructions.pth": torch_zip(b"\x80\2}2."),
        "long-header.safetensors": struct.pack("<Q", 90 << 20)
        + (b'{"__metadata__":{"a":"' + b"x" * (90 << 20))[: (90 << 20) - 3]
        + b'"}}',
    }


REFUSE_ALL = """
import resource, sys
from pathlib import Path
from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.load import load_network

for path in sorted(Path(sys.argv[1]).iterdir()):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_network(path)
    except UserError as error:
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        print(path.name, grown_mb, str(error).replace("\\n", " "))
"""


def test_hostile_files_are_refused_without_running_code_or_using_memory(tmp_path: Path) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "hostile"
    folder.mkdir()
    files = hostile_files(canary)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", REFUSE_ALL, folder], capture_output=True, text=True, check=True, timeout=240
    )
    refused = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert sorted(refused) == sorted(files)
    assert {name: grown_mb for name, grown_mb in refused.items() if grown_mb >= 200} == {}
    assert not canary.exists()


def test_a_storage_longer_than_its_member_is_refused() -> None:
    """PyTorch before 2.13 reads beyond its end."""
    file = torch_zip(tensor_pickle(17), **{"0": b"\0" * 64, "1": b"\0" * 64})
    with pytest.raises(UserError, match="storage 0 claims 68 bytes"):
        vet_torch_file(io.BytesIO(file), len(file))


@pytest.mark.parametrize("name", ["items", "keys", "get", "__len__"])
def test_attributes_of_a_dict_are_not_used(tmp_path: Path, name: str) -> None:
    attribute = b"}U" + bytes([len(name)]) + name.encode() + b"K\1sb"
    entry = tensor_pickle(16).removeprefix(b"\x80\2}")
    pickled = b"\x80\2" + ORDERED_DICT + b")R" + attribute + entry
    (tmp_path / "n.pth").write_bytes(torch_zip(pickled, **{"0": b"\0" * 64}))
    assert read_state_dict(tmp_path / "n.pth")["a"].tolist() == [0] * 16


@pytest.mark.parametrize("suffix", SMALL_FILES)
def test_tensors_stay_when_their_file_changes(tmp_path: Path, suffix: str) -> None:
    """Reading what was cut off from a mapped file would end the program."""
    path = tmp_path / f"n{suffix}"
    path.write_bytes(SMALL_FILES[suffix])
    tensors = read_state_dict(path)
    with path.open("r+b") as file:
        file.write(b"\0" * len(SMALL_FILES[suffix]))
    assert tensors["a"].tolist() == [1] * 4


def test_a_file_of_several_gigabytes_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_load, "MAX_COPY_BYTES", 0)
    for suffix, data in SMALL_FILES.items():
        (tmp_path / f"n{suffix}").write_bytes(data)
        assert read_state_dict(tmp_path / f"n{suffix}")["b"].tolist() == [1] * 3


def test_an_absurdly_large_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "MAX_PARAMETERS", 100)
    torch.save(to_jy(unet(3, 3, width=4, downs=5)), tmp_path / "n.pth")
    with pytest.raises(UserError, match=r"it is a network of [0-9,]+ numbers, expected at most 100"):
        load_network(tmp_path / "n.pth")


def test_the_hostile_files_are_hostile(tmp_path: Path) -> None:
    """This checks the test above: without screening the code runs, and with true sizes the files can be read."""
    pickle.loads(pickle.dumps(Touch(tmp_path / "canary"), 2))
    assert (tmp_path / "canary").exists()
    (tmp_path / "zip.pth").write_bytes(torch_zip(tensor_pickle(16), **{"0": b"\0" * 64}))
    (tmp_path / "legacy.pth").write_bytes(legacy_file(tensor_pickle(16, legacy=True), 16))
    for path in tmp_path.glob("*.pth"):
        assert read_state_dict(path)["a"].tolist() == [0] * 16
