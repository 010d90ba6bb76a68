"""Clients of a server, some of them hostile: what each does once, and which answers are documented for it."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import httpx
import numpy as np
from PIL import Image

SIDE = 64
"""Of the images that well-behaved clients send, px."""
CLOSED, LEFT = "closed", "left"
"""The server closed the connection; the client did, after WAIT_S."""
WAIT_S = 5.0
BUSY = "503"
"""May be the answer to any request."""
Act = Callable[[httpx.AsyncClient, random.Random], Awaitable[str]]
"""What a client does once; returns the status, or in a word how it ended."""


@dataclass(frozen=True)
class Kind:
    """documented: the answers that SECURITY.md and the API state for what this client does."""

    name: str
    act: Act
    documented: frozenset[str]


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
    """Press a button of the page, with a session that is never used again; half of them wait for the result."""
    session = f"{rng.randrange(36**8):x}"
    upload = await client.post(
        "/gradio_api/upload", files={"files": ("a.png", png(rng))}, params={"upload_id": session}
    )
    page = await client.get("/")
    for answer in (upload, page):
        if answer.status_code != 200:
            return status(answer)
    text = page.text
    config = json.JSONDecoder().raw_decode(text, text.index("{", text.index("window.gradio_config =")))[0]
    runs = [each["id"] for each in config["components"] if each["props"].get("value") == "Run"]
    index = next(each["id"] for each in config["dependencies"] if each["targets"] and each["targets"][0][0] in runs)
    picture = {"path": upload.json()[0], "meta": {"_type": "gradio.FileData"}}
    body = {"data": [picture, ".png"], "fn_index": index, "session_hash": session}
    joined = await client.post("/gradio_api/queue/join", json=body)
    if joined.status_code == 200 and rng.random() < 0.5:
        return status(await client.get("/gradio_api/queue/data", params={"session_hash": session}))
    return status(joined)


async def bad_file(client: httpx.AsyncClient, rng: random.Random) -> str:
    good = png(rng)  # cut before its last chunk, without which it is whole
    bad = rng.choice(
        (b"text", good[: rng.randrange(1, len(good) - 20)], good[:8] + rng.randbytes(5000), rng.randbytes(10**6))
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
        return status_of_line(await answer)
    finally:
        answer.cancel()
        writer.close()


def part(content: bytes) -> bytes:
    """A chunk of HTTP/1.1."""
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


async def odd_call(client: httpx.AsyncClient, rng: random.Random) -> str:
    """Press no button of the page, or upload what is no form."""
    if rng.random() < 0.5:
        headers = {"Content-Type": f"multipart/form-data; boundary={rng.choice(('', 'b' * 1000, 'b; charset=hex'))}"}
        return status(await client.post("/gradio_api/upload", content=bytes(1000), headers=headers))
    body = rng.choice(
        (b"[" * 100_000, b"{}", json.dumps({"fn_index": 10**9, "data": [], "session_hash": "a"}).encode())
    )
    return status(await client.post("/gradio_api/queue/join", content=body))


START = b"POST /api/mean/run HTTP/1.1\r\nHost: localhost\r\n"
CONTRADICTION = START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
TINY_CHUNKS = (
    START
    + b"Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1\r\nx\r\n" * 100_000
)
HALF = START + b"Content-Length: 1000000\r\n\r\n"
RAW_REQUESTS = (CONTRADICTION, TINY_CHUNKS, HALF, START, b"\0" * 1000, b"")


async def raw(client: httpx.AsyncClient, rng: random.Random) -> str:
    """A connection that sends headers which contradict each other, tiny chunks, half of a request, or nothing."""
    return await exchange(client, rng.choice(RAW_REQUESTS))


async def exchange(client: httpx.AsyncClient, request: bytes) -> str:
    """Send bytes; returns the status of the first answer."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        writer.write(request)
        with suppress(TimeoutError):
            return status_of_line(await asyncio.wait_for(reader.readline(), WAIT_S))
        return LEFT
    finally:
        writer.close()


def status_of_line(line: bytes) -> str:
    return line.split()[1].decode() if line else CLOSED


def kind(name: str, act: Act, *documented: str) -> Kind:
    return Kind(name, act, frozenset((*documented, BUSY)))


KINDS = (
    kind("run the model", run, "200"),
    kind("other addresses of Gradio", other_address, "404"),
    kind("look at pages", look, "200"),
    kind("files that cannot be decoded", bad_file, "422"),
    kind("bodies that never end", endless_body, "413", CLOSED),
    kind("run the model", run, "200"),
    kind("press a button", open_page, "200"),
    kind("damaged HTTP", raw, "400", "422", CLOSED, LEFT),
    kind("files that cannot be decoded", bad_file, "422"),
    kind("calls of no page", odd_call, "422"),
)
