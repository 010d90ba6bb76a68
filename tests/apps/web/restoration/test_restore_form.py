"""The page of old photographs without a browser: what its button sends, and what the server makes of it."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")

from fastapi.testclient import TestClient
from handmade_onnx import write_colouriser, write_gain
from page_config import call_of, page_config
from PIL import Image

from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Models of two steps, and none that enlarges."""
    folder = tmp_path_factory.mktemp("models")
    paths = [
        write_gain(folder / "descratch.onnx", (0.9, 0.9, 0.9), model_name="descratch"),
        write_colouriser(folder / "colourise.onnx", model_name="colourise"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        service = Service(open_models(paths, device="cpu"), Limits())
        yield service
        service.close()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pressed(client: TestClient, button: str, photograph: bytes) -> str:
    """What the server sends when the button is pressed, with a photograph and the values that the page has first."""
    (uploaded,) = client.post("/gradio_api/upload", files={"files": ("photo.png", photograph)}).json()
    upload = {"path": uploaded, "meta": {"_type": "gradio.FileData"}}
    shown = {each["id"]: each["props"] for each in page_config(client)["components"]}
    call = call_of(client, button)
    data = [
        upload if props.get("label") == "Photograph" else props.get("value")
        for props in (shown[number] for number in call["inputs"])
    ]
    body = {"data": data, "fn_index": call["id"], "session_hash": "session"}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 200
    return client.get("/gradio_api/queue/data", params={"session_hash": "session"}).text


def test_the_page_works_where_no_model_enlarges(client: TestClient) -> None:
    sent = pressed(client, "Restore", png(np.full((8, 8), 90, np.uint8)))
    assert "Download PNG" in sent
    assert "descratch, colourise" in sent
    models = "--descratch descratch.onnx --colourise colourise.onnx"
    command = f"gan-tasks restore photo.png result.png --steps descratch colourise {models} --device cpu"
    assert command in sent
