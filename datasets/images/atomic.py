"""Files that are there whole or not at all."""

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Write the file so that a reader, or a crash, sees the old content or the new, never a part of it."""
    with replaced(path) as temporary, temporary.open("xb") as file:
        file.write(data)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """The path of a new file beside this one, which takes its place once the body has written it without an error."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Delete what killed writes of these files left beside them, and nothing of other files'."""
    expected = set(paths)
    for folder in {path.parent for path in expected}:
        for path in folder.glob(".*.tmp"):
            name = _TEMPORARY.fullmatch(path.name)
            if name and folder / name[1] in expected:
                path.unlink(missing_ok=True)
