"""Pickled networks in the style of NVIDIA's programs are read, and nothing in them runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files import nvidia_pickle, safe_load
from gan_tasks.pretrained.files.safe_load import read_state_dict, read_state_dicts
from tests.helpers.interop import interop_case

SOURCE = "open({!r}, 'w').write('the source text ran')"


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> Any:
    """Run the source text and make the object, as the function of this name in NVIDIA's programs does."""
    exec(meta["module_src"])
    return types.SimpleNamespace(**meta["state"])


class EasyDict(dict[str, Any]):
    """As in `dnnlib.util`."""


class Layer(nn.Module):
    """A layer with a parameter, a buffer, a buffer that is not saved, and attributes of other types."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 3))
        self.bias = None
        self.register_parameter("absent", None)
        self.register_buffer("average", torch.randn(channels).half())
        self.register_buffer("passing", torch.randn(2), persistent=False)
        self.sizes, self.gain = np.array([1, 2]), np.float64(0.5)


class Network(nn.Module):
    """Two layers, of which one is written as plain modules are."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.first, self.later = Persistent(Layer(4), source), nn.Sequential(nn.Linear(2, 3))
        self.kwargs, self.device, self.steps = EasyDict(width=4), torch.device("cpu"), {1, 2}


class Persistent(nn.Module):
    """Pickles a module as NVIDIA's persistent classes do: with the source text of its class."""

    def __init__(self, module: nn.Module, source: str) -> None:
        super().__init__()
        self.__dict__.update(module.__dict__)
        self.__dict__["source"] = source

    def __reduce__(self) -> tuple[Any, ...]:
        state = {key: value for key, value in self.__dict__.items() if key != "source"}
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": "Layer", "state": state}
        return _reconstruct_persistent_obj, (meta,)


@pytest.fixture(autouse=True)
def published_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the pickles name the modules as the published programs do."""
    homes: dict[str, Any] = {"torch_utils.persistence": _reconstruct_persistent_obj, "dnnlib.util": EasyDict}
    for home, member in homes.items():
        module = types.ModuleType(home)
        setattr(module, member.__name__, member)
        monkeypatch.setitem(sys.modules, home, module)
        monkeypatch.setitem(sys.modules, home.partition(".")[0], types.ModuleType(home.partition(".")[0]))
        monkeypatch.setattr(member, "__module__", home)
    yield


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """The file that the source text would write."""
    return tmp_path / "canary"


def network(canary: Path, seed: int) -> Any:
    torch.manual_seed(seed)
    source = SOURCE.format(str(canary))
    return Persistent(Network(source), source)


def expected_tensors(module: Any) -> dict[str, Tensor]:
    return {
        "first.weight": module.first.weight,
        "first.average": module.first.average,
        "later.0.weight": module.later[0].weight,
        "later.0.bias": module.later[0].bias,
    }


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_networks_of_a_snapshot_are_read_and_the_averaged_is_taken(
    tmp_path: Path, canary: Path, protocol: int
) -> None:
    generator, averaged = network(canary, 1), network(canary, 2)
    options = EasyDict(path="data.zip", resolution=np.int64(64), shape=[3, 64], mean=np.zeros(2), nothing=None)
    path = tmp_path / "network-snapshot-000100.pkl"
    content = {"G": generator, "D": network(canary, 3), "G_ema": averaged, "training_set_kwargs": options}
    path.write_bytes(pickle.dumps(content, protocol))
    assert [(state.name, state.is_averaged) for state in read_state_dicts(path)] == [
        ("G", False),
        ("D", False),
        ("G_ema", True),
    ]
    found, expected = read_state_dict(path), expected_tensors(averaged)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert all(type(tensor) is Tensor and not tensor.requires_grad for tensor in found.values())
    assert not canary.exists()
    pickle.loads(path.read_bytes())  # the file would do harm elsewhere
    assert canary.exists()


def test_a_network_alone_is_read(tmp_path: Path, canary: Path) -> None:
    """Also under another suffix, and with numbers that two tensors share, in any order."""
    module = network(canary, 1)
    shared = torch.randn(4, 3)
    module.first.weight, module.later[0].weight = nn.Parameter(shared), nn.Parameter(shared.t()[1:, ::2])
    (tmp_path / "n.pt").write_bytes(pickle.dumps(module))
    found = read_state_dict(tmp_path / "n.pt")
    assert torch.equal(found["first.weight"], shared)
    assert torch.equal(found["later.0.weight"], shared.t()[1:, ::2])


def test_more_tensors_than_networks_have_are_refused(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia_pickle, "MAX_TENSORS", 3)
    (tmp_path / "n.pkl").write_bytes(pickle.dumps(network(canary, 1)))
    with pytest.raises(UserError, match="more than 3 tensors"):
        read_state_dict(tmp_path / "n.pkl")


def test_more_names_than_networks_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of one tensor."""
    monkeypatch.setattr(nvidia_pickle, "MAX_TENSORS", 3)
    tensors = dict.fromkeys("abcd", torch.ones(1))
    (tmp_path / "n.pkl").write_bytes(
        pickle.dumps(Call(_reconstruct_persistent_obj, {"state": {"_parameters": tensors}}))
    )
    with pytest.raises(UserError, match=r"more than 3 tensors$"):
        read_state_dict(tmp_path / "n.pkl")


