"""Screen a weights file before it is loaded, so that a hostile file can neither run code nor exhaust the memory.

`torch.load(weights_only=True)` runs no code from the file. But a file of a few hundred bytes can still exhaust the
memory: by compression, by false sizes, or by asking for a large bytearray. Only files pass that `torch.save` writes
    for a state dict.
"""

import io
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from gan_tasks.datasets.errors import UserError

MAX_PICKLE_BYTES = 512 << 10
"""Largest size of a pickle. A thousand tensors need 150 kB; each byte can cause a few hundred bytes of memory."""
MAX_DIRECTORY_BYTES = 2 << 20
"""Largest size of a zip file's directory. A thousand tensors need 100 kB."""
MAX_SAFETENSORS_HEADER_BYTES = 4 << 20
"""Largest size of the header of a .safetensors file."""
MAX_MEMBER_OVERHEAD_BYTES = 8 << 10
"""Largest size of a zip member besides its content: headers, names and the padding for alignment."""

MAX_TUPLE_DEPTH = 32
"""Largest number of tuples within one another. Python recurses on the C stack to hash a tuple."""

LEGACY_PICKLES = 5
"""Number of pickles before the tensors in the format before PyTorch 1.6: magic number, version, system, content and
storage keys."""

STORAGES = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
TENSOR_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in STORAGES),
}
"""All names that a pickled dict of tensors contains. `weights_only` allows more."""

OPCODES = {
    *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINSTRING", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
}
"""The instructions of a pickle that `torch.save` writes for dicts of tensors, numbers and texts."""

ZIP_END = struct.Struct("<4s4H2LH")
ZIP64_LOCATOR = struct.Struct("<4sLQL")
ZIP64_END = struct.Struct("<4sQ2H2L4Q")


