"""The server takes what it can do, refuses the rest at once and in one sentence, and ends cleanly."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")

import httpx
from fastapi.testclient import TestClient
from handmade_onnx import SLOW_ON_LARGE, mean_filter, write_onnx
from page_config import call_of, page_config
from PIL import Image
from shipped_package import install_models, uninstall_models

from gan_tasks.apps.web import run_form, server
from gan_tasks.apps.web.api import routes as api_routes
from gan_tasks.apps.web.job_queue import BusyError, JobProgress, JobRequest, Limits, Result, Service, StoppedError
from gan_tasks.apps.web.outputs import build_outputs, duration, stop_job
from gan_tasks.apps.web.run_form import Run, run_job
from gan_tasks.apps.web.served_models import (
    ServedModel,
    direction_label,
    free_key,
    open_models,
    open_shipped,
    tabs_of,
)
from gan_tasks.apps.web.server import build_app, make_server, serve
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels, read
from gan_tasks.export.inference.predictor import Opened, PredictOptions, Source
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.inference.upscale import UpscaleOptions
from gan_tasks.export.load import load
from gan_tasks.export.models.resizing import resized
from gan_tasks.export.onnx.apart.session import ApartSession
from gan_tasks.export.onnx.several.on_demand import NOT_YET
from gan_tasks.pretrained.shipped import required_models

HELPERS = Path(__file__).parents[2] / "helpers"
LIMITS = Limits(max_pixels=10_000, max_upload_bytes=2**20, queue_size=5)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header alone claims the size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("models")
    paths = [write_onnx(folder / "Mean.onnx"), write_onnx(folder / "gray.onnx", in_channels=1, out_channels=1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        service = Service(open_models(paths), LIMITS)
        yield service
        service.close()


def run(client: TestClient, data: bytes, *, model: str = "mean", name: str = "image.png") -> httpx.Response:
    return client.post(f"/api/{model}/run", files={"image": (name, data)})


def submit(
    service: Service,
    served: ServedModel,
    data: bytes,
    file: Path,
    *,
    scale: int = 0,
    on_white: bool = False,
    progress: JobProgress | None = None,
) -> Future[Result]:
    """Queue a job on one image."""
    options = PredictOptions(upscale=UpscaleOptions(scale or None))
    return service.submit(JobRequest(served, {"image": data}, options, on_white), file, progress=progress)


def hold(monkeypatch: pytest.MonkeyPatch, served: ServedModel, go: threading.Event) -> None:
    """Let the model's jobs wait for the event before they read."""
    read_inputs = served.predictor.read

    def held_read(sources: Mapping[str, Source], **options: Any) -> Opened:
        assert go.wait(30)
        return read_inputs(sources, **options)

    monkeypatch.setattr(served.predictor, "read", held_read)


@pytest.mark.parametrize(("path", "status"), [("/healthz", "ok"), ("/readyz", "ready")])
def test_health(client: TestClient, path: str, status: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": status})
    assert client.head(path).status_code == 200


def test_a_server_that_stops_is_healthy_and_not_ready(tmp_path: Path) -> None:
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), LIMITS)
    with TestClient(build_app(service), base_url="http://localhost") as client:
        service.close()
        for answer in (client.get("/readyz"), client.head("/readyz"), run(client, png(PIXELS))):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 200


def test_a_picture_in_gives_the_model_s_picture_out(client: TestClient, tmp_path: Path) -> None:
    answer = run(client, png(PIXELS))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    filtered = mean_filter(np.pad(PIXELS, ((0, 0), (0, 2), (0, 0)), mode="reflect").transpose(2, 0, 1)[None] / 255)
    expected = (filtered[0] * 255).transpose(1, 2, 0)[:, :30]
    assert np.abs(read(answer.content).pixels - expected).max() <= 0.51
    (tmp_path / "result.png").write_bytes(answer.content)
    mark = read_xmp(tmp_path / "result.png")
    assert mark is not None
    assert (mark.source_type, mark.model) == ("trainedAlgorithmicMedia", "Mean <3×3> & more")


