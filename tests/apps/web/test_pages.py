"""The page in a browser: what a person does with it, how it looks, and that it can be used without seeing it.

Screenshots are kept in build/screenshots, or in the folder that the environment's SCREENSHOTS names.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")
pytest.importorskip("playwright")

from browsing import CHROMIUM, PATIENCE_MS, check_look, fact, opened, press, served, shown, sizes_in_slider
from handmade_onnx import write_onnx
from onnx import helper
from playwright.sync_api import Browser, Page, expect

from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.export.inference.predictor import PredictOptions
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.inference.upscale import UpscaleOptions
from gan_tasks.export.load import load
from gan_tasks.export.onnx.model import OnnxModel

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]

LIMITS = Limits(max_pixels=300 * 300)
BOTH_DIRECTIONS = "Seasons"
"""The tab of the two models that go in different directions."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and pictures."""
    folder = tmp_path_factory.mktemp("page")
    write_onnx(folder / "mean.onnx")
    write_onnx(folder / "twice.onnx", scale=2, task="enlarging", model_name="Twice")
    seasons = {"task": "cyclegan", "model_name": BOTH_DIRECTIONS, "source": "run 1", "training_data": "summer2winter"}
    write_onnx(folder / "winter.onnx", **seasons, direction="a-to-b")
    swap = helper.make_node("Gather", ["enlarged", "order"], ["output"], axis=1)
    order = helper.make_node("Constant", [], ["order"], value_ints=[2, 1, 0])
    write_onnx(folder / "summer.onnx", **seasons, direction="b-to-a", more_nodes=(order, swap))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    write(folder / "source.png", Picture(pixels))
    write(folder / "large.png", Picture(np.zeros((301, 300, 3), np.uint8)))
    (folder / "text.png").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    models = [folder / f"{name}.onnx" for name in ("mean", "winter", "summer", "twice")]
    with served(Service(open_models(models), LIMITS), folder) as address:
        yield address


def open_tab(page: Page, name: str) -> Page:
    more = page.get_by_role("button", name="More tabs")  # on a narrow screen
    if more.is_visible():
        more.click()
        page.locator(".overflow-dropdown").get_by_role("button", name=name, exact=True).click()
    else:
        page.get_by_role("tab", name=name, exact=True).click()
    shown(page.locator(".run")).wait_for()
    return page


def upload(page: Page, path: Path) -> None:
    dropping = shown(page.get_by_role("button", name="Drop an image file here to upload"))
    with page.expect_file_chooser() as chooser:
        dropping.click()
    chooser.value.set_files(path)
    shown(page.get_by_role("button", name="Remove Image")).wait_for()


def download(page: Page, path: Path) -> Path:
    with page.expect_download() as event:
        shown(page.get_by_role("button", name=re.compile("^Download (PNG|TIF|WEBP)$"))).click()
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
    assert command == "gan-tasks apply mean.onnx source.png result.png"
    expect(fact(page, "Provider")).to_have_text("CPU fp32, ONNX Runtime")
    expect(fact(page, "Result")).to_have_text("256 × 192 px")
    assert sizes_in_slider(page) == [[256, 192], [256, 192]], "full size, not a preview"
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


def test_one_tab_has_both_directions(page: Page, folder: Path, tmp_path: Path) -> None:
    open_tab(page, BOTH_DIRECTIONS)
    expect(shown(page.get_by_role("tab", name="Draw"))).to_have_count(1)
    upload(page, folder / "source.png")
    source = read(folder / "source.png").pixels
    for file, label in (("winter", "summer to winter"), ("summer", "winter to summer")):
        shown(page.get_by_label(label)).check()
        press(page, "Run")
        expect(fact(page, "Direction")).to_have_text(label)
        result = read(download(page, tmp_path / f"{file}.png")).pixels
        assert np.array_equal(result, load(folder / f"{file}.onnx")(source))
        command = shown(page.locator(".command textarea")).input_value()
        assert command == f"gan-tasks apply {file}.onnx source.png result.png"
    press(page, "Try test pattern 1")
    expect(fact(page, "Result")).to_have_text("24 × 16 px")
    expect(fact(page, "Direction")).to_have_text("winter to summer")


