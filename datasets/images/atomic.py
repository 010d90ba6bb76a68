"""Write files atomically: a file is either complete or not there."""

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = re.compile(r"(\..+)\.[0-9a-f]{8}\.tmp")
_LONGEST_IN_FULL = 100
"""Longest name in bytes that a hidden name contains in full. File systems allow 143 (eCryptfs) to 255 bytes."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write the file atomically: a reader sees the old or the new content, also after a crash, never a part."""
    with replaced(path) as temporary, temporary.open("xb") as file:
        file.write(data)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces `path` when the `with` body ends without an error."""
    temporary = hidden(path, f".{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk. Not every system and file system can.

    Raises OSError if the disk is full or broken.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise


def hidden(path: Path, ending: str) -> Path:
    """Return the path of a hidden file or folder beside `path` for work on it: `.NAME` and this ending.

    A long name is replaced by its hash, because the hidden name must not be longer than file systems allow.
    """
    name, name_bytes = path.name, os.fsencode(path.name)
    if len(name_bytes) > _LONGEST_IN_FULL:
        name = hashlib.sha256(name_bytes).hexdigest()[:32]
    return path.with_name(f".{name}{ending}")


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Delete the temporary files of interrupted writes of `paths`; keep those of other files."""
    expected = {hidden(path, "") for path in paths}
    for folder in {path.parent for path in expected}:
        for path in folder.glob(".*.tmp"):
            name = _TEMPORARY.fullmatch(path.name)
            if name and folder / name[1] in expected:
                path.unlink(missing_ok=True)
