"""Measure how threads that wait affect a training step and an exported network, alone and beside another process.

    python benchmarks/shared_machine.py [--seconds 10] [--neighbours 1]

A thread that has no work left either sleeps or spins, which keeps a core busy until the other threads are done. With
all cores free, spinning is a little faster. With another process at work, such as a data worker, it is much slower.
Each setting runs in processes of its own, which take turns; printed is the median time of a step in milliseconds.
`gan-tasks` sets what the last row shows, unless the environment says otherwise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SETTINGS: dict[str, dict[str, str]] = {
    "default of PyTorch": {},
    "OMP_WAIT_POLICY=ACTIVE": {"OMP_WAIT_POLICY": "ACTIVE"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
}
BUSY = "while True: pass"


def stepper(size: int) -> None:
    """Take a step of pix2pix for each line of the standard input, and print its seconds."""
    import torch
    from train_step import images, own_step

    from gan_tasks.training.runtime import start_runtime

    torch.manual_seed(0)
    with start_runtime("cpu") as runtime:
        step, x = own_step("pix2pix", 1, runtime), images("pix2pix", 1, size)
        for _ in range(2):
            step(x)
        print("ready", flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            step(x)
            print(time.perf_counter() - start, flush=True)


@contextmanager
def started(setting: dict[str, str], size: int) -> Iterator[subprocess.Popen[str]]:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names} | setting
    command = [sys.executable, __file__, "--stepper", "--size", str(size)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


def seconds_of(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="duration of the measurement of each setting")
    parser.add_argument("--neighbours", type=int, default=1, help="number of processes beside the training")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images in pixels")
    parser.add_argument("--stepper", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stepper:
        return stepper(options.size)
    print(f"| Setting | Alone, ms | Beside {options.neighbours} busy, ms |\n|---|---|---|")
    for name, setting in SETTINGS.items():
        with started(setting, options.size) as process:
            medians = []
            for count in (0, options.neighbours):
                with neighbours(count):
                    end, taken = time.monotonic() + options.seconds / 2, [seconds_of(process)]
                    while time.monotonic() < end or len(taken) < 3:
                        taken.append(seconds_of(process))
                medians.append(statistics.median(taken) * 1000)
        print(f"| {name} | {medians[0]:,.0f} | {medians[1]:,.0f} |", flush=True)
    return None


if __name__ == "__main__":
    main()