def test_before_and_after_align_where_the_model_enlarges(page: Page, folder: Path, tmp_path: Path) -> None:
    open_tab(page, "Twice")
    upload(page, folder / "source.png")
    press(page, "Run")
    assert read(download(page, tmp_path / "result.png")).pixels.shape == (384, 512, 3)
    assert sizes_in_slider(page) == [[512, 384], [512, 384]]


def test_a_page_of_one_button_gives_a_second_result(browser: Browser, folder: Path) -> None:
    """A run folder has no test patterns, so that nothing but Enlarge starts a run."""
    write_onnx(folder / "large.onnx", task="super-resolution", scale=2)
    models = [replace(each, examples=()) for each in open_models([folder / "large.onnx"])]
    with served(Service(models, Limits()), folder) as address, opened(browser, address) as page:
        upload(page, folder / "source.png")
        for label, size in (("2×, the model's own", "512 × 384 px"), ("3×", "768 × 576 px")):
            page.get_by_label(label).check()
            press(page, "Enlarge")
            expect(fact(page, "Result")).to_have_text(size)
            expect(page.get_by_role("button", name="Enlarge")).to_be_enabled()


def test_under_a_path_behind_a_proxy(browser: Browser, folder: Path, tmp_path: Path) -> None:
    service = Service(open_models([folder / "mean.onnx"]), LIMITS)
    with served(service, folder, behind="/paint") as address, opened(browser, f"{address}/") as page:
        upload(page, folder / "source.png")
        press(page, "Run")
        assert read(download(page, tmp_path / "result.png")).pixels.shape == (192, 256, 3)
        assert sizes_in_slider(page) == [[256, 192], [256, 192]]


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
        ("text.png", "not an image in a known format"),
        ("large.png", "over the limit of 90,000 px"),
        (None, "There is no image yet"),
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
    shown(page.get_by_role("tab", name="Draw")).click()
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


