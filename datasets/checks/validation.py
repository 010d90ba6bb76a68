"""Check every image file of a folder by decoding it once, and cache the results."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gan_tasks.datasets.checks.colour import has_colour
from gan_tasks.datasets.images import ImageError, atomic, read

Progress = Callable[[int, int], None]
"""A callback that is called with (files done, total files)."""

Shape = tuple[int, int, int]
"""(height, width, channels) of a decoded image."""

_MANIFEST_VERSION = 3  # increase it when `read` accepts or rejects other files than before, or `has_colour` does
_Stamp = tuple[int, int]  # (size in bytes, mtime in ns); a file is read again if it has changed


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used, and the reason in words for the user."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class _Decoded(NamedTuple):
    """What is known of an image that could be decoded."""

    shape: Shape
    in_colour: bool


def inspect_files(
    paths: Sequence[Path], *, in_colour: bool = False, on_progress: Progress | None = None
) -> dict[Path, Shape | Problem]:
    """Decode every image in full and return its shape, or its Problem, in the order of `paths`.

    in_colour: gray images, such as gray JPEGs with three channels, are problems too (see `colour.py`).

    The results are cached in gan-tasks/ in the user's cache folder ($XDG_CACHE_HOME or ~/.cache), one manifest per
    folder of images. A result is valid until the file's size or modification time changes. If the cache is damaged or
    cannot be written, the files are read again.
    """
    stamps = {path: _stamp(path) for path in paths}
    manifests = {folder: _load_manifest(folder) for folder in {path.parent for path in paths}}
    findings: dict[Path, _Decoded | str] = {}
    for path in paths:
        stamp, finding = manifests[path.parent].get(path.name, (None, ""))
        if stamp is not None and stamp == stamps[path]:
            findings[path] = finding

    unread = [path for path in paths if path not in findings]
    known = len(paths) - len(unread)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (path, finding) in enumerate(zip(unread, pool.map(_inspect, unread), strict=True), known + 1):
            findings[path] = finding
            if on_progress is not None:
                on_progress(done, len(paths))

    _save_manifests(manifests, unread, stamps, findings)
    return {path: _shape_or_problem(path, findings[path], in_colour) for path in paths}


def _shape_or_problem(path: Path, finding: _Decoded | str, in_colour: bool) -> Shape | Problem:
    if isinstance(finding, str):
        return Problem(path, finding)
    if in_colour and not finding.in_colour:
        return Problem(path, "is gray: it has no colour to learn")
    return finding.shape


def _inspect(path: Path) -> _Decoded | str:
    try:
        pixels = read(path).pixels
    except ImageError as error:
        return str(error).removeprefix(f"{path}: ")
    height, width, channels = pixels.shape
    return _Decoded((height, width, channels), has_colour(pixels))


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


_Manifest = dict[str, tuple[_Stamp, _Decoded | str]]  # by file name


def _manifest_path(folder: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gan-tasks" / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]}.json"


def _load_manifest(folder: Path) -> _Manifest:
    try:
        content = json.loads(_manifest_path(folder).read_bytes())
        if content["version"] != _MANIFEST_VERSION:
            return {}
        return {
            name: ((int(size), int(mtime_ns)), finding if isinstance(finding, str) else _decoded(*finding))
            for name, (size, mtime_ns, finding) in content["files"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # no manifest yet, or a damaged one: every file is read


def _decoded(shape: Sequence[object], in_colour: object) -> _Decoded:
    height, width, channels = (int(str(value)) for value in shape)
    return _Decoded((height, width, channels), bool(in_colour))


def _save_manifests(
    manifests: dict[Path, _Manifest],
    unread: Sequence[Path],
    stamps: dict[Path, _Stamp | None],
    findings: dict[Path, _Decoded | str],
) -> None:
    for path in unread:
        stamp = stamps[path]
        if stamp is not None:
            manifests[path.parent][path.name] = (stamp, findings[path])
    for folder in {path.parent for path in unread}:
        files = {name: [*stamp, finding] for name, (stamp, finding) in manifests[folder].items()}
        content = {"version": _MANIFEST_VERSION, "folder": str(folder.resolve()), "files": files}
        manifest_path = _manifest_path(folder)
        try:
            manifest_path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(manifest_path, json.dumps(content).encode())
        except OSError:
            pass  # without a cache, the next call reads the files again
