"""What Gradio's page holds of its components and functions: the server has no address for it."""

from __future__ import annotations

import json
from typing import Any

from fastapi.testclient import TestClient


def page_config(client: TestClient) -> dict[str, Any]:
    """The configuration inside of the page."""
    text = client.get("/").text
    found = json.JSONDecoder().raw_decode(text, text.index("{", text.index("window.gradio_config =")))[0]
    assert isinstance(found, dict)
    return found


def call_of(client: TestClient, button: str) -> dict[str, Any]:
    """The function that a click on the first button of this name calls."""
    config = page_config(client)
    ids = [each["id"] for each in config["components"] if each["props"].get("value") == button]
    found = next(
        each for each in config["dependencies"] if each["targets"] and each["targets"][0] == [ids[0], "click"]
    )
    assert isinstance(found, dict)
    return found
