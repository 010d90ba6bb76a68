"""The pages of noise → image and of image + style → image in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")
pytest.importorskip("playwright")

from browsing import CHROMIUM, check_look, choose_file, download, fact, opened, press, served, shown, sizes_in_slider
from handmade_onnx import generated, write_generator, write_stylizer
from playwright.sync_api import Browser, Page, expect

from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.datasets.images import Picture, Pixels, read, write
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.inference.stylization.colour import with_colours_of
from gan_tasks.export.load import load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]

LATENT, CLASSES = 12, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and images."""
    folder = tmp_path_factory.mktemp("page")
    write_generator(folder / "noise.onnx", latent=LATENT, classes=CLASSES, output_size=(48, 64))
    write_stylizer(folder / "tint.onnx")
    rng = np.random.default_rng(0)
    write(folder / "photo.png", Picture(rng.integers(0, 256, (24, 32, 3), np.uint8).repeat(8, 0).repeat(8, 1)))
    write(folder / "style.png", Picture(np.full((40, 60, 3), (200, 30, 90), np.uint8)))
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    service = Service(open_models([folder / "noise.onnx", folder / "tint.onnx"]), Limits())
    with served(service, folder) as address:
        yield address


def image_of(folder: Path, latent: NDArray[np.float32], label: int) -> Pixels:
    """What the generator makes, computed apart from the page and from any runtime."""
    one_hot = np.eye(CLASSES, dtype=np.float32)[None, label]
    made = generated(load(folder / "noise.onnx").spec, latent[None].astype(np.float32), one_hot)
    return np.rint(made[0].transpose(1, 2, 0) * 255).astype(np.uint8)


def run(page: Page, button: str) -> None:
    """Press a button that runs the model, and wait for another result than the one that is shown."""
    image = shown(page.locator(".result-image img"))
    before = image.get_attribute("src") if image.count() else ""
    press(page, button)
    expect(image).not_to_have_attribute("src", before or "")


def differs(image: Pixels, expected: Pixels) -> int:
    """The largest difference, in gray levels."""
    return int(np.abs(image.astype(int) - expected).max())


def test_a_seed_a_class_and_sliders_decide_the_image(page: Page, folder: Path, tmp_path: Path) -> None:
    seed = page.get_by_role("spinbutton", name="Seed")
    seed.fill("7")
    press(page, f"Move the first 8 of {LATENT} values")  # long before a value is typed, for it is mounted late
    run(page, "Generate")
    expect(fact(page, "Result")).to_have_text("64 × 48 px")
    path = download(page, tmp_path / "seed.png")
    assert differs(read(path).pixels, image_of(folder, draw_latent(7, LATENT), 0)) <= 1
    mark = read_xmp(path)
    assert mark is not None
    assert (mark.source_type, mark.model) == ("trainedAlgorithmicMedia", "Noise")
    expect(page.locator(".command")).to_be_hidden()  # the command line has no option for a seed

    page.get_by_label("Label").click()
    page.get_by_role("option", name="Class 2").click()
    page.get_by_role("spinbutton", name="Value 3").fill("1.5")
    page.get_by_role("spinbutton", name="Value 3").press("Tab")
    run(page, "Generate")
    moved = draw_latent(7, LATENT)
    moved[2] += 1.5
    wanted = image_of(folder, moved, 2)
    assert differs(wanted, image_of(folder, draw_latent(7, LATENT), 2)) > 50
    assert differs(read(download(page, tmp_path / "moved.png")).pixels, wanted) <= 1

    press(page, "Back to the seed")
    expect(page.get_by_role("spinbutton", name="Value 3")).to_have_value("0")
    run(page, "Random seed")
    expect(seed).not_to_have_value("7")
    drawn = int(seed.input_value())
    image = read(download(page, tmp_path / "random.png")).pixels
    assert differs(image, image_of(folder, draw_latent(drawn, LATENT), 2)) <= 1


def test_a_latent_of_one_value_goes_back_to_its_seed(browser: Browser, folder: Path) -> None:
    write_generator(folder / "one.onnx", latent=1)
    with (
        served(Service(open_models([folder / "one.onnx"]), Limits()), folder) as address,
        opened(browser, address) as page,
    ):
        press(page, "Move the first 1 of 1 values")
        value = page.get_by_role("spinbutton", name="Value 1")
        value.fill("1.5")
        value.press("Tab")
        press(page, "Back to the seed")
        expect(value).to_have_value("0")
        run(page, "Generate")


def test_a_field_without_a_seed_is_answered_with_a_sentence(page: Page) -> None:
    page.get_by_role("spinbutton", name="Seed").fill("")
    press(page, "Generate")
    expect(page.get_by_role("alert")).to_contain_text("give a whole number from 0 to 2,147,483,647")


def test_an_image_takes_the_colour_of_a_style_of_another_size(page: Page, folder: Path, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Tint", exact=True).click()
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
        check_look(page, axe, f"generate-empty-{form}")
        press(page, f"Move the first 8 of {LATENT} values")
        press(page, "Random seed")
        shown(page.get_by_role("button", name="Download PNG")).wait_for()
        press(page, "About this model")
        check_look(page, axe, f"generate-result-{form}")
        page.get_by_role("tab", name="Tint", exact=True).click()
        shown(page.locator(".uploads")).wait_for()
        check_look(page, axe, f"stylize-empty-{form}")
        choose_file(page, folder / "photo.png")
        choose_file(page, folder / "style.png")
        press(page, "Stylize")
        shown(page.get_by_role("button", name="Download PNG")).wait_for()
        check_look(page, axe, f"stylize-result-{form}")
