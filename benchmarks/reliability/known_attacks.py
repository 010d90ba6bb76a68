"""Single requests that cost a server gigabytes, or all of its time, where nothing bounds them."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
from client_kinds import CONTRADICTION, exchange, run, status
from images import chunk, jpeg_of_scans, looped_tiff, lzma_of_zeros, png, strip_tiff, zeros_deflated

Ask = Callable[[httpx.AsyncClient, bytes], Awaitable[str]]
"""Sends the request, with a file where it takes one; returns the status of the answer."""


@dataclass(frozen=True)
class Attack:
    """make: the file, made before the time is taken. documented: the right answers."""

    name: str
    ask: Ask
    documented: frozenset[str]
    make: Callable[[], bytes] = bytes


@dataclass(frozen=True)
class Met:
    """How an attack was met.

    answer: its status. next_answer: that of the good image which came next.
    """

    attack: Attack
    answer: str
    seconds: float
    next_answer: str


async def upload(client: httpx.AsyncClient, file: bytes) -> str:
    return status(await client.post("/api/mean/run", files={"image": file}))


async def accept_blobs(client: httpx.AsyncClient, _: bytes) -> str:
    """Gradio grows a list up to the index that the form names."""
    form = {"data": '{"type": "brush", "index": 300000000}', "file": "a", "fn_name": "accept_blobs"}
    return status(await client.post("/gradio_api/component_server", data=form, files={"blob": b"a"}))


async def process_recording(client: httpx.AsyncClient, _: bytes) -> str:
    """Gradio starts ffmpeg, past the queue."""
    return status(await client.post("/gradio_api/process_recording", files={"files": ("a.webm", bytes(10**6))}))


async def contradiction(client: httpx.AsyncClient, _: bytes) -> str:
    return await exchange(client, CONTRADICTION)


REFUSED, DONE_OR_REFUSED = frozenset(("422",)), frozenset(("200", "422"))
ATTACKS = (
    Attack("TIFF, a directory that points to itself", upload, REFUSED, looped_tiff),
    Attack(
        "TIFF, LZMA of 256 MB for 64 px",
        upload,
        DONE_OR_REFUSED,
        lambda: strip_tiff(8, 8, lzma_of_zeros(2**28), t259=(3, [34925])),
    ),
    Attack("JPEG, 5,000 scans", upload, REFUSED, lambda: jpeg_of_scans(5000, 16)),
    Attack(
        "PNG, 1 × 1,000,000",
        upload,
        DONE_OR_REFUSED,
        lambda: png(1, 10**6, chunk(b"IDAT", zeros_deflated(4 * 10**6))),
    ),
    Attack("component_server, accept_blobs", accept_blobs, frozenset(("404",))),
    Attack("process_recording", process_recording, frozenset(("404",))),
    Attack("Content-Length with chunked", contradiction, frozenset(("400",))),
)


async def meet(client: httpx.AsyncClient) -> list[Met]:
    """Try each attack, and a good image after it."""
    met = []
    for attack in ATTACKS:
        file = attack.make()
        began_s = time.monotonic()
        answer = await attack.ask(client, file)
        met.append(Met(attack, answer, time.monotonic() - began_s, await run(client, random.Random(0))))
    return met
