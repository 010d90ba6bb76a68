"""The address that restores photographs, and which served models it takes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")

from fastapi.testclient import TestClient
from handmade_onnx import write_colouriser, write_gain, write_onnx
from PIL import Image

from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.restoration.photographs import Photographs
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.apps.web.server import build_app
from gan_tasks.datasets.images import Pixels, fit_channels, read
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.load import load

COLOUR = np.kron(np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8), np.ones((6, 6, 1), np.uint8))
GRAY = fit_channels(COLOUR, 1)
ALL = ("descratch", "colourise", "upscale-x2")


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "descratch": write_gain(folder / "descratch.onnx", (0.9, 0.9, 0.9), model_name="descratch"),
        "colourise": write_colouriser(folder / "colourise.onnx", model_name="colourise"),
        "upscale-x2": write_onnx(
            folder / "upscale-x2.onnx", model_name="upscale-x2", task="super-resolution", scale=2
        ),
        "other": write_onnx(folder / "other.onnx"),
    }


@pytest.fixture(scope="module")
def service(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        service = Service(open_models([*paths.values()]), Limits())
        yield service
        service.close()


def chained(paths: dict[str, Path], names: tuple[str, ...], pixels: Pixels) -> Pixels:
    for name in names:
        pixels = load(paths[name])(pixels)
    return pixels


@pytest.mark.parametrize(
    ("pixels", "fields", "names"),
    [
        (GRAY, {}, ALL),
        (COLOUR, {}, ("descratch", "upscale-x2")),
        (COLOUR, {"colourise_if": "any", "scale": "2"}, ALL),
        (GRAY, {"steps": "upscale, descratch"}, ("descratch", "upscale-x2")),
    ],
)
def test_a_photograph_is_restored_by_the_steps_that_it_needs(
    pixels: Pixels,
    fields: dict[str, str],
    names: tuple[str, ...],
    client: TestClient,
    paths: dict[str, Path],
    tmp_path: Path,
) -> None:
    answer = client.post("/api/restore", files={"image": png(pixels)}, data=fields)
    assert answer.status_code == 200, answer.text
    result = tmp_path / "result.png"
    result.write_bytes(answer.content)
    np.testing.assert_array_equal(read(result).pixels, chained(paths, names, pixels))
    mark = read_xmp(result)
    assert mark is not None and mark.model == " + ".join(names)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": "restore"}, "steps is 'restore': expected descratch, colourise and upscale"),
        ({"steps": "upscal"}, "did you mean upscale?"),
        ({"scale": "4"}, "scale is '4': expected 2"),
        ({"colourise_if": "red"}, "colourise_if is 'red': expected gray, toned and any"),
        ({"strengths": "1"}, "the form has the unknown field 'strengths'"),
        ({"steps": "colourise"}, "the photograph is in colour or toned, and colourise is the only step"),
        ({"steps": "colourise", "colourise_if": "toned"}, "is in colour, and colourise is the only step"),
    ],
)
def test_a_wrong_request_is_refused_in_a_sentence(fields: dict[str, str], message: str, client: TestClient) -> None:
    answer = client.post("/api/restore", files={"image": png(COLOUR)}, data=fields)
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


def test_a_photograph_of_floats_is_refused_in_a_sentence(client: TestClient) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((8, 8, 3), np.float32))
    answer = client.post("/api/restore", files={"image": file.getvalue()})
    assert answer.status_code == 422
    assert "image is float32 of shape (8, 8, 3): expected" in answer.json()["detail"]


def test_the_address_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]["/api/restore"]["post"]
    schema = described["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert list(schema["properties"]) == ["image", "steps", "scale", "colourise_if"]


def test_a_server_without_such_models_does_not_have_it(service: Service) -> None:
    alone = [service.models["other"], service.models["descratch"]]
    assert Photographs.of(alone) is None
    some = Service(alone, Limits())
    with TestClient(build_app(some), base_url="http://localhost") as client:
        answer = client.post("/api/restore", files={"image": png(GRAY)})
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "this server has no models that restore photographs",
        )
        assert "/api/restore" not in client.get("/openapi.json").json()["paths"]
    some.close()
