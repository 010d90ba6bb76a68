"""Read a public weights file as a dict of tensors, without running any code from the file."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor
from torch.serialization import safe_globals

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.files.nvidia_pickle import is_snapshot, read_snapshot
from gan_tasks.pretrained.files.pickles import skipped_class
from gan_tasks.pretrained.files.screening import is_zip, vet_safetensors_file, vet_torch_file
from gan_tasks.pretrained.files.unwrap import StateDict, find_state_dicts, select_by_name

TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".pkl")
MAX_COPY_BYTES = 1 << 30
"""Largest size of a file that is read whole. A larger one is mapped: it must not change while it is in use, because
the system ends a program that reads what was cut off."""
LONGEST_REASON = 300
"""Characters that are shown of a library's error message."""
ONE_LIST = Lock()
"""torch has one list of the classes that its loader may use, for all threads."""


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors`, `.pth`, `.pt`, `.ckpt` or `.pkl` file on the CPU, without their wrapper.

    Of several state dicts the file's names select one, averaged weights first (see `unwrap`). Those of a file of
    more than 1 GiB are memory-mapped: do not change it while they are in use. Objects of other programs' classes are
    skipped, and anything else but plain tensors is refused before it is loaded, see `screening` and `pickles`; of the
    networks in a pickle of NVIDIA's programs the tensors are read, see `nvidia_pickle`.

    Raises UserError with the name of the file if it is missing, damaged or hostile, is no dict of tensors, or holds
    several that may be meant.
    """
    path = Path(path)
    found = read_state_dicts(path)
    try:
        return select_by_name(found).tensors
    except UserError as error:
        raise UserError(f"cannot use {path}: {error}") from error


def read_state_dicts(path: Path) -> list[StateDict]:
    """Read all state dicts of a file. Raises UserError as `read_state_dict` does."""
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the path of a .safetensors or .pth file of weights")
    try:
        found = find_state_dicts(load(path))
        for state in found:
            claimed_bytes = sum(tensor.numel() * tensor.element_size() for tensor in state.tensors.values())
            if claimed_bytes > path.stat().st_size:
                raise UserError(f"its tensors claim {claimed_bytes} bytes, more than the file has")
    except UserError as error:
        raise UserError(f"cannot use {path}: {error}") from error
    return found


def load(path: Path) -> Any:
    """Load the content of the file after its screening. Raises UserError without the file's name."""
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in TORCH_SUFFIXES:
        expected = ", ".join((".safetensors", *TORCH_SUFFIXES))
        raise UserError(f"its name ends in {suffix!r}, expected one of {expected}")
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > MAX_COPY_BYTES:
                return load_mapped(path, file, size_bytes)
            data = file.read(size_bytes)
        return load_bytes(data, is_safetensors=suffix == ".safetensors")
    except UserError:
        raise
    except Exception as error:  # Damaged files make the readers raise nearly any exception.
        reason = str(error).partition("\n")[0][:LONGEST_REASON]
        raise UserError(
            f"it is damaged, or not a weights file ({type(error).__name__}: {reason}). Download it again"
        ) from error


def load_bytes(data: bytes, *, is_safetensors: bool) -> Any:
    """Screen and load the content of a file that may change meanwhile."""
    file = io.BytesIO(data)
    if is_safetensors:
        vet_safetensors_file(file)
        return safetensors.torch.load(data)
    if is_snapshot(data):
        return read_snapshot(data)
    classes = vet_torch_file(file, len(data))
    file.seek(0)
    with skipping(classes):
        return torch.load(file, map_location="cpu", weights_only=True)


def load_mapped(path: Path, file: BinaryIO, size_bytes: int) -> Any:
    """Screen and load a large file, whose tensors are mapped: one that is refused later needs no memory."""
    if path.suffix.lower() == ".safetensors":
        vet_safetensors_file(file)
        return safetensors.torch.load_file(path)
    classes = vet_torch_file(file, size_bytes)
    with skipping(classes):  # The old format does not support mmap.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip(file))


@contextmanager
def skipping(classes: Collection[str]) -> Iterator[None]:
    """Let `torch.load` make skipped objects in place of those of the classes, MODULE.NAME. It imports no class."""
    if not classes:
        yield
        return
    with ONE_LIST, safe_globals([(skipped_class(name), name) for name in classes]):
        yield
