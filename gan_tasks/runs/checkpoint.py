"""Atomic checkpoints: a checkpoint folder is complete or does not exist.

    RUN/checkpoints/step-00001200/{PART.safetensors …, state.json}

A checkpoint is first written to a hidden folder next to its final place. Every file is synced to disk, then the
folder is renamed. A process that is killed leaves the older checkpoints intact and at most two hidden folders, which
the next save removes. Parts are flat dicts of tensors; `state.json` lists them with their sizes and hashes, and has a
hash of its own, so that a file that has changed on disk is recognised. `checkpoint_choice.py` chooses between the
checkpoints of a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError, printable
from gan_tasks.datasets.images.atomic import sync_folder
from gan_tasks.runs.json_file import JsonError, read_json

LARGEST_STATE_BYTES = 500_000_000
"""Of state.json, which holds the losses since the last line of the journal."""

Parts = dict[str, dict[str, Tensor]]

DIGEST_BYTES = 16
HASH = "blake2b"
"""The key of the hash of `state.json`, without it, in itself. BLAKE2b needs no special instructions to be fast."""


class CheckpointError(UserError):
    """A checkpoint cannot be used. The message names the file and the reason."""


class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is truncated or corrupt."""


def save_checkpoint(
    folder: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], *, good: bool = True
) -> Path:
    """Write the checkpoint `folder/step-NNNNNNNN` atomically and return its path.

    If there is one of that step, its parts are kept where they are the same, and only its state is replaced. One that
    is damaged or of another training is replaced as a whole.

    Args:
        good: whether the training was well at this step; others are used only if there is no good one.

    Raises OSError if the disk is full, or the run folder is read-only or gone; existing checkpoints stay unchanged.
    """
    final = checkpoint_path(folder, step)
    folder.mkdir(exist_ok=True)
    remove_leftovers(folder)
    state = {**state, "good": good}
    if final.is_dir() and (listed := same_parts(final, parts)) is not None:
        write_atomically(final / "state.json", state_bytes({**state, "parts": listed}))
        return final
    temporary = hidden(final)
    temporary.mkdir()
    try:
        listed = {name: write_part(temporary / f"{name}.safetensors", tensors) for name, tensors in parts.items()}
        write_synced(temporary / "state.json", state_bytes({**state, "parts": listed}))
        sync_folder(temporary)
        if final.exists():
            final.rename(hidden(final, ".old"))
        temporary.rename(final)
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    remove_leftovers(folder)
    return final


def same_parts(checkpoint: Path, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any] | None:
    """Return the sizes and hashes of the parts if the files on disk hold just these tensors, else None."""
    listed = {}
    for name, tensors in parts.items():
        data, path = serialized(tensors), checkpoint / f"{name}.safetensors"
        try:
            if path.stat().st_size != len(data) or path.read_bytes() != data:
                return None
        except OSError:
            return None
        listed[name] = described(data)
    return listed


def write_part(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write a part, and return its size and hash."""
    data = serialized(tensors)
    write_synced(path, data)
    return described(data)


def serialized(tensors: Mapping[str, Tensor]) -> bytes:
    # The file format has no channels-last layout, so tensors are copied to row-major order.
    return safetensors.torch.save({key: t.detach().cpu().contiguous() for key, t in tensors.items()})


def described(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), HASH: digest(data)}


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def state_bytes(state: Mapping[str, Any]) -> bytes:
    """Return the content of `state.json`, with its hash."""
    return json.dumps({**state, HASH: digest(json.dumps(state).encode())}, indent=1).encode()


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def load_checkpoint(checkpoint: Path) -> tuple[Parts, dict[str, Any]]:
    """Read the parts and the state of a checkpoint folder.

    Raises CheckpointError if a part is missing, and DamagedCheckpointError if one cannot be read.
    """
    state = load_state(checkpoint)
    return {name: load_part(checkpoint, name, state) for name in state["parts"]}, state


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote to `state.json`: `state`, with `good` and the list of `parts`."""
    path = checkpoint / "state.json"
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {checkpoint} lacks its part state.json: it cannot be used. Take another checkpoint"
        )
    try:
        state = read_json(path, largest_bytes=LARGEST_STATE_BYTES)
        stored = state.pop(HASH)
        is_whole = stored == digest(json.dumps(state).encode()) and isinstance(state["good"], bool)
        is_whole = is_whole and all(part.keys() == {"bytes", HASH} for part in state["parts"].values())
    except (JsonError, KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise DamagedCheckpointError(f"checkpoint {checkpoint}: state.json is damaged, or was edited")
    return dict(state)


def load_part(checkpoint: Path, name: str, state: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Read only one part, such as `generators`. `state` is that of `load_state`, if it is read already."""
    expected = (state or load_state(checkpoint))["parts"].get(name)
    path = checkpoint / f"{name}.safetensors"
    if expected is None or not path.is_file():
        raise CheckpointError(
            f"checkpoint {checkpoint} lacks its part {path.name}: it cannot be used. Take another checkpoint"
        )
    try:
        size_bytes = path.stat().st_size
        if size_bytes != expected["bytes"]:
            raise DamagedCheckpointError(
                f"checkpoint {checkpoint}: {path.name} has {size_bytes} bytes instead of {expected['bytes']}"
            )
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()
        if found != expected[HASH]:
            raise DamagedCheckpointError(
                f"checkpoint {checkpoint}: {path.name} is damaged: its content has changed since it was written"
            )
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
    found = (path for path in folder.glob("step-*") if is_checkpoint_name(path.name) and path.is_dir())
    return sorted(found, key=step_of)


def is_checkpoint_name(name: str) -> bool:
    return re.fullmatch(r"step-[0-9]{8,12}", name) is not None


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def hidden(checkpoint: Path, ending: str = "") -> Path:
    """Return the place for a checkpoint that is not complete yet, or not any more."""
    return checkpoint.with_name(f".{checkpoint.name}{ending}")


def remove_leftovers(folder: Path) -> None:
    """Delete the incomplete checkpoints of killed processes."""
    for path in folder.glob(".step-*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a small file of a run atomically and sync it to disk.

    The data go to a hidden file first. Its name is always the same, so that the next write replaces the hidden
    file of a killed process. No link is followed: one in the place of either file is replaced itself.
    """
    temporary = path.with_name(f".{path.name}")
    temporary.unlink(missing_ok=True)
    try:
        write_synced(temporary, data)
    except OSError:  # a half file would fill a full disk
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