def is_zip(path: Path) -> bool:
    """Return whether the file is a zip file, from its first bytes, as torch does."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def vet_torch_file(path: Path) -> None:
    """Screen a file of `torch.save`.

    Raises UserError for anything that `torch.save` does not write for tensors, and other exceptions for damaged
    files.
    """
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise UserError("it is empty. Download it again")
    with path.open("rb") as file:
        if is_zip(path):
            vet_zip(file, size_bytes)
        else:
            vet_pickles(file.read(MAX_PICKLE_BYTES), LEGACY_PICKLES)


def vet_zip(file: BinaryIO, size_bytes: int) -> None:
    """Screen a zip file: uncompressed members, sizes that add up to the file's, and one small pickle of tensors.

    Raises UserError for any other content.
    """
    directory_bytes = read_directory_size(file, size_bytes)
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise UserError(f"its list of contents has {directory_bytes} bytes, expected at most {MAX_DIRECTORY_BYTES}")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise UserError(f"its member {member.filename} is compressed, which torch.save never does")
            if member.file_size != member.compress_size or member.file_size > size_bytes:
                raise UserError(
                    f"its member {member.filename} claims {member.file_size} bytes, which it does not have"
                )
        content_bytes = sum(member.file_size for member in members)
        if not 0 <= size_bytes - content_bytes <= MAX_MEMBER_OVERHEAD_BYTES * (len(members) + 1):
            raise UserError(f"its members claim {content_bytes} bytes in a file of {size_bytes}")
        pickles = [member for member in members if member.orig_filename.lower().endswith(".pkl")]
        if len(pickles) != 1:
            raise UserError(
                f"it holds {len(pickles)} pickles, expected the one of a state_dict: TorchScript and zip archives "
                "of other things cannot be used, save the network's state_dict() instead"
            )
        if pickles[0].file_size > MAX_PICKLE_BYTES:
            raise UserError(f"its pickle has {pickles[0].file_size} bytes, expected at most {MAX_PICKLE_BYTES}")
        vet_pickles(archive.read(pickles[0]), 1)


def read_directory_size(file: BinaryIO, size_bytes: int) -> int:
    """Return the size of the zip file's directory in bytes, from the record at the end of the file.

    zipfile and torch read that much into memory. The record must be the last thing in the file, as torch writes it,
    so that all readers find the same one. Raises UserError if it is not.
    """
    tail_bytes = ZIP64_END.size + ZIP64_LOCATOR.size + ZIP_END.size
    file.seek(max(0, size_bytes - tail_bytes))
    tail = file.read()
    signature, *_, directory_bytes, _, comment_bytes = ZIP_END.unpack(tail[-ZIP_END.size :])
    if signature != b"PK\5\6" or comment_bytes:
        raise UserError("the end of the zip file is missing, or other data follow it. Download it again")
    locator = tail[: -ZIP_END.size][-ZIP64_LOCATOR.size :]
    if not locator.startswith(b"PK\6\7"):
        return int(directory_bytes)
    _, _, end_offset, _ = ZIP64_LOCATOR.unpack(locator)
    signature, *_, directory_bytes, _ = ZIP64_END.unpack(tail[: ZIP64_END.size])
    if signature != b"PK\6\6" or end_offset != size_bytes - tail_bytes:
        raise UserError("the end of the zip file is damaged. Download it again")
    return int(directory_bytes)


def vet_pickles(data: bytes, count: int) -> None:
    """Screen the first `count` pickles of the data.

    Raises UserError if a pickle names anything but tensors or nests tuples too deeply, and other exceptions if it is
    no pickle.
    """
    stream = io.BytesIO(data)
    for _ in range(count):
        depths = TupleDepths()
        for opcode, argument, _ in pickletools.genops(stream):
            match opcode.name:
                case "GLOBAL" | "INST" if argument not in TENSOR_GLOBALS:
                    raise UserError(code_refused(str(argument).replace(" ", ".")))
                case "STACK_GLOBAL":
                    raise UserError(code_refused("a function or class"))
                case name if name not in OPCODES:
                    raise UserError(f"its pickle has the instruction {name}, which torch.save does not write")
            if depths.follow(opcode, argument) > MAX_TUPLE_DEPTH:
                raise UserError(f"it nests more than {MAX_TUPLE_DEPTH} tuples, which torch.save does not for tensors")


class TupleDepths:
    """Follow the stack of an unpickler with the depth of the tuple at each place instead of the objects.

    Other objects have depth 0: hashing a list or a dict inside a tuple raises an error at once.
    """

    def __init__(self) -> None:
        self.stack: list[int | None] = []  # None is a mark
        self.memo: dict[int, int] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> int:
        """Run one opcode; return the depth of the object on top."""
        match opcode.name:
            case "BINPUT" | "LONG_BINPUT":
                self.memo[int(argument)] = self.top()
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo.get(int(argument), 0))
            case "MARK":
                self.stack.append(None)
            case _:
                taken = self.pop(opcode)
                depth = 1 + max(taken, default=0) if "TUPLE" in opcode.name else 0
                self.stack += [depth] * len(opcode.stack_after)
        return self.top()

    def pop(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        """Remove what an opcode takes from the stack, and return the depths."""
        taken: list[int] = []
        before = list(opcode.stack_before)
        if pickletools.markobject in before:
            while (depth := self.stack.pop()) is not None:
                taken.append(depth)
            before = before[: before.index(pickletools.markobject)]
        return taken + [self.stack.pop() or 0 for _ in before]

    def top(self) -> int:
        return (self.stack[-1] if self.stack else 0) or 0


def code_refused(name: str) -> str:
    """Return the error message for a file that would call `name`."""
    return (
        f"loading it would call {name}, and only tensors are loaded. If you trust its author, save the "
        "network's state_dict() as .safetensors and give that"
    )


def vet_safetensors_file(path: Path) -> None:
    """Check the length of the header, which is in the first 8 bytes; the safetensors library checks the rest.

    Raises UserError if the header is too large.
    """
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > MAX_SAFETENSORS_HEADER_BYTES:
        raise UserError(f"its header claims {header_bytes} bytes, expected at most {MAX_SAFETENSORS_HEADER_BYTES}")
