"""Run random command lines, and list those that end in a traceback, never end, or take too much memory.

    python benchmarks/reliability/command_line.py [--commands 300] [--seed 0] [--seconds 60] [--memory-gb 6]

Every command of `gan-tasks` is called with files of a small folder (images, broken ones, run folders and ONNX files
of every task) and with a few of its options, which get usual, extreme and senseless values. Each runs in a process of
its own. Right are the exit codes 0 (done), 1 (said why it failed) and 2 (bad input), and 130 or 143 after a signal.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import os
import random
import resource
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tiny_trainings import TWO_SIDED, tiny_options

from gan_tasks.apps.cli.main import COMMANDS, main
from gan_tasks.apps.cli.options import Option, defaults_of, options_of
from gan_tasks.apps.cli.values import choices, count, elements, without_none
from gan_tasks.datasets.images import Picture, write
from gan_tasks.tasks import TASKS
from gan_tasks.training.config import TrainConfig

SHORT = "--max-steps 1 --workers 0 --device cpu --quiet"
HOSTILE = (
    "",
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "99999999999999999999",
    "x",
    "None",
    "--",
    "🎨",
    "a b",
)
NUMBERS = ("1", "2", "3", "0.5", "-0.0", "7", "255", "1e-3", "4096", "100000", "1e9", "-5")
SKIPPED = {"quickstart", "serve"}
"""Commands that train for minutes or never end."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended. code: its exit code; None if it was killed. error: the last line of a traceback."""

    command: str
    code: int | None
    error: str
    seconds: float
    peak_bytes: int

    def is_right(self) -> bool:
        return not self.error and self.code in (0, 1, 2, 130, 143)


def prepare(command: str, *, seconds: float = 120) -> None:
    """Run a command that makes files to start from. Ends the program if it fails."""
    ended = run_apart(shlex.split(command), seconds=seconds, memory_bytes=0)
    if ended.code != 0:
        sys.exit(f"{command} ended with {ended.code}: {ended.error}")


def make_files(folder: Path) -> dict[str, list[Path]]:
    """Write images, data folders, run folders, ONNX files and broken files. Returns their paths by kind."""
    rng = np.random.default_rng(0)
    images = sorted(make_pairs(folder / "data").rglob("*.png"))
    photos = folder / "photos"
    photos.mkdir()
    for number in range(4):
        write(photos / f"{number}.png", Picture(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)))
    mask = folder / "mask.png"
    write(mask, Picture(np.uint8(255) * (rng.random((80, 96, 1)) > 0.5)))
    models = []
    for entry in TASKS:
        run, onnx = folder / "runs" / entry.name, folder / "onnx" / f"{entry.name}.onnx"
        data = folder / "data" if entry.name in TWO_SIDED else photos
        train = f"train {entry.name} --data {data} --out {run} {tiny_options(entry.name, folder)} {SHORT}"
        for command in (train, f"export {run} {onnx}"):
            prepare(command)
        models += [run, onnx]
    broken = [
        folder / "cut.png",
        folder / "empty.onnx",
        folder / "text.pth",
        folder / "missing",
        folder / "options.toml",
    ]
    broken[0].write_bytes(images[0].read_bytes()[:200])
    broken[1].write_bytes(b"")
    broken[2].write_text("no weights")
    broken[4].write_text("lr = 'fast'\n[")
    return {"image": [images[0], photos, mask], "data": [folder / "data", photos], "model": models, "broken": broken}


def make_pairs(folder: Path) -> Path:
    """Write four pairs of random images, and return the folder."""
    rng = np.random.default_rng(0)
    for side in ("A", "B"):
        for number in range(4):
            path = folder / "train" / side / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, Picture(rng.integers(0, 256, (80, 96, 3), dtype=np.uint8)))
    return folder


def random_command(rng: random.Random, files: dict[str, list[Path]], out: Path) -> list[str]:
    """Draw a command with its arguments and a few options."""
    name = rng.choice([name for name in COMMANDS if name not in SKIPPED] + ["train"] * 6)
    if name == "train":
        return train_command(rng, files, out)
    options = list(options_of(defaults_of(COMMANDS[name])))
    words = [name, *(place_of(option, rng, files, out) for option in options if option.positional)]
    chosen = [option for option in options if not option.positional and (is_needed(option) or rng.random() < 0.25)]
    return [*words, *(word for option in chosen for word in spelled(option, rng, files, out))]


def train_command(rng: random.Random, files: dict[str, list[Path]], out: Path) -> list[str]:
    if rng.random() < 0.1:
        return ["train", "--resume", str(rng.choice(files["model"] + files["broken"])), "--max-steps", "2"]
    entry = rng.choice(TASKS)
    data = rng.choice(files["data"]) if rng.random() < 0.8 else rng.choice(files["broken"])
    config: Any = entry.load().Config()
    options = [*options_of(config), *options_of(TrainConfig())]
    chosen = rng.sample(options, rng.randint(1, 4))
    words = ["train", entry.name, "--data", str(data), "--out", str(out / "run")]
    words += tiny_options(entry.name, out.parent).split()
    return [*words, *SHORT.split(), *(word for option in chosen for word in spelled(option, rng, files, out))]


