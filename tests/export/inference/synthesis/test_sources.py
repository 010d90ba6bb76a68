"""The point of a request, of a model with classes, their names and a truncation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tiny_synthesis import LATENT, tiny_model

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.predictor import Predictor, Source
from gan_tasks.export.inference.synthesis.points import Point
from gan_tasks.export.inference.synthesis.sources import point_of_sources


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(tiny_model(classes=3, names=("cat", "dog", "horse")))


def point_of(predictor: Predictor, **sources: str) -> Point | None:
    encoded: dict[str, Source] = {name: text.encode() for name, text in sources.items()}
    return point_of_sources(predictor.spec, encoded, predictor.read(encoded).inputs)


def test_a_seed_with_a_named_class_and_a_truncation(predictor: Predictor) -> None:
    point = point_of(predictor, latent=" 7", label="dog", truncation="0.5")
    assert point is not None
    assert (point.seed, point.label, point.truncation) == (7, 1, 0.5)


def test_a_latent_of_numbers_from_a_file(predictor: Predictor, tmp_path: Path) -> None:
    latent = draw_latent(1, LATENT)
    file = tmp_path / "latent.json"
    file.write_text(str(latent.tolist()))
    sources: dict[str, Source] = {"latent": file, "label": b"2"}
    point = point_of_sources(predictor.spec, sources, predictor.read(sources).inputs)
    assert point is not None
    assert (point.seed, point.label, point.truncation) == (None, 2, 1)
    assert np.array_equal(point.latent_of(LATENT), latent)


def test_a_mixture_of_classes_is_no_point(predictor: Predictor) -> None:
    assert point_of(predictor, latent="7", label="[0.5, 0.5, 0]") is None
    assert point_of(predictor, label="1") is None


def test_a_class_that_there_is_not(predictor: Predictor) -> None:
    with pytest.raises(UserError, match=r"expected a class from 0 to 2, its name \(cat, dog, horse\), or"):
        predictor.read({"label": b"cow"})
