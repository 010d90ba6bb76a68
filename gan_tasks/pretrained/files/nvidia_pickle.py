"""Read the pickled networks of NVIDIA's programs without running any of it: StyleGAN2-ADA, StyleGAN3, R3GAN.

A snapshot, `network-snapshot-….pkl`, is a pickle of whole modules, and that of a persistent class holds the source
text of its class, which Python's unpickler would run. Here the instructions of the pickle are followed by a machine
that imports nothing and calls nothing: a module becomes the dict of its attributes, and only tensors, texts, numbers,
lists and dicts are made. Any other object is refused, or left out where it is known to be harmless.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.serialization import MAGIC_NUMBER
from torch.storage import TypedStorage

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files.pickles import LARGEST_NUMBER, ORDERED_DICT, code_refused
from gan_tasks.pretrained.files.screening import is_zip, vet_torch_file
from gan_tasks.pretrained.files.unwrap import MAX_TENSORS

MAX_INSTRUCTIONS = 1_000_000
"""Most instructions of a pickle. A snapshot of three networks of 1024² pixels has 60,000; each can make an object."""
MAX_MODULES = 20_000
"""Most modules in the networks of a file, each counted wherever it stands."""
MAX_DEPTH = 50
"""Largest number of modules within one another."""

MAX_DIMENSIONS = 8
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
    "numpy ndarray",
    *(
        f"numpy.{core} {function}"
        for core in ("core.multiarray", "_core.multiarray", "core.numeric", "_core.numeric")
        for function in ("_reconstruct", "scalar", "_frombuffer")
    ),
    "torch Size",
    "torch device",
}
"""Functions and classes whose results stand beside the weights. They are left out."""
DATA_TYPE = re.compile(r"torch (float|bfloat|int|uint|bool)\d*")
MODULE_CLASS = re.compile(r"(training|torch_utils|R3GAN|torch\.nn\.modules)(\.\w+)* \w+")
"""Classes of modules that are pickled without their source."""

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


LEFT_OUT = object()
"""Stands for an object that is no part of the weights."""


def is_snapshot(data: bytes) -> bool:
    """Return whether the content of a file is a pickle of its own, and none of `torch.save`."""
    if data[:1] != b"\x80" or is_zip(io.BytesIO(data[:4])):
        return False
    # A file of torch.save in the format before PyTorch 1.6 begins with a pickle of this number alone.
    return MAGIC_NUMBER.to_bytes(10, "little") not in data[:16]


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
        self.loaded_bytes = 0

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
            stack.append(checked_global(argument))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(checked_global(f"{module} {attribute}"))
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
        if is_new and MODULE_CLASS.fullmatch(name):
            return Module()
        if is_new or name not in FUNCTIONS:
            if name in NOT_WEIGHTS:
                return LEFT_OUT
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
        if self.loaded_bytes > len(self.data):
            raise UserError("it reads the same numbers again and again, expected each tensor once")
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
        places = (*size, *stride, offset)
        is_known = all(isinstance(value, int) and 0 <= value < MAX_SIZE for value in places)
        if not is_known or len(size) > MAX_DIMENSIONS or math.prod(size) > storage.numbers.numel():
            raise UserError("it has a tensor that claims more numbers than its storage has")
        return storage.numbers.as_strided(size, stride, offset)  # refuses what lies outside

    def parameter(self, tensor: Any, *_: Any) -> Tensor:
        """Return the tensor of a parameter."""
        if not isinstance(tensor, Tensor):
            raise UserError(f"it has a parameter of a {type(tensor).__name__}, expected a tensor")
        return tensor

    def set(self, items: Any = ()) -> list[Any]:
        """Return the items of a set, which are kept in a list: they need no hash."""
        return list(items)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    PERSISTENT: Machine.persistent_object,
    LOAD_STORAGE: Machine.storage,
    SET: Machine.set,
    REBUILD_TENSOR: Machine.tensor,
    **dict.fromkeys(REBUILD_PARAMETERS, Machine.parameter),
}


def checked_global(name: str) -> Global:
    """Return the name of a function or class. Raises UserError if it is not known."""
    known = name in (ORDERED_DICT, EASY_DICT) or name in FUNCTIONS or name in NOT_WEIGHTS
    if known or DATA_TYPE.fullmatch(name) or MODULE_CLASS.fullmatch(name):
        return Global(name)
    if name.startswith("dnnlib.tflib"):
        raise UserError(
            "it holds networks of TensorFlow: convert it with legacy.py of https://github.com/NVlabs/stylegan3"
        )
    raise UserError(code_refused(name.replace(" ", ".")))


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


class Walk:
    """Goes through the modules of a file, not more often than a network has modules."""

    def __init__(self) -> None:
        self.modules = self.tensors = 0

    def state_dict(self, module: Module) -> dict[str, Tensor]:
        """Return the parameters and persistent buffers of a module by their names, as its `state_dict()` would."""
        return dict(self.named_tensors(module, "", MAX_DEPTH))

    def named_tensors(self, module: Module, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
        self.modules += 1
        if depth == 0 or self.modules > MAX_MODULES:
            raise UserError(f"it nests modules deeper than {MAX_DEPTH}, or has more than {MAX_MODULES:,} of them")
        attributes = module.attributes
        passing = attributes.get("_non_persistent_buffers_set") or ()
        for group in ("_parameters", "_buffers"):
            for name, value in (attributes.get(group) or {}).items():
                if isinstance(value, Tensor) and not (group == "_buffers" and name in passing):
                    self.tensors += 1
                    if self.tensors > MAX_TENSORS:
                        raise UserError(f"it holds more than {MAX_TENSORS:,} tensors")
                    yield f"{prefix}{name}", value
        for name, part in (attributes.get("_modules") or {}).items():
            if isinstance(part, Module):
                yield from self.named_tensors(part, f"{prefix}{name}.", depth - 1)
