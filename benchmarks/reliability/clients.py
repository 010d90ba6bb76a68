"""Serve a small model to many clients, some of them hostile, and print how the server bears it.

    python benchmarks/reliability/clients.py [--clients 50] [--seconds 20] [--seed 0]

20 seconds show that it works; take `--seconds 180` for figures. The server is a process of its own. Of ten
clients, four ask as programs and pages do, two send files that cannot be decoded, and four attack it: addresses that
only Gradio has, bodies that never end, calls that no page of ours makes, headers that contradict each other, and
connections that only wait. All of them are one process, which takes its share of the machine. Another process asks
for `/healthz` ten times a second, so that the time is the server's and not that of a busy client. When the clients
are gone, single requests that are known to be expensive come, each followed by a good image.

Printed are the answers of each kind of client by their status, the time of each expensive request, the 99th
percentile of the time for `/healthz`, and the server's memory (see `Memory`). Exits with 1 for an answer that is not
documented, and over a limit that is named below.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
from client_kinds import CLOSED, KINDS, Kind, look, open_page, run
from known_attacks import Met, meet

HELPERS = Path(__file__).parents[2] / "tests" / "helpers"
WATCH_EVERY_S = 0.1
REST_S = 12
"""After the clients, until the server has given its memory back (see `apps/web/idle.py`)."""

MAX_HEALTH_MS = 250
"""99th percentile."""
MAX_ATTACK_S = 5
MAX_PEAK_MB, MAX_RESTED_MB, MAX_END_MB = 100, 40, 70
"""Above the memory after the first answers: at the peak, after the clients, when the server keeps 256 pages, and
after the expensive requests. One image of 1 × 1,000,000 px leaves 35 MB; ten more leave no more."""

Answers = Mapping[str, Counter[str]]
"""Counts by status, of each kind of client."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of the server, MB.

    start: when it listens. warm: after its first answers. peak: while there are clients. rested: a while after they
    are gone. end: a while after the expensive requests.
    """

    start: float
    warm: float
    peak: float
    rested: float
    end: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, served(folder := Path(name)) as (address, process):
        start_mb = memory_mb(process)
        asyncio.run(warm_up(address))
        warm_mb = memory_mb(process)
        with watched(address, process) as measured:
            answers = asyncio.run(attack(address, chosen.clients, chosen.seconds, chosen.seed))
        time.sleep(REST_S)
        rested_mb = memory_mb(process)
        met = asyncio.run(meet_all(address))
        time.sleep(REST_S)
        memory = Memory(start_mb, warm_mb, max(measured.memory_mb), rested_mb, memory_mb(process))
        log_bytes = (folder / "log.txt").stat().st_size
    print_answers(answers)
    print_attacks(met)
    health_ms = float(np.percentile(measured.health_s, 99)) * 1000
    figures = {
        "requests per second": sum(each.total() for each in answers.values()) / chosen.seconds,
        "/healthz, median, ms": float(np.median(measured.health_s)) * 1000,
        "/healthz, 99th percentile, ms": health_ms,
        "/healthz, longest, ms": max(measured.health_s) * 1000,
        **{f"memory, {name}, MB": value for name, value in vars(memory).items()},
        "log, bytes": log_bytes,
    }
    for name, value in figures.items():
        print(f"{name:<40}{value:>10,.0f}")
    wrong = [*undocumented(answers), *wrong_attacks(met), *over_limits(health_ms, memory)]
    for each in wrong:
        print(f"wrong: {each}")
    return 1 if wrong else 0


# The server, and what is measured


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """A server of a small model: its address, and the id of its process. Its log is log.txt in the folder."""
    make = "import sys, pathlib, handmade_onnx; handmade_onnx.write_onnx(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", make, str(folder / "mean.onnx")], cwd=HELPERS, check=True)
    command = [sys.executable, "-m", "gan_tasks.apps.cli.main", "serve", str(folder / "mean.onnx"), "--port", "0"]
    command += ["--max-upload", "20MB", "--max-disk", "100MB"]
    with (
        (folder / "log.txt").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        assert server.stdout is not None
        address = next(line for line in server.stdout if line.startswith("serving")).split()[-1]
        try:
            yield address, server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


@dataclass(frozen=True)
class Measured:
    """Measured in a process of its own until the end of the `with` body."""

    health_s: list[float]
    memory_mb: list[float]


@contextmanager
def watched(address: str, process: int) -> Iterator[Measured]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    watcher = context.Process(target=watch_until_told, args=(address, process, theirs), daemon=True)
    watcher.start()
    assert ours.recv() == "ready"
    measured = Measured([], [])
    yield measured
    ours.send("end")
    health_s, taken_mb = ours.recv()
    measured.health_s.extend(health_s)
    measured.memory_mb.extend(taken_mb)
    watcher.join()


def watch_until_told(address: str, process: int, pipe: Connection) -> None:
    parts = urlsplit(address)
    health_s, taken_mb = [], []
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.connect()
    pipe.send("ready")
    while not pipe.poll(WATCH_EVERY_S):
        began_s = time.monotonic()
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        health_s.append(time.monotonic() - began_s)
        taken_mb.append(memory_mb(process))
    pipe.send((health_s, taken_mb))


def memory_mb(process: int) -> float:
    """Resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


