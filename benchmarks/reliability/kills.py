"""Kill trainings and other commands at bad moments, and list what was lost.

    python benchmarks/reliability/kills.py [--seconds 90] [--seed 0] [--only NAME]

Tiny trainings of every task, with 0 and 2 workers, get a signal at a random moment, while a checkpoint is written, in
an evaluation, while samples are drawn, at the start or at the end. Right is: the documented exit code, no traceback,
no process left, no incomplete file under a final name, no lost step after a signal that can be caught, and after
`--resume` the weights and the journal of a training that was never stopped, bit for bit. `export`, `apply` and others
are killed, too.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import random
import shlex
import shutil
import signal
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_trainings import TWO_SIDED, tiny_options

from gan_tasks.apps.cli.main import main, program
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.runs.checkpoint import list_checkpoints, load_state
from gan_tasks.tasks import TASKS

LENGTH = {"super-resolution": "--epochs 1 --adversarial-epochs 1 --batch-size 1"}
OFTEN = "--log-every-steps 1 --evaluate-every-steps 2 --checkpoint-every-steps 3 --sample-every-steps 4 --device cpu"
SIZE = (64, 64)
LONGEST_S = 60
ORPHANS_S = 12
"""A process that loads images looks every 5 s whether the training still lives."""


# --- Processes --------------------------------------------------------------------------------------------------


@dataclass
class Started:
    """A command in a forked process, which is the leader of a session."""

    pid: int
    log: Path
    terminal: int | None = None
    code: int | None = None
    """The exit code as a shell gives it: 128 + the number of a signal."""

    def is_alive(self) -> bool:
        if self.terminal is not None:
            with contextlib.suppress(OSError):
                os.read(self.terminal, 1 << 16)
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code
        return self.code is None

    def wait(self) -> int:
        deadline = time.monotonic() + LONGEST_S
        while self.is_alive():
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.code = -1
            time.sleep(0.003)
        return self.code if self.code is not None else -1

    def close_terminal(self) -> None:
        if self.terminal is not None:
            os.close(self.terminal)
            self.terminal = None

    def kill(self, number: int, *, all_of_them: bool = False) -> None:
        if self.is_alive():
            (os.killpg if all_of_them else os.kill)(self.pid, number)


def start(command: str, log: Path, *, in_terminal: bool = False) -> Started:
    """Fork a process that runs a command of `gan-tasks` and ends as a program does, with all that is done at exit."""
    ours, theirs = pty.openpty() if in_terminal else (None, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if in_terminal:
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
            os.close(ours or 0)
        for descriptor in (1, 2):
            os.dup2(theirs, descriptor)
        sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1) for descriptor in (1, 2))
        sys.argv = ["gan-tasks", *shlex.split(command)]
        program()  # raises SystemExit, which nothing above catches
    os.close(theirs)
    if ours is not None:
        os.set_blocking(ours, False)
    return Started(pid, log, ours)


def processes() -> Iterator[tuple[int, int, int]]:
    """Yield (process, parent, session) of all processes that have not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, _, session, *_ = path.read_text().rpartition(")")[2].split()
            if state != "Z":
                yield int(path.parent.name), int(parent), int(session)


# --- Trainings --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """A training that was never stopped."""

    task: str
    folder: Path
    data: Path

    @property
    def seconds(self) -> float:
        """The time that it took, without that of imports."""
        times = [path.stat().st_mtime for path in self.run.rglob("*")]
        return max(times) - min(times) + 0.5

    @property
    def run(self) -> Path:
        return self.folder / self.task

    @property
    def last(self) -> str:
        return list_checkpoints(self.run / "checkpoints")[-1].name

    def command(self, out: Path, workers: int) -> str:
        length = LENGTH.get(self.task, "--epochs 2 --decay-epochs 0")
        options = f"{tiny_options(self.task, self.folder)} {length} {OFTEN}"
        return f"train {self.task} --data {self.data} --out {out} {options} --workers {workers}"


def write_data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 6)):
        for number in range(count):
            for place in ("pairs/{}/A", "pairs/{}/B", "photos/{}"):
                path = folder / place.format(split) / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, Picture(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)))


def train_references(folder: Path) -> list[Reference]:
    """Train in this process, so that each forked one finds all modules imported. One thread makes none to lose."""
    references = []
    for entry in TASKS:
        reference = Reference(entry.name, folder, folder / ("pairs" if entry.name in TWO_SIDED else "photos"))
        try:
            main(shlex.split(f"{reference.command(reference.run, 0)} --quiet"))
        except SystemExit as ended:
            if ended.code:
                raise
        references.append(reference)
    return references


