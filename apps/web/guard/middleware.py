"""The middleware that every request passes first: who may ask, for what, and how much may come."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from gan_tasks.apps.web.guard.answers import FILE_POLICY, PAGE_POLICY, refusal, with_security
from gan_tasks.apps.web.guard.bodies import Budget, CountedBody, too_long
from gan_tasks.apps.web.guard.hosts import Hosts, host_name
from gan_tasks.apps.web.guard.page_calls import Calls, is_inside
from gan_tasks.apps.web.guard.routes import FILE, FORM, JOIN, MAX_CALL_BYTES, UPLOAD, Route, find_route, fits_query
from gan_tasks.apps.web.guard.sessions import PageSessions
from gan_tasks.apps.web.guard.token import COOKIE, HOW, AccessToken
from gan_tasks.datasets.errors import UserError

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_REQUESTS = 250
"""Requests in progress; each open page is one. More are answered with 503."""
PART_BYTES = 64 * 1024
"""Of an answer, sent at a time: the next waits until the client has taken it."""
HEALTH = ("/healthz", "/readyz")
"""Answered at any load, and without a token."""
FORWARDED = {b"x-forwarded-host", b"x-gradio-server"}
"""Headers with which a client would tell Gradio its address; `--public-url` does."""
ONE_RANGE = re.compile(rb"bytes=([0-9]{1,15}-[0-9]{0,15}|-[0-9]{1,15})")
"""The part of a file that browsers ask for. With a header for many parts, or of another kind, all of it is sent."""


@dataclass(frozen=True)
class Policy:
    """What the server allows.

    max_upload_bytes: of one request.
    secure: whether browsers reach the page by https.
    """

    hosts: Hosts
    token: AccessToken | None
    calls: Calls
    max_upload_bytes: int
    secure: bool = False


class Guard:
    """Refuses what the server does not need, before anything of the body is read.

    In this order: another host (400), too many requests (503), no token (401), no such address (404) or method (405),
    another site's page (403), headers that contradict each other (400), a body that is too long (413). What is let
    through is counted as it comes (see bodies.py), and its answer gets the headers of answers.py.
    """

    def __init__(self, app: ASGIApp, *, policy: Policy, sessions: PageSessions) -> None:
        self.app, self.policy, self.sessions = app, policy, sessions
        self.budget = Budget(4 * policy.max_upload_bytes)
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.datastructures import Headers

        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:
            headers = Headers(scope=scope)
            answer = Answer(send, FILE_POLICY if scope["path"].startswith(FILE) else PAGE_POLICY)
            if refused := self.refuse(scope, headers):
                await refused(scope, receive, answer)
                return
            self.requests += 1
            try:
                await self.let_through(scope, receive, answer)
            finally:
                self.requests -= 1

    def refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that is not let through."""
        method, path, token = scope["method"], scope["path"], self.policy.token
        if not self.policy.hosts.has(host_name(headers)):
            return refusal(400, f"{host_name(headers)[:100]!r} is not a name of this server")
        if path in HEALTH and method in ("GET", "HEAD"):
            return None
        if self.requests >= MAX_REQUESTS:
            return refusal(503, f"{MAX_REQUESTS} requests are in progress already: try again in a few seconds")
        if token is not None and not token.is_shown(headers):
            if path == "/" and method == "GET" and token.is_in(scope["query_string"]):
                return self.to_page(token)
            return refusal(401, f"this server asks for its token: {HOW}", {"WWW-Authenticate": "Bearer"})
        return self.refuse_address(scope, headers)

    def refuse_address(self, scope: Scope, headers: Headers) -> Response | None:
        method, path = scope["method"], scope["path"]
        found = find_route(path)
        if found is None or (path.startswith(FILE) and not is_inside(path[len(FILE) :], self.policy.calls.files)):
            return refusal(404, "there is no such address")
        if method not in found.methods:
            allowed = ", ".join(sorted(found.methods))
            return refusal(405, f"the address takes {allowed}", {"Allow": allowed})
        if not fits_query(found, parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)):
            return self.to_page(None) if path == "/" else refusal(404, "the address takes no such parameters")
        if method in ("GET", "HEAD"):
            return None
        if not self.policy.hosts.may_change(headers):
            return refusal(403, "the request comes from a page of another site")
        if path == UPLOAD and not FORM.fullmatch(headers.get("content-type", "")):
            return refusal(422, "the address takes a multipart form, whose type names nothing but its boundary")
        return self.refuse_length(found, headers)

    def refuse_length(self, found: Route, headers: Headers) -> Response | None:
        lengths = headers.getlist("content-length")
        if len(lengths) > 1 or (lengths and "transfer-encoding" in headers) or not all(map(is_length, lengths)):
            return refusal(400, "the headers say in more than one way, or in none, how long the body is")
        max_bytes = self.max_bytes(found)
        if lengths and int(lengths[0]) > max_bytes:
            return refusal(413, too_long(max_bytes))
        return None

    def max_bytes(self, found: Route) -> int:
        return self.policy.max_upload_bytes if found.takes_files else MAX_CALL_BYTES

    def to_page(self, token: AccessToken | None) -> Response:
        """To the page without parameters; with the token, its cookie is set."""
        from starlette.responses import Response

        answer = Response(status_code=303, headers={"Location": "./", "Cache-Control": "no-store"})
        if token is not None:
            answer.set_cookie(COOKIE, token.cookie, httponly=True, samesite="lax", secure=self.policy.secure)
        return answer

    async def let_through(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        from starlette.requests import ClientDisconnect

        path = scope["path"]
        if scope["method"] in ("GET", "HEAD"):
            if session := session_of_query(path, scope["query_string"]):
                await self.sessions.use(session)
            await self.app(own_scope(scope), receive, answer)
            return
        found = find_route(path)
        assert found is not None  # `refuse` has looked
        body = CountedBody(receive, self.max_bytes(found), self.budget, refusal)
        try:
            with suppress(ClientDisconnect):
                heard: Receive = await self.checked_call(body) if path == JOIN else body
                await self.app(own_scope(scope), heard, Silenced(answer, body))
        except UserError as error:
            body.refused = body.refused or refusal(422, str(error))
        except Exception:
            if body.refused is None:  # what was made of half a body is no mistake of ours
                raise
        finally:
            body.release()
        if body.refused is not None and not answer.began:
            await body.refused(scope, receive, answer)

    async def checked_call(self, body: CountedBody) -> Receive:
        """Read the call of a page and check it; returns a `receive` that gives it again."""
        from starlette.requests import ClientDisconnect

        parts, more = [], True
        while more:
            message = await body()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        whole = b"".join(parts)
        await self.sessions.use(self.policy.calls.session_of(whole))
        left = [{"type": "http.request", "body": whole, "more_body": False}]

        async def again() -> Message:
            return left.pop() if left else await body()

        return again


class Answer:
    """An ASGI `send` that adds the security headers, and sends long bodies in parts."""

    def __init__(self, send: Send, policy: str) -> None:
        self.send, self.policy = send, policy
        self.began = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began = True
            await self.send({**message, "headers": with_security(message.get("headers", ()), self.policy)})
            return
        body = message.get("body", b"")
        for start in range(0, len(body) - PART_BYTES, PART_BYTES):
            await self.send({**message, "body": body[start : start + PART_BYTES], "more_body": True})
        await self.send({**message, "body": body[(len(body) - 1) // PART_BYTES * PART_BYTES :] if body else b""})


class Silenced:
    """An ASGI `send` for an app whose request may be refused while it is read: then the app's answer is dropped."""

    def __init__(self, answer: Answer, body: CountedBody) -> None:
        self.answer, self.body = answer, body

    async def __call__(self, message: Message) -> None:
        if self.body.refused is None or self.answer.began:
            await self.answer(message)


def own_scope(scope: Scope) -> Scope:
    """The scope without headers at which Gradio would take another address for its own, or fail."""
    return {**scope, "headers": [each for each in scope["headers"] if is_heard(*each)]}


def is_heard(name: bytes, value: bytes) -> bool:
    return name not in FORWARDED and (name != b"range" or ONE_RANGE.fullmatch(value) is not None)


def session_of_query(path: str, query: bytes) -> str | None:
    """The session that a page names in its address."""
    if path.startswith("/gradio_api/heartbeat/"):
        return path.rpartition("/")[2]
    return dict(parse_qsl(query.decode("latin-1"))).get("session_hash") if path == "/gradio_api/queue/data" else None


def is_length(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