def test_a_snapshot_of_several_gigabytes_is_read(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_load, "MAX_COPY_BYTES", 0)
    (tmp_path / "n.pkl").write_bytes(pickle.dumps(network(canary, 1)))
    assert read_state_dict(tmp_path / "n.pkl").keys() == expected_tensors(network(canary, 1)).keys()


def test_files_of_torch_save_may_have_the_suffix_too(tmp_path: Path) -> None:
    for number, new in enumerate((True, False)):
        path = tmp_path / f"{number}.pkl"
        torch.save({"G_ema": {"a": torch.ones(2)}}, path, _use_new_zipfile_serialization=new)
        assert read_state_dict(path)["a"].tolist() == [1, 1]


@pytest.mark.parametrize("name", ["stylegan2_ada_g", "stylegan3_t", "r3gan_g_cond"])
def test_published_snapshots_equal_their_state_dicts(name: str) -> None:
    path = interop_case(name).path
    expected, found = read_state_dict(path), read_state_dict(path.with_suffix(".pkl"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def storage_bytes(count: int) -> bytes:
    file = io.BytesIO()
    numbers = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(count).untyped_storage(), dtype=torch.float32, _internal=True
    )
    torch.save(numbers, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def tensor_of(data: Any, offset: Any, size: Any, stride: Any) -> Call:
    storage = Call(torch.storage._load_from_bytes, data)
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})


def module_of(content: Any) -> Call:
    return Call(_reconstruct_persistent_obj, {"state": {"_parameters": {"a": content}, "_modules": {}}})


def recursive() -> Any:
    """Modules with a million million ways through them."""
    inner = Call(_reconstruct_persistent_obj, {"state": {}})
    for _ in range(40):
        inner = Call(_reconstruct_persistent_obj, {"state": {"_modules": {"a": inner, "b": inner}}})
    return inner


def with_nested_key() -> Any:
    """Entries in a list, one of which has a key that takes long to hash."""
    key: Any = ()
    for _ in range(22):
        key = (key, key)
    return Call(_reconstruct_persistent_obj, {"state": {"_buffers": [(key, torch.ones(1))]}})


