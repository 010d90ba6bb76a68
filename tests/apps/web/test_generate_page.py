"""The page of models that generate: what its buttons do, and the page in a browser."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")
pytest.importorskip("playwright")

from browsing import CHROMIUM, check_look, choose_file, download, fact, opened, press, served, shown
from fastapi.testclient import TestClient
from handmade_onnx import generated, write_generator
from page_config import page_config
from playwright.sync_api import Browser, expect
from tiny_synthesis import tiny_model

from gan_tasks.apps.web.fields import Values
from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.outputs import Job, follow_job, stop_job
from gan_tasks.apps.web.pages.generate import WITHOUT_WEIGHTS, GeneratePage, build_page
from gan_tasks.apps.web.served_models import ServedModel, open_models
from gan_tasks.apps.web.synthesis.stage import Turn
from gan_tasks.datasets.images import Picture, Pixels, read, write
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import Point

CLASSES = 3
NAMES = ("cat", "dog", "horse")
Read = Callable[[Values], Job[Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """An ONNX file, and a network with a latent space."""
    (noise,) = open_models([write_generator(folder / "noise.onnx", latent=12, classes=CLASSES, output_size=(48, 64))])
    model = tiny_model(classes=CLASSES, names=NAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        service = Service([noise, ServedModel("tiny", Path("tiny"), Predictor(model))], Limits())
        yield service
        service.close()


@pytest.fixture(scope="module")
def noise(service: Service) -> GeneratePage:
    """The page of the ONNX file."""
    return page_of(service, "noise")


@pytest.fixture(scope="module")
def tiny(service: Service) -> GeneratePage:
    """The page of the network."""
    return page_of(service, "tiny")


def page_of(service: Service, key: str) -> GeneratePage:
    import gradio

    with gradio.Blocks():
        return build_page(service, service.models[key])


def ask(page: GeneratePage, read: Read, given: Values | None = None) -> Values:
    """Return what a button shows in the end. given: what components hold instead of their first values."""
    values = Held(given or {})

    async def shown() -> list[Values]:
        return [each async for each in follow_job(page.stage, lambda: read(values))]

    return asyncio.run(shown())[-1]


class Held(dict[Any, Any]):
    """What components hold; their first value if nothing else is known."""

    def __missing__(self, component: Any) -> Any:
        return component.value


def shown_file(page: GeneratePage, values: Values) -> Path:
    file = values[page.stage.download]["value"]
    assert isinstance(file, Path)
    return file


def shown_pixels(page: GeneratePage, values: Values) -> Pixels:
    return read(shown_file(page, values)).pixels


def said(page: GeneratePage, values: Values) -> str:
    return str(values[page.stage.message]["value"])


def image_of(page: GeneratePage, point: Point) -> Pixels:
    """What the network with a latent space makes of a point."""
    space = LatentSpace(page.served.model)
    return np.asarray(space.images(space.styles_of([point]))[0])


def differs(image: Pixels, expected: Pixels) -> int:
    """The largest difference, in gray levels."""
    return int(np.abs(image.astype(int) - expected).max())


def of_formula(page: GeneratePage, latent: NDArray[np.float32], label: int) -> Pixels:
    """What the ONNX file makes, computed apart from the page and from any runtime."""
    one_hot = np.eye(CLASSES, dtype=np.float32)[None, label]
    made = generated(page.served.spec, latent[None].astype(np.float32), one_hot)
    return np.rint(made[0].transpose(1, 2, 0) * 255).astype(np.uint8)


def test_a_seed_a_class_and_sliders_decide_the_image_of_an_onnx_file(noise: GeneratePage) -> None:
    given: Values = {noise.seeds.seed: 7, noise.seeds.label: 2}
    values = ask(noise, noise.generate, given)
    assert differs(shown_pixels(noise, values), of_formula(noise, draw_latent(7, 12), 2)) <= 1
    assert "Seed 7" in values[noise.stage.facts]
    assert values[noise.stage.command]["value"] == "gan-tasks generate noise.onnx images --seeds 7 --class 2"
    mark = read_xmp(shown_file(noise, values))
    assert mark is not None
    assert (mark.source_type, mark.model) == ("trainedAlgorithmicMedia", "Noise")

    edited = ask(noise, noise.edit_image, {noise.base: values[noise.base], noise.edit.amounts[2]: 1.5})
    moved = draw_latent(7, 12)
    moved[2] += 1.5
    assert differs(shown_pixels(noise, edited), of_formula(noise, moved, 2)) <= 1
    assert edited[noise.base] is values[noise.base], "the next amounts start from the same image"
    back = ask(noise, noise.edit_image, {noise.base: values[noise.base]})
    assert np.array_equal(shown_pixels(noise, back), shown_pixels(noise, values))


def test_a_download_of_a_seed_opens_again(tiny: GeneratePage) -> None:
    given: Values = {tiny.seeds.seed: 9, tiny.seeds.label: 1, tiny.seeds.truncation: 0.5}
    values = ask(tiny, tiny.generate, given)
    assert np.array_equal(shown_pixels(tiny, values), image_of(tiny, Point(9, label=1, truncation=0.5)))
    command = values[tiny.stage.command]["value"]
    assert command == "gan-tasks generate tiny images --seeds 9 --class dog --truncation 0.5"
    opened = ask(tiny, tiny.open, {tiny.opened: shown_file(tiny, values)})
    assert {component: opened[component] for component in given} == given
    assert np.array_equal(shown_pixels(tiny, opened), shown_pixels(tiny, values))


def test_a_download_of_mixed_styles_opens_again(tiny: GeneratePage) -> None:
    assert tiny.mix is not None
    given: Values = {tiny.mix.coarse: 4, tiny.mix.fine: 5, tiny.mix.layers: 1, tiny.suffix: ".tif"}
    values = ask(tiny, tiny.mix_seeds, given)
    space = LatentSpace(tiny.served.model)
    coarse, fine = space.styles_of_seeds([4, 5], 0)
    expected = space.images(np.concatenate([coarse[:1], fine[1:]])[None])[0]
    assert differs(shown_pixels(tiny, values), expected) <= 1
    opened = ask(tiny, tiny.open, {tiny.opened: shown_file(tiny, values)})
    assert np.array_equal(shown_pixels(tiny, opened), shown_pixels(tiny, values))
    assert tiny.seeds.seed not in opened
    all_coarse = ask(tiny, tiny.mix_seeds, given | {tiny.mix.layers: 3})
    assert differs(shown_pixels(tiny, all_coarse), image_of(tiny, Point(4, label=0))) <= 1


def test_sliders_move_along_directions_that_are_found_once(tiny: GeneratePage) -> None:
    edit = tiny.edit
    base = ask(tiny, tiny.generate, {tiny.seeds.seed: 2, tiny.seeds.label: 1})[tiny.base]
    given: Values = {tiny.base: base, tiny.seeds.label: 1, edit.amounts[1]: -1.5}
    values = ask(tiny, tiny.edit_image, given)
    space = LatentSpace(tiny.served.model)
    expected = space.styles_of([base.point])[0]
    assert tiny.editor is not None
    found = tiny.editor.found["factorisation", 1]
    assert "Seed 2, edited" in values[tiny.stage.facts]
    pixels = space.images((expected - 1.5 * found.scales[1] * found.vectors[1])[None])[0]
    assert differs(shown_pixels(tiny, values), pixels) <= 1
    assert differs(shown_pixels(tiny, values), space.images(expected[None])[0]) > 1
    opened = ask(tiny, tiny.open, {tiny.opened: shown_file(tiny, values)})
    assert np.array_equal(shown_pixels(tiny, opened), shown_pixels(tiny, values))
    other = ask(tiny, tiny.edit_image, given | {edit.method: "components"})
    assert not np.array_equal(shown_pixels(tiny, other), shown_pixels(tiny, values))
    ask(tiny, tiny.edit_image, given)
    assert tiny.editor.found["factorisation", 1] is found


@pytest.mark.parametrize("model", ["noise", "tiny"])
def test_the_way_between_two_seeds_ends_at_both(model: str, request: pytest.FixtureRequest) -> None:
    page: GeneratePage = request.getfixturevalue(model)
    between = page.between
    given: Values = {between.start: 3, between.end: 8}
    start = ask(page, page.generate, {page.seeds.seed: 3})
    end = ask(page, page.generate, {page.seeds.seed: 8})
    at = [shown_pixels(page, ask(page, page.interpolate, given | {between.position: t})) for t in (0, 0.5, 1)]
    assert np.array_equal(at[0], shown_pixels(page, start))
    assert np.array_equal(at[2], shown_pixels(page, end))
    assert not any(np.array_equal(at[1], each) for each in (at[0], at[2]))


def test_the_way_of_an_onnx_file_keeps_the_length_of_latents(noise: GeneratePage) -> None:
    between = noise.between
    values = ask(noise, noise.interpolate, {between.start: 3, between.end: 8, between.position: 0.5})
    latent = values[noise.base].point.latent
    lengths = [np.linalg.norm(draw_latent(seed, 12)) for seed in (3, 8)]
    assert np.linalg.norm(latent) == pytest.approx(np.mean(lengths), rel=1e-4)


def test_the_grid_shows_consecutive_seeds(noise: GeneratePage) -> None:
    values = ask(noise, noise.show_grid, {noise.grid.first: 20, noise.grid.count: 9})
    html = values[noise.grid.grid]["value"]
    assert re.findall(r'data-seed="(\d+)"', html) == [str(seed) for seed in range(20, 29)]
    assert len(set(re.findall(r'src="(data:image/webp[^"]+)"', html))) == 9


def test_a_grid_is_stopped(tiny: GeneratePage, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.served.model
    monkeypatch.setattr(model, "max_memory_bytes", 1)  # one image after the other
    network = model.run

    def slow(*inputs: Any) -> Any:
        time.sleep(0.1)
        return network(*inputs)

    monkeypatch.setattr(model, "run", slow)

    async def stopped() -> list[str]:
        messages = []
        values = Held({tiny.grid.count: 64})
        async for each in follow_job(tiny.stage, lambda: tiny.show_grid(values)):
            messages.append(said(tiny, each))
            stop_job(each.get(tiny.stage.progress))
        return messages

    messages = asyncio.run(stopped())
    assert re.search(r"Image \d+ of 64", messages[0])
    assert "Stopped: there is no result." in messages[-1]


def test_a_visitor_has_one_job_at_a_time(tiny: GeneratePage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer job stops the one before, which says nothing any more; but it waits for a kept one."""
    model = tiny.served.model
    monkeypatch.setattr(model, "max_memory_bytes", 1)  # one image after the other
    network = model.run

    def slow(*inputs: Any) -> Any:
        time.sleep(0.05)
        return network(*inputs)

    monkeypatch.setattr(model, "run", slow)
    values = Held({tiny.grid.count: 64, tiny.stage.turn: Turn()})

    async def both(*, is_kept: bool) -> tuple[list[Values], list[Values]]:
        grid = tiny.follow(values, tiny.show_grid, is_kept=is_kept)
        first = [await anext(grid)]
        second = [each async for each in tiny.follow(values, tiny.generate)]
        if is_kept:
            stop_job(first[0][tiny.stage.progress])
        return first + [each async for each in grid], second

    grid, image = asyncio.run(both(is_kept=False))
    assert len(grid) == 1
    assert "Seed 0" in image[-1][tiny.stage.facts]
    with pytest.warns(UserWarning, match="wait for it"):  # outside a request; in one it is shown on the page
        grid, image = asyncio.run(both(is_kept=True))
    assert image == []
    assert "Stopped" in said(tiny, grid[-1])
    grid, image = asyncio.run(both(is_kept=False))
    assert image, "the kept job has ended"


