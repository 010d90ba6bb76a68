"""The page of old photographs in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")
pytest.importorskip("playwright")

from browsing import CHROMIUM, choose_file, download, fact, press, served, shown, sizes_in_slider
from handmade_onnx import write_colouriser, write_gain, write_onnx
from playwright.sync_api import Page, expect

from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.export.load import load_chain

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
NAMES = ("descratch", "colourise", "upscale-x2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and a gray photograph."""
    folder = tmp_path_factory.mktemp("page")
    write_gain(folder / "descratch.onnx", (0.9, 0.9, 0.9), model_name="descratch")
    write_colouriser(folder / "colourise.onnx", model_name="colourise")
    write_onnx(folder / "upscale-x2.onnx", model_name="upscale-x2", task="super-resolution", scale=2)
    rng = np.random.default_rng(0)
    write(folder / "photo.png", Picture(rng.integers(0, 256, (24, 32, 1), np.uint8).repeat(8, 0).repeat(8, 1)))
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    service = Service(open_models([folder / f"{name}.onnx" for name in NAMES]), Limits())
    with served(service, folder) as address:
        yield address


def test_a_photograph_is_restored_and_the_result_of_each_step_is_shown(
    page: Page, folder: Path, tmp_path: Path
) -> None:
    press(page, "Restore")
    expect(page.get_by_role("alert")).to_have_text("There is no photograph yet: put one in first.")
    choose_file(page, folder / "photo.png")
    press(page, "Restore")
    expect(fact(page, "Steps")).to_have_text("descratch, colourise, upscale-x2")
    assert sizes_in_slider(page) == [[512, 384], [512, 384]]
    pixels = read(folder / "photo.png").pixels
    expected = load_chain([folder / f"{name}.onnx" for name in NAMES])(pixels)
    assert np.array_equal(read(download(page, tmp_path / "result.png")).pixels, expected)
    shown(page.get_by_label("1. descratch")).check()
    expect(shown(page.locator(".result-slider img")).first).to_have_js_property("naturalWidth", 256)

    shown(page.get_by_label("Mend scratches")).uncheck()
    shown(page.get_by_label("Enlarge")).uncheck()
    press(page, "Restore")
    expect(fact(page, "Steps")).to_have_text("colourise")
    command = shown(page.locator(".command textarea")).input_value()
    assert command == "gan-tasks restore photo.png result.png --steps colourise --colourise colourise.onnx"
