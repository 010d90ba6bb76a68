"""Changes of a run folder: what a bad disk, an editor or somebody else may have done to its files."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from gan_tasks.runs.checkpoint import described, list_checkpoints, load_state, state_bytes

Change = Callable[[Path], object]
"""Changes a file or folder in place."""


@dataclass(frozen=True)
class FolderChange:
    """A change of one file or folder of a run.

    file: its path in the run; it need not be there.
    kind: what is done, in general; a sample of all changes has every kind of every file.
    takes_memory: the folder asks for much memory, which a command may try to get.
    """

    file: str
    kind: str
    name: str
    change: Change
    takes_memory: bool = False


SENSELESS: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e308,
    10**30,
    "",
    "x",
    "\0",
    "\ud800",
    [],
    ["x"],
    {},
    {"x": 1},
    "../../x",
)
DEEP = 100_000
LARGE_BYTES = 1_000_000_000


# --- Changes of any file ----------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[len(data) // 2] ^= 0x20
    path.write_bytes(data)


def enlarged(path: Path) -> None:
    """Put zeros behind the content, which take no room on the disk."""
    os.truncate(path, LARGE_BYTES)


def replaced_by(data: bytes) -> Change:
    return lambda path: path.write_bytes(data)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def made_folder(path: Path) -> None:
    remove(path)
    path.mkdir()


def made_file(path: Path) -> None:
    remove(path)
    path.write_text("a file")


def made_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that declares a size, and has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND")
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def linked_to(target: str) -> Change:
    """Replace a file by a link. `target` is relative to the folder above the run."""

    def change(path: Path) -> None:
        run = next(parent for parent in path.parents if parent.name == "run")
        remove(path)
        path.symlink_to(run.parent / target)

    return change


def made_endless(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


ANY_FILE: dict[str, Change] = {
    "cut": cut,
    "a flipped bit": flip,
    "missing": remove,
    "empty": replaced_by(b""),
    "zeros": replaced_by(bytes(2000)),
    "a gigabyte": enlarged,
    "not UTF-8": replaced_by(b"\xff\xfe\xfd" * 100),
    "a list": replaced_by(b"[]"),
    "nested deeply": replaced_by(b"[" * DEEP),
    "a folder": made_folder,
    "a pipe": made_pipe,
    "a link to a file outside": linked_to("victim"),
    "a link to nothing": linked_to("made-by-a-link"),
    "an endless link": made_endless,
}


# --- Changes of JSON --------------------------------------------------------------------------------------------


def edited(work: Callable[[Any], Any]) -> Change:
    def change(path: Path) -> None:
        content = json.loads(path.read_bytes())
        path.write_text(json.dumps(work(content) or content))

    return change


def with_value(keys: tuple[str, ...], value: Any) -> Change:
    def work(content: Any) -> None:
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return edited(work)


def json_changes(file: str, path: Path) -> Iterator[FolderChange]:
    """Leave out every key, add one, and give each a senseless value."""
    content = json.loads(path.read_bytes())
    yield FolderChange(file, "an unknown key", "an unknown key", with_value(("unknown",), 1))
    for key in content:
        yield FolderChange(file, "a key left out", f"{key} left out", edited(without(key)))
        for value in SENSELESS:
            yield FolderChange(file, f"a key = {shown(value)}", f"{key} = {shown(value)}", with_value((key,), value))


def without(key: str) -> Callable[[Any], None]:
    return lambda content: content.pop(key) and None


def shown(value: Any) -> str:
    return json.dumps(value)[:20]


def option_changes() -> Iterator[FolderChange]:
    task = ("task_config",)
    few = {
        "an unknown option": ((*task, "unknown"), 1),
        "an unknown option of the data": ((*task, "data", "unknown"), 1),
        "an unknown option of the loop": (("train_config", "unknown"), 1),
        "a width out of range": ((*task, "width"), 10**9),
        "other channels": ((*task, "data", "target_channels"), 1),
        "another generator": ((*task, "generator"), "unet"),
        "another task": (("task",), "cyclegan"),
        "data that are not there": (("data",), "/not/there"),
        "data in a system folder": (("data",), "/proc/self"),
        "a model to start from that is not there": (("init_from",), "/not/there"),
        "held-out images of two sides": (("held_out",), [["0"], ["1"]]),
        "no held-out images that are there": (("held_out",), [["x"]]),
        "no number for the seed": (("train_config", "seed"), "x"),
        "no steps to keep": (("train_config", "keep_checkpoints"), 0),
    }
    many = {
        "the largest width": ((*task, "width"), 4096),
        "the largest width of D": ((*task, "d_width"), 4096),
        "many channels": ((*task, "data", "source_channels"), 4096),
        "a huge batch": ((*task, "optimisation", "batch_size"), 65_536),
        "huge crops": ((*task, "data", "crop_size"), [65_536, 65_536]),
        "a huge image before it is cut": ((*task, "data", "load_size"), 65_536),
        "many workers": (("train_config", "workers"), 10**6),
    }
    for name, (keys, value) in (few | many).items():
        yield FolderChange("config.json", name, name, with_value(keys, value), takes_memory=name in many)


# --- Changes of checkpoints -------------------------------------------------------------------------------------


def with_state(work: Callable[[dict[str, Any]], object]) -> Change:
    """Change the state of a checkpoint, with a hash that fits."""

    def change(path: Path) -> None:
        state = load_state(path.parent)
        work(state)
        path.write_bytes(state_bytes(state))

    return change


def state_changes(file: str, path: Path) -> Iterator[FolderChange]:
    state = load_state(path.parent)
    for key in state:
        for value in SENSELESS:
            yield FolderChange(file, f"a key = {shown(value)}", f"{key} = {shown(value)}", set_in_state(key, value))
        yield FolderChange(file, "a key left out", f"{key} left out", with_state(without(key)))
    for key in state["position"]:
        for value in (-1, "x", None, 10**30, [None], float("nan")):
            name = f"position.{key} = {value}"
            yield FolderChange(file, f"the position has {value}", name, set_in_state("position", value, key))
    for name, parts in PARTS.items():
        yield FolderChange(file, name, name, with_state(change_parts(parts)))


PARTS: dict[str, dict[str, Any]] = {
    "a part outside": {"../../x": {"bytes": 1, "blake2b": ""}},
    "a part without a hash": {"generators": {"bytes": 1}},
    "a part that is a text": {"generators": "x"},
    "a part of senseless bytes": {"generators": {"bytes": "x", "blake2b": [1]}},
}


def set_in_state(key: str, value: Any, inner: str = "") -> Change:
    return with_state(lambda state: (state[key] if inner else state).update({inner or key: value}))


def change_parts(parts: Mapping[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda state: state["parts"].update(parts)


def with_tensors(work: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """Change the tensors of a part, with a hash that fits."""

    def change(path: Path) -> None:
        tensors = safetensors.torch.load(path.read_bytes())
        work(tensors)
        safetensors.torch.save_file(tensors, path)
        state = load_state(path.parent)
        state["parts"][path.stem] = described(path.read_bytes())
        (path.parent / "state.json").write_bytes(state_bytes(state))

    return change


def to_nan(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        tensors[name] = torch.full_like(tensor, torch.nan) if tensor.is_floating_point() else tensor


def cast(tensors: dict[str, torch.Tensor], kind: torch.dtype) -> None:
    for name, tensor in tensors.items():
        tensors[name] = tensor.to(kind)


def flattened(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        tensors[name] = tensor.reshape(-1)


def renamed(tensors: dict[str, torch.Tensor]) -> None:
    if tensors:
        tensors["x"] = tensors.pop(min(tensors))


def tensor_changes() -> dict[str, Change]:
    return {
        "NaN": with_tensors(to_nan),
        "no tensors": with_tensors(dict.clear),
        "other names": with_tensors(renamed),
        "other shapes": with_tensors(flattened),
        "bfloat16": with_tensors(lambda tensors: cast(tensors, torch.bfloat16)),
        "integers": with_tensors(lambda tensors: cast(tensors, torch.int64)),
        "complex numbers": with_tensors(lambda tensors: cast(tensors, torch.complex64)),
    }


# --- Changes of options in a file -------------------------------------------------------------------------------

TOML: dict[str, Change] = {
    "a key of many parts": replaced_by(b"a." * DEEP + b"a = 1"),
    "a table of many parts": replaced_by(b"[" + b"a." * DEEP + b"a]"),
    "an array nested deeply": replaced_by(b"x = " + b"[" * 5000),
    "a number of many digits": replaced_by(b"width = " + b"9" * 5000),
    "many options": replaced_by(b"".join(b"x%d = 1\n" % number for number in range(DEEP))),
    "an option with a senseless value": replaced_by(b"width = [1979-05-27, {x = nan}]"),
    "a path with a zero": replaced_by(b'init-from = "a\\u0000b"'),
}


# --- Changes of folders -----------------------------------------------------------------------------------------


def linked_outside(path: Path) -> None:
    """Move a file or folder out of the run, and link to it."""
    run = next(parent for parent in path.parents if parent.name == "run")
    shutil.move(path, run.parent / "outside")
    path.symlink_to(run.parent / "outside")


def emptied(path: Path) -> None:
    remove(path)
    path.mkdir()


ANY_FOLDER: dict[str, Change] = {
    "linked": linked_outside,
    "missing": remove,
    "empty": emptied,
    "a file": made_file,
    "a pipe": made_pipe,
    "a link to nothing": linked_to("made-by-a-link"),
    "an endless link": made_endless,
}


def added(name: str, change: Change) -> Change:
    """Put something into the folder of checkpoints or samples, and change it."""
    return lambda folder: change(folder / name)


def copied(path: Path) -> None:
    newest = list_checkpoints(path.parent)[-1]
    shutil.copytree(newest, path)


def linked_copy(path: Path) -> None:
    copied(path)
    linked_outside(path)


ADDED_CHECKPOINTS: dict[str, Change] = {
    **{
        f"a copy called {name}": added(name, copied)
        for name in (
            "step-99999999999999999999",
            "step-999999999999",
            "step-1e9",
            "step-",
            "step--0000001",
            "step-٣٣٣٣٣٣٣٣",
        )
    },
    "a file called step-00000009": added("step-00000009", made_file),
    "an empty folder called step-00000009": added("step-00000009", emptied),
    "a pipe called step-00000009": added("step-00000009", made_pipe),
    "a link called step-00000009": added("step-00000009", linked_copy),
    "a file called .step-00000009": added(".step-00000009", made_file),
    "a link called .step-00000009": added(".step-00000009", linked_copy),
}
BOMB = replaced_by(png_of(60_000, 60_000))
ADDED_SAMPLES: dict[str, Change] = {
    "a huge image": added("step-00000009.png", BOMB),
    "a long image": added("step-00000009.png", replaced_by(png_of(1, 1_000_000))),
    "an image of no size": added("step-00000009.png", replaced_by(png_of(0, 0))),
    "a pipe": added("step-00000009.png", made_pipe),
    "a folder": added("step-00000009.png", emptied),
    "a link": added("step-00000009.png", linked_to("victim")),
    "other digits": added("step-٣٣٣٣٣٣٣٣.png", BOMB),
}


# --- Changes of the journal -------------------------------------------------------------------------------------


def lines_added(*lines: str) -> Change:
    def change(path: Path) -> None:
        with path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    return change


def line_of_a_gigabyte(path: Path) -> None:
    enlarged(path)
    lines_added("", "{}")(path)


JOURNAL: dict[str, Change] = {
    f"a line {line[:30]}": lines_added(line)
    for line in (
        "1",
        "{}",
        "null",
        '"text"',
        '{"step": "x"}',
        '{"step": 1, "images": 1, "time": "x", "g/l1": 1}',
        '{"step": 1, "images": 1, "time": 1e300, "event": "x"}',
        '{"step": 1, "images": 1, "time": -1e10, "event": {"x": 1}}',
        '{"step": 1, "images": "x", "time": 1, "g/l1": 1}',
        '{"step": 1, "images": 1, "time": 1, "g/l1": "x"}',
        '{"step": 1, "images": 1, "time": 1, "g/l1": [1]}',
        '{"step": 1, "images": 1, "time": 1, "g/l1": 1e308, "val/l1": null}',
        '{"step": 1, "images": 1, "time": 1, "event": "started", "total_images": 0}',
        '{"step": 1, "images": 1, "time": 1, "event": "skipped-step", "reason": {"x": 1}}',
        f'{{"step": {10**400}, "images": 1, "time": 1, "g/l1": 1}}',
        "[" * DEEP,
    )
} | {
    "NUL bytes between lines": lambda path: path.write_bytes(path.read_bytes().replace(b"\n", b"\n\0\0\n", 1)),
    "a line of a gigabyte": line_of_a_gigabyte,
    "a million lines": lambda path: path.write_text('{"step": 1, "images": 1, "time": 1, "g/l1": 1}\n' * 1_000_000),
    "cut in the middle of a line": lambda path: os.truncate(path, path.stat().st_size // 2 + 3),
    "the first half is missing": lambda path: path.write_bytes(path.read_bytes()[path.stat().st_size // 2 :]),
    "CR LF": lambda path: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n")),
}


# --- All changes ------------------------------------------------------------------------------------------------


def changes_of(run: Path) -> Iterator[FolderChange]:
    """Yield each change of a run that has an evaluation, a best checkpoint, and one that ended a stage."""
    older, newest = (path.relative_to(run) for path in list_checkpoints(run / "checkpoints"))
    files = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    for file in files:
        if not file.startswith(str(older)):
            yield from (FolderChange(file, name, name, change) for name, change in ANY_FILE.items())
    for file in ("config.json", "inputs.json", "evaluation.json"):
        yield from json_changes(file, run / file)
    yield from option_changes()
    yield from state_changes(f"{newest}/state.json", run / newest / "state.json")
    for part in ("generators", "discriminators", "optimizer-g", "task"):
        file = f"{newest}/{part}.safetensors"
        yield from (FolderChange(file, name, name, change) for name, change in tensor_changes().items())
    yield from (FolderChange("journal.jsonl", name, name, change) for name, change in JOURNAL.items())
    yield from (FolderChange("train.toml", name, name, change) for name, change in TOML.items())
    for pointer in ("best", "end-of-translation"):
        for text in ("../../victim", "step-00000099", "/", "\0", "x" * 5000, "step-00000002\nstep-00000004"):
            name = f"points to {text[:20]!r}"
            yield FolderChange(pointer, "points elsewhere", name, replaced_by(text.encode()))
    for folder in ("samples", "checkpoints", "tensorboard", str(newest)):
        yield from (FolderChange(folder, name, name, change) for name, change in ANY_FOLDER.items())
    for folder, extra in (("checkpoints", ADDED_CHECKPOINTS), ("samples", ADDED_SAMPLES)):
        yield from (FolderChange(folder, name, name, change) for name, change in extra.items())
    yield FolderChange("before-after.png", "a huge image", "a huge image", BOMB)
    yield FolderChange("before-after.png", "a pipe", "a pipe", made_pipe)
