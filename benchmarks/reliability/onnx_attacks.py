"""Run commands on hostile ONNX files, and list those that crash, never end, or take too much memory.

    python benchmarks/reliability/onnx_attacks.py [--only NAME] [--limit-seconds 40] [--peak-gb 1.2]

hostile_onnx.py makes the files. `inspect`, `verify` and `apply` run on each, and what `serve` does: it opens the file
and runs a job. Right is an error in words, and of a file that does no harm also a result.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hostile_onnx import ATTACKS, HARMLESS

from gan_tasks.apps.cli.main import main as command_line
from gan_tasks.apps.web.job_queue import JobRequest, Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write

MAX_SECONDS = 5
"""Of a run, for the commands."""
TRACEBACK = 70
"""Exit code of a child that ended in a traceback."""


@dataclass(frozen=True)
class Ended:
    """How a child ended. code: its exit code; None if it was killed. said: the end of what it printed."""

    code: int | None
    seconds: float
    peak_bytes: int
    said: str


def run_forked(work: Callable[[], int], *, seconds: float, log: Path) -> Ended:
    """Run a function in a forked process; return how it ended, with the memory of the processes that it started."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        try:
            code = work()
        except SystemExit as exited:
            code = exited.code if isinstance(exited.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = TRACEBACK
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()  # ends the process of a model, whose memory then counts
        os._exit(code)
    while True:
        ended, status, used = os.wait4(child, os.WNOHANG)
        taken = time.monotonic() - start
        if ended:
            code = os.waitstatus_to_exitcode(status)
            said = log.read_text(errors="replace").strip()[-300:]
            return Ended(code if code >= 0 else None, taken, used.ru_maxrss * 1024, said)
        if taken > seconds:
            os.killpg(child, signal.SIGKILL)
            os.wait4(child, 0)
            return Ended(None, taken, 0, "never ended")
        time.sleep(0.02)


def run_command(arguments: list[str]) -> int:
    command_line(arguments)
    return 0


def serve_job(file: Path, image: Path, out: Path) -> int:
    """Open a file and run a job as the server does. Returns the exit code of a command."""
    try:
        models = open_models([file], provider="cpu")
        service = Service(models, Limits(max_seconds=MAX_SECONDS))
        service.submit(JobRequest(models[0], {"image": image}), out).result()
        service.close()
    except UserError as error:
        print(error)
        return 2
    return 0


def commands(file: Path, image: Path, place: Path) -> dict[str, Callable[[], int]]:
    limit = ["--max-seconds", str(MAX_SECONDS)]
    apply = ["apply", str(file), str(image), str(place / "out.png"), "--provider", "cpu", "--overwrite", *limit]
    return {
        "inspect": partial(run_command, ["inspect", str(file)]),
        "verify": partial(run_command, ["verify", str(file), *limit]),
        "apply": partial(run_command, apply),
        "serve": partial(serve_job, file, image, place / "served.png"),
    }


def is_right(name: str, command: str, ended: Ended, peak_bytes: float) -> bool:
    codes = (0, 1, 2) if command == "inspect" or name in HARMLESS else (1, 2)
    return ended.code in codes and ended.peak_bytes <= peak_bytes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="only each file of this number")
    parser.add_argument("--only", default="", help="a part of the names of the files to try")
    parser.add_argument("--limit-seconds", type=float, default=40, help="a command that takes longer never ends")
    parser.add_argument("--peak-gb", type=float, default=1.2, help="a command that uses more memory is wrong")
    parser.add_argument("--verbose", action="store_true", help="print what every command says")
    options = parser.parse_args()
    tried: list[Ended] = []
    right = 0
    with TemporaryDirectory() as folder:
        place = Path(folder)
        image, file = place / "image.png", place / "hostile.onnx"
        write(image, Picture(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)))
        for number, (name, make) in enumerate(ATTACKS.items()):
            if options.only not in name or number % options.every:
                continue
            file.write_bytes(make())
            for command, work in commands(file, image, place).items():
                ended = run_forked(work, seconds=options.limit_seconds, log=place / "log")
                tried.append(ended)
                as_it_should = is_right(name, command, ended, options.peak_gb * 1e9)
                right += as_it_should
                if options.verbose or not as_it_should:
                    figures = f"exit code {ended.code}, {ended.seconds:.1f} s, {ended.peak_bytes / 1e9:.2f} GB"
                    print(f"{'' if as_it_should else 'WRONG '}{name}, {command}: {figures}: {ended.said}", flush=True)
    print("\n| Commands | Right | Slowest | Largest |\n|---|---|---|---|")
    slowest, largest = max(each.seconds for each in tried), max(each.peak_bytes for each in tried)
    print(f"| {len(tried)} | {right} | {slowest:.1f} s | {largest / 1e9:.2f} GB |")
    return 0 if right == len(tried) else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked process has no threads of its parent
    sys.exit(main())
