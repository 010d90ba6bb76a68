"""The page in a browser: what a person does with it, how it looks, and that it can be used without seeing it."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")
pytest.importorskip("playwright")

from handmade_onnx import write_onnx
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gan_tasks.apps.server import build_app, make_server
from gan_tasks.apps.service import Limits, Service, open_models
from gan_tasks.datasets.image import Picture, read, write
from gan_tasks.export.model import load
from gan_tasks.export.provenance import read_xmp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]

LIMITS = Limits(max_pixels=300 * 300)
PATIENCE_MS = 20_000  # on a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and pictures."""
    folder = tmp_path_factory.mktemp("page")
    write_onnx(folder / "mean.onnx")
    write_onnx(folder / "gray.onnx", in_channels=1, out_channels=1, model_name="Gray")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    write(folder / "source.png", Picture(pixels))
    write(folder / "large.png", Picture(np.zeros((301, 300, 3), np.uint8)))
    (folder / "text.png").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listener:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        service = Service(open_models([folder / "mean.onnx", folder / "gray.onnx"]), LIMITS)
        server = make_server(build_app(service), service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://localhost:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "open pages do not keep the server from ending"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address, viewport={"width": 1440, "height": 1000}) as page:
        yield page


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """The page, open; it must neither log an error nor ask another server for anything."""
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if is_elsewhere(request.url, address) else None)
    page.goto(address)
    page.get_by_role("button", name="Run", exact=True).wait_for()
    try:
        yield page
    finally:
        page.context.close()
    assert not wrong


def is_elsewhere(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def upload(page: Page, path: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(path)
    page.get_by_role("button", name="Remove Image").wait_for()


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=re.compile(f"^{name}( ▼)?$")).click()  # the mark of what can be folded


def download(page: Page, path: Path) -> Path:
    with page.expect_download() as event:
        page.get_by_role("button", name=re.compile("^Download (PNG|TIF|WEBP)$")).click()
    event.value.save_as(path)
    return path


def test_upload_run_compare_download(page: Page, folder: Path, tmp_path: Path) -> None:
    upload(page, folder / "source.png")
    press(page, "Run")
    result = read(download(page, tmp_path / "result.png")).pixels
    source = read(folder / "source.png").pixels
    assert np.array_equal(result, load(folder / "mean.onnx")(source))
    mark = read_xmp(tmp_path / "result.png")
    assert mark is not None
    assert mark.model == "Mean <3×3> & more"
    command = page.locator(".command textarea").input_value()
    assert command == f"gan-tasks apply {folder / 'mean.onnx'} source.png result.png"
    expect(page.get_by_text("CPU fp32, ONNX Runtime").first).to_be_visible()
    expect(page.get_by_text("256 × 192 px")).to_be_visible()

    shown = page.locator(".result-slider img")
    sizes = shown.evaluate_all("images => images.map(image => [image.naturalWidth, image.naturalHeight])")
    assert sizes == [[256, 192], [256, 192]], "full size, not a preview"
    handle = page.locator(".result-slider .icon-wrap")
    before = handle.bounding_box()
    assert before is not None
    page.mouse.move(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    page.mouse.down()
    page.mouse.move(before["x"] + 120, before["y"], steps=5)
    page.mouse.up()
    after = handle.bounding_box()
    assert after is not None
    assert after["x"] - before["x"] > 60


def test_another_format(page: Page, folder: Path, tmp_path: Path) -> None:
    upload(page, folder / "source.png")
    press(page, "Settings")
    page.get_by_label("TIFF").check()
    press(page, "Run")
    path = download(page, tmp_path / "result.tif")
    assert path.read_bytes()[:4] in (b"II*\0", b"MM\0*")
    assert read_xmp(path) is not None
    assert page.locator(".command textarea").input_value().endswith("source.png result.tif")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text.png", "not a picture in a known format"),
        ("large.png", "300 × 301 px with 4 channels is over the limit of 90,000 px"),
        (None, "There is no picture yet"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(page: Page, folder: Path, name: str | None, words: str) -> None:
    if name:
        upload(page, folder / name)
    press(page, "Run")
    message = page.get_by_role("alert").filter(has_text=words)
    expect(message).to_be_visible(timeout=PATIENCE_MS)
    assert "/" not in message.inner_text(), "no path of the server"
    expect(page.locator(".command textarea")).to_be_hidden()


def test_an_example_runs_at_once(page: Page, tmp_path: Path) -> None:
    press(page, "Try test pattern 1")
    assert read(download(page, tmp_path / "result.png")).pixels.shape == (16, 24, 3)


def test_a_drawing_is_run_on_white_paper(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Draw").click()
    page.get_by_label("Brush").click()
    canvas = page.locator("canvas").first.bounding_box()
    assert canvas is not None
    x, y = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
    page.mouse.move(x - 60, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=10)
    page.mouse.up()
    press(page, "Run the drawing")
    pixels = read(download(page, tmp_path / "result.png")).pixels
    assert pixels.shape == (256, 256, 3)
    assert pixels[128, 128].tolist() == [0, 0, 255]
    assert pixels[20, 20].tolist() == [255, 255, 255]


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_look(browser: Browser, address: str, folder: Path, tmp_path: Path, width: int, scheme: str) -> None:
    """Nothing is wider than the screen and axe-core finds nothing; the pictures in tmp_path are for looking at."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        check_look(page, axe, tmp_path / "1-empty.png")
        upload(page, folder / "source.png")
        press(page, "Settings")
        press(page, "About this model")
        press(page, "Run")
        page.get_by_role("button", name="Download PNG").wait_for()
        check_look(page, axe, tmp_path / "2-result.png")
        page.get_by_role("tab", name="Draw").click()
        page.locator("canvas").first.wait_for()
        check_look(page, axe, tmp_path / "3-draw.png")


def check_look(page: Page, axe: Any, screenshot: Path) -> None:
    page.wait_for_timeout(700)  # what fades in has its colours only then
    page.screenshot(path=screenshot, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    violations = axe.run(page).response["violations"]
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in violations] == []
