"""A program that trains in child processes, kills them, resumes the runs, and prints the results as JSON.

    python killed_training.py DATA FOLDER TASK

The children are forked from one process that has imported all modules and started no thread. This makes dozens of
trainings fast enough.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny import tiny_task

from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import resume, train

STEPS, EVERY = 5, 2
MOMENTS = 5
CONFIG = TrainConfig(
    device="cpu",
    precision="fp32",
    workers=0,
    max_steps=STEPS,
    checkpoint_every_steps=EVERY,
    log_every_steps=1,
    sample_every_steps=0,
    evaluate_every_steps=0,
    keep_checkpoints=3,
    quiet=True,
)


OPTIONS = {
    "pix2pix": ("--ema-halflife-images", "3"),
    # With six images, the second stage begins with the third step.
    "super-resolution": ("--ema-halflife-images", "3", "--batch-size", "2"),
}


def begin(task_name: str, data: Path, run: Path, **changes: Any) -> None:
    task = tiny_task(task_name, *OPTIONS[task_name])
    train(task, data=data, out=run, config=replace(CONFIG, **changes))


def fork(work: Callable[[], None]) -> int:
    """Run a function in a child process, and return its process id."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def wait(child: int) -> int:
    """Return the exit code of a child; the negative signal number if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class KillSwitch:
    """Counts writes, syncs and renames from the second checkpoint on, and kills the process at one of them."""

    def __init__(self, at: int, log: Path) -> None:
        self.at, self.count, self.log = at, 0, log
        self.armed = False

    def tick(self, what: str, before_death: Callable[[], object] = lambda: None) -> None:
        if not self.armed:
            return
        self.count += 1
        if self.at == 0:
            with self.log.open("a") as file:
                file.write(what + "\n")
        elif self.count == self.at:
            before_death()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        fsync, rename, replace, opened = os.fsync, pathlib.Path.rename, pathlib.Path.replace, pathlib.Path.open

        def own_fsync(descriptor: int) -> None:
            self.tick("fsync")
            fsync(descriptor)

        def moved(move: Any) -> Any:
            def own(path: Path, target: Path) -> Any:
                self.tick(f"before renaming to {target}")
                result = move(path, target)
                self.tick(f"after renaming to {target}")
                if f"step-{EVERY:08d}" in str(target):
                    self.armed = True
                return result

            return own

        def own_open(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
            file = opened(path, mode, *more, **options)
            if mode == "wb" and self.armed:
                self.tick(f"half of {path.name}", lambda: (file.write(b"half"), file.flush()))
            return file

        os.fsync = own_fsync
        for name, own in (("rename", moved(rename)), ("replace", moved(replace)), ("open", own_open)):
            setattr(pathlib.Path, name, own)


def outcome(run: Path, reference: Path, code: int) -> dict[str, Any]:
    newest = f"checkpoints/step-{STEPS:08d}"
    names = sorted(path.name for path in (reference / newest).iterdir())

    def same(name: str) -> bool:
        ours, theirs = run / newest / name, reference / newest / name
        if not ours.is_file():
            return False
        if name == "state.json":  # the sizes of the journals differ, because it also has the event of the resume
            states = [json.loads(path.read_bytes()) for path in (ours, theirs)]
            return without_journal(states[0]) == without_journal(states[1])
        return ours.read_bytes() == theirs.read_bytes()

    different = [name for name in names if not same(name)]
    leftovers = [str(path.relative_to(run)) for path in run.rglob(".*")]
    return {
        "code": code,
        "different": different,
        "leftovers": leftovers,
        "journal": journal(run) == journal(reference),
    }


def without_journal(state: dict[str, Any]) -> dict[str, Any]:
    position = {key: value for key, value in state["position"].items() if key != "journal_bytes"}
    return {**state, "position": position, "blake2b": ""}


def journal(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("time", "speed/images_per_second")}
        for line in lines
        if "event" not in line
    ]


def seconds_from_config(run: Path) -> float:
    """Return the time from the write of a run's config.json to its last file."""
    return max(path.stat().st_mtime for path in run.rglob("*")) - (run / "config.json").stat().st_mtime


def main(data: Path, folder: Path, task_name: str) -> None:
    torch.set_num_threads(1)
    begin(
        task_name, data, folder / "warm-up"
    )  # so that the modules that training imports late are loaded before the forks
    reference = folder / "reference"
    assert wait(fork(lambda: begin(task_name, data, reference))) == 0

    def killed_at(point: int, run: Path, log: Path) -> int:
        def work() -> None:
            KillSwitch(point, log).install()
            begin(task_name, data, run)

        return wait(fork(work))

    log = folder / "points"
    assert killed_at(0, folder / "counted", log) == 0
    points = log.read_text().splitlines()
    # Use the points up to the end of the next checkpoint: later checkpoints repeat the same operations.
    points = points[: 1 + next(i for i, what in enumerate(points) if re.match("after renaming to .*/step-", what))]
    results: dict[str, Any] = {"task": task_name, "points": {}, "moments": {}, "workers": {}}
    for number, what in enumerate(points, start=1):
        run = folder / f"point-{number}"
        death = killed_at(number, run, log)
        code = wait(fork(lambda run=run: resume(run)))  # type: ignore[misc]
        results["points"][f"{number}: {what}"] = {"death": death, **outcome(run, reference, code)}

    duration_s = min(seconds_from_config(run) for run in (reference, folder / "counted"))
    chance = random.Random(0)
    for number in range(MOMENTS):
        run = folder / f"moment-{number}"
        child = fork(lambda run=run: begin(task_name, data, run))  # type: ignore[misc]
        while not (run / "config.json").exists():
            time.sleep(0.005)
        time.sleep(chance.uniform(0, duration_s))
        os.kill(child, signal.SIGKILL)
        death = wait(child)
        code = wait(fork(lambda run=run: resume(run)))  # type: ignore[misc]
        results["moments"][str(number)] = {"death": death, **outcome(run, reference, code)}

    for first, second in ((0, 2), (2, 0)):
        run = folder / f"workers-{first}-{second}"

        def stopped(run: Path = run, first: int = first) -> None:
            begin(task_name, data, run, workers=first, max_steps=3)

        wait(fork(stopped))
        code = wait(fork(lambda run=run, second=second: resume(run, workers=second, max_steps=STEPS)))  # type: ignore[misc]
        results["workers"][f"{first} → {second}"] = outcome(run, reference, code)
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
