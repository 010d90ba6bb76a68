"""Looking a weights file over before it is loaded, so that a hostile one costs neither memory nor trust.

`torch.load(weights_only=True)` runs no foreign code, but a file of a few hundred bytes can still make it fill the
memory: by compression, by lying about sizes, or by asking for a large bytearray. What is written here by
`torch.save` of a state dict passes; more is not needed.
"""

import io
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from gan_tasks.datasets.errors import UserError

MAX_PICKLE_BYTES = 512 << 10
"""A thousand tensors need 150 kB; each byte can ask for a few hundred bytes of memory."""
MAX_DIRECTORY_BYTES = 2 << 20
"""A thousand tensors need 100 kB."""
MAX_SAFETENSORS_HEADER_BYTES = 4 << 20
MAX_MEMBER_OVERHEAD_BYTES = 8 << 10
"""What a zip member may take besides its content: headers, names and the padding that aligns it."""

LEGACY_PICKLES = 5
"""Before the tensors of a file from before PyTorch 1.6: magic number, version, system, content, storage keys."""

STORAGES = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
TENSOR_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in STORAGES),
}
"""All that a pickled dict of tensors names; weights_only allows more."""

ZIP_END = struct.Struct("<4s4H2LH")
ZIP64_LOCATOR = struct.Struct("<4sLQL")
ZIP64_END = struct.Struct("<4sQ2H2L4Q")


def is_zip(path: Path) -> bool:
    """Judged as torch does, by the first bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def vet_torch_file(path: Path) -> None:
    """Raises UserError for what `torch.save` does not write for tensors, and other errors for garbled bytes."""
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise UserError("it is empty. Download it again")
    with path.open("rb") as file:
        if is_zip(path):
            vet_zip(file, size_bytes)
        else:
            vet_pickles(file.read(MAX_PICKLE_BYTES), LEGACY_PICKLES)


def vet_zip(file: BinaryIO, size_bytes: int) -> None:
    """Only stored members, of which the sizes add up to the file's, and one small pickle of tensors."""
    directory_bytes = read_directory_size(file, size_bytes)
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise UserError(f"its list of contents has {directory_bytes} bytes, expected at most {MAX_DIRECTORY_BYTES}")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise UserError(f"its member {member.filename} is compressed, which torch.save never does")
            if member.file_size != member.compress_size or member.file_size > size_bytes:
                raise UserError(f"its member {member.filename} claims {member.file_size} bytes, which it has not")
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
    """Bytes of the zip's directory, as its end says: zipfile and torch would read that much into memory.

    The end must lie as torch writes it, with nothing behind it, so that all readers find the same one.
    """
    tail_bytes = ZIP64_END.size + ZIP64_LOCATOR.size + ZIP_END.size
    file.seek(max(0, size_bytes - tail_bytes))
    tail = file.read()
    signature, *_, directory_bytes, _, comment_bytes = ZIP_END.unpack(tail[-ZIP_END.size :])
    if signature != b"PK\5\6" or comment_bytes:
        raise UserError("its end is missing or has something behind it. Download it again")
    locator = tail[: -ZIP_END.size][-ZIP64_LOCATOR.size :]
    if not locator.startswith(b"PK\6\7"):
        return int(directory_bytes)
    _, _, end_offset, _ = ZIP64_LOCATOR.unpack(locator)
    signature, *_, directory_bytes, _ = ZIP64_END.unpack(tail[: ZIP64_END.size])
    if signature != b"PK\6\6" or end_offset != size_bytes - tail_bytes:
        raise UserError("its end is garbled. Download it again")
    return int(directory_bytes)


def vet_pickles(data: bytes, count: int) -> None:
    """Raises UserError where one of the pickles names anything but tensors, ValueError where it is none."""
    stream = io.BytesIO(data)
    for _ in range(count):
        for opcode, argument, _ in pickletools.genops(stream):
            match opcode.name:
                case "GLOBAL" | "INST" if argument not in TENSOR_GLOBALS:
                    raise UserError(code_refused(str(argument).replace(" ", ".")))
                case "STACK_GLOBAL":
                    raise UserError(code_refused("a function or class"))


def code_refused(name: str) -> str:
    return (
        f"loading it would call {name}, and only tensors are loaded. If you trust whoever made it, save the "
        "network's state_dict() as .safetensors and give that"
    )


def vet_safetensors_file(path: Path) -> None:
    """The header's length is in the file's first 8 bytes; the rest is checked by safetensors."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > MAX_SAFETENSORS_HEADER_BYTES:
        raise UserError(f"its header claims {header_bytes} bytes, expected at most {MAX_SAFETENSORS_HEADER_BYTES}")