def test_each_model_has_its_own_address(client: TestClient) -> None:
    assert read(run(client, png(PIXELS), model="gray").content).pixels.shape == (40, 30, 1)
    missing = run(client, png(PIXELS), model="other")
    assert (missing.status_code, missing.json()) == (404, {"detail": "no model 'other': expected mean or gray"})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"just text", "not an image in a known format"),
        (b"", "empty"),
        (png(PIXELS)[:200], "cannot be decoded"),
        (bomb(30_000, 30_000), "30000 × 30000 px"),
        (png(np.zeros((101, 100, 3), np.uint8)), "over the limit of 10,000 px"),
    ],
    ids=["text", "empty", "cut short", "bomb", "just too large"],
)
def test_what_cannot_be_done_is_said_in_a_sentence(client: TestClient, data: bytes, words: str) -> None:
    answer = run(client, data)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert "/" not in answer.json()["detail"], "no path of the server"


def test_no_file_is_left_of_a_run(
    client: TestClient, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for data, status in ((png(PIXELS), 200), (b"just text", 422)):
        assert run(client, data).status_code == status
    assert not list(tmp_path.iterdir())


def test_texts_of_a_model_command_neither_the_terminal_nor_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "a\x1b[2J\r\nserving b on http://attacker.example\x9b </script><script>alert(1)</script>"
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # `serve` sets it
    path = write_onnx(tmp_path / "mean.onnx", model_name=hostile, licence=hostile, training_data=hostile)
    pages = []

    class Visited:
        def __init__(self, app: Any, service: Service) -> None:
            self.app, self.service = app, service

        def run(self, sockets: Any) -> None:
            with TestClient(self.app, base_url="http://localhost") as client:
                pages.append(client.get("/").text)
            self.service.close()

    monkeypatch.setattr(server, "make_server", Visited)
    serve([path], port=0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith("serving a\\x1b[2J\\x0d\\x0aserving b") and lines[0].isprintable()
    assert "&lt;script&gt;alert(1)" in pages[0] and "<script>alert(1)" not in pages[0]


def test_a_form_without_a_picture(client: TestClient) -> None:
    answer = client.post("/api/mean/run", data={"image": "text"})
    assert answer.status_code == 422
    assert "a file called `image`" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/mean/run", "/gradio_api/upload"])
def test_an_upload_that_is_too_long_is_not_read(client: TestClient, path: str) -> None:
    unread = unreadable()
    headers = {"Content-Length": str(LIMITS.max_upload_bytes + 1), "Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post(path, content=unread, headers=headers)
    assert answer.status_code == 413
    assert "1 MiB are allowed" in answer.json()["detail"]


def unreadable() -> Iterator[bytes]:
    yield b"x"
    raise AssertionError("the body was read")


@pytest.mark.parametrize("name", ["../../../outside.png", "/tmp/outside.png", "..\\outside.png", "a\0b.png"])
def test_the_name_of_an_upload_leads_nowhere(client: TestClient, name: str, tmp_path: Path) -> None:
    assert run(client, png(PIXELS), name=name).content == run(client, png(PIXELS)).content
    uploaded = client.post("/gradio_api/upload", files={"files": (name, png(PIXELS))})
    for path in uploaded.json() if uploaded.status_code == 200 else []:
        assert Path(path).resolve().is_relative_to(Path(service_folder()).resolve())


def service_folder() -> str:
    from gradio.utils import get_upload_folder

    return str(get_upload_folder())


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        f"/gradio_api/file={Path(__file__)}",
        "/gradio_api/file=pyproject.toml",
        "/api/..%2f..%2fetc/run",
        "/static/..%2f..%2f..%2fpyproject.toml",
    ],
)
def test_files_of_the_server_are_not_given_away(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (400, 403, 404, 405)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:7860", 200),
        ("127.0.0.1:7860", 200),
        ("192.168.1.20", 200),
        ("[::1]:7860", 200),
        (socket.gethostname(), 200),
        ("attacker.example", 400),
        ("localhost.attacker.example", 400),
        ("", 400),
    ],
)
def test_only_requests_for_this_host_are_answered(client: TestClient, host: str, status: int) -> None:
    for path in ("/healthz", "/"):
        assert client.get(path, headers={"Host": host}).status_code == status


