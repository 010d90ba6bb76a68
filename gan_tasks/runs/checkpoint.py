"""Checkpoints that are either whole or not there.

    RUN/checkpoints/step-00001200/{PART.safetensors …, state.json}

A checkpoint is written to a hidden folder beside it, every file is synced, and the folder is renamed: a
process killed at any moment leaves the older checkpoints and at most one hidden folder, which the next
save removes. Parts are flat dicts of tensors; `state.json` lists them with their sizes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError

Parts = dict[str, dict[str, Tensor]]


class CheckpointError(UserError):
    """A checkpoint that cannot be used: says which file and why."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint whose files are there but cut short or garbled."""


def save_checkpoint(
    folder: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Write `folder/step-NNNNNNNN`, whole or not at all; an existing one of that step is kept as it is.

    Raises OSError (disk full, read-only folder) and leaves what was there untouched.
    """
    final = checkpoint_path(folder, step)
    if final.exists():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    temporary = folder / f".{final.name}"
    temporary.mkdir()
    try:
        sizes = {}
        for name, tensors in parts.items():
            # Copies in row-major order: the file format knows no channels-last layout.
            data = safetensors.torch.save({key: t.detach().cpu().contiguous() for key, t in tensors.items()})
            write_synced(temporary / f"{name}.safetensors", data)
            sizes[name] = len(data)
        write_synced(temporary / "state.json", json.dumps({**state, "parts": sizes}, indent=1).encode())
        sync_folder(temporary)
        temporary.rename(final)
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return final


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def load_checkpoint(checkpoint: Path) -> tuple[Parts, dict[str, Any]]:
    """The parts and the state of one checkpoint folder.

    Raises CheckpointError for a missing part and DamagedCheckpointError for one that cannot be read.
    """
    state = load_state(checkpoint)
    return {name: load_part(checkpoint, name) for name in state["parts"]}, state


def load_state(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint / "state.json"
    if not path.is_file():
        raise CheckpointError(f"checkpoint {checkpoint} lacks its part state.json: it cannot be used")
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        if not isinstance(state["parts"], dict):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(f"checkpoint {checkpoint}: state.json is damaged") from error
    return state


def load_part(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """One part alone, such as `generators`, without reading the others."""
    expected = load_state(checkpoint)["parts"].get(name)
    path = checkpoint / f"{name}.safetensors"
    if expected is None or not path.is_file():
        raise CheckpointError(f"checkpoint {checkpoint} lacks its part {path.name}: it cannot be used")
    if path.stat().st_size != expected:
        raise DamagedCheckpointError(
            f"checkpoint {checkpoint}: {path.name} has {path.stat().st_size} bytes instead of {expected}"
        )
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise DamagedCheckpointError(f"checkpoint {checkpoint}: {path.name} is damaged ({error})") from error


def list_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def prune_checkpoints(folder: Path, *, keep: int, spare: Collection[Path] = ()) -> None:
    """Delete all but the newest `keep` checkpoints and those spared."""
    for path in list_checkpoints(folder)[:-keep]:
        if path not in spare:
            # Renamed first: a process killed while deleting leaves no half checkpoint.
            hidden = path.with_name(f".{path.name}")
            path.rename(hidden)
            shutil.rmtree(hidden)


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half written."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a small file of a run as a whole, durably.

    Always by way of the same hidden file: what a killed process leaves of it, the next write replaces.
    """
    temporary = path.with_name(f".{path.name}")
    write_synced(temporary, data)
    temporary.replace(path)
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames within the folder last; Windows cannot, and need not, sync folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
