"""The files that a training reads: their names and sizes when it began, and what has changed since.

inputs.json   {option: {"path": absolute path, "files": {name below the path: size in bytes}}}

Contents are not read, so that this takes no longer than listing the folders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_tasks.datasets.errors import UserError, enumerated
from gan_tasks.datasets.images import IMAGE_SUFFIXES
from gan_tasks.runs.checkpoint import write_atomically
from gan_tasks.runs.json_file import read_json
from gan_tasks.runs.options_file import key, leaves

FILE_NAME = "inputs.json"
LARGEST_BYTES = 500_000_000
"""The largest inputs.json, of about ten million files."""
SUFFIXES = IMAGE_SUFFIXES | {".safetensors"}
"""What counts in a folder: images, and the weights of a run that is given to --init-from."""


@dataclass(frozen=True)
class Input:
    """A file or folder that a training reads, and the files in it."""

    path: Path
    files: Mapping[str, int]
    """Sizes in bytes by the name below `path`; a file alone has an empty name."""


def input_paths(task_config: Any, data: Path, init_from: Path | None) -> dict[str, Path]:
    """Return each path that a training reads, absolute, by the name of its option without the dashes before it."""
    options = {"data": data, "init-from": init_from}
    options |= {key(fields[-1]): value for fields, value in leaves(task_config) if isinstance(value, Path)}
    return {option: path.absolute() for option, path in options.items() if path is not None}


def list_inputs(paths: Mapping[str, Path]) -> dict[str, Input]:
    return {option: Input(path, list_files(path)) for option, path in paths.items()}


def list_files(root: Path) -> dict[str, int]:
    """Return the sizes of the files below a folder by name, or of the file itself.

    Hidden files, files of other kinds and run folders are left out: they change while nothing of the data does.
    """
    if not root.is_dir():
        return {"": root.stat().st_size} if root.exists() else {}
    found: dict[str, int] = {}
    visited: set[Path] = set()
    for name, folders, names in os.walk(root, followlinks=True):
        folder = Path(name)
        place = folder.resolve()  # links may lead back to a folder above
        if place in visited or (folder != root and "train.toml" in names):
            folders.clear()
            continue
        visited.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (folder / name for name in names if not name.startswith(".")):
            if path.suffix.lower() in SUFFIXES:
                with suppress(OSError):  # it was deleted in this moment
                    found[str(path.relative_to(root))] = path.stat().st_size
    return found


def difference(before: Input, now: Input) -> str:
    """Say how many files were added, are missing or have another size. Empty if nothing has changed."""
    counts = {
        "added": len(now.files.keys() - before.files.keys()),
        "missing": len(before.files.keys() - now.files.keys()),
        "of another size": sum(now.files.get(name, size) != size for name, size in before.files.items()),
    }
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    return f"of {len(before.files):,} files {enumerated(parts)}" if parts else ""


def write_inputs(run: Path, inputs: Mapping[str, Input]) -> None:
    content = {option: {"path": str(each.path), "files": each.files} for option, each in inputs.items()}
    write_atomically(run / FILE_NAME, json.dumps(content).encode())


def read_inputs(run: Path) -> dict[str, Input]:
    """Read what `write_inputs` wrote. Raises UserError if the file is missing or damaged."""
    try:
        content = read_json(run / FILE_NAME, largest_bytes=LARGEST_BYTES)
        return {option: Input(Path(each["path"]), dict(each["files"])) for option, each in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{run / FILE_NAME} cannot be read ({error}): it lists the files that the run began with. Restore it"
        ) from error