def test_the_queue_cannot_be_passed_by(client: TestClient) -> None:
    config = page_config(client)
    for dependency in config["dependencies"]:
        body = {"data": [], "fn_index": dependency["id"], "session_hash": "x"}
        assert client.post("/gradio_api/run/predict", json=body).status_code >= 400
        assert dependency["api_visibility"] != "public"


def test_the_page_reads_no_file_but_uploads(client: TestClient, tmp_path: Path) -> None:
    (uploaded,) = client.post("/gradio_api/upload", files={"files": ("a.png", png(PIXELS))}).json()
    (tmp_path / "secret.png").write_bytes(png(PIXELS))
    assert "Download PNG" in run_on_page(client, uploaded)
    for path in (str(tmp_path / "secret.png"), f"{uploaded}/../../../secret.png", "http://example.org/a.png"):
        assert run_on_page(client, path) == "refused"


def run_on_page(client: TestClient, path: str) -> str:
    """What the page's server sends when the first Run is pressed, with a picture at a path of its disk."""
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    fn_index = call_of(client, "Run")["id"]
    body = {"data": [picture, ".png"], "fn_index": fn_index, "session_hash": "session"}
    if client.post("/gradio_api/queue/join", json=body).status_code == 422:
        return "refused"
    return client.get("/gradio_api/queue/data", params={"session_hash": "session"}).text