class Gate:
    """A session that runs once for each `release`."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.asked = 0
        self._runs = threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def release(self, runs: int = 1) -> None:
        self._runs.release(runs)

    def run(self, *arguments: Any) -> Any:
        self.asked += 1
        assert self._runs.acquire(timeout=30)
        return self.session.run(*arguments)


@pytest.fixture(scope="module")
def enlarging(folder: Path) -> Iterator[tuple[str, Service]]:
    """The address of a page on two models that enlarge, and what serves it: one job, and none may wait."""
    write_onnx(folder / "double.onnx", task="super-resolution", scale=2, model_name="Double", receptive_field=6)
    write_onnx(folder / "triple.onnx", task="super-resolution", scale=3, model_name="Triple", receptive_field=6)
    limits = Limits(max_pixels=4 * LIMITS.max_pixels, queue_size=0)
    service = Service(open_models([folder / "double.onnx", folder / "triple.onnx"]), limits)
    with served(service, folder) as address:
        yield address, service


@contextmanager
def gated(service: Service) -> Iterator[Gate]:
    """Let the first model run in the 20 tiles that the source is cut into with this memory, each when it is let."""
    model = service.models["double"].model
    assert isinstance(model, OnnxModel)
    with pytest.MonkeyPatch.context() as patch:
        gate = Gate(model.session)
        patch.setattr(model, "session", gate)
        patch.setattr(model, "max_memory_bytes", 64 * 64 * model.metadata.bytes_per_pixel)
        yield gate
        gate.release(100)  # for what is left after a failure


def test_enlarging_with_the_model_and_to_the_size_that_are_chosen(
    browser: Browser, enlarging: tuple[str, Service], folder: Path, tmp_path: Path
) -> None:
    source = read(folder / "source.png").pixels
    with opened(browser, enlarging[0]) as page:
        upload(page, folder / "source.png")
        press(page, "Enlarge")
        result = read(download(page, tmp_path / "result.png")).pixels
        assert result.shape == (384, 512, 3)
        assert np.array_equal(result, load(folder / "double.onnx")(source))
        assert sizes_in_slider(page) == [[512, 384], [512, 384]]
        expect(fact(page, "Model")).to_have_text("Double")
        mark = read_xmp(tmp_path / "result.png")
        assert mark is not None
        assert mark.model == "Double"
        expect(page.locator(".command")).to_be_visible()

        page.get_by_label("Model", exact=True).click()
        page.get_by_role("option", name="Triple (3×)").click()
        page.get_by_label("4×").check()
        press(page, "Enlarge")
        expect(fact(page, "Result")).to_have_text("1024 × 768 px")
        result = read(download(page, tmp_path / "result.png")).pixels
        options = PredictOptions(upscale=UpscaleOptions(4))
        assert np.array_equal(result, load(folder / "triple.onnx")(source, options=options))
        assert sizes_in_slider(page) == [[1024, 768], [1024, 768]]
        expect(page.locator(".command textarea")).to_have_value(re.compile(r" --scale 4$"))


def test_progress_by_tile_and_stopping_between_them(
    browser: Browser, enlarging: tuple[str, Service], folder: Path, tmp_path: Path
) -> None:
    address, service = enlarging
    with gated(service) as gate, opened(browser, address) as page:
        run, stop = page.get_by_role("button", name="Enlarge"), page.get_by_role("button", name="Stop")
        upload(page, folder / "source.png")
        run.click()
        expect(page.get_by_text("Tile 1 of 20")).to_be_visible()
        gate.release(2)
        expect(page.get_by_text("Tile 3 of 20")).to_be_visible()
        expect(page.get_by_text(re.compile(r"about \d+ s left"))).to_be_visible()
        expect(page.get_by_role("progressbar", name="Tile 3 of 20")).to_have_attribute("value", "2")
        expect(run).to_be_disabled()
        stop.click()
        expect(page.get_by_text("Stopping after this tile")).to_be_visible()
        gate.release()
        expect(page.get_by_text("Stopped: there is no result.")).to_be_visible()
        expect(stop).to_be_hidden()
        assert gate.asked == 3
        gate.release(20)
        run.click()  # the one place is free again
        assert read(download(page, tmp_path / "result.png")).pixels.shape == (384, 512, 3)
        expect(run).to_be_enabled()
        assert gate.asked == 23


def test_a_page_that_is_left_stops_its_job(
    browser: Browser, enlarging: tuple[str, Service], folder: Path, tmp_path: Path
) -> None:
    address, service = enlarging
    with gated(service) as gate:
        with opened(browser, address) as page:
            upload(page, folder / "source.png")
            press(page, "Enlarge")
            expect(page.get_by_text("Tile 1 of 20")).to_be_visible()
        with opened(browser, address) as page:
            upload(page, folder / "source.png")
            press(page, "Enlarge")
            expect(page.get_by_role("alert")).to_contain_text("try again in a few seconds")
            gate.release()
            page.wait_for_timeout(2000)
            gate.release(20)
            press(page, "Enlarge")
            assert read(download(page, tmp_path / "result.png")).pixels.shape == (384, 512, 3)
        assert gate.asked == 21


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_the_look_of_enlarging(
    browser: Browser, enlarging: tuple[str, Service], folder: Path, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    address, service = enlarging
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with gated(service) as gate, opened(browser, address, **options) as page:
        form = f"{width}-{scheme}"
        check_look(page, axe, f"enlarge-empty-{form}")
        upload(page, folder / "source.png")
        press(page, "Enlarge")
        gate.release(3)
        page.get_by_text("Tile 4 of 20").wait_for()
        expect(page.locator(".working")).to_be_in_viewport()
        check_look(page, axe, f"enlarge-running-{form}")
        gate.release(17)
        page.get_by_role("button", name="Download PNG").wait_for()
        press(page, "About this model")
        check_look(page, axe, f"enlarge-result-{form}")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_the_look(browser: Browser, address: str, folder: Path, width: int, scheme: str) -> None:
    """Nothing is wider than the screen and axe-core finds nothing; the screenshots are for looking at."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        form = f"{width}-{scheme}"
        check_look(page, axe, f"empty-{form}")
        upload(page, folder / "source.png")
        press(page, "Settings")
        press(page, "About this model")
        press(page, "Run")
        page.get_by_role("button", name="Download PNG").wait_for()
        check_look(page, axe, f"result-{form}")
        shown(page.get_by_role("tab", name="Draw")).click()
        page.locator("canvas").first.wait_for()
        check_look(page, axe, f"draw-{form}")
        open_tab(page, BOTH_DIRECTIONS)
        upload(page, folder / "source.png")
        press(page, "About this model")
        press(page, "Run")
        shown(page.get_by_role("button", name="Download PNG")).wait_for()
        check_look(page, axe, f"both-directions-{form}")