def is_needed(option: Option) -> bool:
    return repr(option.default) == "MISSING"


def place_of(option: Option, rng: random.Random, files: dict[str, list[Path]], out: Path) -> str:
    """A word for an argument that is given by its place."""
    kinds = {"output": [out / "result.png", out / "results", out / "model.onnx"], "input": files["image"]}
    usual = kinds.get(option.field, files["data"] if option.field == "folder" else files["model"])
    return str(rng.choice(usual if rng.random() < 0.8 else files["broken"] + files["image"]))


def spelled(option: Option, rng: random.Random, files: dict[str, list[Path]], out: Path) -> list[str]:
    """An option with a value that is usual, extreme or senseless."""
    number = count(option.type)
    if number == 0:
        return [rng.choice([option.flag, option.off_flag])]
    number = rng.randint(0, 3) if number < 0 else number
    return [option.flag, *(value_of(option, rng, files, out) for _ in range(number))]


def value_of(option: Option, rng: random.Random, files: dict[str, list[Path]], out: Path) -> str:
    inner, _ = without_none(option.type)
    kind = (elements(inner) or (inner,))[0]
    if rng.random() < 0.15:
        return rng.choice(HOSTILE)
    if allowed := choices(kind):
        return str(rng.choice(allowed))
    if kind is Path:
        return str(rng.choice([path for paths in files.values() for path in paths] + [out / "written"]))
    return rng.choice(NUMBERS) if kind in (int, float) else rng.choice(["auto", "cpu", "2GB", "x", "1"])


def run_apart(arguments: Sequence[str], *, seconds: float, memory_bytes: int) -> Outcome:
    """Run a command in a forked process, which is killed after some seconds. memory_bytes: 0 is no limit.

    The modules that it imports are imported here afterwards, so that the next processes have them from the start:
    most of the time of a short command goes into imports.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(arguments, memory_bytes, theirs))
    start = time.monotonic()
    process.start()
    theirs.close()
    has_ended = ours.poll(seconds)
    taken = time.monotonic() - start
    if not has_ended:
        process.kill()
    answer = None
    with contextlib.suppress(EOFError):
        answer = ours.recv()
    process.join()
    if process.pid:
        with contextlib.suppress(ProcessLookupError):  # processes that it has left behind
            os.killpg(process.pid, signal.SIGKILL)
    if answer is None:
        error = f"killed by signal {-(process.exitcode or 0)}" if has_ended else "never ended"
        return Outcome(shlex.join(arguments), None, error, taken, 0)
    error, peak_bytes, modules = answer
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    return Outcome(shlex.join(arguments), process.exitcode, error, taken, peak_bytes)


def child(arguments: Sequence[str], memory_bytes: int, pipe: Any) -> None:
    """Run a command; send the error if it is a bug, the most memory in bytes, and the modules that it imported."""
    os.setsid()
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    known = set(sys.modules)
    code, error = 0, ""
    with Path(os.devnull).open("w") as silent, contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException as bug:
            where = traceback.extract_tb(bug.__traceback__)[-1]
            error = f"{type(bug).__name__}: {str(bug)[:150]} ({Path(where.filename).name}:{where.lineno})"
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pipe.send((error, peak_bytes, [name for name in sys.modules if name not in known]))
    pipe.close()
    os._exit(code)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=300, help="number of command lines")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other command lines")
    parser.add_argument("--seconds", type=float, default=60, help="a command that takes longer never ends")
    parser.add_argument("--memory-gb", type=float, default=6, help="the largest address space of a command")
    return parser.parse_args()


def run_all(options: argparse.Namespace) -> int:
    rng = random.Random(options.seed)
    outcomes = []
    with tempfile.TemporaryDirectory() as place:
        files = make_files(Path(place))
        for number in range(options.commands):
            out = Path(place) / f"out{number}"
            out.mkdir()
            arguments = random_command(rng, files, out)
            ended = run_apart(arguments, seconds=options.seconds, memory_bytes=int(options.memory_gb * 1e9))
            outcomes.append(ended)
            if not ended.is_right():
                print(
                    f"{ended.error or f'exit code {ended.code}'}\n    {ended.command.replace(place, '.')}", flush=True
                )
    wrong = [ended for ended in outcomes if not ended.is_right()]
    codes = Counter(ended.code for ended in outcomes if ended.is_right())
    print("\n| Commands | Exit code 0 | 1 | 2 | Wrong | Slowest | Largest |\n|---|---|---|---|---|---|---|")
    print(
        f"| {len(outcomes)} | {codes[0]} | {codes[1]} | {codes[2]} | {len(wrong)} | "
        f"{max(ended.seconds for ended in outcomes):.0f} s | {max(e.peak_bytes for e in outcomes) / 1e9:.1f} GB |"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked process has no threads of its parent
    sys.exit(run_all(parsed()))
