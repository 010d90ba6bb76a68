"""Measure how the threads of a pool wait for work: what it costs with all cores free, and beside another process.

    python benchmarks/shared_machine.py [--seconds 10] [--neighbours 1]

A thread that waits either sleeps or spins. A spinning thread takes a core from every other process, such as a data
worker, and from the very thread that it waits for. Each setting runs in a process of its own, which take turns;
printed are the medians in milliseconds, and in brackets the fastest runs. On a machine that others use as well, only
the fastest runs say something of free cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

Setting = Mapping[str, str]
OPENMP, ONNX_RUNTIME, OPENVINO = "A training step: OpenMP", "ONNX Runtime", "OpenVINO"
SETTINGS: dict[str, tuple[Setting, ...]] = {
    OPENMP: (
        {},
        {"OMP_WAIT_POLICY": "PASSIVE"},
        {"GOMP_SPINCOUNT": "300"},
        {"GOMP_SPINCOUNT": "1000"},
        {"GOMP_SPINCOUNT": "10000"},
        {"GOMP_SPINCOUNT": "100000"},
    ),
    ONNX_RUNTIME: (
        {},
        {"session.force_spinning_stop": "1"},
        {"session.intra_op.spin_duration_us": "50"},
        {"session.intra_op.allow_spinning": "0"},
    ),
    OPENVINO: ({}, {"ENABLE_CPU_PINNING": "NO"}),
}
"""What is measured, and the settings of each: variables of the environment, entries of a session, properties."""
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
BUSY = "while True: pass"
BURST = 3
"""Runs of a process in its turn, after one that is not measured."""


def training_step(size: int) -> Callable[[], object]:
    """Return a function that takes a step of pix2pix."""
    import torch
    from train_step import images, own_step

    from gan_tasks.training.runtime import start_runtime

    torch.manual_seed(0)
    runtime = ExitStack().enter_context(start_runtime("cpu"))
    step, x = own_step("pix2pix", 1, runtime), images("pix2pix", 1, size)
    return lambda: step(x)


def write_network(path: Path) -> None:
    """Write pix2pix's U-Net-256 as an ONNX file."""
    import torch

    from gan_tasks.datasets.paired import PairedConfig
    from gan_tasks.export.onnx.export import Graph, to_onnx
    from gan_tasks.tasks.pix2pix import Pix2Pix

    torch.manual_seed(0)
    task = Pix2Pix(data=PairedConfig(source_channels=3, target_channels=3))
    task.build(for_training=False)
    path.write_bytes(to_onnx(Graph(task.generators.eval()["g"], task.spec())).SerializeToString())


def session_run(kind: str, path: Path, size: int, setting: Setting) -> Callable[[], object]:
    """Return a function that runs an ONNX file on an image, with one thread a core."""
    import numpy as np

    from gan_tasks.export.onnx.providers import core_count

    image = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    if kind == ONNX_RUNTIME:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = core_count()
        for name, value in setting.items():
            options.add_session_config_entry(name, value)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"image": image})
    import openvino

    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", **setting}
    request = openvino.Core().compile_model(str(path), "CPU", properties).create_infer_request()
    return lambda: request.infer({"image": image})


def worker(kind: str, setting: Setting, size: int, path: Path) -> None:
    """Run a burst for each line of the standard input, and print the seconds of its runs."""
    run = training_step(size) if kind == OPENMP else session_run(kind, path, size, setting)
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        times = [time.perf_counter()]
        for _ in range(BURST + 1):
            run()
            times.append(time.perf_counter())
        print(json.dumps([after - before for before, after in itertools.pairwise(times[1:])]), flush=True)


@contextmanager
def started(kind: str, setting: Setting, size: int, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a worker. The variables are set before it loads PyTorch, whose OpenMP reads them once."""
    variables = setting if kind == OPENMP else {}
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, __file__, "--worker", kind, json.dumps(dict(setting)), str(path), "--size", str(size)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment | dict(variables)
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{kind} with {setting} does not start")
        yield process
        process.stdin.close()


def burst(process: subprocess.Popen[str]) -> list[float]:
    """Let a worker run, and return the milliseconds of each run."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return [1000 * seconds for seconds in json.loads(process.stdout.readline())]


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keep this many cores busy with other processes."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(kind: str, options: argparse.Namespace, path: Path) -> None:
    """Print the table of one kind."""
    print(f"\n| {kind} | Alone, ms | Beside {options.neighbours} busy, ms |\n|---|---|---|", flush=True)
    with ExitStack() as stack:
        processes = [stack.enter_context(started(kind, each, options.size, path)) for each in SETTINGS[kind]]
        cells: list[list[str]] = [[] for _ in processes]
        for count in (0, options.neighbours):
            taken: list[list[float]] = [[] for _ in processes]
            with neighbours(count):
                end = time.monotonic() + options.seconds * len(processes) / 2
                while time.monotonic() < end or not taken[0]:
                    for process, times in zip(processes, taken, strict=True):
                        times += burst(process)
            for times, row in zip(taken, cells, strict=True):
                row.append(f"{statistics.median(times):,.0f} ({min(times):,.0f})")
    for setting, row in zip(SETTINGS[kind], cells, strict=True):
        title = ", ".join(f"`{name}={value}`" for name, value in setting.items()) or "default"
        print(f"| {title} | {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="duration of the measurement of each setting")
    parser.add_argument("--neighbours", type=int, default=1, help="number of busy processes beside what is measured")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images in pixels")
    parser.add_argument("--kinds", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="tables to print")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        kind, setting, path = options.worker
        return worker(kind, json.loads(setting), options.size, Path(path))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "unet.onnx")
        write_network(path)
        for kind in options.kinds:
            measure(kind, options, path)
    return None


if __name__ == "__main__":
    main()
