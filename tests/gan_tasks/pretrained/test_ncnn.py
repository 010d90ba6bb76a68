"""ncnn's two files: written here by the format's description and read back; damaged and hostile files are refused."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.ncnn import to_ncnn
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.super_resolution.convolutional import msr_resnet, rrdb, srvgg
from gan_tasks.pretrained.load import load_network, load_pretrained

FLOAT16 = 0x01306B47


class Writer:
    """Writes layers in forward order, and a Split for each blob with several consumers, as ncnn's converters do."""

    def __init__(self) -> None:
        self.lines = ["Input input 0 1 data"]
        self.weights = b""
        self.half = True

    def add(self, kind: str, inputs: list[str], params: str = "") -> str:
        blob = f"b{len(self.lines)}"
        self.lines.append(
            f"{kind} layer{len(self.lines)} {len(inputs)} 1 {' '.join(inputs)} {blob} {params}".rstrip()
        )
        return blob

    def split(self, blob: str, count: int) -> list[str]:
        copies = [f"{blob}_{i}" for i in range(count)]
        self.lines.append(f"Split split{len(self.lines)} 1 {count} {blob} {' '.join(copies)}")
        return copies

    def conv(self, module: nn.Module, blob: str, *, leaky: bool = False) -> str:
        assert isinstance(module, nn.Conv2d) and module.bias is not None
        weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()
        if self.half:
            data = weight.astype(np.float16).tobytes()
            self.weights += struct.pack("<I", FLOAT16) + data + b"\0" * (-len(data) % 4)
        else:
            self.weights += struct.pack("<I", 0) + weight.tobytes()
        self.weights += bias.tobytes()
        activation = " 9=2 -23310=1,2.000000e-01" if leaky else ""
        return self.add("Convolution", [blob], f"0={len(bias)} 1=3 4=1 5=1 6={weight.size}{activation}")

    def save(self, path: Path) -> Path:
        path.write_text("\n".join(["7767517", f"{len(self.lines)} {3 * len(self.lines)}", *self.lines]) + "\n")
        path.with_suffix(".bin").write_bytes(self.weights)
        return path


def write_srvgg(path: Path, network: Generator, *, half: bool = True) -> Path:
    writer = Writer()
    writer.half = half
    image, blob = writer.split("data", 2)
    for part in (network.stem, *network.body):
        assert isinstance(part, nn.Sequential) and isinstance(part[1], nn.PReLU)
        blob = writer.conv(part[0], blob)
        writer.weights += part[1].weight.detach().numpy().tobytes()
        blob = writer.add("PReLU", [blob], f"0={part[1].num_parameters}")
    assert isinstance(network.head, nn.Sequential)
    blob = writer.add("PixelShuffle", [writer.conv(network.head[0], blob)], f"0={network.scale}")
    enlarged = writer.add("Interp", [image], f"0=1 1={network.scale}.0 2={network.scale}.000000e+00")
    writer.add("BinaryOp", [blob, enlarged])
    return writer.save(path)


def write_rrdb(path: Path, network: Generator) -> Path:
    writer = Writer()
    first, x = writer.split(writer.conv(network.stem[1], "data"), 2)
    *blocks, body = network.body.layers
    residual = "0=1 -23301=2,2.000000e-01,1.000000e+00"
    for block in blocks:
        before, x = writer.split(x, 2)
        for dense in block.layers:
            features = [x]
            for conv in dense.convs[:4]:
                joined = writer.add("Concat", features) if len(features) > 1 else x
                features.append(writer.conv(conv, joined, leaky=True))
            last = writer.conv(dense.convs[4], writer.add("Concat", features))
            x = writer.add("Eltwise", [last, x], residual)
        x = writer.add("Eltwise", [x, before], residual)
    x = writer.add("BinaryOp", [first, writer.conv(body, x)])
    for up in network.ups:
        x = writer.conv(up[1], writer.add("Interp", [x], "0=1 1=2.0 2=2.0"), leaky=True)
    writer.conv(network.head[2], writer.conv(network.head[0], x, leaky=True))
    return writer.save(path)


def trained(network: Generator, *, half: bool = True) -> Generator:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.1, generator=generator)
        if half and parameter.ndim > 1:
            parameter.data = parameter.data.half().float()
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (rrdb(width=6, growth=3, blocks=2), "RRDBNet"),
        (rrdb(scale=2, width=4, growth=5, blocks=1), "RRDBNet"),
        (srvgg(width=5, convs=3), "SRVGGNetCompact"),
        (srvgg(1, 1, scale=2, width=3, convs=1), "SRVGGNetCompact"),
    ],
)
def test_written_files_are_read_as_the_same_network(tmp_path: Path, network: Generator, name: str) -> None:
    trained(network)
    write = write_rrdb if name == "RRDBNet" else write_srvgg
    published = load_pretrained(write(tmp_path / "net.param", network))
    assert published.architecture.name == name
    found = published.network.state_dict()
    assert list(found) == list(network.state_dict())
    assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())
    assert published.usage is not None and published.usage.spec.scale == network.scale


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("network", "name"),
    [
        (rrdb(width=6, growth=3, blocks=2), "RRDBNet"),
        (rrdb(scale=2, unshuffle=2, width=4, growth=5, blocks=1), "RRDBNet"),
        (rrdb(1, 1, scale=1, unshuffle=4, width=3, growth=3, blocks=1), "RRDBNet"),
        (srvgg(1, 1, scale=3, width=5, convs=2), "SRVGGNetCompact"),
        (msr_resnet(width=5, blocks=2), "MSRResNet"),
        (msr_resnet(scale=3, width=4, blocks=1), "MSRResNet"),
    ],
)
def test_exported_files_are_read_back(tmp_path: Path, network: Generator, name: str, half: bool) -> None:
    trained(network, half=half)
    param, weights = to_ncnn(network, half=half)
    (tmp_path / "net.param").write_bytes(param)
    (tmp_path / "net.bin").write_bytes(weights)
    published = load_pretrained(tmp_path / "net.param")
    assert published.architecture.name == name
    found = published.network.state_dict()
    assert list(found) == list(network.state_dict())
    assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())
    assert published.usage is not None and published.usage.spec.scale == network.scale


