"""The API describes itself, and nothing of the page's own addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")

from fastapi.testclient import TestClient
from handmade_onnx import write_filler, write_generator, write_onnx

from gan_tasks.apps.web.api.openapi import field
from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.spec import InputSpec


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("models")
    paths = [
        write_onnx(folder / "double.onnx", task="super-resolution", scale=2),
        write_filler(folder / "fill.onnx", sketch=True),
        write_generator(folder / "noise.onnx", latent=4, classes=3),
    ]
    service = Service(open_models(paths), Limits())
    yield service
    service.close()


def test_each_model_has_its_address_with_its_fields(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert list(document["paths"]) == [
        "/healthz",
        "/readyz",
        "/api/models",
        "/api/double/run",
        "/api/fill/run",
        "/api/noise/run",
    ]
    assert "gradio" not in str(document)
    forms = {
        path: each["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        for path, each in document["paths"].items()
        if path.endswith("/run")
    }
    assert set(forms["/api/double/run"]["properties"]) == {"image", "scale"}
    assert set(forms["/api/fill/run"]["properties"]) == {"image", "mask", "sketch"}
    assert forms["/api/fill/run"]["required"] == ["image", "mask"]
    assert forms["/api/noise/run"]["properties"]["latent"] == {
        "type": "string",
        "description": "A seed, or a JSON list of 4 numbers.",
    }
    label = InputSpec("label", "label", 3, "none", names=("cat", "dog", "horse"))
    assert field(label)["description"].startswith("The number or the name of the class, from 0 to 2,")
    truncation = InputSpec("truncation", "weight", 1, "none", optional=True)
    assert field(truncation)["description"] == "A number from 0 to 1."
    assert forms["/api/fill/run"]["properties"]["mask"]["format"] == "binary"
