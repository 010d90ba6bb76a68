"""Answers that the server gives by itself, and headers that every answer has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import Response

RETRY_LATER: Mapping[str, str] = {"Retry-After": "5"}
"""The header of answers that may be others in a few seconds."""

# Gradio's page has scripts and styles inside of it, and makes functions of the text of an event's `js`.
PAGE_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; sandbox; frame-ancestors 'none'"
"""For uploads and results: an SVG that somebody uploaded runs no script."""

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A sentence as JSON. 503 says when to try again."""
    from starlette.responses import JSONResponse

    return JSONResponse({"detail": detail}, status, {**(headers or {}), **(RETRY_LATER if status == 503 else {})})


def with_security(headers: Iterable[tuple[bytes, bytes]], policy: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer with those of SECURITY_HEADERS, and without leave for other sites to read it."""
    own = (*SECURITY_HEADERS, (b"content-security-policy", policy.encode()))
    replaced = {name for name, _ in own}
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() not in replaced and not name.lower().startswith(b"access-control-")
    ]
    return [*kept, *own]