def test_of_twenty_clients_some_are_served_and_the_rest_told_to_come_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job that runs is held until all have asked, so that exactly one and the queue are served."""
    everyone_asked = threading.Event()

    hold(monkeypatch, service.models["mean"], everyone_asked)

    async def ask() -> tuple[list[httpx.Response], list[float]]:
        transport = httpx.ASGITransport(build_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            files = {"image": ("image.png", png(PIXELS))}
            asked = [asyncio.create_task(client.post("/api/mean/run", files=files)) for _ in range(20)]
            while sum(task.done() for task in asked) < 20 - LIMITS.queue_size - 1:
                await asyncio.sleep(0.01)
            waits = []
            for _ in range(5):
                start = time.perf_counter()
                assert (await client.get("/healthz")).status_code == 200
                waits.append(time.perf_counter() - start)
            everyone_asked.set()
            return await asyncio.gather(*asked), waits

    answers, waits = asyncio.run(ask())
    served = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert (len(served), len(refused)) == (LIMITS.queue_size + 1, 20 - LIMITS.queue_size - 1)
    assert {answer.content for answer in served} == {served[0].content}
    with TestClient(build_app(service), base_url="http://localhost") as client:
        assert run(client, png(PIXELS)).content == served[0].content, "and places are free again"
    for answer in refused:
        assert int(answer.headers["Retry-After"]) > 0
        assert "waiting already" in answer.json()["detail"]
    assert min(waits) < 0.25


@pytest.mark.parametrize("in_tiles", [True, False])
def test_a_job_ends_where_its_progress_stops_it(tmp_path: Path, in_tiles: bool) -> None:
    """Between two tiles, or after the model where it runs whole; nothing is written, and the place is free again."""
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), Limits(queue_size=0))
    served = service.models["mean"]
    if in_tiles:
        served.model.max_memory_bytes = 16 * 16 * 100
    seen: list[tuple[int, int]] = []

    class Impatient(JobProgress):
        def on_tile(self, done: int, count: int) -> None:
            super().on_tile(done, count)
            seen.append((done, count))
            self.stopped = done == 2

        def begin(self) -> None:
            super().begin()
            self.stopped = not in_tiles

    job = submit(service, served, png(PIXELS), tmp_path / "out.png", progress=Impatient())
    with pytest.raises(StoppedError):
        job.result(30)
    assert seen == ([(0, 12), (1, 12), (2, 12)] if in_tiles else [])
    assert not (tmp_path / "out.png").exists()
    progress = JobProgress()
    assert submit(service, served, png(PIXELS), tmp_path / "out.png", progress=progress).result(30).file.exists()
    assert (progress.tiles_done, progress.tiles) == ((12, 12) if in_tiles else (0, 0))
    service.close()


def test_a_job_that_is_cancelled_while_it_waits_gives_its_place_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), Limits(queue_size=1))
    served, go = service.models["mean"], threading.Event()
    hold(monkeypatch, served, go)
    first = submit(service, served, png(PIXELS), tmp_path / "first.png")
    second = submit(service, served, png(PIXELS), tmp_path / "second.png")
    with pytest.raises(BusyError):
        submit(service, served, png(PIXELS), tmp_path / "late.png")
    while not first.running():
        time.sleep(0.001)
    assert second.cancel()
    third = submit(service, served, png(PIXELS), tmp_path / "third.png")
    go.set()
    assert first.result(30).file.exists()
    assert third.result(30).file.exists()
    assert not (tmp_path / "second.png").exists()
    service.close()


@pytest.mark.parametrize("leave", [False, True])
def test_a_job_of_the_page_that_is_stopped_while_it_waits_gives_its_place_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave: bool
) -> None:
    import gradio

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), Limits(queue_size=1))
    served, go = service.models["mean"], threading.Event()
    hold(monkeypatch, served, go)
    with gradio.Blocks():
        outputs = build_outputs()

    async def wait_and_stop() -> list[str]:
        said = []
        async with aclosing(
            run_job(service, outputs, lambda: Run(JobRequest(served, {"image": png(PIXELS)}), "a.png", ".png"))
        ) as shown:
            async for values in shown:
                said.append(values[outputs.message]["value"])
                if leave:
                    break
                if outputs.progress in values:
                    stop_job(values[outputs.progress])
        return said

    first = submit(service, served, png(PIXELS), tmp_path / "first.png")
    while not first.running():
        time.sleep(0.001)
    said = asyncio.run(wait_and_stop())
    assert "Waiting for other jobs" in said[0]
    assert leave or "Stopped: there is no result." in said[-1]
    third = submit(service, served, png(PIXELS), tmp_path / "third.png")  # while the first still runs
    go.set()
    assert first.result(30).file.exists()
    assert third.result(30).file.exists()
    service.close()


@pytest.mark.parametrize("scale", [0, 1, 3])
def test_a_result_comes_in_the_size_that_is_asked_for(tmp_path: Path, scale: int) -> None:
    path = write_onnx(tmp_path / "double.onnx", task="super-resolution", scale=2)
    service = Service(open_models([path]), LIMITS)
    pixels = np.concatenate([PIXELS, PIXELS[..., :1]], axis=2)  # alpha too
    result = submit(service, service.models["double"], png(pixels), tmp_path / "out.png", scale=scale).result(30)
    service.close()
    own = load(path)(pixels)
    assert own.shape == (80, 60, 4)
    expected = own if scale == 0 else resized(own, (40 * scale, 30 * scale), "lanczos")
    assert np.array_equal(read(result.file).pixels, expected)


def test_a_result_has_at_most_four_times_the_pixels_that_a_picture_may_have(tmp_path: Path) -> None:
    service = Service(
        open_models([write_onnx(tmp_path / "quadruple.onnx", task="super-resolution", scale=4)]),
        Limits(max_pixels=4 * 1200),
    )
    served = service.models["quadruple"]
    for rows, scale, shape in ((40, 0, (160, 120, 3)), (160, 2, (320, 60, 3)), (160, 1, (160, 30, 3))):
        picture = png(np.zeros((rows, 30, 3), np.uint8))
        assert (
            submit(service, served, picture, tmp_path / "out.png", scale=scale).result(30).after.pixels.shape == shape
        )
    for rows, scale in ((41, 0), (161, 1), (160, 3), (40, 5)):
        picture = png(np.zeros((rows, 30, 3), np.uint8))
        with pytest.raises(UserError, match="over the limit of"):
            submit(service, served, picture, tmp_path / "out.png", scale=scale).result(30)
    with pytest.raises(UserError, match=r"120 × 164 px .* 19,200 px: choose a smaller .* larger --max-pixels"):
        submit(service, served, png(np.zeros((41, 30, 3), np.uint8)), tmp_path / "out.png").result(30)
    service.close()


def test_a_second_ctrl_c_stops_the_jobs_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), LIMITS)
    served, go = service.models["mean"], threading.Event()
    hold(monkeypatch, served, go)
    jobs = [submit(service, served, png(PIXELS), tmp_path / f"{number}.png") for number in range(2)]
    server = make_server(build_app(service), service)
    server.force_exit = True

    def release() -> None:
        while not all(progress.stopped for progress in service._taken):
            time.sleep(0.01)
        go.set()

    threading.Thread(target=release).start()
    server.servers = []
    asyncio.run(server.shutdown())
    for job in jobs:
        with pytest.raises(StoppedError):
            job.result(timeout=0)


def test_a_job_that_takes_too_long_is_stopped_between_tiles(tmp_path: Path) -> None:
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), Limits(max_seconds=1e-9, queue_size=0))
    served = service.models["mean"]
    served.model.max_memory_bytes = 16 * 16 * 100
    opened = served.predictor.read({"image": png(PIXELS)})
    jobs = (
        lambda: submit(service, served, png(PIXELS), tmp_path / "out.png"),
        lambda: service.enqueue(lambda: served.predictor.predict(opened.inputs)),
    )
    for job in jobs:
        with pytest.raises(UserError, match=r"longer than .* larger --max-seconds"):
            job().result(30)
    service.close()


def test_a_job_is_stopped_while_the_network_runs(tmp_path: Path) -> None:
    """By its client or by its time; the jobs after it are done."""
    slow = open_models([write_onnx(tmp_path / "slow.onnx", more_nodes=SLOW_ON_LARGE, vectors=False)])[0]
    black, small = (png(np.zeros((side, side, 3), np.uint8)) for side in (1600, 8))
    progress = JobProgress()
    service = Service([slow], Limits(max_seconds=0.4))
    late = submit(service, slow, black, tmp_path / "late.png")
    with pytest.raises(UserError, match=r"longer than .* larger --max-seconds"):
        late.result(30)
    service.limits = Limits()
    left = service.submit(JobRequest(slow, {"image": black}), tmp_path / "left.png", progress=progress)
    while progress.began_s is None:
        time.sleep(0.01)
    progress.stop()
    with pytest.raises(StoppedError):
        left.result(30)
    assert submit(service, slow, small, tmp_path / "small.png").result(30).after.pixels.shape == (8, 8, 3)
    service.close()


def test_a_job_whose_client_is_gone_gives_its_place_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_routes, "LOOK_EVERY_S", 0.01)
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), Limits(queue_size=1))
    served, go = service.models["mean"], threading.Event()
    hold(monkeypatch, served, go)
    first = submit(service, served, png(PIXELS), tmp_path / "first.png")

    async def leave() -> None:
        async def is_gone() -> bool:
            return True

        request = JobRequest(served, {"image": png(PIXELS)})
        await api_routes.run_to_file(service, request, tmp_path / "second.png", is_gone)

    while not first.running():
        time.sleep(0.001)
    with pytest.raises(StoppedError):
        asyncio.run(leave())
    third = submit(service, served, png(PIXELS), tmp_path / "third.png")
    go.set()
    assert third.result(30).file.exists()
    assert not (tmp_path / "second.png").exists()
    service.close()


def test_an_upload_that_the_server_has_deleted_is_said(tmp_path: Path) -> None:
    import gradio

    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), LIMITS)
    with gradio.Blocks():
        outputs = build_outputs()
    request = JobRequest(service.models["mean"], {"image": tmp_path / "gone.png"})

    async def said() -> list[Any]:
        shown = run_job(service, outputs, lambda: Run(request, "a.png", ".png"))
        return [values[outputs.message]["value"] async for values in shown]

    assert "The server has deleted the upload" in asyncio.run(said())[-1]
    service.close()


def test_a_closed_service_finishes_what_it_took_and_takes_no_more(tmp_path: Path) -> None:
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), LIMITS)
    served = service.models["mean"]
    taken = [submit(service, served, png(PIXELS), tmp_path / f"{number}.png") for number in range(3)]
    service.close()
    assert all(future.result(timeout=0).after.pixels.shape == (40, 30, 3) for future in taken)
    for _ in range(2 * LIMITS.queue_size):
        with pytest.raises(BusyError, match="stopping"):
            submit(service, served, png(PIXELS), tmp_path / "late.png")


def test_an_idle_server_gives_memory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before it is idle, and with the same results afterwards."""
    calls, released = list[str](), threading.Event()
    run, shrink = ApartSession.run, ApartSession.shrink

    def watched_run(session: ApartSession, *arguments: Any) -> Any:
        calls.append("run")
        return run(session, *arguments)

    def watched_shrink(session: ApartSession, *arguments: Any) -> None:
        shrink(session, *arguments)
        calls.append("shrink")
        if "run" in calls:  # it may be idle before, too
            released.set()

    monkeypatch.setattr(ApartSession, "run", watched_run)
    monkeypatch.setattr(ApartSession, "shrink", watched_shrink)
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), LIMITS, idle_s=0.05)
    served = service.models["mean"]
    first = submit(service, served, png(PIXELS), tmp_path / "first.png").result(30)
    assert released.wait(30)
    second = submit(service, served, png(PIXELS), tmp_path / "second.png").result(30)
    service.close()
    assert calls[calls.index("run") :][:3] == ["run", "shrink", "run"]
    assert np.array_equal(first.after.pixels, second.after.pixels)


