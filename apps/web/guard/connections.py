"""Connections: how many there are, and how long one may take over its headers and over reading its answer."""

from __future__ import annotations

import asyncio

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


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 with an end for clients that hold a connection and do nothing (slowloris)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._timers: dict[str, asyncio.TimerHandle] = {}
        super().connection_made(transport)  # type: ignore[arg-type]
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
