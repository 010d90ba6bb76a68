"""Read the JSON files of a run, which may be damaged, or come from somebody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import UserError

LARGEST_BYTES = 64_000_000
"""The largest JSON file of a run. Parsed, it may take twenty times as much memory."""


class JsonError(UserError):
    """A JSON file cannot be read. The message names the file and the reason."""


def read_json(path: Path, *, largest_bytes: int = LARGEST_BYTES) -> Any:
    """Return the content of a JSON file.

    Raises JsonError if it is no file, is larger than `largest_bytes`, cannot be read, or is not valid JSON.
    """
    if not path.is_file():  # a pipe would never end
        raise JsonError(f"{path} is not a file. Restore it, or move it away")
    try:
        if (size_bytes := path.stat().st_size) > largest_bytes:
            raise JsonError(
                f"{path} has {size_bytes:,} bytes, expected {largest_bytes:,} at most. Restore it, or move it away"
            )
        return parse_json(path.read_bytes())
    except JsonError:
        raise
    except OSError as error:
        raise JsonError(f"{path} cannot be read ({error.strerror or error}). Restore it, or move it away") from error
    except ValueError as error:
        raise JsonError(f"{path} is not valid JSON ({error}). Restore it, or move it away") from error


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError, also for one that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def described_by(*paths: Path) -> Iterator[None]:
    """Turn the errors of content that has the wrong form into a JsonError, which names the files that it is from."""
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        names = " or ".join(path.name for path in paths)
        raise JsonError(
            f"{names} in {paths[0].parent} does not hold what gan-tasks writes ({type(error).__name__}: {error}). "
            "Restore it, or move it away"
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file. Returns an empty dict if the file does not exist. Raises JsonError."""
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise JsonError(f"{path} holds a {type(content).__name__}, expected an object. Restore it, or move it away")
    return content
