"""The page of image + style → image in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")
pytest.importorskip("playwright")

from browsing import CHROMIUM, check_look, choose_file, download, fact, opened, press, served, shown, sizes_in_slider
from handmade_onnx import write_stylizer
from playwright.sync_api import Browser, Page, expect

from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.export.inference.stylization.colour import with_colours_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and images."""
    folder = tmp_path_factory.mktemp("page")
    write_stylizer(folder / "tint.onnx")
    rng = np.random.default_rng(0)
    write(folder / "photo.png", Picture(rng.integers(0, 256, (24, 32, 3), np.uint8).repeat(8, 0).repeat(8, 1)))
    write(folder / "style.png", Picture(np.full((40, 60, 3), (200, 30, 90), np.uint8)))
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    service = Service(open_models([folder / "tint.onnx"]), Limits())
    with served(service, folder) as address:
        yield address


def test_an_image_takes_the_colour_of_a_style_of_another_size(page: Page, folder: Path, tmp_path: Path) -> None:
    choose_file(page, folder / "photo.png")
    press(page, "Stylize")
    expect(page.get_by_role("alert")).to_have_text("There is no style yet: put one in first.")
    choose_file(page, folder / "style.png")
    expect(shown(page.get_by_role("button", name="Remove Image"))).to_have_count(2)
    press(page, "Stylize")
    expect(fact(page, "Result")).to_have_text("256 × 192 px")
    assert sizes_in_slider(page) == [[256, 192], [256, 192]]
    result = read(download(page, tmp_path / "result.png")).pixels
    expected = (read(folder / "photo.png").pixels + np.array([200.0, 30.0, 90.0])) / 2
    assert np.abs(result - expected).max() <= 1
    press(page, "Try test pattern 1")
    expect(fact(page, "Result")).to_have_text("24 × 16 px")
    shown(page.get_by_label("Keep the colours of the image")).check()
    press(page, "Stylize")
    expect(fact(page, "Result")).to_have_text("256 × 192 px")
    kept = with_colours_of(read(folder / "photo.png").pixels, result)
    assert np.array_equal(read(download(page, tmp_path / "kept.png")).pixels, kept)


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_the_look(browser: Browser, address: str, folder: Path, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        form = f"{width}-{scheme}"
        check_look(page, axe, f"stylize-empty-{form}")
        choose_file(page, folder / "photo.png")
        choose_file(page, folder / "style.png")
        press(page, "Stylize")
        shown(page.get_by_role("button", name="Download PNG")).wait_for()
        check_look(page, axe, f"stylize-result-{form}")
