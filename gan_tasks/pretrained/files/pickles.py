"""Screen the pickle of a weights file: its instructions are followed without making its objects.

`torch.load(weights_only=True)` runs no code from the file. But a pickle of a few hundred bytes can still ask for all
memory, or for a loop without an end: by objects that hold themselves twice, forty times over, by copies of copies, by
keys that take years to hash. Only pickles pass that `torch.save` writes for a state dict.

Beside the weights there may be plain objects of other programs' classes, such as a training's options. They are
skipped: their classes are not imported, and a `SkippedObject` takes the place of each.
"""

import io
import pickletools
from dataclasses import dataclass, field
from typing import Any

from torch.serialization import MAGIC_NUMBER

from gan_tasks.datasets.errors import UserError

MAX_TUPLE_OBJECTS = 2_000
"""Largest number of tuples, lists and dicts in a tuple, each counted wherever it stands."""
MAX_COPIED = 100_000
"""Largest number of entries that are copied into other dicts."""
MAX_MARKS = 1_000
"""Largest number of marks within one another. Pickling recurses, so that `torch.save` cannot nest deeper."""
MAX_OBJECTS = 1_000
"""Largest number of objects of other programs' classes."""
MAX_CLASSES = 100
"""Largest number of other programs' classes. torch looks each of them up in the list of all."""
LARGEST_NUMBER = 2**64
"""Bound of whole numbers. Larger ones can be chosen so that they all have one hash, which makes dicts slow."""

ITEM_BYTES = {
    "BFloat16": 2,
    "Bool": 1,
    "Byte": 1,
    "Char": 1,
    "Double": 8,
    "Float": 4,
    "Half": 2,
    "Int": 4,
    "Long": 8,
    "Short": 2,
}
"""Bytes of a number in each kind of storage."""
STORAGES = {f"torch {kind}Storage": size for kind, size in ITEM_BYTES.items()}
ORDERED_DICT = "collections OrderedDict"
REBUILD = {f"torch._utils _rebuild_{what}" for what in ("parameter", "tensor", "tensor_v2")}
GLOBALS = {ORDERED_DICT, *REBUILD, *STORAGES}
"""All names that a pickled dict of tensors contains. `weights_only` allows more."""

OWN_OF_TORCH = {"torch", "builtins", "__builtin__", "collections", "_codecs", "os", "posix", "nt", "sys"}
"""Packages whose objects torch makes itself, or blocks. They are refused, not skipped."""

