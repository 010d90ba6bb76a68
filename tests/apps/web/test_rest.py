"""The REST interface: which models there are, and a form with an input of each kind."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")

from fastapi.testclient import TestClient
from handmade_onnx import write_filler, write_generator, write_onnx, write_stylizer
from page_config import page_config
from PIL import Image

from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.apps.web.server import build_app
from gan_tasks.datasets.images import Pixels, read
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.stylization.colour import with_colours_of
from gan_tasks.export.inference.synthesis.points import read_point
from gan_tasks.export.models.base import MAX_MEMORY_BYTES
from gan_tasks.spec import spec_from_json

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
STYLE = np.random.default_rng(1).integers(0, 256, (16, 20, 3), np.uint8)
LATENT, CLASSES = 12, 3


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("models")
    paths = [
        write_onnx(folder / "mean.onnx"),
        write_onnx(folder / "double.onnx", task="super-resolution", scale=2),
        write_filler(folder / "fill.onnx", sketch=True),
        write_generator(folder / "noise.onnx", latent=LATENT, classes=CLASSES),
        write_stylizer(folder / "tint.onnx", licence="MIT", training_data="paintings"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        service = Service(open_models(paths), Limits())
        yield service
        service.close()


def test_the_list_of_models_holds_their_specs(client: TestClient, service: Service) -> None:
    answer = client.get("/api/models")
    assert answer.status_code == 200
    models = {each["key"]: each for each in answer.json()}
    assert list(models) == ["mean", "double", "fill", "noise", "tint"]
    for key, model in models.items():
        assert spec_from_json(model.pop("spec")) == service.models[key].spec
    assert models["tint"] == {
        "key": "tint",
        "title": "Tint",
        "licence": "MIT",
        "training_data": "paintings",
        "provider": "CPU fp32, ONNX Runtime",
    }


def generate(client: TestClient, latent: str, label: str = "0") -> httpx.Response:
    answer: httpx.Response = client.post(
        "/api/noise/run", files={"latent": (None, latent.encode()), "label": (None, label.encode())}
    )
    return answer


@pytest.mark.parametrize("as_list", [False, True])
def test_a_seed_or_a_list_and_a_class_give_an_image_that_says_so(
    client: TestClient, service: Service, tmp_path: Path, as_list: bool
) -> None:
    latent, label = draw_latent(5, LATENT), np.eye(CLASSES, dtype=np.float32)[1]
    answer = generate(client, json.dumps(latent.tolist()) if as_list else "5", "[0, 1, 0]" if as_list else "1")
    assert answer.status_code == 200
    image = read(answer.content).pixels
    assert image.shape == (24, 32, 3)
    assert np.array_equal(image, service.models["noise"].predictor(latent, label))
    file = tmp_path / "image.png"
    file.write_bytes(answer.content)
    point = read_point(file)
    assert (point.seed, point.label, point.truncation) == (None if as_list else 5, 1, 1)
    assert np.array_equal(point.latent_of(LATENT), latent)
    assert not np.array_equal(image, read(generate(client, "6", "1").content).pixels)
    assert not np.array_equal(image, read(generate(client, "5", "2").content).pixels)


@pytest.mark.parametrize(
    "latent", ["[" * 100_000, f"[{'9' * 400}{', 0' * (LATENT - 1)}]", f"[1e39{', 0' * (LATENT - 1)}]"]
)
def test_a_latent_that_no_number_can_hold_is_refused_in_a_sentence(client: TestClient, latent: str) -> None:
    answer = generate(client, latent)
    assert answer.status_code == 422 and "latent" in answer.json()["detail"]


def test_a_latent_may_come_as_a_form_without_files(client: TestClient) -> None:
    answer = client.post("/api/noise/run", data={"latent": "5", "label": "1"})
    assert answer.content == generate(client, "5", "1").content


def test_an_image_and_a_style_of_another_size_give_an_image(client: TestClient, service: Service) -> None:
    answer = client.post("/api/tint/run", files={"image": png(PIXELS), "style": png(STYLE)})
    assert answer.status_code == 200
    image = read(answer.content).pixels
    assert np.array_equal(image, service.models["tint"].predictor(PIXELS, STYLE))
    assert np.abs(image - (PIXELS + STYLE.mean(axis=(0, 1))) / 2).max() <= 1
    files = {"image": png(PIXELS), "style": png(STYLE)}
    for value in ("false", "true"):
        kept = client.post("/api/tint/run", files=files, data={"preserve_colour": value})
        assert kept.status_code == 200
        expected = with_colours_of(PIXELS, image) if value == "true" else image
        assert np.array_equal(read(kept.content).pixels, expected)
    form = client.get("/openapi.json").json()["paths"]["/api/tint/run"]["post"]["requestBody"]["content"]
    assert form["multipart/form-data"]["schema"]["properties"]["preserve_colour"]["type"] == "boolean"


def test_a_style_strength_is_a_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    service = Service(open_models([write_stylizer(tmp_path / "mix.onnx", with_strength=True)]), Limits())
    files = {"image": png(PIXELS), "style": png(STYLE)}
    try:
        with TestClient(build_app(service), base_url="http://localhost") as client:
            for strength in (None, "1", "0.25"):
                form = {} if strength is None else {"style_strength": strength}
                answer = client.post("/api/mix/run", files=files, data=form)
                share = float(strength or 1)
                expected = (1 - share) * PIXELS + share * STYLE.mean(axis=(0, 1))
                assert np.abs(read(answer.content).pixels - expected).max() <= 1
            refused = client.post("/api/mix/run", files=files, data={"style_strength": "3"})
            assert (refused.status_code, "a number from 0 to 1" in refused.json()["detail"]) == (422, True)
            sliders = [each for each in page_config(client)["components"] if each["type"] == "slider"]
            assert [each["props"]["label"] for each in sliders] == ["Style strength"]
    finally:
        service.close()


@pytest.mark.parametrize(
    ("model", "form", "words"),
    [
        ("noise", {"label": "1"}, "no latent came: send a multipart form with a field called `latent`"),
        ("noise", {"latent": "1"}, "no label came: send a multipart form with a field called `label`"),
        ("noise", {"latent": "-1", "label": "1"}, "latent is '-1': expected a seed, or a list of 12 numbers"),
        ("noise", {"latent": "[1, 2]", "label": "1"}, "expected a seed, or a list of 12 numbers"),
        ("noise", {"latent": "1", "label": "3"}, "label is '3': expected a class from 0 to 2"),
        ("noise", {"latent": "1", "label": "cat"}, "label is 'cat': expected a class from 0 to 2"),
        ("tint", {"preserve_color": "true"}, "the unknown field 'preserve_color': did you mean preserve_colour?"),
        ("tint", {"style": "text"}, "no image came: send a multipart form with a file called `image`"),
        ("tint", {"image": "text"}, "image came as text: send a multipart form with a file called `image`"),
        ("noise", {"latent": ["1", "2"], "label": "1"}, "latent came 2 times: send it once"),
        ("noise", {"lattent": "1", "label": "1"}, "the unknown field 'lattent': did you mean latent?"),
        ("noise", {"latent": "1", "label": "1", "scale": "2"}, "'scale': expected latent and label"),
    ],
)
def test_an_input_that_does_not_fit_is_said(client: TestClient, model: str, form: dict[str, str], words: str) -> None:
    answer = client.post(f"/api/{model}/run", data=form)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "parts", "words"),
    [
        ("double/run?scale=2", {"image"}, "'scale' came: send it as a field of the form"),
        ("double/run?scal=2", {"image"}, "'scal' came: did you mean scale?"),
        ("mean/run?seed=1", {"image"}, "'seed' came: the form takes image"),
        ("mean/run", {"image", "imge"}, "the unknown field 'imge': did you mean image?"),
        ("fill/run", {"image", "mask", "style"}, "'style': expected image, mask and sketch"),
    ],
)
def test_what_is_not_known_is_refused(client: TestClient, path: str, parts: set[str], words: str) -> None:
    answer = client.post(f"/api/{path}", files=dict.fromkeys(sorted(parts), png(PIXELS)))
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text


def test_an_address_without_a_form_takes_no_parameters_either(client: TestClient) -> None:
    assert client.get("/api/models", params={"task": "pix2pix"}).status_code == 422


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        ("application/json", "the request is application/json: send a multipart form with the file `image` and the"),
        ("image/png", "the request is image/png: send a multipart form"),
        ("", "the request is of no content type"),
        ("multipart/form-data", "the form cannot be read (Missing boundary in multipart)"),
        ("multipart/form-data; boundary=b", "the form cannot be read (Invalid multipart data)"),
    ],
)
def test_a_request_that_is_no_form(client: TestClient, content_type: str, words: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post("/api/double/run", content=b'{"image": "", "scale": 2}', headers=headers)
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("image", png(PIXELS)), ("image", png(PIXELS))], "image came 2 times: send it once"),
        ([("image", b"")], "the file image is empty"),
        ([("image", png(PIXELS)), ("mask", b"")], "the file mask is empty"),
    ],
)
def test_several_files_for_an_input_and_empty_ones(client: TestClient, files: list[Any], words: str) -> None:
    answer = client.post("/api/fill/run", files=files)
    assert (answer.status_code, answer.json()["detail"]) == (422, words)


def test_the_scale_of_a_result_is_a_field(client: TestClient) -> None:
    def enlarge(scale: str) -> httpx.Response:
        answer: httpx.Response = client.post("/api/double/run", files={"image": png(PIXELS)}, data={"scale": scale})
        return answer

    assert read(enlarge("1.5").content).pixels.shape == (60, 45, 3)
    for scale, words in (
        ("two", "scale is 'two'"),
        ("nan", "scale is nan"),
        ("0", "scale is 0"),
        ("", "scale is ''"),
    ):
        answer = enlarge(scale)
        assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text


def test_a_missing_style_is_said(client: TestClient) -> None:
    answer = client.post("/api/tint/run", files={"image": png(PIXELS)})
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "no style came: send a multipart form with a file called `style`",
    )


def test_each_use_has_its_page_and_says_how_it_is_posted(client: TestClient) -> None:
    components = page_config(client)["components"]
    buttons = [each["props"].get("value") for each in components if each["type"] == "button"]
    for name in ("Run", "Enlarge", "Fill", "Generate", "Stylize"):
        assert buttons.count(name) == 1, name
    text = " ".join(str(each["props"].get("value")) for each in components if each["type"] == "html")
    for part in (
        "/api/mean/run with the file `image` in",
        "/api/fill/run with the file `image`, the file `mask` and the file `sketch` (optional) in",
        "/api/noise/run with the field `latent` and the field `label` in",
        "/api/tint/run with the file `image`, the file `style` and the field `preserve_colour` (optional) in",
    ):
        assert part in text


def test_the_limit_of_memory_is_that_of_each_model(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "mean.onnx")
    (served,) = open_models([path], max_memory_bytes=100 * 16 * 16, device="cpu")
    assert served.model.runs_in_tiles(40, 30)
    assert served.options == ("--device", "cpu")
    (served,) = open_models([path])
    assert served.model.max_memory_bytes == MAX_MEMORY_BYTES
    assert served.options == ()


def test_models_of_other_inputs_do_not_share_a_tab(tmp_path: Path) -> None:
    from handmade_onnx import make_metadata, stylizer_proto

    from gan_tasks.apps.web.served_models import tabs_of
    from gan_tasks.spec import InputSpec

    inputs = [InputSpec("image", "image", 3, "any"), InputSpec("style", "image", 3, "any")]
    guided = stylizer_proto(make_metadata(task="super-resolution", inputs=inputs))
    (tmp_path / "guided.onnx").write_bytes(guided.SerializeToString())
    double = write_onnx(tmp_path / "double.onnx", task="super-resolution", scale=2)
    tabs = tabs_of(open_models([double, tmp_path / "guided.onnx"]))
    assert [[served.key for served in tab.models] for tab in tabs] == [["double"], ["guided"]]
