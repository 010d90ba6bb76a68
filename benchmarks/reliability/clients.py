"""Serve a small model to many clients, some of them hostile, and print how the server bears it.

    python benchmarks/reliability/clients.py [--clients 50] [--seconds 20] [--seed 0]

20 seconds show that it works; take `--seconds 180` for figures. The server is a process of its own. Of ten
clients, four ask as programs and pages do, two send files that cannot be decoded, and four attack it: addresses that
only Gradio has, bodies that never end, calls that no page of ours makes, headers that contradict each other, and
connections that only wait. Meanwhile another client asks for `/healthz` ten times a second.

Printed are the answers by their status, the 99th percentile of the time for `/healthz`, and the memory of the server
(resident, in MB) at its start, at its peak and after the clients are gone. Right are answers below 500, and 503.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

HELPERS = Path(__file__).parents[2] / "tests" / "helpers"
SIDE = 64
"""Of the images that well-behaved clients send, px."""
HEALTH_EVERY_S = 0.1
MEMORY_EVERY_S = 0.2
REST_S = 12
"""After the clients, until the server has given its memory back (see `apps/web/idle.py`)."""
Answers = Counter[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (address, process):
        figures = asyncio.run(attack(address, process, chosen.clients, chosen.seconds, chosen.seed))
    for name, value in figures.items():
        print(f"{name:<32}{value:>12}")


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """A server of a small model: its address, and the id of its process."""
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
            print(f"{'log, bytes':<32}{log.tell() or (folder / 'log.txt').stat().st_size:>12,}")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


async def attack(address: str, process: int, clients: int, seconds: float, seed: int) -> dict[str, str]:
    answers: Answers = Counter()
    waits_s: list[float] = []
    start_mb = peak_mb = memory_mb(process)
    ends_s = time.monotonic() + seconds

    async def watch() -> None:
        nonlocal peak_mb
        while True:
            peak_mb = max(peak_mb, memory_mb(process))
            await asyncio.sleep(MEMORY_EVERY_S)

    async def health() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            while True:
                began_s = time.monotonic()
                assert (await client.get("/healthz")).status_code == 200
                waits_s.append(time.monotonic() - began_s)
                await asyncio.sleep(HEALTH_EVERY_S)

    watching = [asyncio.create_task(watch()), asyncio.create_task(health())]
    deeds = [KINDS[number % len(KINDS)] for number in range(clients)]
    await asyncio.gather(
        *(act(address, deed, answers, ends_s, random.Random(seed + number)) for number, deed in enumerate(deeds))
    )
    await asyncio.sleep(REST_S)
    for task in watching:
        if task.done():
            task.result()  # raises what went wrong
        task.cancel()
    return {
        **{f"answers: {status}": f"{count:,}" for status, count in sorted(answers.items())},
        "/healthz, 99th percentile, ms": f"{np.percentile(waits_s, 99) * 1000:,.0f}",
        "/healthz, longest, ms": f"{max(waits_s) * 1000:,.0f}",
        "memory at the start, MB": f"{start_mb:,.0f}",
        "memory at its peak, MB": f"{peak_mb:,.0f}",
        "memory at the end, MB": f"{memory_mb(process):,.0f}",
    }


def memory_mb(process: int) -> float:
    """Resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


Act = Callable[[httpx.AsyncClient, random.Random], Awaitable[str]]
"""What a client does once; returns the status, or in a word how it ended."""


async def act(address: str, deed: Act, answers: Answers, ends_s: float, rng: random.Random) -> None:
    """Repeat a deed until the time is over."""
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        while time.monotonic() < ends_s:
            try:
                answers[await deed(client, rng)] += 1
            except (httpx.TransportError, OSError):
                answers["connection closed"] += 1
            await asyncio.sleep(0.02)


def status(answer: httpx.Response) -> str:
    return str(answer.status_code)


def png(rng: random.Random) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


async def run(client: httpx.AsyncClient, rng: random.Random) -> str:
    return status(await client.post("/api/mean/run", files={"image": png(rng)}))


async def look(client: httpx.AsyncClient, rng: random.Random) -> str:
    return status(await client.get(rng.choice(("/", "/api/models", "/openapi.json", "/readyz"))))


async def open_page(client: httpx.AsyncClient, rng: random.Random) -> str:
    """Press a button of the page, with a session that is never used again."""
    session = f"{rng.randrange(36**8):x}"
    upload = await client.post(
        "/gradio_api/upload", files={"files": ("a.png", png(rng))}, params={"upload_id": session}
    )
    page = (await client.get("/")).text
    config = json.JSONDecoder().raw_decode(page, page.index("{", page.index("window.gradio_config =")))[0]
    runs = [each["id"] for each in config["components"] if each["props"].get("value") == "Run"]
    index = next(each["id"] for each in config["dependencies"] if each["targets"] and each["targets"][0][0] in runs)
    picture = {"path": upload.json()[0], "meta": {"_type": "gradio.FileData"}}
    body = {"data": [picture, ".png"], "fn_index": index, "session_hash": session}
    joined = await client.post("/gradio_api/queue/join", json=body)
    if joined.status_code == 200 and rng.random() < 0.5:
        await client.get("/gradio_api/queue/data", params={"session_hash": session})
    return status(joined)


async def bad_file(client: httpx.AsyncClient, rng: random.Random) -> str:
    good = png(rng)
    bad = rng.choice(
        (b"text", good[: rng.randrange(1, len(good))], good[:8] + rng.randbytes(5000), rng.randbytes(10**6))
    )
    return status(await client.post("/api/mean/run", files={"image": bad}))


async def other_address(client: httpx.AsyncClient, rng: random.Random) -> str:
    path = rng.choice(("component_server", "process_recording", "run/predict", "call/x", "cancel", "vibe-edit"))
    return status(await client.post(f"/gradio_api/{path}", content=bytes(10**6)))


async def endless_body(client: httpx.AsyncClient, rng: random.Random) -> str:
    """Send parts of a body until there is an answer."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    path = rng.choice(("/api/mean/run", "/gradio_api/upload"))
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    first = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    answer = asyncio.ensure_future(reader.readline())
    try:
        writer.write(head.encode() + part(first))
        while not answer.done():
            writer.write(part(bytes(2**16)))
            await writer.drain()
            await asyncio.sleep(0)
        return (await answer).split()[1].decode()
    finally:
        answer.cancel()
        writer.close()


def part(content: bytes) -> bytes:
    """A chunk of HTTP/1.1."""
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


async def odd_call(client: httpx.AsyncClient, rng: random.Random) -> str:
    body = rng.choice(
        (b"[" * 100_000, b"{}", json.dumps({"fn_index": 10**9, "data": [], "session_hash": "a"}).encode())
    )
    return status(await client.post("/gradio_api/queue/join", content=body))


async def raw(client: httpx.AsyncClient, rng: random.Random) -> str:
    """A connection that sends headers which contradict each other, half of a request, or nothing."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    start = b"POST /api/mean/run HTTP/1.1\r\nHost: localhost\r\n"
    try:
        writer.write(
            rng.choice(
                (
                    start + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    start + b"Content-Length: 1000000\r\n\r\n",
                    start,
                    b"\0" * 1000,
                    b"",
                )
            )
        )
        with suppress(TimeoutError):
            line = await asyncio.wait_for(reader.readline(), 5)
            return line.split()[1].decode() if line else "connection closed"
        return "left after 5 s"
    finally:
        writer.close()


KINDS: tuple[Act, ...] = (run, other_address, look, bad_file, endless_body, run, open_page, raw, bad_file, odd_call)


if __name__ == "__main__":
    main()
