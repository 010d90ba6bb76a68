"""Read the pickled networks of NVIDIA's programs without running any of it: StyleGAN2-ADA, StyleGAN3, R3GAN.

A snapshot, `network-snapshot-….pkl`, is a pickle of whole modules, and that of a persistent class holds the source
text of its class, which Python's unpickler would run. Here the instructions of the pickle are followed by a machine
that imports nothing and calls nothing: an object becomes the dict of its attributes, beside tensors, texts, numbers,
lists and dicts. The call of any other function is refused, or skipped where its result is no weight.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.serialization import MAGIC_NUMBER
from torch.storage import TypedStorage

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files.pickles import LARGEST_NUMBER, ORDERED_DICT, code_refused, skipped_class
from gan_tasks.pretrained.files.screening import vet_torch_file
from gan_tasks.pretrained.files.unwrap import MAX_NAME_LENGTH, MAX_TENSORS

MAX_INSTRUCTIONS = 1_000_000
"""Most instructions of a pickle. A snapshot of three networks of 1024² pixels has 60,000; each can make an object."""
MAX_ENTRIES = 200_000
"""Most tensors and modules in the modules of a file, each counted wherever it stands."""
MAX_DEPTH = 50
"""Largest number of modules within one another."""

SNAPSHOT_HEAD_BYTES = 16
"""Bytes of a file that tell a snapshot."""
MAX_DIMENSIONS = 8
"""Most dimensions of a tensor."""
MAX_SIZE = 1 << 40
"""Bound of the sizes and strides of a tensor."""

PERSISTENT = "torch_utils.persistence _reconstruct_persistent_obj"
EASY_DICT = "dnnlib.util EasyDict"
LOAD_STORAGE = "torch.storage _load_from_bytes"
SET = "builtins set"
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
REBUILD_PARAMETERS = ("torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state")
NOT_WEIGHTS = {
    "numpy dtype",
    "functools partial",
    *(
        f"numpy.{core} {function}"
        for core in ("core.multiarray", "_core.multiarray", "core.numeric", "_core.numeric")
        for function in ("_reconstruct", "scalar", "_frombuffer")
    ),
    "torch Size",
    "torch device",
}
"""Functions whose results stand beside the weights. They are skipped."""
SKIPPED = {name: skipped_class(name.replace(" ", "."))() for name in NOT_WEIGHTS}

HEADER_BYTES = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9, "BYTEARRAY8": 9}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
GETS = ("BINGET", "LONG_BINGET")
PUTS = ("BINPUT", "LONG_BINPUT")


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a function or class, "MODULE NAME"."""

    name: str


@dataclass(slots=True)
class Module:
    """An object of a class, of which only the attributes are read."""

    attributes: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Storage:
    """The numbers of tensors, in one dimension."""

    numbers: Tensor


def is_snapshot(data: bytes) -> bool:
    """Return whether a file is a pickle of its own, and none of `torch.save`, by its first SNAPSHOT_HEAD_BYTES."""
    # A file of torch.save in the format before PyTorch 1.6 begins with a pickle of this number alone.
    return data[:1] == b"\x80" and MAGIC_NUMBER.to_bytes(10, "little") not in data[:SNAPSHOT_HEAD_BYTES]