def test_unshuffle_that_contradicts_the_channels_is_refused(tmp_path: Path) -> None:
    param, weights = to_ncnn(trained(rrdb(scale=2, unshuffle=2, width=4, growth=2, blocks=1)))
    (tmp_path / "net.bin").write_bytes(weights)
    changed = param.replace(b"data 1 0=2", b"data 1 0=4")
    assert changed != param
    (tmp_path / "net.param").write_bytes(changed)
    with pytest.raises(UserError, match="12 input channels with 3 output channels and a pixel unshuffle of 4"):
        load_network(tmp_path / "net.param")


def test_float32_weights_are_read(tmp_path: Path) -> None:
    network = trained(srvgg(width=5, convs=1), half=False)
    x = torch.rand(1, 3, 6, 5)
    found = load_network(write_srvgg(tmp_path / "net.param", network, half=False))
    torch.testing.assert_close(found(x), network(x), rtol=0, atol=0)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return write_srvgg(tmp_path / "net.param", trained(srvgg(width=4, convs=1)))


Change = Callable[[str], str]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("7767517", "7767518"), "does not begin with 7767517"),
        (lambda text: "", "does not begin with 7767517"),
        (lambda text: text.replace("\n10 30", "\n11 30"), "claims 11 layers and lists 10"),
        (lambda text: text.replace("PReLU", "Softmax"), "of type Softmax, expected one of Convolution"),
        (lambda text: text.replace("1=3 4=1", "1=5 4=2", 1), "looks like a SRVGGNetCompact, but its layer 1 is"),
        (lambda text: text.replace("1=3", "1=3 2=2", 1), "its layer 1 is Convolution 1=3 2=2"),
        (
            lambda text: text.replace("layer8 1 1 data_0", "layer8 1 1 b2"),
            "its layer 7 is Interp 0=1 1=4 2=4 of layer 1 ",
        ),
        (lambda text: text.replace("BinaryOp", "Eltwise"), "its layer 8 is Eltwise"),
        (lambda text: text.replace("6=108", "6=104", 1), "104 weights, expected a multiple of 3×3 for 4"),
        (lambda text: text.replace("6=108", "6=99999999999", 1), "6, expected a whole number"),
        (lambda text: text.replace("6=108", "6=1073741824", 1), "ends too early: 2,147,483,648 bytes are needed"),
        (lambda text: text.replace("6=108", "6=-108", 1), "has -108 for its parameter 6"),
        (lambda text: text.replace("6=108", "6=nan", 1), "nan for its parameter 6, expected a whole number"),
        (lambda text: text.replace("0=4 1=3", "0=0 1=3", 1), "has 0 for its parameter 0"),
        (lambda text: re.sub("(PixelShuffle.*) 0=.*", r"\1 0=nan", text), "has nan for its parameter 0"),
        (lambda text: text.replace("6=108", "6=x", 1), "it is damaged"),
        (lambda text: text.replace(" 1 1 ", " 1 1000000000 ", 1), "claims 1000000001 inputs and outputs"),
        (lambda text: text.replace("PixelShuffle", "Interp"), "layer"),
        (lambda text: text.replace("layer2 1 1 data_1", "layer2 1 1 nowhere"), "it is damaged.*nowhere"),
        (lambda text: text[: len(text) // 2], "layers"),
        (lambda text: text.replace("\n10 30", "\n9999999999999999999999 1"), "claims 9999999999999999999999"),
    ],
)
def test_a_wrong_param_is_refused(pair: Path, change: Change, says: str) -> None:
    text = pair.read_text()
    changed = change(text)
    assert changed != text
    pair.write_text(changed)
    with pytest.raises(UserError, match=says):
        load_network(pair)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-4], "ends too early"),
        (lambda data: data[:2], "ends too early"),
        (lambda data: b"", "ends too early"),
        (lambda data: data + b"\0", "more bytes than the layers need"),
        (lambda data: struct.pack("<I", 0x000D4B38) + data[4:], "stored as 0x000d4b38, expected float16 or float32"),
    ],
)
def test_a_wrong_bin_is_refused(pair: Path, change: Callable[[bytes], bytes], says: str) -> None:
    weights = pair.with_suffix(".bin")
    weights.write_bytes(change(weights.read_bytes()))
    with pytest.raises(UserError, match=says):
        load_network(pair)


def test_a_missing_file_is_named(pair: Path) -> None:
    pair.with_suffix(".bin").unlink()
    with pytest.raises(UserError, match=r"no file .*net\.bin: a network of ncnn is a \.param and a \.bin"):
        load_network(pair)


def test_a_huge_param_is_refused(pair: Path) -> None:
    with pair.open("ab") as file:
        file.truncate(1 << 30)
    with pytest.raises(UserError, match="1,073,741,824 bytes, expected at most"):
        load_network(pair)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), min_size=1))
def test_damaged_params_raise_only_user_errors(pair: Path, changes: list[tuple[float, bytes]]) -> None:
    original = pair.read_bytes()
    data = bytearray(original)
    for where, change in changes:
        start = int(where * len(data))
        data[start : start + len(change)] = change
    garbled = pair.with_name("garbled.param")
    garbled.write_bytes(data)
    garbled.with_suffix(".bin").write_bytes(pair.with_suffix(".bin").read_bytes())
    try:
        load_network(garbled)
    except UserError:
        return