CONSTANTS = {"NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT"}
NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1"}
TEXTS = {"BINUNICODE", "SHORT_BINSTRING"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(slots=True)
class Value:
    """What is known of an object that the pickle makes.

    kind: "tuple", "list", "dict" (an OrderedDict too), "tensor", "storage", "global", "class" (of other programs),
        "object" (of such a class), "text", "number", "constant".
    value: the text, the number, or the name of the global or class.
    items: the objects in a tuple or list, and the keys of a dict.
    """

    kind: str
    value: Any = None
    items: list["Value"] = field(default_factory=list)
    objects: int = 0
    """The number of tuples, lists and dicts in a tuple, itself included; 1 for a list or dict."""


CONSTANT = Value("constant")


class SkippedObject:
    """Takes the place of an object of another program's class. It has none of the object's attributes."""

    __slots__ = ()
    class_name = ""

    def __setstate__(self, state: object) -> None:
        pass


def skipped_class(name: str) -> type[SkippedObject]:
    """Return the class of skipped objects for a class MODULE.NAME."""
    return type("SkippedObject", (SkippedObject,), {"__slots__": (), "class_name": name})


@dataclass(frozen=True)
class Screened:
    """What is in pickles that passed."""

    storages: dict[str, int]
    """The bytes of each storage that tensors take, by its key."""
    classes: frozenset[str]
    """Other programs' classes, MODULE.NAME, whose objects are to be skipped."""


def vet_pickles(data: bytes, count: int) -> Screened:
    """Screen the first `count` pickles of the data.

    Raises UserError if a pickle does what `torch.save` does not for tensors, and other exceptions if it is no pickle.
    """
    stream = io.BytesIO(data)
    storages: dict[str, int] = {}
    classes: set[str] = set()
    for _ in range(count):
        machine = Machine(storages, classes)
        for opcode, argument, _ in pickletools.genops(stream):
            machine.run(opcode.name, argument)
    return Screened(storages, frozenset(classes))


class Machine:
    """An unpickler that makes a `Value` in place of each object."""

    def __init__(self, storages: dict[str, int], classes: set[str]) -> None:
        self.storages = storages
        self.classes = classes
        self.skipped = 0
        self.stack: list[Value] = []
        self.outer_stacks: list[list[Value]] = []  # what is below each mark
        self.memo: dict[int, Value] = {}
        self.copied = 0

    def run(self, name: str, argument: Any) -> None:
        """Run one instruction of the pickle."""
        stack = self.stack
        if name in CONSTANTS:
            stack.append(CONSTANT)
        elif name in NUMBERS:
            if abs(argument) >= LARGEST_NUMBER and argument != MAGIC_NUMBER:
                raise UserError("it holds a number of more than 64 bits, which torch.save does not write")
            stack.append(Value("number", argument))
        elif name in TEXTS:
            stack.append(Value("text", argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            if len(self.outer_stacks) == MAX_MARKS:
                raise UserError(f"it nests more than {MAX_MARKS:,} objects, which torch.save cannot")
            self.outer_stacks.append(stack)
            self.stack = []
        elif name == "EMPTY_TUPLE":
            stack.append(tuple_of([]))
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple_of(stack[-TUPLES[name] :])]
        elif name == "TUPLE":
            items = self.pop_to_mark()
            self.stack.append(tuple_of(items))
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append(Value(name.removeprefix("EMPTY_").lower(), objects=1))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self.pop_to_mark()
            self.extend("list", items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self.pop_to_mark()
            self.extend("dict", [checked_key(key) for key in items[::2]])
        elif name == "GLOBAL":
            stack.append(self.found(argument))
        elif name == "NEWOBJ":
            arguments, made_of = stack.pop(), stack.pop()
            stack.append(self.instance(made_of, arguments))
        elif name in ("STACK_GLOBAL", "INST"):
            raise UserError(code_refused("a function or class"))
        elif name == "BINPERSID":
            self.storage(stack.pop())
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(self.called(function, arguments))
        elif name == "BUILD":  # torch.save keeps the versions of the modules in an attribute of the OrderedDict
            state = stack.pop()
            if state.kind != "dict" or stack[-1].kind not in ("dict", "object"):
                raise UserError(f"it sets attributes of a {stack[-1].kind}, which torch.save does not")
            self.copy(state)
        elif name not in ("PROTO", "STOP"):
            raise UserError(f"its pickle has the instruction {name}, which torch.save does not write")

    def pop_to_mark(self) -> list[Value]:
        items, self.stack = self.stack, self.outer_stacks.pop()
        return items

    def extend(self, kind: str, items: list[Value]) -> None:
        """Add items to the list, or keys to the dict, on top of the stack."""
        if self.stack[-1].kind != kind:
            raise UserError(f"it adds entries to a {self.stack[-1].kind}, which torch.save does not")
        self.stack[-1].items += items

    def storage(self, name: Value) -> None:
        """Note the size of a storage, whose name is ("storage", type, key, device, length), and push it."""
        match [(item.kind, item.value) for item in name.items]:
            case [("text", "storage"), ("global", kind), ("text", str(key)), _, ("number", int(length)), *_] if (
                name.kind == "tuple" and kind in STORAGES and length >= 0
            ):
                size_bytes = length * STORAGES[kind]
                self.storages[key] = max(size_bytes, self.storages.get(key, 0))
                self.stack.append(Value("storage"))
            case _:
                raise UserError("it refers to something outside the file that is no storage of numbers")

    def found(self, name: str) -> Value:
        """Return the global MODULE NAME. Classes of other programs are noted, to be skipped."""
        if name in GLOBALS:
            return Value("global", name)
        path = name.replace(" ", ".")
        if path.partition(".")[0] in OWN_OF_TORCH:
            raise UserError(code_refused(path))
        self.classes.add(path)
        if len(self.classes) > MAX_CLASSES:
            raise UserError(f"it names more than {MAX_CLASSES} classes of other programs")
        return Value("class", path)

    def instance(self, made_of: Value, arguments: Value) -> Value:
        """Return a new object of a class of other programs, made without arguments."""
        if made_of.kind != "class" or arguments.kind != "tuple" or arguments.items:
            raise UserError(code_refused(f"a {made_of.kind} with arguments"))
        self.skipped += 1
        if self.skipped > MAX_OBJECTS:
            raise UserError(f"it holds more than {MAX_OBJECTS:,} objects that are no tensors")
        return Value("object", made_of.value, objects=1)

    def called(self, function: Value, arguments: Value) -> Value:
        """Return what a function makes of its arguments."""
        if function.kind == "class":
            raise UserError(code_refused(function.value))
        if function.kind != "global" or arguments.kind != "tuple":
            raise UserError(code_refused(f"a {function.kind}"))
        if function.value in REBUILD:
            return Value("tensor")
        if function.value != ORDERED_DICT:
            raise UserError(code_refused(function.value.replace(" ", ".")))
        made = Value("dict", objects=1)
        for entries in arguments.items:  # Python 2 writes one list of lists [key, value]
            if entries.kind != "list" or not all(pair.kind == "list" and pair.items for pair in entries.items):
                raise UserError(f"it makes a dict of a {entries.kind}, which torch.save does not")
            self.copy(entries)
            made.items += [checked_key(pair.items[0]) for pair in entries.items]
        return made

    def copy(self, source: Value) -> None:
        """Count the entries that are copied."""
        self.copied += len(source.items)
        if self.copied > MAX_COPIED:
            raise UserError(f"it copies more than {MAX_COPIED:,} entries of dicts, which torch.save does not")


def tuple_of(items: list[Value]) -> Value:
    """Return a tuple. Raises UserError if it holds too many objects."""
    objects = 1 + sum(item.objects for item in items)
    if objects > MAX_TUPLE_OBJECTS:
        raise UserError(f"it nests more than {MAX_TUPLE_OBJECTS:,} tuples, which torch.save does not for tensors")
    return Value("tuple", items=items, objects=objects)


def checked_key(key: Value) -> Value:
    """Return the key of a dict. Raises UserError for any other than a text, a number or a constant."""
    if key.kind not in ("text", "number", "constant"):
        raise UserError(f"it has a key of type {key.kind}, expected a dict of tensors by their names")
    return key


def code_refused(name: str) -> str:
    """Return the error message for a file that would call `name`."""
    return (
        f"loading it would call {name}, and only tensors are loaded. If you trust its author, save the "
        "network's state_dict() as .safetensors and give that"
    )
