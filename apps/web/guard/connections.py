"""Connections: how many there are, and how long one may take over its headers and over reading its answer."""

from __future__ import annotations

import asyncio
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 500
"""More are closed as they come. A system gives a process 1,024 open files where nothing else is said."""
HEADERS_S = 20.0
"""For the first line and the headers of a request, and before it on a new connection."""
UNREAD_S = 60.0
"""For a client to take what was sent to it (at most 64 KiB at a time, see `middleware.PART_BYTES`)."""
LINGER_S = 5.0
"""In which a body that was refused may still come, so that the client reads why."""
MAX_HEAD_BYTES = 64 * 1024
"""Of the first line and the headers of a request."""
SMALL_CHUNKS, SMALL_CHUNK_BYTES = 1000, 256
"""So many chunks of a body may be smaller on average."""


class Connection(h11.Connection):
    """HTTP/1.1 that refuses bodies in tiny chunks: each takes about 10 µs, in which no other request is answered."""

    chunks = chunk_bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.chunks = self.chunk_bytes = 0
        elif isinstance(event, h11.Data):
            self.chunks += event.chunk_start
            self.chunk_bytes += len(event.data)
            if self.chunks > SMALL_CHUNKS and self.chunk_bytes < self.chunks * SMALL_CHUNK_BYTES:
                raise h11.RemoteProtocolError("the chunks of the body are too small")
        return event


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 with an end for clients that hold a connection and do nothing (slowloris)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.conn = Connection(h11.SERVER, MAX_HEAD_BYTES)
        super().connection_made(transport)  # type: ignore[arg-type]
        # asyncio does so only for sockets that name their protocol; without it a body waits 40 ms for its headers.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > MAX_CONNECTIONS:
            self.transport.abort()
        self._abort_after("headers", HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in tuple(self._timers):
            self._cancel(name)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is h11.IDLE:  # headers of the next request are to come
            if "headers" not in self._timers:
                self._abort_after("headers", HEADERS_S)
        else:
            self._cancel("headers")
        if self.conn.their_state is not h11.SEND_BODY:
            self._cancel("linger")

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True  # the app's own answer is dropped
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # another answer has begun
            self.transport.abort()

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            self._abort_after("linger", LINGER_S)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._abort_after("unread", UNREAD_S)

    def resume_writing(self) -> None:
        self._cancel("unread")
        super().resume_writing()

    def _abort_after(self, name: str, seconds: float) -> None:
        self._cancel(name)
        self._timers[name] = self.loop.call_later(seconds, self.transport.abort)

    def _cancel(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
