"""Screen a weights file before it is loaded, so that a hostile file can neither run code nor exhaust the memory.

`torch.load` and safetensors trust the sizes that a file claims: of its members when they are decompressed, of its
directory, and of the storages of its tensors. Only files pass that `torch.save` writes for a state dict. Their
pickles are screened in `pickles`.
"""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files.pickles import vet_pickles

MAX_PICKLE_BYTES = 512 << 10
"""Largest size of a pickle. A thousand tensors need 150 kB; each byte can cause a few hundred bytes of memory."""
MAX_DIRECTORY_BYTES = 2 << 20
"""Largest size of a zip file's directory. A thousand tensors need 100 kB."""
MAX_SAFETENSORS_HEADER_BYTES = 4 << 20
"""Largest size of the header of a .safetensors file."""
MAX_MEMBER_OVERHEAD_BYTES = 8 << 10
"""Largest size of a zip member besides its content: headers, names and the padding for alignment."""

LEGACY_PICKLES = 5
"""Number of pickles before the tensors in the format before PyTorch 1.6: magic number, version, system, content and
storage keys."""

ZIP_END = struct.Struct("<4s4H2LH")
ZIP64_LOCATOR = struct.Struct("<4sLQL")
ZIP64_END = struct.Struct("<4sQ2H2L4Q")


def is_zip(file: BinaryIO) -> bool:
    """Return whether it is a zip file, from its first bytes, as torch does."""
    file.seek(0)
    return file.read(4) == b"PK\3\4"


def vet_torch_file(file: BinaryIO, size_bytes: int) -> frozenset[str]:
    """Screen a file of `torch.save`. Returns the classes whose objects are to be skipped, see `pickles`.

    Raises UserError for anything that `torch.save` does not write for tensors, and other exceptions for damaged
    files.
    """
    if size_bytes == 0:
        raise UserError("it is empty. Download it again")
    if is_zip(file):
        return vet_zip(file, size_bytes)
    file.seek(0)
    screened = vet_pickles(file.read(MAX_PICKLE_BYTES), LEGACY_PICKLES)
    if (claimed_bytes := sum(screened.storages.values())) > size_bytes:
        raise UserError(f"its tensors claim {claimed_bytes} bytes in a file of {size_bytes}")
    return screened.classes


def vet_zip(file: BinaryIO, size_bytes: int) -> frozenset[str]:
    """Screen a zip file: uncompressed members, sizes that add up to the file's, and one small pickle of tensors.

    Returns the classes whose objects are to be skipped. Raises UserError for any other content.
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
        screened = vet_pickles(archive.read(pickles[0]), 1)
    vet_storages(screened.storages, members)
    return screened.classes


def vet_storages(storages: Mapping[str, int], members: Sequence[zipfile.ZipInfo]) -> None:
    """Check that each storage has its bytes in the zip file. torch reads beyond the end of a shorter member.

    Raises UserError with the first storage that has not.
    """
    sizes: dict[str, int] = {}
    for member in members:  # torch finds members in any letter case
        name = member.orig_filename.lower().partition("/data/")[2]
        sizes[name] = min(member.file_size, sizes.get(name, member.file_size))
    for key, size_bytes in storages.items():
        if size_bytes > sizes.get(key.lower(), -1):
            raise UserError(f"its storage {key[:100]} claims {size_bytes} bytes, which it does not have")


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


def vet_safetensors_file(file: BinaryIO) -> None:
    """Check the length of the header, which is in the first 8 bytes; the safetensors library checks the rest.

    Raises UserError if the header is too large.
    """
    file.seek(0)
    header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > MAX_SAFETENSORS_HEADER_BYTES:
        raise UserError(f"its header claims {header_bytes} bytes, expected at most {MAX_SAFETENSORS_HEADER_BYTES}")