def test_a_large_result_is_shown_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), LIMITS)
    result = submit(service, service.models["mean"], png(PIXELS), tmp_path / "out.png").result(30)
    service.close()
    monkeypatch.setattr(run_form, "MAX_PREVIEW_PIXELS", 20 * 15)
    assert [read(path).pixels.shape for path in run_form.write_previews(result)] == [(20, 15, 3)] * 2
    assert run_form.facts(service.models["mean"], result)["Result"] == "30 × 40 px, shown smaller here"
    assert read(result.file).pixels.shape == (40, 30, 3)


def test_a_drawing_is_laid_on_white(tmp_path: Path) -> None:
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), LIMITS)
    drawing = np.full((1, 2, 4), (10, 20, 30, 255), np.uint8)
    drawing[0, 1, 3] = 0
    result = submit(service, service.models["mean"], png(drawing), tmp_path / "out.png", on_white=True).result()
    service.close()
    assert result.before is not None
    assert result.before.pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_keys_are_plain_and_differ() -> None:
    taken: set[str] = set()
    for name in ("Facades (v2)", "facades v2", "日本", "../etc"):
        taken.add(free_key(name, taken))
    assert taken == {"facades-v2", "facades-v2-2", "model", "etc"}


def test_models_of_one_training_share_a_tab(tmp_path: Path) -> None:
    seasons = {"task": "cyclegan", "source": "seasons step-9", "training_data": "summer2winter"}
    others: dict[str, dict[str, str]] = {
        "winter": seasons | {"direction": "a-to-b"},
        "mean": {},
        "summer": seasons | {"direction": "b-to-a"},
        "again": seasons | {"direction": "a-to-b"},
        "later": seasons | {"direction": "b-to-a", "source": "seasons step-10"},
        "plain": {},
    }
    models = open_models([write_onnx(tmp_path / f"{name}.onnx", model_name=name, **o) for name, o in others.items()])
    tabs = [(tab.title, [served.key for served in tab.models]) for tab in tabs_of(models)]
    assert tabs == [
        ("winter and summer", ["winter", "summer"]),
        ("mean", ["mean"]),
        ("again", ["again"]),
        ("later", ["later"]),
        ("plain", ["plain"]),
    ]


