"""What a request sends, counted as it comes: the headers may say what they like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Message, Receive

FIRST_S = 20.0
"""Time for a body, to which the bytes that came add: a slower client is given up."""
SLOWEST_BYTES_PER_S = 16_000


@dataclass
class Budget:
    """Bytes of bodies that the server holds at one time, of all clients together."""

    max_bytes: int
    held: int = 0


class CountedBody:
    """An ASGI `receive` that ends a body which is too long, too slow, or too much beside the others.

    The app is told that the client is gone; `refused` says what to answer in its place.
    """

    def __init__(
        self,
        receive: Receive,
        max_bytes: int,
        budget: Budget,
        refuse: Callable[[int, str], Response],
        *,
        first_s: float = FIRST_S,
    ) -> None:
        self.receive, self.max_bytes, self.budget, self.refuse, self.first_s = (
            receive,
            max_bytes,
            budget,
            refuse,
            first_s,
        )
        self.count = 0
        self.ended = False
        self.refused: Response | None = None
        self.began_s = asyncio.get_running_loop().time()

    async def __call__(self) -> Message:
        if self.refused is not None:
            return {"type": "http.disconnect"}
        if self.ended:
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), self._left_s())
        except TimeoutError:
            return self._end(408, f"the body came too slowly: expected {SLOWEST_BYTES_PER_S // 1000} kB/s at least")
        if message["type"] == "http.request":
            length = len(message.get("body", b""))
            self.count += length
            self.budget.held += length
            self.ended = not message.get("more_body", False)
            if self.count > self.max_bytes:
                return self._end(413, too_long(self.max_bytes))
            if self.budget.held > self.budget.max_bytes:
                return self._end(503, "other uploads are coming in: try again in a few seconds")
        return message

    def release(self) -> None:
        """When the request is over."""
        self.budget.held -= self.count
        self.count = 0

    def _left_s(self) -> float:
        allowed_s = self.first_s + self.count / SLOWEST_BYTES_PER_S
        return max(0.0, self.began_s + allowed_s - asyncio.get_running_loop().time())

    def _end(self, status: int, detail: str) -> Message:
        self.refused = self.refuse(status, detail)
        return {"type": "http.disconnect"}


def too_long(max_bytes: int) -> str:
    allowed = f"{max_bytes / 2**20:,.0f} MiB" if max_bytes >= 2**20 else f"{max_bytes:,} bytes"
    return f"{allowed} are allowed, and the request is longer (for uploads: serve's --max-upload)"
