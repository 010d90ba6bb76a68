"""The gallery of the models that ship: a row for each that is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shipped_package import install_models, uninstall_models

pytest.importorskip("onnxruntime")
pytest.importorskip("skimage", reason="the photographs come with scikit-image")

from gan_tasks.apps.cli.commands.quickstart import show_gallery
from gan_tasks.apps.gallery import EXAMPLES, SIDE, draw_gallery
from gan_tasks.datasets.images import read
from gan_tasks.datasets.sample_photos import read_photos


def test_each_installed_model_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, names = tmp_path / "gallery.png", [example.model for example in EXAMPLES]
    install_models(tmp_path / "site", monkeypatch, *names, "labels2facade")
    assert draw_gallery(path) == tuple(names)
    pixels = read(path).pixels
    rows = np.split(pixels, len(names))
    assert rows[0].shape[0] > SIDE and rows[0].shape[1] > 3 * SIDE
    for row in rows:
        before, after = (row[-SIDE:, left : left + SIDE] for left in (6, 6 + SIDE + 6))
        assert before.std() > 5 and not np.array_equal(before, after)


def test_examples_lie_within_their_photographs() -> None:
    photos = read_photos()
    for example in EXAMPLES:
        height, width = photos[example.photo].shape[:2]
        assert example.top + SIDE <= height and example.left + SIDE <= width


def test_without_models_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uninstall_models(monkeypatch)
    show_gallery(tmp_path / "gallery.png")
    assert "there is no gallery: the package gan-tasks-models is not installed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    install_models(tmp_path / "site", monkeypatch, "upscale-x2")
    show_gallery(tmp_path / "gallery.png")
    assert "the gallery of upscale-x2: " in capsys.readouterr().out and (tmp_path / "gallery.png").is_file()
