"""Connections that do nothing are closed, and there are only so many."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("uvicorn")

import h11
import uvicorn

from gan_tasks.apps.web.guard import connections

PARTS = 400


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once: much for /much, else little."""
    await send({"type": "http.response.start", "status": 413, "headers": []})
    for _ in range(PARTS if scope["path"] == "/much" else 0):
        await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
    await send({"type": "http.response.body", "body": b"refused"})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    for name in ("HEADERS_S", "UNREAD_S", "LINGER_S"):
        monkeypatch.setattr(connections, name, 0.3)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    config = uvicorn.Config(app, http=connections.BoundedProtocol, ws="none", log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


def is_closed(client: socket.socket, *, while_sending: bytes = b"") -> bool:
    """Whether the server ends the connection."""
    client.settimeout(0.05)
    deadline = time.monotonic() + 20
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            if while_sending:
                client.send(while_sending)
            with contextlib.suppress(TimeoutError):
                if client.recv(65_536) == b"":
                    return True
        return False
    return True


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"G"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["silent", "endless headers", "second request", "refused body", "refused chunks"],
)
def test_a_connection_that_only_waits_is_closed(address: tuple[str, int], first: bytes, then: bytes) -> None:
    with socket.create_connection(address) as client:
        client.sendall(first)
        if b"\r\n\r\n" in first:
            assert client.recv(12) == b"HTTP/1.1 413"
        assert is_closed(client, while_sending=then)


def test_a_client_that_does_not_read_its_answer_is_given_up(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        client.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1)
        received = 0
        client.settimeout(20)
        with contextlib.suppress(ConnectionError):
            while data := client.recv(2**20):
                received += len(data)
        assert received < PARTS * 65_536


def test_a_client_that_reads_gets_all(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        client.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.settimeout(20)
        received = 0
        while data := client.recv(2**20):
            received += len(data)
        assert received > PARTS * 65_536


def test_there_are_only_so_many_connections(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_S", 60)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(3)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.2)
        late = stack.enter_context(socket.create_connection(address))
        assert is_closed(late)
        clients[0].sendall(b"Host: a\r\n\r\n")
        assert clients[0].recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize(("size", "is_refused"), [(1, True), (connections.SMALL_CHUNK_BYTES, False)])
def test_bodies_in_tiny_chunks_are_refused(size: int, is_refused: bool) -> None:
    connection = connections.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(connection.next_event(), h11.Request)
    connection.receive_data((b"%x\r\n%s\r\n" % (size, b"x" * size)) * (2 * connections.SMALL_CHUNKS))
    with pytest.raises(h11.RemoteProtocolError) if is_refused else contextlib.nullcontext():
        while connection.next_event() is not h11.NEED_DATA:
            pass
