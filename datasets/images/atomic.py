"""Write files atomically: a file is either complete or not there."""

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Write the file atomically: a reader sees the old or the new content, also after a crash, never a part."""
    with replaced(path) as temporary, temporary.open("xb") as file:
        file.write(data)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces `path` when the `with` body ends without an error."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Delete the temporary files of interrupted writes of `paths`; keep those of other files."""
    expected = set(paths)
    for folder in {path.parent for path in expected}:
        for path in folder.glob(".*.tmp"):
            name = _TEMPORARY.fullmatch(path.name)
            if name and folder / name[1] in expected:
                path.unlink(missing_ok=True)
