"""Telling files apart by their content."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """`sha256:…` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