def test_models_that_enlarge_share_a_tab(tmp_path: Path) -> None:
    enlarging = {"task": "super-resolution", "scale": 2}
    others: dict[str, dict[str, Any]] = {"first": enlarging, "mean": {}, "second": enlarging | {"scale": 4}}
    models = open_models([write_onnx(tmp_path / f"{name}.onnx", model_name=name, **o) for name, o in others.items()])
    tabs = [(tab.title, [served.key for served in tab.models]) for tab in tabs_of(models)]
    assert tabs == [("Super-resolution", ["first", "second"]), ("mean", ["mean"])]
    assert tabs_of(models[:2])[0].title == "first"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (99.4, "99 s"), (100, "2 min"), (5400, "90 min"), (7800, "2 h 10 min")]
)
def test_the_time_left_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("training_data", "direction", "label"),
    [
        ("summer2winter_yosemite", "a-to-b", "summer to winter"),
        ("horse2zebra", "b-to-a", "zebra to horse"),
        ("photos", "b-to-a", "B to A"),
        ("holiday 2024", "a-to-b", "A to B"),
        ("", "a-to-b", "A to B"),
    ],
)
def test_a_direction_is_named_after_the_data(tmp_path: Path, training_data: str, direction: str, label: str) -> None:
    predictor = load(write_onnx(tmp_path / "a.onnx", training_data=training_data, direction=direction))
    assert direction_label(predictor.model) == label