def journal(run: Path) -> list[dict[str, Any]]:
    path = run / "journal.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def numbers(run: Path) -> list[dict[str, Any]]:
    """The losses and metrics of the journal, without the times."""
    kept = ("g/", "d/", "grad/", "lr/", "val/")
    lines = [{k: v for k, v in line.items() if k == "step" or k.startswith(kept)} for line in journal(run)]
    return [line for line in lines if len(line) > 1]


def incomplete(folder: Path) -> list[str]:
    """The files under a final name that are not whole."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            if path.suffix == ".png":
                read(path)
            elif path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".html":
                assert path.read_text().rstrip().endswith("</html>")
            elif path.suffix == ".safetensors":
                listed = load_state(path.parent)["parts"][path.stem]
                assert hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() == listed["blake2b"]
        except Exception as error:
            found.append(f"{path.name} is not whole ({type(error).__name__}: {error})")
    return found


def litter(folder: Path) -> list[str]:
    return [f"{path.name} was left" for path in folder.rglob(".*")]


def differences(run: Path, reference: Reference) -> list[str]:
    """What a run has that was stopped and resumed, and its reference has not."""
    ours, theirs = (path / "checkpoints" / reference.last for path in (run, reference.run))
    if not ours.is_dir():
        return ["it did not come to its end"]
    found = [
        path.name for path in theirs.glob("*.safetensors") if path.read_bytes() != (ours / path.name).read_bytes()
    ]
    positions = [{**load_state(path)["position"], "journal_bytes": 0, "sampled_step": 0} for path in (ours, theirs)]
    found += ["position"] if positions[0] != positions[1] else []
    found += ["journal"] if numbers(run) != numbers(reference.run) else []
    pointers = [[path.name, path.read_text()] for path in sorted(reference.run.glob("best"))]
    found += [name for name, text in pointers if not (run / name).exists() or (run / name).read_text() != text]
    return [f"{name} differs" for name in found]


# --- Moments ----------------------------------------------------------------------------------------------------

Moment = Callable[[Path, Reference, random.Random], bool]
"""Whether it has come, by what the run folder holds."""


def at_checkpoint(run: Path, reference: Reference, rng: random.Random) -> bool:
    return any((run / "checkpoints").glob(".step-*"))


def at_last_checkpoint(run: Path, reference: Reference, rng: random.Random) -> bool:
    return any((run / "checkpoints" / f"{hidden}{reference.last}").exists() for hidden in (".", ""))


def logged(run: Path, text: str) -> bool:
    path = run / "journal.jsonl"
    return path.exists() and text in path.read_text(errors="replace")


def in_evaluation(run: Path, reference: Reference, rng: random.Random) -> bool:
    """After the losses of a step, which come before its evaluation."""
    return logged(run, f'"step": {rng.choice((2, 6))},')


def in_samples(run: Path, reference: Reference, rng: random.Random) -> bool:
    return logged(run, '"step": 4,')


def at_end(run: Path, reference: Reference, rng: random.Random) -> bool:
    """When the processes that load images are ended, and after that."""
    if not logged(run, f'"step": {int(reference.last.removeprefix("step-"))},'):
        return False
    time.sleep(rng.uniform(0, 0.3))
    return True


def await_moment(
    training: Started, moment: Moment | None, run: Path, reference: Reference, rng: random.Random
) -> None:
    delay_s = rng.uniform(0, reference.seconds)
    begun = time.monotonic()
    while training.is_alive() and time.monotonic() - begun < LONGEST_S:
        if time.monotonic() - begun > delay_s if moment is None else moment(run, reference, rng):
            return
        time.sleep(0.001)


def at_start(run: Path, reference: Reference, rng: random.Random) -> bool:
    time.sleep(rng.uniform(0, 0.5 * reference.seconds))
    return True


# --- Signals ----------------------------------------------------------------------------------------------------

Send = Callable[[Started, random.Random], object]


def one(number: signal.Signals) -> Send:
    """Send it to the process, or as Ctrl-C and schedulers do, to all of its processes."""
    return lambda training, rng: training.kill(number, all_of_them=rng.random() < 0.5)


def pair(first: signal.Signals, second: signal.Signals, *, after_s: float | None = None) -> Send:
    def send(training: Started, rng: random.Random) -> None:
        one(first)(training, rng)
        time.sleep(rng.uniform(0, 0.3) if after_s is None else after_s)
        one(second)(training, rng)

    return send


def close_terminal(training: Started, rng: random.Random) -> None:
    training.close_terminal()


def kill_worker(training: Started, rng: random.Random) -> None:
    deadline = time.monotonic() + LONGEST_S
    while training.is_alive() and time.monotonic() < deadline:
        workers = [pid for pid, parent, _ in processes() if parent == training.pid]
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
            return


KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
TERM_KILL = pair(TERM, KILL, after_s=0.05)
SENDS: dict[str, tuple[Send, tuple[int, ...]]] = {
    "SIGKILL": (one(KILL), (137,)),
    "SIGTERM": (one(TERM), (143,)),
    "SIGINT": (one(INT), (130,)),
    "SIGINT twice": (pair(INT, INT), (130,)),
    "SIGTERM twice": (pair(TERM, TERM), (143,)),
    "SIGTERM, SIGKILL after 50 ms": (TERM_KILL, (137, 143)),
    "SIGHUP": (one(signal.SIGHUP), (129,)),
    "terminal closed": (close_terminal, (129,)),
    "SIGSTOP, SIGCONT": (pair(signal.SIGSTOP, signal.SIGCONT), ()),
}
"""What is sent, and the exit codes of a training that did not come to its end before."""
MOMENTS: dict[str, Moment] = {
    "while a checkpoint is written": at_checkpoint,
    "at the last checkpoint": at_last_checkpoint,
    "in an evaluation": in_evaluation,
    "while samples are drawn": in_samples,
    "at the start": at_start,
    "at the end": at_end,
}


# --- Trials -----------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """The trials of a kind, and what was wrong."""

    trials: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """References, the place of the runs, and the sessions that must have no process left."""

    place: Path
    references: list[Reference]
    rng: random.Random
    rows: dict[str, Row] = field(default_factory=dict)
    sessions: dict[int, str] = field(default_factory=dict)
    count: int = 0

    def start(self, command: str, kind: str, *, in_terminal: bool = False) -> Started:
        self.count += 1
        started = start(command, self.place / f"log{self.count}", in_terminal=in_terminal)
        self.sessions[started.pid] = kind
        return started

    def try_training(self, kind: str, send: Send, codes: tuple[int, ...], moment: Moment | None) -> list[str]:
        reference, workers = self.rng.choice(self.references), 2 if send is kill_worker else self.rng.choice((0, 2))
        run = self.place / f"run{self.count}"
        training = self.start(reference.command(run, workers), kind, in_terminal=send is close_terminal)
        await_moment(training, moment, run, reference, self.rng)
        send(training, self.rng)
        code = training.wait()
        training.close_terminal()
        said = training.log.read_text() if training.log.exists() else ""
        ended = (run / "checkpoints" / reference.last).exists() and code == 0
        wrong = [] if ended or code in codes else [f"exit code {code}"]
        wrong += (
            [f"traceback: {said.strip().splitlines()[-1]}"] if "Traceback" in said or "ignored in" in said else []
        )
        wrong += incomplete(run)
        if code in (129, 130, 143, 2):
            wrong += lost_steps(run)
        wrong += self.resume(run, reference, kind, self.rng.choice((0, 2)))
        case = f"{reference.task}, {workers} workers, ended with {code}"
        shutil.rmtree(run, ignore_errors=True)
        return [f"{reason} ({case})" for reason in wrong]

    def resume(self, run: Path, reference: Reference, kind: str, workers: int) -> list[str]:
        """Go on to the end, and compare. A run that was killed before it had its options is begun again."""
        begun = (run / "config.json").exists()
        resumed = self.start(
            f"train --resume {run} --workers {workers}" if begun else reference.command(run, workers), kind
        )
        if resumed.wait() != 0:
            return [f"resume ended with {resumed.code}: {resumed.log.read_text()[-300:]}"]
        return [*differences(run, reference), *litter(run), *incomplete(run)]

    def try_second_process(self, kind: str) -> list[str]:
        reference = self.rng.choice(self.references)
        run = self.place / f"run{self.count}"
        first = self.start(reference.command(run, 0), kind)
        await_moment(first, in_evaluation, run, reference, self.rng)
        first.kill(signal.SIGSTOP)
        second = self.start(f"train --resume {run}", kind)
        code, said = second.wait(), second.log.read_text()
        first.kill(signal.SIGCONT)
        wrong = (
            [] if code == 2 and "another process trains" in said else [f"the second ended with {code}: {said[-200:]}"]
        )
        wrong += [] if first.wait() == 0 else [f"the first ended with {first.code}"]
        return wrong + differences(run, reference)

    def try_command(self, kind: str, command: str) -> list[str]:
        """Kill another command. `out` is empty before, and what has a final name in it afterwards is whole."""
        reference = self.rng.choice(self.references)
        out = self.place / f"out{self.count}"
        out.mkdir()
        images = reference.data / "val" / ("A" if reference.task in TWO_SIDED else "")
        values = {
            "run": shutil.copytree(reference.run, out / "run"),
            "out": out,
            "data": reference.data,
            "images": images,
        }
        text = command.format(**values) + (" --direction a-to-b" if needs_direction(command, reference) else "")
        if reference.task == "inpainting" and command.startswith("apply"):
            text += f" --masks {images}"
        if reference.task == "stylization" and command.startswith("apply"):
            text += f" --style {images.parent / 'B' / '0.png'}"
        started = self.start(text, kind)
        deadline = time.monotonic() + self.rng.uniform(0, 4)
        while started.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        started.kill(KILL, all_of_them=True)
        code = started.wait()
        wrong = [] if code in (0, 137) else [f"exit code {code}: {started.log.read_text()[-200:]}"]
        wrong += incomplete(out)
        again = self.start(text, kind)
        wrong += [] if again.wait() == 0 else [f"again it ended with {again.code}: {again.log.read_text()[-200:]}"]
        wrong += litter(out) + incomplete(out)
        shutil.rmtree(out)
        return [f"{reason} ({reference.task})" for reason in wrong]

    def orphans(self) -> None:
        """Find the processes that live on after the training that started them."""
        deadline = time.monotonic() + ORPHANS_S
        left = list(self.sessions)
        while left and time.monotonic() < deadline:
            left = [session for _, _, session in processes() if session in self.sessions]
            time.sleep(0.2)
        for session in left:
            self.rows[self.sessions[session]].wrong.append(f"a process of session {session} was left")
            os.killpg(session, KILL)


def needs_direction(command: str, reference: Reference) -> bool:
    return reference.task == "cyclegan" and not command.startswith("report")


def lost_steps(run: Path) -> list[str]:
    """The steps in the journal that are in no checkpoint."""
    done = max((line["step"] for line in journal(run)), default=0)
    saved = [path.name for path in list_checkpoints(run / "checkpoints")]
    is_lost = done > 0 and (not saved or int(saved[-1].removeprefix("step-")) < done)
    return [f"step {done} was lost, {saved[-1] if saved else 'nothing'} is saved"] if is_lost else []


def trials(bench: Bench) -> dict[str, Callable[[str], list[str]]]:
    """What is tried, by its name in the table."""

    def training(send: Send, codes: tuple[int, ...], moment: Moment | None = None) -> Callable[[str], list[str]]:
        return lambda kind: bench.try_training(kind, send, codes, moment)

    def at(moment: Moment) -> Callable[[str], list[str]]:
        def work(kind: str) -> list[str]:
            name = bench.rng.choice(list(SENDS)[:6])
            return [f"{name}: {reason}" for reason in bench.try_training(kind, *SENDS[name], moment)]

        return work

    return {
        **{f"{name}, at any moment": training(*what) for name, what in SENDS.items()},
        **{f"a signal {name}": at(moment) for name, moment in MOMENTS.items()},
        "a process that loads images is killed": training(kill_worker, (2,)),
        "a second process in the run folder": bench.try_second_process,
        **{
            f"{command.split()[0]} is killed": lambda kind, command=command: bench.try_command(kind, command)  # type: ignore[misc]
            for command in (
                "export {run} {out}/model.onnx",
                "apply {run} {images} {out}/results",
                "evaluate {run} --data {data} --split val",
                "report {run}",
            )
        },
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, default=90, help="no trial begins after this time, apart from the first of each kind"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other tasks and moments")
    parser.add_argument("--only", default="", help="only the trials with this in their name")
    return parser.parse_args()


def run_all(options: argparse.Namespace, place: Path) -> int:
    deadline = time.monotonic() + options.seconds
    first = True
    write_data(place)
    bench = Bench(place, train_references(place), random.Random(options.seed))
    work = {name: trial for name, trial in trials(bench).items() if options.only in name}
    while work and (first or time.monotonic() < deadline):
        for name, trial in work.items():
            if not first and time.monotonic() > deadline:
                break
            row = bench.rows.setdefault(name, Row())
            row.trials += 1
            if wrong := trial(name):
                row.wrong.append("; ".join(wrong))
                print(f"{name}: {row.wrong[-1]}".replace(str(place), "."), flush=True)
        first = False
    bench.orphans()
    print("\n| Kind | Trials | Right | Wrong |\n|---|---|---|---|")
    for name, row in bench.rows.items():
        print(f"| {name} | {row.trials} | {row.trials - len(row.wrong)} | {len(row.wrong)} |")
    return 1 if any(row.wrong for row in bench.rows.values()) else 0


if __name__ == "__main__":
    torch.set_num_threads(1)  # a forked process has no threads of its parent
    folder = Path(tempfile.mkdtemp())
    code = run_all(parsed(), folder)
    shutil.rmtree(folder)
    sys.exit(code)