def module_in_module() -> Any:
    inner = Call(_reconstruct_persistent_obj, {"state": {"_parameters": {"a" * 300: torch.ones(1)}}})
    return Call(_reconstruct_persistent_obj, {"state": {"_modules": {"b" * 300: inner}}})


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a command": (lambda canary: Call(os.system, f"touch {canary}"), r"would call .*\.system"),
    "a command in a module": (lambda canary: module_of(Call(os.system, f"touch {canary}")), r"would call .*\.system"),
    "Python code": (lambda canary: Call(eval, SOURCE.format(str(canary))), r"would call builtins\.eval"),
    "a pickle in place of numbers": (
        lambda canary: module_of(tensor_of(pickle.dumps(Call(os.system, f"touch {canary}")), 0, (1,), (1,))),
        "it|its",
    ),
    "a network in place of numbers": (
        lambda _: module_of(tensor_of(pickle.dumps({"a": 1}), 0, (1,), (1,))),
        "it|its",
    ),
    "a size beyond the numbers": (lambda _: module_of(tensor_of(storage_bytes(4), 0, (5,), (1,))), "more numbers"),
    "a stride beyond the numbers": (lambda _: module_of(tensor_of(storage_bytes(4), 0, (2,), (4,))), "damaged"),
    "an offset beyond the numbers": (lambda _: module_of(tensor_of(storage_bytes(4), 3, (2,), (1,))), "damaged"),
    "a negative offset": (lambda _: module_of(tensor_of(storage_bytes(4), -1, (2,), (1,))), "more numbers"),
    "a large tensor of one number": (
        lambda _: module_of(tensor_of(storage_bytes(1), 0, (1 << 20, 1 << 20), (0, 0))),
        "more numbers",
    ),
    "sizes that are no numbers": (lambda _: module_of(tensor_of(storage_bytes(4), 0, ("a",), (1,))), "more numbers"),
    "a text as a tensor": (
        lambda _: module_of(Call(torch._utils._rebuild_parameter, "a", True, {})),
        "expected a te",
    ),
    "a state that is a list": (lambda _: Call(_reconstruct_persistent_obj, {"state": [1]}), "a state of type list"),
    "a long name": (
        lambda _: Call(_reconstruct_persistent_obj, {"state": {"_parameters": {"a" * 501: torch.ones(1)}}}),
        "no text of up to 500 characters",
    ),
    "a long name with that of its module": (lambda _: module_in_module(), "no text of up to 500 characters"),
    "entries that are no dict": (lambda _: with_nested_key(), "whose _buffers are a list"),
    "a set that is none": (
        lambda _: Call(_reconstruct_persistent_obj, {"state": {"_non_persistent_buffers_set": {"a": 1}}}),
        "set of buffers is a dict",
    ),
    "modules in one another": (lambda _: {"G": recursive()}, "nests modules"),
    "a tuple as a key": (lambda _: {(1, 2): torch.ones(1)}, "a key of type tuple"),
    "arrays of numbers": (lambda _: {"a": np.zeros(2)}, r"would call numpy.*_reconstruct"),
    "a list": (lambda _: [torch.ones(1)], "it holds a list"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(tmp_path: Path, canary: Path, name: str) -> None:
    make, says = HOSTILE[name]
    path = tmp_path / "n.pkl"
    path.write_bytes(pickle.dumps(make(canary), 4))
    with pytest.raises(UserError, match=f"cannot use {path}: .*({says})"):
        read_state_dicts(path)
    assert not canary.exists()


INSTRUCTIONS: dict[str, tuple[bytes, str]] = {
    "an unknown instruction": (b"}2", "instruction DUP"),
    "an object with arguments of its own": (b"(cos\nsystem\nX\1\0\0\0ao", "instruction OBJ"),
    "a class of a long name": (b"X\0\4\0\0" + b"a" * 1024 + b"q\0h\0\x93", "texts of 500 characters"),
    "a class whose name is a number": (b"K\1K\2\x93", "texts of 500 characters"),
    "a call of a list": (b"])R", "would call a list"),
    "entries of a number": (b"K\1K\2K\3s", "expected a dict"),
    "a huge place in the memo": (b"}r\xff\xff\xff\x7f", "an empty dict"),
    "a huge number": (b"}\x8a\xff" + b"\x7f" * 255 + b"Ns", "more than 64 bits"),
    "bytes that are absent": (b"\x8e" + struct.pack("<Q", 1 << 40) + b"a", "damaged"),
    "nothing on the stack": (b"0", "POP|damaged"),
    "many dicts": (b"(" + b"}" * 2_000_000 + b"l", "more than 1,000,000 instructions"),
    "the same numbers again": (
        b"ctorch.storage\n_load_from_bytes\nq\0(B"
        + struct.pack("<I", len(storage_bytes(999)))
        + storage_bytes(999)
        + b"q\1tR"
        + b"h\0(h\1tR" * 9
        + b"}",
        "again and again",
    ),
    "networks of TensorFlow": (b"cdnnlib.tflib.network\nNetwork\n)\x81", "networks of TensorFlow"),
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_hostile_instructions_are_refused(tmp_path: Path, name: str) -> None:
    pickled, says = INSTRUCTIONS[name]
    (tmp_path / "n.pkl").write_bytes(b"\x80\4" + pickled + b".")
    with pytest.raises(UserError, match=says):
        read_state_dicts(tmp_path / "n.pkl")


@pytest.mark.parametrize("kept", [0.3, 0.8, 0.99])
def test_truncated_snapshots_are_refused(tmp_path: Path, canary: Path, kept: float) -> None:
    data = pickle.dumps({"G_ema": network(canary, 1)})
    (tmp_path / "n.pkl").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UserError, match="damaged"):
        read_state_dicts(tmp_path / "n.pkl")


def test_more_modules_than_networks_have_are_refused(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia_pickle, "MAX_ENTRIES", 8)
    (tmp_path / "n.pkl").write_bytes(pickle.dumps({"G_ema": network(canary, 1)}))
    with pytest.raises(UserError, match="more than 8 of them"):
        read_state_dicts(tmp_path / "n.pkl")