# The clients


async def warm_up(address: str) -> None:
    """Ask what loads libraries and models once: a page, a run, and a button."""
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        for act in (look, run, open_page):
            await act(client, random.Random(0))


async def attack(address: str, clients: int, seconds: float, seed: int) -> Answers:
    answers: dict[str, Counter[str]] = {kind.name: Counter() for kind in KINDS}
    ends_s = time.monotonic() + seconds
    await asyncio.gather(
        *(
            act(address, kind, answers[kind.name], ends_s, random.Random(seed + number))
            for number, kind in ((number, KINDS[number % len(KINDS)]) for number in range(clients))
        )
    )
    return answers


async def act(address: str, kind: Kind, answers: Counter[str], ends_s: float, rng: random.Random) -> None:
    """Do the same again until the time is over."""
    async with httpx.AsyncClient(base_url=address, timeout=60, verify=False) as client:
        while time.monotonic() < ends_s:
            try:
                answers[await kind.act(client, rng)] += 1
            except (httpx.TransportError, OSError):
                answers[CLOSED] += 1
            await asyncio.sleep(0.02)


async def meet_all(address: str) -> list[Met]:
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        return await meet(client)


# What is printed, and what is wrong


def print_answers(answers: Answers) -> None:
    statuses = sorted({status for each in answers.values() for status in each})
    print(f"{'client':<32}" + "".join(f"{status:>8}" for status in statuses))
    for name, counts in answers.items():
        print(f"{name:<32}" + "".join(f"{counts[status] or '':>8}" for status in statuses))


def print_attacks(met: Sequence[Met]) -> None:
    print(f"{'request':<44}{'answer':>8}{'seconds':>9}{'next':>6}")
    for each in met:
        print(f"{each.attack.name:<44}{each.answer:>8}{each.seconds:>9.2f}{each.next_answer:>6}")


def undocumented(answers: Answers) -> Iterator[str]:
    documented = {kind.name: kind.documented for kind in KINDS}
    for name, counts in answers.items():
        for status in counts.keys() - documented[name]:
            yield f"{name}: {status} is not documented"


def wrong_attacks(met: Sequence[Met]) -> Iterator[str]:
    for each in met:
        if each.answer not in each.attack.documented:
            yield f"{each.attack.name}: {each.answer} is not documented"
        if each.seconds > MAX_ATTACK_S:
            yield f"{each.attack.name}: {each.seconds:.1f} s are over {MAX_ATTACK_S} s"
        if each.next_answer != "200":
            yield f"{each.attack.name}: the next image was answered with {each.next_answer}"


def over_limits(health_ms: float, memory: Memory) -> Iterator[str]:
    if health_ms > MAX_HEALTH_MS:
        yield f"/healthz took {health_ms:.0f} ms, over {MAX_HEALTH_MS} ms, at the 99th percentile"
    if (grown := memory.peak - memory.warm) > MAX_PEAK_MB:
        yield f"the peak of the memory is {grown:.0f} MB above its start, over {MAX_PEAK_MB} MB"
    rests = (("after the clients", memory.rested, MAX_RESTED_MB), ("at the end", memory.end, MAX_END_MB))
    for name, value, most in rests:
        if (grown := value - memory.warm) > most:
            yield f"the memory {name} is {grown:.0f} MB above its start, over {most} MB"


if __name__ == "__main__":
    sys.exit(main())