@pytest.mark.parametrize(
    ("error", "words"),
    [(MemoryError(), "The memory of the server does not suffice"), (KeyError("x"), "not expected")],
)
def test_an_unexpected_error_ends_the_job_on_the_page(
    error: Exception, words: str, tiny: GeneratePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*inputs: Any) -> Any:
        raise error

    monkeypatch.setattr(tiny.served.model, "run", fail)
    shown = list[Values]()

    async def ask_all() -> None:
        async for each in tiny.follow(Held({tiny.stage.turn: Turn()}), tiny.generate):
            shown.append(each)

    with pytest.raises(type(error)):
        asyncio.run(ask_all())
    assert words in said(tiny, shown[-1])
    assert shown[-1][tiny.stage.stop]["visible"] is False


def test_the_latent_of_a_picture_is_found(tiny: GeneratePage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_tasks.export.inference.synthesis.inversion import invert as inversion

    point = Point(6, label=2)
    picture = folder / "picture.png"
    write(picture, Picture(image_of(tiny, point)))
    asked = []

    def fake(space: LatentSpace, image: Pixels, config: Any, *, label: int | None, on_step: Any) -> Any:
        asked.append((config.steps, label))
        assert np.array_equal(image, read(picture).pixels)
        on_step(config.steps, config.steps, 31.25)
        return inversion.Inversion(point, image, image, 31.25, "the pixels")

    monkeypatch.setattr(inversion, "invert", fake)
    assert tiny.invert is not None
    given: Values = {tiny.invert.picture: picture, tiny.invert.steps: 50, tiny.seeds.label: 2}
    values = ask(tiny, tiny.find, given)
    assert asked == [(50, 2)]
    assert np.array_equal(shown_pixels(tiny, values), read(picture).pixels)
    assert [read(each).pixels.shape for each in values[tiny.invert.comparison]["value"]] == [(16, 16, 3)] * 2
    assert "PSNR 31.2 dB; higher is nearer. Found by the pixels." in values[tiny.invert.closeness]["value"]
    assert values[tiny.base].point is point


def test_what_needs_weights_is_not_offered_for_an_onnx_file(
    client: TestClient, noise: GeneratePage, tiny: GeneratePage
) -> None:
    assert noise.mix is None
    assert noise.invert is None
    assert tiny.mix is not None
    config = str(page_config(client))
    assert config.count(WITHOUT_WEIGHTS) == 1, "on the page of the ONNX file alone"


def test_what_cannot_be_done_is_a_sentence(noise: GeneratePage, tiny: GeneratePage, folder: Path) -> None:
    photo, text = folder / "photo.png", folder / "text.png"
    write(photo, Picture(np.zeros((8, 8, 3), np.uint8)))
    text.write_text("no image")
    mix, invert = tiny.mix, tiny.invert
    assert mix is not None
    assert invert is not None
    styles = ask(tiny, tiny.mix_seeds)
    cases: list[tuple[GeneratePage, Read, Values, str]] = [
        (
            noise,
            noise.generate,
            {noise.seeds.seed: None},
            "There is no seed: give a whole number from 0 to 2,147,483,647",
        ),
        (noise, noise.generate, {noise.seeds.seed: -1}, "The seed is -1"),
        (noise, noise.generate, {noise.seeds.label: 3}, "class 3 does not exist"),
        (noise, noise.generate, {noise.suffix: ".exe"}, "no format &#x27;.exe&#x27;"),
        (tiny, tiny.generate, {tiny.seeds.truncation: 2}, "truncation is 2: expected a number from 0 to 1"),
        (noise, noise.interpolate, {noise.between.position: 2}, "The position is 2"),
        (noise, noise.show_grid, {noise.grid.count: 65}, "65 images"),
        (tiny, tiny.mix_seeds, {mix.layers: 9}, "9 layers: give a whole number from 0 to 3."),
        (tiny, tiny.find, {invert.picture: photo, invert.steps: 100_000}, "100000 steps"),
        (tiny, tiny.edit_image, {tiny.edit.method: "luck"}, "and not by luck"),
        (tiny, tiny.edit_image, {tiny.edit.amounts[0]: None}, "A slider holds no number"),
        (tiny, tiny.find, {}, "There is no picture yet"),
        (tiny, tiny.find, {invert.picture: text}, "is not an image in a known format"),
        (tiny, tiny.open, {tiny.opened: photo}, "does not say what it was generated from"),
        (tiny, tiny.open, {tiny.opened: text}, "does not say what it was generated from"),
        (tiny, tiny.open, {tiny.opened: folder / "gone.png"}, "The server has deleted the upload"),
        (noise, noise.open, {noise.opened: shown_file(tiny, styles)}, "ONNX file"),
    ]
    for page, read_values, given, words in cases:
        values = ask(page, read_values, given)
        assert words in said(page, values)
        assert str(folder) not in said(page, values)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_page_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    """Mouse and keyboard, in the width of a screen and of a phone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    model = tiny_model(classes=CLASSES, names=NAMES)
    service = Service([ServedModel("tiny", Path("tiny"), Predictor(model))], Limits())
    with (
        served(service, tmp_path) as address,
        opened(browser, address, viewport={"width": 1280, "height": 800}) as page,
    ):
        seed = page.get_by_role("spinbutton", name="Seed", exact=True)
        for section in ("Grid of seeds", "Between two seeds", "Mix two seeds", "Edit"):
            press(page, section)  # long before they are used, for they are mounted late
        press(page, "Random seed")
        source = fact(page, "From")
        expect(source).to_have_text(re.compile(r"Seed \d+"))
        drawn = seed.input_value()
        file = download(page, tmp_path / "drawn.png")

        press(page, "Show grid")
        chosen = page.get_by_role("button", name="Seed 5", exact=True)
        chosen.focus()
        page.keyboard.press("Enter")
        expect(seed).to_have_value("5")
        expect(source).to_have_text("Seed 5")
        expect(chosen).to_have_attribute("aria-pressed", "true")
        check_look(page, axe, "generate-1280")

        page.get_by_role("slider", name="Position").press("ArrowRight")
        expect(source).to_have_text("Between seeds 0 and 1, at 51%")
        page.get_by_role("slider", name="Coarse layers").press("ArrowLeft")
        expect(source).to_have_text("Seed 0 in 1 of 3 layers, 1 in the finer ones")
        amount = page.get_by_role("slider", name="Direction 2")
        amount.press("ArrowRight")
        expect(source).to_have_text("Seed 0 in 1 of 3 layers, 1 in the finer ones, edited")
        press(page, "Undo the edit")
        expect(amount).to_have_value("0")
        expect(source).to_have_text("Seed 0 in 1 of 3 layers, 1 in the finer ones")

        page.set_viewport_size({"width": 390, "height": 844})
        press(page, "Open a generated image")
        choose_file(page, file)
        expect(seed).to_have_value(drawn)
        expect(source).to_have_text(f"Seed {drawn}")
        page.evaluate("scrollTo(0, 0)")
        check_look(page, axe, "generate-390")
        page.mouse.wheel(0, 2000)
        expect(shown(page.locator(".result-image"))).to_be_in_viewport()
