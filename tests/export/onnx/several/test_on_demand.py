"""Models that are opened when they are used, a few at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from handmade_onnx import mean_filter, write_gain, write_onnx

from gan_tasks.export.onnx.apart.session import ApartSession
from gan_tasks.export.onnx.file import OnnxFileError
from gan_tasks.export.onnx.several.on_demand import NOT_YET, OnDemandModel, OpenModels

IMAGES = np.random.default_rng(0).random((1, 3, 16, 24), np.float32) * 2 - 1


def test_the_model_that_was_used_longest_ago_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    close = ApartSession.close

    def noted_close(session: ApartSession) -> None:
        closed.append(Path(session._file.name).stem)
        close(session)

    monkeypatch.setattr(ApartSession, "close", noted_close)
    opened = OpenModels(2)
    a, b, c = (OnDemandModel(write_onnx(tmp_path / f"{name}.onnx"), opened, device="cpu") for name in "abc")
    assert a.runs_on == NOT_YET and a.spec.size_multiple == 4, "what the file says is known before it is opened"
    c.release_memory()  # nothing happens to a model that is not open
    expected = mean_filter(IMAGES / 2 + np.float32(0.5)) * 2 - 1
    for model, gone in ((a, []), (b, []), (a, []), (c, ["b"]), (b, ["b", "a"])):
        np.testing.assert_allclose(model.run(IMAGES), expected, atol=1e-5)
        assert closed == gone
    assert a.runs_on.startswith("CPU")


def test_another_model_is_closed_before_one_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = OpenModels(1)
    a, b = (OnDemandModel(write_onnx(tmp_path / f"{name}.onnx"), opened, device="cpu") for name in "ab")
    done: list[str] = []
    for model in (a, b):
        monkeypatch.setattr(model, "close", lambda model=model: done.append(f"close {model.path.stem}"))
        monkeypatch.setattr(model, "_open", lambda file: done.append(f"open {Path(file.name).stem}"))
    a.open()
    b.open()
    assert done == ["open a", "close a", "open b"]


def test_a_file_that_has_changed_is_not_opened(tmp_path: Path) -> None:
    model = OnDemandModel(write_onnx(tmp_path / "a.onnx"), OpenModels(1), device="cpu")
    write_gain(tmp_path / "a.onnx", (0.5, 0.5, 0.5))
    with pytest.raises(OnnxFileError, match="another program has changed it"):
        model.run(IMAGES)
