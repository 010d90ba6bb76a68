"""What the server keeps of pages that were left is bounded, in number and in time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio")
pytest.importorskip("onnxruntime")

from fastapi.testclient import TestClient
from handmade_onnx import write_onnx
from page_config import call_of

from gan_tasks.apps.web import server
from gan_tasks.apps.web.guard import sessions
from gan_tasks.apps.web.guard.kept_files import SMALLEST_BYTES
from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import open_models
from gan_tasks.apps.web.server import build_app


def test_pages_that_were_left_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 4)
    monkeypatch.setattr(sessions, "MAX_UPLOAD_IDS", 4)
    monkeypatch.setattr(server, "CLEAN_EVERY_S", 0.05)
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), Limits(max_disk_bytes=4 * SMALLEST_BYTES))
    app = build_app(service)
    page = app.routes[-1].app  # type: ignore[attr-defined]
    queue, holder = page.get_blocks()._queue, page.state_holder
    kept = (holder.session_data, holder.time_last_used, queue.pending_messages_per_session)
    with TestClient(app, base_url="http://localhost") as client:
        fn_index = call_of(client, "Run")["id"]
        for number in range(12):
            body = {"data": [None, ".png"], "fn_index": fn_index, "session_hash": f"s{number}"}
            assert client.post("/gradio_api/queue/join", json=body).status_code == 200
            assert "There is no image" in client.get(f"/gradio_api/queue/data?session_hash=s{number}").text
            files = {"files": ("a.png", b"not read")}
            assert client.post(f"/gradio_api/upload?upload_id=u{number}", files=files).status_code == 200
        for each in kept:
            assert 0 < len(each) <= 4
        assert len(queue.pending_event_ids_session) <= 4
        until = time.monotonic() + 20
        while len(names_of_files(page)) > 4 or uploads() or len(files_in(tmp_path / "uploads")) > 4:
            assert time.monotonic() < until, "uploads over the limit are deleted"
            time.sleep(0.02)
        while any(state.config_values for state in holder.session_data.values()):
            assert time.monotonic() < until, "what deep links need is deleted"
            time.sleep(0.02)
        assert client.post("/gradio_api/queue/join", json=body).status_code == 200
        assert "There is no image" in client.get("/gradio_api/queue/data?session_hash=s11").text, "the page goes on"
        monkeypatch.setattr(server, "KEPT_S", 0)
        while any(map(len, kept)):
            assert time.monotonic() < until, "old sessions are deleted"
            time.sleep(0.02)
    service.close()


def test_a_page_whose_job_waits_is_not_forgotten(tmp_path: Path) -> None:
    service = Service(open_models([write_onnx(tmp_path / "mean.onnx")]), Limits())
    page = build_app(service).routes[-1].app  # type: ignore[attr-defined]
    kept = sessions.PageSessions(page)
    for name in ("waits", "left"):
        asyncio.run(kept.use(name))
    page.get_blocks()._queue.active_jobs.append([SimpleNamespace(session_hash="waits", _id="1")])
    asyncio.run(kept.forget_older_than(-1))
    assert list(kept.used_s) == ["waits"]
    service.close()


def names_of_files(page) -> list[str]:
    return [name for names in page.get_blocks().temp_file_sets for name in names]


def uploads() -> bool:
    from gradio.routes import file_upload_statuses

    return len(file_upload_statuses._statuses) > 4


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
