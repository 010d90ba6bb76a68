"""Requests that the pages and the API do not need end before the app reads them."""

from __future__ import annotations

import asyncio
import io
import json
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")

import httpx
from fastapi.testclient import TestClient
from handmade_onnx import write_filler, write_onnx
from page_config import call_of, page_config
from PIL import Image

from gan_tasks.apps.web.guard import bodies, middleware, routes
from gan_tasks.apps.web.guard.token import AccessToken
from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.apps.web.server import build_app

LIMITS = Limits(max_upload_bytes=200_000)
TOKEN = AccessToken("a-secret-of-some-length")
SECRETS = (TOKEN.text, TOKEN.cookie)


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        service = Service(open_models([write_onnx(folder / "mean.onnx"), write_filler(folder / "fill.onnx")]), LIMITS)
        yield service
        service.close()


@pytest.fixture(scope="module")
def locked(service: Service) -> Any:
    """The site with a token."""
    return build_app(service, public_url="https://paint.example/", token=TOKEN)


def test_the_page_finds_what_it_loads(client: TestClient) -> None:
    page = client.get("/").text
    assets = sorted(set(re.findall(r'(?:src|href)="[.]?(/(?:assets|static|theme)[^"]+)"', page)))
    assert assets
    for path in (*assets, "/favicon.ico"):
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/gradio_api/component_server", 404),
        ("POST", "/gradio_api/component_server/", 404),
        ("POST", "/gradio_api//component_server", 404),
        ("POST", "/gradio_api/process_recording", 404),
        ("POST", "/gradio_api/run/predict", 404),
        ("POST", "/gradio_api/call/v2/run", 404),
        ("POST", "/gradio_api/api/run/", 404),
        ("POST", "/gradio_api/cancel", 404),
        ("POST", "/gradio_api/reset", 404),
        ("POST", "/gradio_api/stream/x", 404),
        ("POST", "/gradio_api/vibe-edit", 404),
        ("POST", "/gradio_api/queue/join/", 404),
        ("POST", "/login", 404),
        ("GET", "/config", 404),
        ("GET", "/monitoring", 404),
        ("GET", "/robots.txt", 404),
        ("GET", "/gradio_api/info", 404),
        ("GET", "/gradio_api/openapi.json", 404),
        ("GET", "/gradio_api/proxy=http://example.org/", 404),
        ("GET", "/gradio_api/file=http://example.org/a.png", 404),
        ("GET", "/gradio_api/file/etc/passwd", 404),
        ("GET", "/gradio_api/file=/etc/passwd", 404),
        ("GET", "/gradio_api/startup-events", 404),
        ("GET", "/gradio_api/heartbeat/" + "a" * 33, 404),
        ("GET", "/gradio_api/heartbeat/%0a", 404),
        ("GET", "/gradio_api/queue/data", 404),
        ("GET", "/gradio_api/upload_progress", 404),
        ("GET", "/gradio_api/queue/data?session_hash=a&x=1", 404),
        ("GET", "/gradio_api/queue/data?session_hash=a&session_hash=b", 404),
        ("GET", "/gradio_api/deep_link", 404),
        ("GET", "/assets/..%2f..%2froutes.py", 404),
        ("GET", "/docs", 404),
        ("PUT", "/gradio_api/upload", 405),
        ("GET", "/gradio_api/upload", 405),
        ("DELETE", "/", 405),
        ("POST", "/", 405),
        ("OPTIONS", "/api/mean/run", 405),
        ("TRACE", "/healthz", 405),
        ("GET", "/?view=api", 303),
        ("GET", "/?deep_link=a", 303),
    ],
)
def test_other_addresses_and_methods_are_refused_unread(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = asyncio.run(ask(client.app, method, path, body=unreadable()))
    assert answer["status"] == status
    if status != 303:
        assert set(json.loads(answer["body"])) == {"detail"}


async def unreadable() -> AsyncIterator[bytes]:
    raise AssertionError("the body was read")
    yield b""


async def ask(
    app: Any, method: str, path: str, *, body: AsyncIterator[bytes], headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Send a body part by part, as ASGI servers hand it on; returns status, headers and body of the answer."""
    raw, _, query = path.partition("?")
    received: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        async for part in body:
            return {"type": "http.request", "body": part, "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            received.update(status=message["status"], headers=httpx.Headers(message["headers"]))
        received["body"] += message.get("body", b"")

    scope = {
        "type": "http",
        "method": method,
        "path": httpx.URL(f"http://localhost{raw}").path,
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode()) for k, v in ({"Host": "localhost"} | (headers or {})).items()],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await app(scope, receive, send)
    return received


JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
HEAD = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize("path", ["/api/mean/run", "/gradio_api/upload"])
def test_a_body_is_cut_where_it_is_too_long_whatever_its_headers_say(client: TestClient, path: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield HEAD % (b"image" if path.startswith("/api") else b"files")
        while True:
            sent += 50_000
            assert sent < 10 * LIMITS.max_upload_bytes, "all of it was read"
            yield bytes(50_000)

    answer = asyncio.run(
        ask(client.app, "POST", path, body=endless(), headers=FORM | {"Transfer-Encoding": "chunked"})
    )
    assert answer["status"] == 413
    assert "allowed" in json.loads(answer["body"])["detail"]
    assert sent <= LIMITS.max_upload_bytes + 50_000


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (f"multipart/form-data; boundary={'b' * 300}", HEAD % b"files"),
        ("multipart/form-data; boundary=b; charset=hex", HEAD % b"files"),
        ("multipart/form-data; boundary=", b""),
        ("multipart/form-data", b""),
        ("text/plain", b""),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--b--'),
    ],
)
def test_forms_that_gradio_would_fail_at(client: TestClient, content_type: str, body: bytes) -> None:
    answer = client.post("/gradio_api/upload", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 422
    assert "form" in answer.json()["detail"]


def test_a_call_of_a_page_is_short(client: TestClient) -> None:
    body = json.dumps({"data": ["x" * routes.MAX_CALL_BYTES]})
    assert client.post("/gradio_api/queue/join", content=body).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "5", "Transfer-Encoding": "chunked"},
        {"Content-Length": "-5"},
        {"Content-Length": "5, 5"},
        {"Content-Length": "0x5"},
    ],
)
def test_headers_that_contradict_each_other(client: TestClient, headers: dict[str, str]) -> None:
    answer = asyncio.run(ask(client.app, "POST", "/api/mean/run", body=unreadable(), headers=FORM | headers))
    assert answer["status"] == 400


def test_a_body_that_comes_too_slowly_is_given_up(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "CountedBody", lambda *a: bodies.CountedBody(*a, first_s=0.05))

    async def stalled() -> AsyncIterator[bytes]:
        yield HEAD % b"image"
        await asyncio.sleep(60)

    answer = asyncio.run(ask(client.app, "POST", "/api/mean/run", body=stalled(), headers=FORM))
    assert answer["status"] == 408


def test_all_bodies_together_are_bounded(client: TestClient) -> None:
    """Five clients hold back the end of their bodies: the one that makes them too many bytes is refused."""

    async def hold() -> list[int]:
        go = asyncio.Event()

        async def held() -> AsyncIterator[bytes]:
            yield HEAD % b"image"
            yield bytes(190_000)
            await go.wait()

        asked = [
            asyncio.create_task(ask(client.app, "POST", "/api/mean/run", body=held(), headers=FORM)) for _ in range(5)
        ]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        assert len(done) == 1
        go.set()
        return sorted(answer["status"] for answer in await asyncio.gather(*asked))

    assert asyncio.run(hold()) == [422, 422, 422, 422, 503]
    assert client.post("/api/mean/run", files={"image": png()}).status_code == 200, "and all was given back"


def test_more_requests_than_the_server_holds_are_told_to_come_back(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "MAX_REQUESTS", 0)
    answer = client.get("/api/models")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "HTTP://LOCALHOST"}, 200),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "http://localhost.attacker.example"}, 403),
        ({"Origin": "ftp://localhost"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.post("/api/mean/run", files={"image": png()}, headers=headers).status_code == status
    assert client.post("/gradio_api/upload", files={"files": png()}, headers=headers).status_code == status


def test_the_public_address_may_change_things(locked: Any) -> None:
    with TestClient(locked, base_url="http://127.0.0.1:7860") as client:
        headers = {"Authorization": f"Bearer {TOKEN.text}", "Origin": "https://paint.example"}
        assert client.post("/api/mean/run", files={"image": png()}, headers=headers).status_code == 200
        headers["Origin"] = "http://paint.example"
        assert client.post("/api/mean/run", files={"image": png()}, headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/", "/api/models", "/none", "/theme.css?v=0"])
def test_answers_tell_browsers_what_they_may_do(client: TestClient, path: str) -> None:
    headers = client.get(path, headers={"Origin": "http://attacker.example"}).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("bytes=0-" + "9" * 5000, 200, b"0123456789"),
        ("bytes=\xb2-\xb3", 200, b"0123456789"),
        ("lines=0-1", 200, b"0123456789"),
    ],
)
def test_one_part_of_a_file_or_all_of_it(client: TestClient, asked: str, status: int, content: bytes) -> None:
    (path,) = client.post("/gradio_api/upload", files={"files": ("a.bin", b"0123456789")}).json()
    answer = client.get(f"/gradio_api/file={path}", headers={"Range": asked.encode("latin-1")})
    assert (answer.status_code, answer.content) == (status, content)


def test_an_uploaded_file_is_given_back_as_what_runs_no_script(client: TestClient) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    (path,) = client.post("/gradio_api/upload", files={"files": ("a.svg", svg)}).json()
    answer = client.get(f"/gradio_api/file={path}")
    assert answer.content == svg
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer a-secret-of-some-lengtH"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {TOKEN.text}"},
        {"Cookie": "gan-tasks-access=" + TOKEN.text},
        {"Cookie": "gan-tasks-access="},
        {"Cookie": "\x01;;=;gan-tasks-access"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/api/mean/run"), ("GET", "/none"), ("GET", "/?token=x")]
)
def test_without_the_token_there_is_no_answer(locked: Any, method: str, path: str, headers: dict[str, str]) -> None:
    answer = asyncio.run(ask(locked, method, path, body=unreadable(), headers=headers))
    assert answer["status"] == 401
    assert answer["headers"]["WWW-Authenticate"] == "Bearer"
    assert not any(secret in str(answer) for secret in SECRETS)


def test_the_token_is_a_header_or_a_cookie_set_once(locked: Any) -> None:
    with TestClient(locked, base_url="https://paint.example") as client:
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        shown = {"Authorization": f"bearer {TOKEN.text}"}
        assert client.get("/api/models", headers=shown).status_code == 200
        entered = client.get(f"/?token={TOKEN.text}", follow_redirects=False)
        assert (entered.status_code, entered.headers["Location"]) == (303, "./")
        cookie = entered.headers["Set-Cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=lax", "Secure", TOKEN.cookie))
        assert TOKEN.text not in cookie
        assert client.get("/").status_code == 200
        assert client.post("/api/mean/run", files={"image": png()}).status_code == 200


def call(client: TestClient, **changed: Any) -> httpx.Response:
    """Press Run with no image; some of what the page sends is changed."""
    body = {"data": [None, ".png"], "fn_index": call_of(client, "Run")["id"], "session_hash": "a", "trigger_id": None}
    # Not `json=`, with which httpx refuses infinity itself.
    answer: httpx.Response = client.post("/gradio_api/queue/join", content=json.dumps(body | changed), headers=JSON)
    return answer


NESTED: list[Any] = []
for _ in range(100):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "changed",
    [
        {"fn_index": 10**6},
        {"fn_index": -1},
        {"fn_index": True},
        {"fn_index": "0"},
        {"fn_index": None},
        {"trigger_id": 10**9},
        {"trigger_id": [1]},
        {"session_hash": ""},
        {"session_hash": "../a"},
        {"session_hash": "a" * 33},
        {"session_hash": None},
        {"data": []},
        {"data": None},
        {"data": [None] * 1000},
        {"data": [{"path": "/etc/passwd"}, ".png"]},
        {"data": [{"path": "http://127.0.0.1/"}, ".png"]},
        {"data": [{"path": "a.png"}, ".png"]},
        {"data": [{"path": "/\0"}, ".png"]},
        {"data": [{"path": ["/etc/passwd"]}, ".png"]},
        {"data": [{"background": {"path": "/etc/passwd"}}, ".png"]},
        {"data": [[{}] * 5000, ".png"]},
        {"event_data": {"index": 10**9}},
        {"event_id": "x"},
        {"data": [None, [1e400]]},
        {"batched": True},
    ],
)
def test_a_call_that_no_page_of_ours_sends(client: TestClient, changed: dict[str, Any]) -> None:
    answer = call(client, **changed)
    assert answer.status_code == 422, answer.text
    assert "/" not in answer.json()["detail"], "no path of the server"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b"1" * 100_000, b'{"data": NaN}', b"\xff"])
def test_a_call_that_is_no_json(client: TestClient, body: bytes) -> None:
    assert client.post("/gradio_api/queue/join", content=body, headers=JSON).status_code == 422


def test_a_call_of_a_page_is_answered(client: TestClient) -> None:
    assert call(client, data=[NESTED, ".png"], session_hash="nested").status_code == 200
    assert call(client).status_code == 200
    assert "There is no image yet" in client.get("/gradio_api/queue/data?session_hash=a").text


def test_a_client_cannot_choose_the_address_that_the_page_says(client: TestClient) -> None:
    forwarded = {"X-Forwarded-Host": "attacker.example", "X-Gradio-Server": "http://attacker.example"}
    assert "attacker.example" not in client.get("/", headers=forwarded).text
    assert page_config(client)["root"] == "http://localhost"


def test_no_answer_names_a_folder_of_the_models(client: TestClient, service: Service) -> None:
    folder = str(service.models["mean"].path.parent)
    for answer in (client.get("/"), client.get("/api/models"), client.get("/openapi.json")):
        assert folder not in answer.text


def test_a_websocket_is_closed(client: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/gradio_api/queue/data"):
        pass


@pytest.mark.parametrize("image", [png(), b"no image"])
def test_nothing_is_left_of_a_request(
    client: TestClient, image: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client.post("/api/mean/run", files={"image": image})
    assert list(tmp_path.iterdir()) == []


def test_long_answers_are_sent_in_parts() -> None:
    async def parts() -> list[int]:
        sent: list[int] = []

        async def send(message: Any) -> None:
            sent.append(len(message.get("body", b"")))

        whole = middleware.Answer(send, "")
        await whole({"type": "http.response.body", "body": bytes(150_000)})
        await whole({"type": "http.response.body", "body": bytes(65_536)})
        await whole({"type": "http.response.body", "body": b""})
        return sent

    assert asyncio.run(parts()) == [65_536, 65_536, 18_928, 65_536, 0]
