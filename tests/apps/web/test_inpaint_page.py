"""The page for inpainting in a browser: painted with the mouse, filled, undone, filled again, downloaded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")
pytest.importorskip("playwright")

from browsing import (
    CHROMIUM,
    PATIENCE_MS,
    check_look,
    choose_file,
    download,
    fact,
    opened,
    press,
    served,
    shown,
    sizes_in_slider,
)
from handmade_onnx import FILL, write_filler, write_onnx
from playwright.sync_api import Browser, Locator, Page, expect

from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.datasets.images import Picture, Pixels, read, write
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.load import load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]

LIMITS = Limits(max_pixels=2000 * 1000)
SIZE = (240, 320)
WINDOW: Any = {"width": 1000, "height": 800}
STILL_LOOKS, LOOK_EVERY_MS = 2, 150
"""A canvas says nowhere that it has drawn what it was given: it has when it looks the same for so many looks."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and pictures."""
    folder = tmp_path_factory.mktemp("fill")
    write_filler(folder / "fill.onnx")
    write_filler(folder / "sketch.onnx", sketch=True, model_name="Sketch")
    write_onnx(folder / "mean.onnx", model_name="Mean")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*SIZE, 4), np.uint8)
    pixels[:120, :, 3] = 255  # the rest is see-through, more or less
    write(folder / "photo.png", Picture(pixels))
    write(folder / "large.tif", Picture(rng.integers(0, 65536, (900, 1800, 3)).astype(np.uint16)))
    mask = np.zeros((*SIZE, 1), np.uint8)
    mask[10:30, 40:90] = 255
    write(folder / "mask.png", Picture(mask))
    write(folder / "wrong.png", Picture(mask[:100]))
    (folder / "text.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(Service(open_models([folder / "fill.onnx"]), LIMITS), folder) as address:
        yield address


def put_in(page: Page, path: Path) -> None:
    """Upload a picture to be painted on."""
    choose_file(page, path)
    canvas(page).wait_for()
    wait_for_canvas(page, since=b"")  # it takes the picture's size some time after it is there


def wait_for_canvas(page: Page, since: bytes) -> None:
    """Until the canvas looks different from its screenshot `since`, and then no longer changes."""
    last, looks, deadline_s = since, 0, time.monotonic() + PATIENCE_MS / 1000
    while looks < STILL_LOOKS:
        assert time.monotonic() < deadline_s, "the canvas does not change, or does not come to rest"
        page.wait_for_timeout(LOOK_EVERY_MS)
        look = canvas(page).screenshot()
        looks = looks + 1 if look == last != since else 0
        last = look


def canvas(page: Page) -> Locator:
    return shown(page.locator(".retouch canvas")).first


def stroke(page: Page, *, right: float = 0, down: float = 0, length: float = 80) -> None:
    """Paint from left to right, px of the screen from the middle of the canvas."""
    box = canvas(page).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2 + right, box["y"] + box["height"] / 2 + down
    page.mouse.move(x - length / 2, y)
    page.mouse.down()
    page.mouse.move(x + length / 2, y, steps=8)
    page.mouse.up()


def fills(page: Page, count: int) -> None:
    """Fill, and wait until the page says that it was done for so many times."""
    before = canvas(page).screenshot()
    press(page, "Fill")
    expect(fact(page, "Fills")).to_have_text(str(count), timeout=PATIENCE_MS)
    wait_for_canvas(page, before)


def changed(before: Pixels, after: Pixels) -> Any:
    return (before != after).any(axis=2)


def test_paint_fill_again_undo_download(page: Page, folder: Path, tmp_path: Path) -> None:
    source = read(folder / "photo.png").pixels
    put_in(page, folder / "photo.png")
    undo = page.get_by_role("button", name="Undo the last fill")
    expect(undo).to_be_disabled()
    stroke(page)
    fills(page, 1)
    assert sizes_in_slider(page) == [[320, 240], [320, 240]], "full size, not a preview"
    expect(undo).to_be_enabled()

    first = read(download(page, tmp_path / "first.png")).pixels
    mask = read(download(page, tmp_path / "mask.png", "Download the mask")).pixels[..., 0] > 0
    assert first.shape == source.shape
    assert np.array_equal(first[~mask], source[~mask]), "nothing but what is painted is changed"
    assert np.array_equal(first[..., 3], source[..., 3])
    rows, columns = np.nonzero(mask)
    assert 40 < columns.max() - columns.min() < 160 and rows.max() - rows.min() < 60
    assert mask[120, 160] and not mask[20, 20]
    assert np.abs(first[mask][:, :3].mean(axis=0) - 255 * np.array(FILL)).max() < 40
    assert np.array_equal(first, load(folder / "fill.onnx")(source, mask)), "as the command line does it"
    mark = read_xmp(tmp_path / "first.png")
    assert mark is not None
    assert (mark.source_type, mark.model) == ("compositeWithTrainedAlgorithmicMedia", "Orange")
    command = page.locator(".command textarea").input_value()
    assert command == "gan-tasks apply fill.onnx photo.png photo-fill-1.png --mask mask.png"

    stroke(page, down=80)
    fills(page, 2)
    second = read(download(page, tmp_path / "second.png")).pixels
    more = read(download(page, tmp_path / "mask.png", "Download the mask")).pixels[..., 0] > 0
    assert not (more & mask).any(), "the paint of the first fill is gone"
    assert np.array_equal(second[~more], first[~more]) and changed(first, second).any()

    before = canvas(page).screenshot()
    undo.click()
    expect(fact(page, "Fills")).to_have_text("1", timeout=PATIENCE_MS)
    assert np.array_equal(read(download(page, tmp_path / "again.png")).pixels, first)
    wait_for_canvas(page, before)
    before = canvas(page).screenshot()
    undo.click()
    expect(page.get_by_text("Upload and result appear here.")).to_be_visible(timeout=PATIENCE_MS)
    expect(undo).to_be_disabled()
    wait_for_canvas(page, before)
    fills(page, 1)  # what was painted is there again
    assert np.array_equal(read(download(page, tmp_path / "again.png")).pixels, first)


def test_deep_pictures_larger_than_the_canvas(page: Page, folder: Path, tmp_path: Path) -> None:
    source = read(folder / "large.tif").pixels
    put_in(page, folder / "large.tif")
    stroke(page)
    fills(page, 1)
    result = read(download(page, tmp_path / "result.png")).pixels
    mask = read(download(page, tmp_path / "mask.png", "Download the mask")).pixels[..., 0] > 0
    assert result.dtype == np.uint16 and result.shape == source.shape
    assert mask[450, 900] and np.array_equal(result[~mask], source[~mask])
    assert changed(source, result)[mask].mean() > 0.99


def test_a_mask_from_a_file_with_settings(page: Page, folder: Path, tmp_path: Path) -> None:
    put_in(page, folder / "photo.png")
    press(page, "Mask from a file")
    choose_file(page, folder / "mask.png")
    shown(page.get_by_role("button", name="Remove Image")).wait_for()
    press(page, "Settings")
    page.get_by_label("The whole image as it is").check()
    page.get_by_role("spinbutton", name="Grow the mask").fill("2")
    page.get_by_role("spinbutton", name="Soft boundary").fill("0")
    page.get_by_label("Match the colours at the boundary").uncheck()
    fills(page, 1)
    source, result = read(folder / "photo.png").pixels, read(download(page, tmp_path / "result.png")).pixels
    assert np.argwhere(changed(source, result)).min(axis=0).tolist() == [8, 38]
    assert (result[8:32, 38:92, :3] == np.rint(255 * np.array(FILL))).all()
    assert (
        page.locator(".command textarea")
        .input_value()
        .endswith(
            "photo-fill-1.png --mask mask.png --strategy original --dilate-px 2 --feather-px 0 --no-match-colour"
        )
    )
    press(page, "Fill")  # the mask was for that fill alone
    expect(page.get_by_role("alert")).to_have_text(
        "Nothing is covered: paint over what is to be filled, or put in a mask."
    )
    expect(fact(page, "Fills")).to_have_text("1")


def test_mistakes_are_answered_with_a_sentence(page: Page, folder: Path) -> None:
    choose_file(page, folder / "text.png")
    expect(page.get_by_role("alert")).to_contain_text("not an image in a known format", timeout=PATIENCE_MS)
    press(page, "Remove Image")
    put_in(page, folder / "photo.png")
    press(page, "Mask from a file")
    choose_file(page, folder / "wrong.png")
    shown(page.get_by_role("button", name="Remove Image")).wait_for()
    press(page, "Fill")
    expect(page.get_by_role("alert")).to_have_text(
        "the mask: is 320 × 100 px but its image is 320 × 240 px; give a mask of the image's size"
    )


def test_clearing_takes_the_paint_and_leaves_the_picture(page: Page, folder: Path, tmp_path: Path) -> None:
    put_in(page, folder / "photo.png")
    stroke(page)
    painted = canvas(page).screenshot()
    page.get_by_role("button", name="Clear canvas").click()
    wait_for_canvas(page, painted)
    press(page, "Fill")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is covered", timeout=PATIENCE_MS)
    stroke(page, down=-60)
    fills(page, 1)
    mask = read(download(page, tmp_path / "mask.png", "Download the mask")).pixels[..., 0] > 0
    assert mask.any() and not mask[120].any()
    press(page, "Another image")
    put_in(page, folder / "photo.png")
    expect(page.get_by_text("Upload and result appear here.")).to_be_visible()


def test_lines_in_the_other_colour_are_a_sketch(browser: Browser, folder: Path, tmp_path: Path) -> None:
    service = Service(open_models([folder / "mean.onnx", folder / "sketch.onnx"]), LIMITS)
    with served(service, folder) as address, opened(browser, address, viewport=WINDOW) as page:
        page.get_by_role("tab", name="Sketch", exact=True).click()
        put_in(page, folder / "photo.png")
        stroke(page, length=100)
        page.get_by_role("button", name="Color", exact=True).click()
        page.locator(".retouch button.color").nth(1).click()
        stroke(page, length=20)
        fills(page, 1)
        lines = read(download(page, tmp_path / "lines.png", "Download the sketch")).pixels[..., 0] > 0
        mask = read(download(page, tmp_path / "mask.png", "Download the mask")).pixels[..., 0] > 0
        result = read(download(page, tmp_path / "result.png")).pixels
        assert lines[120, 160] and lines.sum() < mask.sum() and not (lines & ~mask).any()
        source = read(folder / "photo.png").pixels
        assert np.array_equal(result, load(folder / "sketch.onnx")(source, mask, lines))
        assert page.locator(".command textarea").input_value().endswith("--mask mask.png --sketch sketch.png")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_the_look(browser: Browser, address: str, folder: Path, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        form = f"{width}-{scheme}"
        check_look(page, axe, f"fill-empty-{form}")
        put_in(page, folder / "photo.png")
        stroke(page)
        press(page, "Settings")
        press(page, "Mask from a file")
        if scheme == "light":
            check_look(page, axe, f"fill-painted-{form}")
        fills(page, 1)
        press(page, "Fill")
        page.get_by_role("alert").wait_for()
        check_look(page, axe, f"fill-result-{form}")
