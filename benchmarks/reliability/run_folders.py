"""Damage or edit the files of a run folder, and list the commands that end in a traceback or never end.

    python benchmarks/reliability/run_folders.py [--seconds 150] [--seed 0] [--all] [--task pix2pix] [--only TEXT]

A run folder may have been sent by somebody else, edited by hand, or damaged on its way. Commands that open one are
called on a tiny run after a change. Every kind of change of every file is tried at least once, with a command that is
drawn; then more are drawn until the time is over. Right are the exit codes 0, 1 and 2, little memory, and that no
file outside the run changes.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from command_line import make_pairs, prepare, run_apart
from folder_changes import FolderChange, changes_of, remove
from tiny_trainings import TINY, TWO_SIDED, tiny_options

from gan_tasks.apps.web import server

START = "--max-steps 1 --workers 0 --quiet --init-from {run} "
SLOW = "export {run} {out}/model.onnx"
COMMANDS = (
    "train --resume {run} --max-steps 4 --device cpu",
    "train pix2pix --data {pairs} --out {out}/next " + START + TINY["pix2pix"],
    "train cyclegan --data {pairs} --out {out}/next " + START + TINY["cyclegan"],
    "train {task} --config {run}/train.toml --data {data} --out {out}/next --max-steps 1",
    "apply {run} {image} {out}/result.png",
    "apply {checkpoint} {image} {out}/result.png",
    "evaluate {run} --data {data}",
    "compare {run} {other} --data {data} --out {out}/comparison",
    "inspect {run}",
    "inspect {checkpoint}",
    SLOW,
    "export {run} {out}/model.pth --format jy",
    "interpolate-networks {run} {other} {out}/model.pth",
    "verify {run}",
    "report {run}",
    "report {other} {run} --out {out}/runs.html",
    "check {run}",
    "serve {run} --port 0",
)


class OpenedServer:
    """Takes the place of the server, so that `serve` ends once it has opened its models."""

    def run(self, sockets: object) -> None:
        pass


def make_run(place: Path, task: str) -> tuple[Path, Path]:
    """Write data and a run of three steps with two checkpoints. Returns both folders."""
    pairs, run = make_pairs(place / "data"), place / "original" / "run"
    data = pairs if task in TWO_SIDED else pairs / "train" / "A"
    options = "--max-steps 3 --workers 0 --device cpu --quiet --checkpoint-every-steps 2 --evaluate-every-steps 2"
    train = f"train {task} --data {data} --out {run} {tiny_options(task, place)} {options} --hold-out 1"
    for command in (train, f"evaluate {run} --data {data}"):
        prepare(command, seconds=300)
    for pointer in ("best", "end-of-translation"):
        (run / pointer).write_text("step-00000003")
    (run / "tensorboard").mkdir(exist_ok=True)
    return data, run


def drawn(found: list[FolderChange], rng: random.Random) -> Iterator[tuple[FolderChange, str]]:
    """Yield changes with commands: first every kind of every file, then all others, each time in a random order."""
    pairs = [(change, command) for change in found for command in COMMANDS]
    rng.shuffle(pairs)
    pairs.sort(key=lambda pair: pair[1] != SLOW)  # of equal keys the last one counts: others come before it
    first = set({(change.file, change.kind): (change, command) for change, command in pairs}.values())
    rng.shuffle(pairs)
    yield from (pair for pair in pairs if pair in first)
    yield from (pair for pair in pairs if pair not in first)


def run_all(options: argparse.Namespace) -> int:
    count, tried, wrong, outside = 0, set(), 0, 0
    vars(server)["make_server"] = lambda app, service: OpenedServer()
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        data, original = make_run(place, options.task)
        found = [change for change in changes_of(original) if options.only in f"{change.file}: {change.name}"]
        fewest = len({(change.file, change.kind) for change in found})
        at, image = place / "at", next((place / "data" / "train" / "A").glob("*.png"))
        run, out = at / "run", at / "out"
        for change, command in drawn(found, random.Random(options.seed)):
            if not command.startswith(options.command):
                continue
            if not options.all and count >= fewest and time.monotonic() > end:
                break
            shutil.copytree(original.parent, at)
            out.mkdir()
            (at / "victim").write_text("mine")
            checkpoint = run / original.joinpath("checkpoints", "step-00000003").relative_to(original)
            change.change(run / change.file)
            kept = state_of(place, besides=(run, out))
            text = command.format(
                task=options.task,
                run=run,
                other=original,
                checkpoint=checkpoint,
                data=data,
                pairs=place / "data",
                image=image,
                out=out,
            )
            limit = int(options.limit_gb * 1e9)
            ended = run_apart(shlex.split(text), seconds=options.limit_seconds, memory_bytes=limit)
            count += 1
            tried.add(change)
            reason = ended.error
            if not reason and not ended.is_right():
                reason = f"exit code {ended.code}"
            if not reason and ended.peak_bytes > options.peak_gb * 1e9 and not change.takes_memory:
                reason = f"took {ended.peak_bytes / 1e9:.1f} GB"
            wrong += bool(reason)
            if state_of(place, besides=(run, out)) != kept:
                outside += 1
                reason = f"{reason} wrote outside the run"
            if reason:
                print(f"{change.file}: {change.name}\n    {command}: {reason}", flush=True)
            remove(at)
    print("\n| Changes | Commands | Tracebacks and hangs | Writes outside the run |\n|---|---|---|---|")
    print(f"| {len(tried)} | {count} | {wrong} | {outside} |")
    return 1 if wrong or outside else 0


def state_of(folder: Path, *, besides: Iterable[Path]) -> dict[str, tuple[int, int, int]]:
    """Return inode, size and time of each file below a folder, by its path."""
    found = {}
    for name, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if Path(name, each) not in besides]
        for path in (Path(name, each) for each in (*folders, *files)):
            state = path.lstat()
            found[str(path)] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150, help="how long changes are tried")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other changes and commands")
    parser.add_argument("--all", action="store_true", help="every command after every change, which takes an hour")
    parser.add_argument("--task", default="pix2pix", choices=TINY, help="the task of the run")
    parser.add_argument("--only", default="", help="only the changes whose file and name have this text")
    parser.add_argument("--command", default="", help="only the commands that begin with this text")
    parser.add_argument("--limit-seconds", type=float, default=30, help="a command that takes longer never ends")
    parser.add_argument("--limit-gb", type=float, default=6, help="the largest address space of a command")
    parser.add_argument("--peak-gb", type=float, default=1.2, help="a command that uses more memory is wrong")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked process has no threads of its parent
    sys.exit(run_all(parsed()))