@pytest.mark.slow
def test_a_run_of_both_directions_is_served_in_both_and_its_files_name_theirs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tiny import tiny_task, write_run

    from gan_tasks.apps.cli.commands.export import export_verified

    run_folder = write_run(tmp_path / "seasons", tiny_task("cyclegan"))
    export_verified(run_folder, tmp_path / "back.onnx", direction="b-to-a")
    service = Service(open_models([run_folder, tmp_path / "back.onnx"]), LIMITS)
    both, back = service.tabs
    assert (both.title, back.title) == ("seasons step-00000000", "back")
    assert [served.options for served in both.models] == [("--direction", "a-to-b"), ("--direction", "b-to-a")]
    exported = back.models[0].model
    assert (exported.spec.direction, exported.source) == ("b-to-a", both.models[1].model.source)
    with TestClient(build_app(service), base_url="http://localhost") as client:
        results = {key: read(run(client, png(PIXELS), model=key).content).pixels for key in service.models}
    service.close()
    assert np.abs(results["seasons-b-to-a"].astype(int) - results["back"]).max() <= 1
    assert np.abs(results["seasons-b-to-a"].astype(int) - results["seasons-a-to-b"]).max() > 1


def test_behind_a_proxy_the_page_says_where_browsers_find_it(service: Service) -> None:
    app = build_app(service, public_url="https://paint.example/models/")
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        assert page_config(client)["root"] == "https://paint.example/models"
        assert client.get("/healthz", headers={"Host": "paint.example"}).status_code == 200
        assert client.get("/healthz", headers={"Host": "other.example"}).status_code == 400


@pytest.mark.parametrize("address", ["/models", "paint.example", "ftp://paint.example"])
def test_a_public_address_that_is_none(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match="expected all of it"):
        serve([tmp_path / "missing.onnx"], port=0, public_url=address)


def test_no_model_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no model to serve"):
        open_models([])
    uninstall_models(monkeypatch)
    with pytest.raises(UserError, match=r"gan-tasks-models is not installed: python -m pip install \./models"):
        serve([], port=0)


