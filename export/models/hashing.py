"""Identify files by a hash of their content."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return `sha256:…` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
