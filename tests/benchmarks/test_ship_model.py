"""`benchmarks/ship_model.py` writes a model with its card, and `benchmarks/built_in_figures.py` measures it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import ship_model
from built_in_figures import FIELD, FIGURES, built_in_figure, stated_value
from ship_model import FIGURES_BEGIN, FIGURES_END, Texts, check_size, ship, texts_of
from tiny import tiny_task, write_run

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels
from gan_tasks.datasets.images.resize import bicubic
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.load import load
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.pretrained.shipped import opened

TEXTS = Texts("tests", "noise (CC0)", "more noise", "Apache-2.0", "no time", "train", ("It can do nothing.",))
COMPLETE = """summary = "s"
training_data = "d"
test_data = "e"
licence = "l"
training_time = "t"
training_command = "c"
limits = ["a", "b"]
"""


@pytest.mark.slow
def test_a_run_becomes_a_model_that_ships(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tiny_task("super-resolution"))
    file, card = ship(run, "upscale-x2", TEXTS, tmp_path / "models")
    model, metadata, text = opened(file), OnnxMetadata.of(read_onnx(file)), card.read_text()
    assert (model.name, model.summary, model.scale, model.licence) == ("upscale-x2", "tests", "2", "Apache-2.0")
    assert (metadata.model_name, metadata.weights, metadata.training_data) == ("upscale-x2", "float16", "noise (CC0)")
    assert metadata.model_card.splitlines()[0] == "# Model card: upscale-x2"
    assert set(metadata.model_card.splitlines()) <= set(text.splitlines())
    assert f"{FIGURES_BEGIN}\n{FIGURES_END}\n" in text and text.endswith("## Known limits\n\n- It can do nothing.\n")
    figure = built_in_figure("upscale-x2", load(file))
    assert figure is not None and figure.text() == model.card[FIELD]


def test_a_file_may_have_five_million_bytes() -> None:
    check_size("model", bytes(5_000_000))


@pytest.mark.parametrize("failure", ["too large", "not measured"])
def test_what_ships_stays_until_the_new_file_is_checked(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {name: (tmp_path / name).write_text(f"old {name}") for name in ("upscale-x2.onnx", "upscale-x2.md")}

    def export(model: object, out: Path, **texts: object) -> Any:
        out.write_bytes(bytes(5_000_001 if failure == "too large" else 5))
        return SimpleNamespace(lines=list)

    def measure(name: str, model: object) -> None:
        raise UserError("not measured")

    monkeypatch.setattr(ship_model, "export_onnx", export)
    monkeypatch.setattr(ship_model, "load", lambda file: None)
    monkeypatch.setattr(ship_model, "built_in_figure", measure)
    run = write_run(tmp_path / "run", tiny_task("super-resolution"))
    with pytest.raises(UserError, match=r"5,000,001 bytes: expected|not measured"):
        ship(run, "upscale-x2", TEXTS, tmp_path)
    assert {name: len((tmp_path / name).read_text()) for name in old} == old
    assert {path.name for path in tmp_path.iterdir()} == {*old, "run"}


def test_texts_are_read_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(f"[upscale-x4]\n{COMPLETE}[wrong]\n{COMPLETE}speed = 1\n[less]\nsummary = 's'\n")
    assert texts_of("upscale-x4", file) == Texts("s", "d", "e", "l", "t", "c", ("a", "b"))
    for name, message in (("upscale-x", "did you mean upscale-x4"), ("wrong", "speed"), ("less", "training_data")):
        with pytest.raises(UserError, match=message):
            texts_of(name, file)


class Idle:
    """A model that does nothing to images, or enlarges them by bicubic interpolation, and fills with one colour."""

    def __init__(self, scale: int = 1) -> None:
        self.spec = SimpleNamespace(scale=scale)

    def __call__(self, image: Pixels, mask: Mask | None = None) -> Pixels:
        height, width, channels = image.shape
        image = np.repeat(image, 3, axis=2) if channels == 1 else image
        if mask is not None:
            return np.where(mask[..., None], np.uint8(128), image)
        return bicubic(image, (height * self.spec.scale, width * self.spec.scale))


@pytest.mark.parametrize("name", FIGURES)
def test_a_model_that_does_nothing_equals_its_baseline(name: str) -> None:
    pytest.importorskip("skimage", reason="the photographs come with scikit-image")
    model: Any = Idle(2 if name.startswith("upscale") else 1)
    figure = built_in_figure(name, cast(Predictor, model))
    assert figure is not None and stated_value(figure.text()) == pytest.approx(figure.value, abs=0.005)
    if name == "fill":
        assert 5 < figure.value < figure.baseline
    else:
        assert figure.value == pytest.approx(figure.baseline, abs=0.005)


def test_models_of_translation_have_no_figure() -> None:
    assert built_in_figure("labels2facade", cast(Predictor, Idle())) is None
    with pytest.raises(ValueError, match="does not begin with a figure"):
        stated_value("unknown")