def read_snapshot(data: bytes) -> Any:
    """Return the networks of a snapshot as dicts of tensors by name, in the dict in which the file holds them.

    Raises UserError for anything but tensors, plain values and modules of tensors, for sizes that the file does not
    have, and other exceptions for damaged files.
    """
    machine = Machine(data)
    for number, (opcode, argument, position) in enumerate(pickletools.genops(data)):
        if number == MAX_INSTRUCTIONS:
            raise UserError(f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions, expected a network's")
        machine.run(opcode.name, argument, position or 0)
    content = machine.stack.pop()
    walk = Walk()
    if isinstance(content, Module):
        return walk.state_dict(content)
    if not isinstance(content, dict):
        raise UserError(f"it holds a {type(content).__name__}, expected networks or a dict of them")
    return {key: walk.state_dict(value) if isinstance(value, Module) else value for key, value in content.items()}


class Machine:
    """An unpickler that makes plain values, tensors and `Module`s, and calls nothing."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.stack: list[Any] = []
        self.outer_stacks: list[list[Any]] = []  # what is below each mark
        self.memo: dict[int, Any] = {}
        self.loaded_bytes = self.storages = 0

    def run(self, name: str, argument: Any, position: int) -> None:
        """Run the instruction of the pickle at a position."""
        stack = self.stack
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in NUMBERS:
            if abs(argument) >= LARGEST_NUMBER and isinstance(argument, int):
                raise UserError("it holds a number of more than 64 bits, expected sizes of a network")
            stack.append(argument)
        elif name in TEXTS:
            stack.append(argument)
        elif name in HEADER_BYTES:
            start = position + HEADER_BYTES[name]
            stack.append(self.data[start : start + len(argument)])
        elif name in GETS:
            stack.append(self.memo[argument])
        elif name in PUTS or name == "MEMOIZE":
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name == "MARK":
            self.outer_stacks.append(stack)
            self.stack = []
        elif name in TUPLES:
            first = len(stack) - TUPLES[name]
            stack[first:] = [tuple(stack[first:])]
        elif name == "TUPLE":
            items = self.pop_to_mark()
            self.stack.append(tuple(items))
        elif name in ("EMPTY_LIST", "EMPTY_SET"):
            stack.append([])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if name == "APPEND" else self.pop_to_mark()
            self.top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self.pop_to_mark()
            entries = self.top(dict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                entries[checked_key(key)] = value
        elif name == "GLOBAL":
            stack.append(checked_global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(checked_global(module, attribute))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            if not isinstance(function, Global) or not isinstance(arguments, tuple):
                raise UserError(code_refused(f"a {type(function).__name__}"))
            stack.append(self.made(function.name, arguments, is_new=name == "NEWOBJ"))
        elif name == "BUILD":
            attributes = stack.pop()
            if isinstance(stack[-1], Module):
                stack[-1].attributes = checked_attributes(attributes)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise UserError(f"its pickle has the instruction {name}, which no pickled network has")

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer_stacks.pop()
        return items

    def top(self, kind: type[Any]) -> Any:
        """Return the list or dict on top of the stack."""
        if not isinstance(self.stack[-1], kind):
            raise UserError(f"it adds entries to a {type(self.stack[-1]).__name__}, expected a {kind.__name__}")
        return self.stack[-1]

    def made(self, name: str, arguments: tuple[Any, ...], *, is_new: bool) -> Any:
        """Return what stands for the result of a function, or for a new object of a class."""
        if name in (ORDERED_DICT, EASY_DICT) and not arguments:
            return {}
        if is_new:
            return Module()
        if name in SKIPPED:
            return SKIPPED[name]
        if name not in FUNCTIONS:
            raise UserError(code_refused(name.replace(" ", ".")))
        return FUNCTIONS[name](self, *arguments)

    def persistent_object(self, meta: Any) -> Module:
        """Return the module of a persistent class, whose source text is left unread."""
        return Module(checked_attributes(meta["state"]))

    def storage(self, data: Any) -> Storage:
        """Read a storage of numbers, which is a file of `torch.save` in the pickle."""
        if not isinstance(data, memoryview):
            raise UserError(f"it has a {type(data).__name__} in place of the numbers of a tensor")
        self.loaded_bytes += len(data)
        self.storages += 1
        if self.loaded_bytes > len(self.data) or self.storages > MAX_TENSORS:
            raise UserError(f"it has more than {MAX_TENSORS:,} tensors, or reads the same numbers again and again")
        file = io.BytesIO(data)
        vet_torch_file(file, len(data))
        file.seek(0)
        storage = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(storage, TypedStorage):
            raise UserError(f"it has a {type(storage).__name__} in place of the numbers of a tensor")
        return Storage(torch.empty(0, dtype=storage.dtype).set_(storage))

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        """Return a tensor of a storage's numbers."""
        if not isinstance(storage, Storage):
            raise UserError(f"it has a tensor of a {type(storage).__name__}, expected a storage of numbers")
        is_short = all(isinstance(sizes, tuple) and len(sizes) <= MAX_DIMENSIONS for sizes in (size, stride))
        places = (*size, *stride, offset) if is_short else (None,)
        is_known = all(isinstance(value, int) and 0 <= value < MAX_SIZE for value in places)
        if not is_known or math.prod(size) > storage.numbers.numel():
            raise UserError("it has a tensor that claims more numbers than its storage has")
        return storage.numbers.as_strided(size, stride, offset)  # refuses what lies outside

    def parameter(self, tensor: Any, *_: Any) -> Tensor:
        """Return the tensor of a parameter."""
        if not isinstance(tensor, Tensor):
            raise UserError(f"it has a parameter of a {type(tensor).__name__}, expected a tensor")
        return tensor

    def set(self, items: Any) -> Any:
        """Return the items of a set, which stay in their list: they need no hash."""
        return items


FUNCTIONS: dict[str, Callable[..., Any]] = {
    PERSISTENT: Machine.persistent_object,
    LOAD_STORAGE: Machine.storage,
    SET: Machine.set,
    REBUILD_TENSOR: Machine.tensor,
    **dict.fromkeys(REBUILD_PARAMETERS, Machine.parameter),
}


def checked_global(module: Any, attribute: Any) -> Global:
    """Return the name of a function or class. Raises UserError for networks that are not PyTorch's."""
    if not all(isinstance(part, str) and len(part) <= MAX_NAME_LENGTH for part in (module, attribute)):
        raise UserError(f"it names a class by more than texts of {MAX_NAME_LENGTH} characters")
    if module.startswith("dnnlib.tflib"):
        raise UserError(
            "it holds networks of TensorFlow: convert it with legacy.py of https://github.com/NVlabs/stylegan3"
        )
    return Global(f"{module} {attribute}")


def checked_key(key: Any) -> str | int | float | None:
    """Return the key of a dict. Raises UserError if it is neither a text nor a number, whose hash is quick."""
    if key is not None and not isinstance(key, str | int | float):
        raise UserError(f"it has a key of type {type(key).__name__}, expected a text")
    return key


def checked_attributes(state: Any) -> dict[Any, Any]:
    """Return the attributes of a module. Raises UserError if its state is no dict."""
    if not isinstance(state, dict):
        raise UserError(f"it has a module with a state of type {type(state).__name__}, expected a dict of attributes")
    return state


def checked_name(prefix: str, name: Any) -> str:
    """Return the whole name of a tensor or module. Raises UserError if it is no text, or longer than a network's."""
    if not isinstance(name, str) or len(prefix) + len(name) > MAX_NAME_LENGTH:
        raise UserError(f"it has a module or tensor whose name is no text of up to {MAX_NAME_LENGTH} characters")
    return prefix + name


def checked_entries(module: Module, name: str) -> dict[Any, Any]:
    """Return the entries of a module by their names. Raises UserError if they are no dict, whose keys are checked."""
    entries = module.attributes.get(name)
    if entries is not None and not isinstance(entries, dict):
        raise UserError(f"it has a module whose {name} are a {type(entries).__name__}, expected a dict")
    return entries or {}


class Walk:
    """Goes through the modules of a file, not more often than networks have modules and tensors."""

    def __init__(self) -> None:
        self.entries = self.tensors = 0

    def state_dict(self, module: Module) -> dict[str, Tensor]:
        """Return the parameters and persistent buffers of a module by their names, as its `state_dict()` would."""
        return dict(self.named_tensors(module, "", MAX_DEPTH))

    def named_tensors(self, module: Module, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
        parameters, buffers, modules = (
            checked_entries(module, name) for name in ("_parameters", "_buffers", "_modules")
        )
        passing = module.attributes.get("_non_persistent_buffers_set") or []
        if not isinstance(passing, list):
            raise UserError(f"it has a module whose set of buffers is a {type(passing).__name__}")
        self.entries += 1 + len(parameters) + len(buffers) + len(modules) + len(passing)
        if depth == 0 or self.entries > MAX_ENTRIES:
            raise UserError(f"it nests modules deeper than {MAX_DEPTH}, or has more than {MAX_ENTRIES:,} of them")
        not_kept = {name for name in passing if isinstance(name, str)}
        kept = {name: value for name, value in buffers.items() if name not in not_kept}
        for name, value in (parameters | kept).items():
            if isinstance(value, Tensor):
                self.tensors += 1
                if self.tensors > MAX_TENSORS:
                    raise UserError(f"it has more than {MAX_TENSORS:,} tensors")
                yield checked_name(prefix, name), value
        for name, part in modules.items():
            if isinstance(part, Module):
                yield from self.named_tensors(part, f"{checked_name(prefix, name)}.", depth - 1)
