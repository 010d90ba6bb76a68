"""Atomic checkpoints: a checkpoint folder is complete or does not exist.

    RUN/checkpoints/step-00001200/{PART.safetensors …, state.json}

A checkpoint is first written to a hidden folder next to its final place. Every file is synced to disk, then the
folder is renamed. A process that is killed leaves the older checkpoints intact and at most one hidden folder, which
the next save removes. Parts are flat dicts of tensors; `state.json` lists them with their sizes in bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError, printable

Parts = dict[str, dict[str, Tensor]]


class CheckpointError(UserError):
    """A checkpoint cannot be used. The message names the file and the reason."""


class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is truncated or corrupt."""


def save_checkpoint(
    folder: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Write the checkpoint `folder/step-NNNNNNNN` atomically and return its path.

    An existing checkpoint of that step is kept. Raises OSError if the disk is full or the folder is read-only; the
    existing checkpoints stay unchanged.
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
            # The file format has no channels-last layout, so tensors are copied to row-major order.
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
    """Read the parts and the state of a checkpoint folder.

    Raises CheckpointError if a part is missing, and DamagedCheckpointError if one cannot be read.
    """
    state = load_state(checkpoint)
    return {name: load_part(checkpoint, name) for name in state["parts"]}, state


def load_newest(
    folder: Path, on_damage: Callable[[DamagedCheckpointError], None]
) -> tuple[Path, Parts, dict[str, Any]] | None:
    """Read the newest checkpoint that is not damaged, as (path, parts, state). Returns None if there is none at all.

    `on_damage` is called for each damaged one. Raises DamagedCheckpointError if all are damaged.
    """
    damage: DamagedCheckpointError | None = None
    for checkpoint in reversed(list_checkpoints(folder)):
        try:
            return checkpoint, *load_checkpoint(checkpoint)
        except DamagedCheckpointError as error:
            damage = error
            on_damage(error)
    if damage is not None:
        raise damage
    return None


def load_state(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint / "state.json"
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {checkpoint} lacks its part state.json: it cannot be used. Take another checkpoint"
        )
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        if not isinstance(state["parts"], dict):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(f"checkpoint {checkpoint}: state.json is damaged") from error
    return state


def load_part(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """Read only one part, such as `generators`."""
    expected = load_state(checkpoint)["parts"].get(name)
    path = checkpoint / f"{name}.safetensors"
    if expected is None or not path.is_file():
        raise CheckpointError(
            f"checkpoint {checkpoint} lacks its part {path.name}: it cannot be used. Take another checkpoint"
        )
    if path.stat().st_size != expected:
        raise DamagedCheckpointError(
            f"checkpoint {checkpoint}: {path.name} has {path.stat().st_size} bytes instead of {expected}"
        )
    try:
        if printable(path) != str(path):  # safetensors takes no path that is not UTF-8
            return safetensors.torch.load(path.read_bytes())
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise DamagedCheckpointError(f"checkpoint {checkpoint}: {path.name} is damaged ({error})") from error


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], checkpoint: Path | str) -> None:
    """Load the weights of a checkpoint, all or none. Raises CheckpointError if a name or a shape does not fit."""
    own = network.state_dict()
    misfits = [
        *(f"{name} is missing" for name in own.keys() - weights.keys()),
        *(f"{name} is unknown" for name in weights.keys() - own.keys()),
        *(
            f"{name} is {shape_text(weights[name])} instead of {shape_text(own[name])}"
            for name in own.keys() & weights.keys()
            if own[name].shape != weights[name].shape
        ),
    ]
    if misfits:
        more = f" and {len(misfits) - 1:,} more" if len(misfits) > 1 else ""
        raise CheckpointError(
            f"checkpoint {checkpoint} does not fit the network of its run ({min(misfits)}{more}): it is from another "
            "version of gan-tasks or of the task's class, or its config.json was changed. Use the version that "
            "config.json names"
        )
    network.load_state_dict(weights)


def shape_text(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def prune_checkpoints(folder: Path, *, keep: int, spare: Collection[Path] = ()) -> None:
    """Delete all checkpoints except the newest `keep` and those in `spare`."""
    for path in list_checkpoints(folder)[:-keep]:
        if path not in spare:
            # Rename first: if the process is killed during the deletion, no incomplete checkpoint is left.
            hidden = path.with_name(f".{path.name}")
            path.rename(hidden)
            shutil.rmtree(hidden)


def remove_leftovers(folder: Path) -> None:
    """Delete the incomplete checkpoints of killed processes."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a small file of a run atomically and sync it to disk.

    The data go to a hidden file first. Its name is always the same, so that the next write replaces the hidden
    file of a killed process.
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
    """Sync renames within the folder to disk. Does nothing on Windows, which cannot sync folders and need not."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
