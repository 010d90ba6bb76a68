"""Damage or edit each file of a run folder, and list the commands that end in a traceback or never end.

    python benchmarks/reliability/run_folders.py [--seconds 60] [--memory-gb 6] [--only config.json]

A run folder may have been sent by somebody else, edited by hand, or damaged on its way. Each command that opens one
is called on a tiny run after each change. Right are the exit codes 0, 1 and 2. No file outside the run may change.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from command_line import TINY, make_pairs, prepare, run_apart

from gan_tasks.runs.checkpoint import described, list_checkpoints, load_state, state_bytes

Change = Callable[[Path], object]
"""Changes a file or folder in place."""

COMMANDS = (
    "train --resume {run} --max-steps 4",
    "apply {run} {image} {out}/result.png",
    "evaluate {run} --data {data}",
    "inspect {run}",
    "export {run} {out}/model.onnx",
    "report {run}",
    "train pix2pix --data {data} --out {out}/next --init-from {run} "
    + TINY["pix2pix"]
    + " --max-steps 1 --workers 0",
)
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


# --- Changes of any file ----------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[len(data) // 2] ^= 0x20
    path.write_bytes(data)


def replaced_by(data: bytes) -> Change:
    return lambda path: path.write_bytes(data)


def made_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def made_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def linked_to(target: str) -> Change:
    """Replace a file by a link. `target` is relative to the folder above the run."""

    def change(path: Path) -> None:
        run = next(parent for parent in path.parents if (parent / "config.json").exists() or parent.name == "run")
        path.unlink()
        path.symlink_to(run.parent / target)

    return change


ANY_FILE: dict[str, Change] = {
    "cut": cut,
    "a flipped bit": flip,
    "missing": Path.unlink,
    "empty": replaced_by(b""),
    "zeros": replaced_by(bytes(2000)),
    "not UTF-8": replaced_by(b"\xff\xfe\xfd" * 100),
    "a list": replaced_by(b"[]"),
    "nested deeply": replaced_by(b"[" * DEEP),
    "a folder": made_folder,
    "a pipe": made_pipe,
    "a link to a file outside": linked_to("victim"),
    "a link to nothing": linked_to("made-by-a-link"),
    "an endless link": lambda path: linked_to("run/" + path.name)(path),
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


def json_changes(path: Path) -> dict[str, Change]:
    """Every key is left out, added, or gets a senseless value."""
    content = json.loads(path.read_bytes())
    changes: dict[str, Change] = {"an unknown key": with_value(("unknown",), 1)}
    for key in content:
        changes[f"{key} left out"] = edited(lambda content, key=key: content.pop(key) and None)  # type: ignore[misc]
        for value in SENSELESS:
            changes[f"{key} = {json.dumps(value)[:20]}"] = with_value((key,), value)
    return changes


def option_changes() -> dict[str, Change]:
    task = "task_config"
    return {
        "an unknown option": with_value((task, "unknown"), 1),
        "an unknown option of the data": with_value((task, "data", "unknown"), 1),
        "an unknown option of the loop": with_value(("train_config", "unknown"), 1),
        "the largest width": with_value((task, "width"), 4096),
        "the largest width of D": with_value((task, "d_width"), 4096),
        "a width out of range": with_value((task, "width"), 10**9),
        "many channels": with_value((task, "data", "source_channels"), 4096),
        "other channels": with_value((task, "data", "target_channels"), 1),
        "another generator": with_value((task, "generator"), "unet"),
        "another task": with_value(("task",), "cyclegan"),
        "data that are not there": with_value(("data",), "/not/there"),
        "data in the root folder": with_value(("data",), "/proc/self"),
        "a model to start from that is not there": with_value(("init_from",), "/not/there"),
        "a huge batch": with_value((task, "optimisation", "batch_size"), 65_536),
        "huge crops": with_value((task, "data", "crop_size"), [65_536, 65_536]),
        "no number for the seed": with_value(("train_config", "seed"), "x"),
        "many workers": with_value(("train_config", "workers"), 10**6),
        "no steps to keep": with_value(("train_config", "keep_checkpoints"), 0),
    }


# --- Changes of checkpoints -------------------------------------------------------------------------------------


def with_state(work: Callable[[dict[str, Any]], object]) -> Change:
    """Change the state of a checkpoint, with a hash that fits."""

    def change(path: Path) -> None:
        state = load_state(path.parent)
        work(state)
        path.write_bytes(state_bytes(state))

    return change


def state_changes(path: Path) -> dict[str, Change]:
    state = load_state(path.parent)
    changes: dict[str, Change] = {}
    for key in state:
        for value in SENSELESS:
            changes[f"{key} = {json.dumps(value)[:20]}"] = with_state(
                lambda state, key=key, value=value: state.update({key: value})  # type: ignore[misc]
            )
        changes[f"{key} left out"] = with_state(lambda state, key=key: state.pop(key))  # type: ignore[misc]
    for key in state["position"]:
        for value in (-1, "x", None, 10**30, [None], float("nan")):
            changes[f"position.{key} = {value}"] = with_state(
                lambda state, key=key, value=value: state["position"].update({key: value})  # type: ignore[misc]
            )
    changes["a part outside"] = with_state(
        lambda state: state["parts"].update({"../../x": {"bytes": 1, "blake2b": ""}})
    )
    return changes


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


def tensor_changes() -> dict[str, Change]:
    return {
        "NaN": with_tensors(to_nan),
        "no tensors": with_tensors(dict.clear),
        "other names": with_tensors(lambda tensors: tensors.update({"x": tensors.pop(min(tensors))})),
        "other shapes": with_tensors(flattened),
        "bfloat16": with_tensors(lambda tensors: cast(tensors, torch.bfloat16)),
        "integers": with_tensors(lambda tensors: cast(tensors, torch.int64)),
        "complex numbers": with_tensors(lambda tensors: cast(tensors, torch.complex64)),
    }


# --- All changes ------------------------------------------------------------------------------------------------


def folder_linked(path: Path) -> None:
    """Move a folder out of the run, and link to it."""
    outside = path.parent.parent / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


def lines_added(*lines: str) -> Change:
    def change(path: Path) -> None:
        with path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    return change


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
}


def changes_of(run: Path) -> Iterator[tuple[str, str, Change]]:
    """Yield the place, the name and the work of each change."""
    checkpoint = list_checkpoints(run / "checkpoints")[-1].relative_to(run)
    files = ["config.json", "train.toml", "inputs.json", "journal.jsonl", "best", "end-of-translation", "lock"]
    files += ["report.html", "model-card.md", "evaluation.json", f"{checkpoint}/state.json"]
    files += [f"{checkpoint}/{part}.safetensors" for part in ("generators", "optimizer-g", "task")]
    for file in files:
        for name, change in ANY_FILE.items():
            yield file, name, change
    for file in ("config.json", "inputs.json", "evaluation.json"):
        for name, change in json_changes(run / file).items():
            yield file, name, change
    for name, change in option_changes().items():
        yield "config.json", name, change
    for name, change in state_changes(run / checkpoint / "state.json").items():
        yield f"{checkpoint}/state.json", name, change
    for part in ("generators", "discriminators", "optimizer-g", "task"):
        for name, change in tensor_changes().items():
            yield f"{checkpoint}/{part}.safetensors", name, change
    for name, change in JOURNAL.items():
        yield "journal.jsonl", name, change
    for pointer in ("best", "end-of-translation"):
        for text in ("../../victim", "step-00000099", "/", "\0", "x" * 5000, "step-00000002\nstep-00000004"):
            yield pointer, f"points to {text[:20]!r}", replaced_by(text.encode())
    for folder in ("samples", "checkpoints", "tensorboard", str(checkpoint)):
        yield folder, "a linked folder", folder_linked


def make_run(place: Path) -> tuple[Path, Path]:
    """Write data and a run of three steps with two checkpoints. Returns both folders."""
    data, run = make_pairs(place / "data"), place / "original" / "run"
    options = "--max-steps 3 --workers 0 --device cpu --quiet --checkpoint-every-steps 2 --evaluate-every-steps 2"
    train = f"train pix2pix --data {data} --out {run} {TINY['pix2pix']} {options} --best-by l1 --hold-out 1"
    for command in (train, f"evaluate {run} --data {data}"):
        prepare(command, seconds=300)
    shutil.copy(run / "best", run / "end-of-translation")
    (run / "tensorboard").mkdir(exist_ok=True)
    return data, run


def run_all(options: argparse.Namespace) -> int:
    count, wrong, outside = 0, [], []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        data, original = make_run(place)
        image = next((data / "train" / "A").glob("*.png"))
        found = [change for change in changes_of(original) if options.only in f"{change[0]}: {change[1]}"]
        for file, what, change in found:
            for command in COMMANDS:
                if options.command and not command.startswith(options.command):
                    continue
                at = place / "at"
                shutil.copytree(original.parent, at, symlinks=True)
                run, out = at / "run", at / "out"
                out.mkdir()
                (at / "victim").write_text("mine")
                if not (run / file).exists():
                    (run / file).write_text("")
                change(run / file)
                kept = contents(at, besides=(run, out))
                text = command.format(run=run, data=data, image=image, out=out)
                ended = run_apart(
                    shlex.split(text), seconds=options.seconds, memory_bytes=int(options.memory_gb * 1e9)
                )
                count += 1
                if not ended.is_right():
                    wrong.append(ended)
                    print(f"{file}: {what}\n    {command.split()[0]}: {ended.error or ended.code}", flush=True)
                if contents(at, besides=(run, out)) != kept:
                    outside.append(ended)
                    print(f"{file}: {what}\n    {command.split()[0]}: wrote outside the run", flush=True)
                shutil.rmtree(at)
    print("\n| Changes | Commands | Tracebacks and hangs | Writes outside the run |\n|---|---|---|---|")
    print(f"| {len(found)} | {count} | {len(wrong)} | {len(outside)} |")
    return 1 if wrong or outside else 0


def contents(folder: Path, *, besides: tuple[Path, ...]) -> dict[str, bytes]:
    files = (path for each in folder.iterdir() if each not in besides for path in (each, *each.rglob("*")))
    return {str(path): path.read_bytes() for path in files if path.is_file()}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only the changes whose file and name have this text")
    parser.add_argument("--command", default="", help="only this command")
    parser.add_argument("--seconds", type=float, default=60, help="a command that takes longer never ends")
    parser.add_argument("--memory-gb", type=float, default=6, help="the largest address space of a command")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked process has no threads of its parent
    sys.exit(run_all(parsed()))