def test_all_installed_models_are_served_and_opened_when_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_models(tmp_path / "site", monkeypatch, "fill", "restore-x1", "upscale-x2", "upscale-x4")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    service = Service(open_shipped(required_models(), device="cpu"), LIMITS)
    with TestClient(build_app(service), base_url="http://localhost") as client:
        providers = {each["key"]: each["provider"] for each in client.get("/api/models").json()}
        assert {key for key, provider in providers.items() if provider == NOT_YET} == providers.keys() - {"fill"}
        answer = run(client, png(PIXELS), model="upscale-x4")
        np.testing.assert_array_equal(read(answer.content).pixels, load("upscale-x4", device="cpu")(PIXELS))
        texts = json.dumps(page_config(client)["components"])
        assert "Tests of fill" not in texts and "tests of fill" in texts
        assert "upscale-x2: tests of upscale-x2" in texts, "models of one tab are named"
        assert call_of(client, "restore-x1")["inputs"] == []
    service.close()


SERVE = """
import sys
import tempfile
from pathlib import Path
import handmade_onnx, gan_tasks.apps.web.served_models as served_models
from gan_tasks.apps.web.server import serve

class Slow:
    def __init__(self, predictor): self.predictor = predictor
    def __getattr__(self, name): return getattr(self.predictor, name)
    def predict(self, *inputs):
        print("running", flush=True)
        sys.stdin.readline()
        return self.predictor.predict(*inputs)

load = served_models.load
served_models.load = lambda path, **options: Slow(load(path, **options))
try:
    serve([Path(sys.argv[1])], port=0)
finally:
    import json, os
    heavy = sorted({"torch", "kornia", "albumentations"} & sys.modules.keys())
    print(json.dumps({"heavy": heavy, "left": Path(os.environ["GRADIO_TEMP_DIR"]).exists()}))
"""


@pytest.mark.slow
def test_sigterm_finishes_the_job_in_flight_without_torch_ever_loaded(tmp_path: Path) -> None:
    model = write_onnx(tmp_path / "mean.onnx")
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(model)],
        cwd=HELPERS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        address = server.stdout.readline().split()[-1]
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(httpx.post(f"{address}/api/mean/run", files={"image": png(PIXELS)}, timeout=30))

        with httpx.stream("GET", f"{address}/gradio_api/heartbeat/session", timeout=60) as open_page:
            next(open_page.iter_raw())
            asking = threading.Thread(target=ask)
            asking.start()
            assert server.stdout.readline() == "running\n"
            server.send_signal(signal.SIGTERM)
            while httpx.get(f"{address}/readyz", timeout=30).status_code != 503:
                time.sleep(0.01)
            late = httpx.post(f"{address}/api/mean/run", files={"image": png(PIXELS)}, timeout=30)
            assert (late.status_code, late.headers["Retry-After"]) == (503, "5")
            server.stdin.write("end\n")
            server.stdin.flush()
            asking.join()
            output = server.stdout.read()
        assert server.wait(20) == 143
    assert answers[0].status_code == 200
    assert read(answers[0].content).pixels.shape == (40, 30, 3)
    assert json.loads(output.splitlines()[-1]) == {"heavy": [], "left": False}


@pytest.mark.slow
def test_a_port_in_use_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UserError, match="choose another with --port"),
    ):
        serve([tmp_path / "missing.onnx"], port=taken.getsockname()[1])


def test_the_page_looks_as_the_report_does() -> None:
    from dataclasses import asdict

    from gan_tasks.apps.web.theme import DARK, LIGHT
    from gan_tasks.runs.reports.style import STYLE

    light, dark = STYLE.split("prefers-color-scheme: dark", 1)
    for tokens, style in ((LIGHT, light), (DARK, dark)):
        shared = {role: colour for role, colour in asdict(tokens).items() if f"--{role.replace('_', '-')}:" in style}
        assert len(shared) >= 7
        for role, colour in shared.items():
            assert f"--{role}: {colour};" in style
