"""Measure everything on a GPU, in at most eight minutes, and write gpu.json and gpu.md.

    benchmarks/gpu.sh [--minutes 8] [--out FOLDER] [--facades FOLDER] [--parts tests steps …] [--device auto]

It needs PyTorch for CUDA and this repository, which need not be installed, and no network. Each part is a process of
its own with a limit of its time, so that a failure or a hang costs that part only; the lines that it had measured are
kept. Parts run in the order of their importance, and time that one leaves goes to the later ones. What a package is
missing for is listed as "not run". The folder of results is --out, else the environment's OUT, else the current one.

Missing packages can be carried as wheels; docs/results-speed.md has the commands and sizes. TensorRT and
onnxruntime-gpu are too large to be carried so.

`--device cpu --tiny` tries the script without a GPU in about two minutes: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu.options import Options, Row, repository
from gpu.part import as_argument
from gpu.report import markdown

STEP_NEEDS = ("torch", "numpy", "rich", "safetensors", "filelock")
DATA_NEEDS = (
    *STEP_NEEDS,
    *("PIL", "cv2", "simplejpeg", "scipy", "packaging"),
    *("albumentations", "albucore", "simsimd", "stringzilla", "yaml"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection"),
)
"""Modules that are imported, those that others import included: wheels are often installed without them."""
USUAL_MINUTES = 8
RESERVE_S = 8
"""Time for the start of processes that are ended, and for the report."""


@dataclass(frozen=True)
class Planned:
    """A part of the measurement. limit_s: its longest time in a measurement of USUAL_MINUTES."""

    name: str
    limit_s: float
    needs: tuple[str, ...] = STEP_NEEDS
    tasks: tuple[str, ...] = ()
    """The tasks of train_step.py that it measures; those of the command line if it is empty."""

    @property
    def title(self) -> str:
        return " ".join((self.name, *self.tasks))


PLAN = (
    Planned("machine", 40),
    Planned("tests", 60, (*DATA_NEEDS, "pytest")),
    Planned("own", 75),
    Planned("plain", 75),
    Planned("memory", 40),
    Planned("waiting", 40, DATA_NEEDS),
    Planned("training", 120, DATA_NEEDS),
    Planned("inference", 60, (*DATA_NEEDS, "onnx", "onnxscript", "onnxruntime")),
    *(
        Planned("compiled", 90, STEP_NEEDS, (name,))
        for name in ("pix2pix", "cyclegan", "compact", "inpainting", "esrgan")
    ),
)
"""The parts, the most important first."""
Start = Callable[[str, Options, Path, float], str]
"""Runs a part: its name, options, the file for its lines, and its limit in seconds. Returns what went wrong."""


def in_a_process(name: str, options: Options, rows: Path, limit_s: float) -> str:
    """Run a part in a process of its own, and end it with its children after so many seconds."""
    folders = (str(repository()), str(repository() / "benchmarks"), os.environ.get("PYTHONPATH", ""))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}
    command = [sys.executable, "-m", "gpu.part", name, as_argument(options), str(rows)]
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return f"ended after its limit of {limit_s:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        last = [line for line in output.read().splitlines() if line.strip()][-12:]
    return "" if code == 0 else f"failed with exit code {code}: " + " / ".join(last)


def missing(needs: tuple[str, ...]) -> list[str]:
    return [name for name in dict.fromkeys(needs) if find_spec(name) is None]


def measure(
    plan: tuple[Planned, ...], options: Options, seconds: float, start: Start = in_a_process
) -> dict[str, Any]:
    """Run the parts one after another within so many seconds, and return their lines and what went wrong."""
    began = time.monotonic()
    scale = seconds / (USUAL_MINUTES * 60)
    parts: list[dict[str, Any]] = []
    for planned in plan:
        left = seconds - RESERVE_S * scale - (time.monotonic() - began)
        limit_s = min(left, planned.limit_s * scale)
        lines: list[Row] = []
        before = time.monotonic()
        if absent := missing(planned.needs):
            problem = f"not run: needs {', '.join(absent)}"
        elif limit_s <= 0:
            problem = "not run: no time was left"
        else:
            with tempfile.TemporaryDirectory() as folder:
                rows = Path(folder) / "rows"
                rows.touch()
                given = options.lasting(limit_s)
                if planned.tasks:
                    given = replace(given, tasks=planned.tasks)
                problem = start(planned.name, given, rows, limit_s)
                lines = [json.loads(line) for line in rows.read_text().splitlines()]
        without = sum("error" in row for row in lines if row.get("outcome") != "skipped")
        if without and not problem:
            problem = f"{without} of {len(lines)} lines have no figures"
        taken = time.monotonic() - before
        parts.append(
            {"part": planned.name, "title": planned.title, "seconds": taken, "problem": problem, "rows": lines}
        )
        print(f"{planned.title}: {len(lines)} lines in {taken:.0f} s{f'; {problem}' if problem else ''}", flush=True)
    return {"device": options.device, "tiny": options.tiny, "seconds": time.monotonic() - began, "parts": parts}


def main(arguments: list[str] | None = None, start: Start = in_a_process) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=USUAL_MINUTES, help="the longest time of all parts together")
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT", "."), help="the folder of results")
    parser.add_argument("--facades", default="", help="a folder of pairs, as `gan-tasks train pix2pix` takes it")
    parser.add_argument(
        "--parts", nargs="+", choices=sorted({planned.name for planned in PLAN}), help="only these parts"
    )
    parser.add_argument("--tasks", nargs="+", default=[], help="only these rows of train_step.py")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N, or cpu to try the script")
    parser.add_argument("--tiny", action="store_true", help="small images and few steps, to try the script")
    given = parser.parse_args(arguments)
    absent = missing(tuple(name for planned in PLAN for name in planned.needs))
    print(f"missing packages: {', '.join(absent) or 'none'}", flush=True)
    device = "cuda" if given.device == "auto" else given.device
    if given.facades and not Path(given.facades).is_dir():
        parser.error(f"--facades: {given.facades} is no folder")
    facades = str(Path(given.facades).absolute()) if given.facades else ""
    options = Options(device, 0, given.tiny, tuple(given.tasks), facades)
    plan = tuple(planned for planned in PLAN if not given.parts or planned.name in given.parts)
    if given.tasks:
        plan = tuple(planned for planned in plan if set(planned.tasks) <= set(given.tasks))
    measured = measure(plan, options, given.minutes * 60, start) | {"missing": absent}
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "gpu.json").write_text(json.dumps(measured, indent=1))
    (given.out / "gpu.md").write_text(markdown(measured))
    print(f"\n{markdown(measured)}\nwritten: {given.out / 'gpu.json'}, {given.out / 'gpu.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
