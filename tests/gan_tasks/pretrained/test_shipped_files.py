"""Each file in `models/gan_tasks_models/`: what it is, its card, its size, and the figure that its card states."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from built_in_figures import FIELD, FIGURES, built_in_figure, stated_value
from ship_model import FIGURES_BEGIN, FIGURES_END, FOLDER, LARGEST_BYTES, TEXTS

from gan_tasks.export.load import load
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.verify import verify
from gan_tasks.pretrained.shipped import opened
from gan_tasks.runs.model_card import NOT_STATED
from gan_tasks.spec import Use

LARGEST_TOGETHER_BYTES = 30_000_000
REQUIRED = (
    *("Summary", "Scale", "Task", "Training data", "Licence", "Training command", "Trained with"),
    *("Hardware", "Training time", "Checkpoint"),
)
"""Entries of every card."""


class Kind(NamedTuple):
    task: str
    use: Use = "translate"
    scale: int = 1
    channels: tuple[int | None, int] = (3, 3)
    """Of the image and of the result; None for any."""


KINDS: Mapping[str, Kind] = {
    "upscale-x2": Kind("super-resolution", "upscale", 2),
    "upscale-x4": Kind("super-resolution", "upscale", 4),
    "upscale-x4-crisp": Kind("super-resolution", "upscale", 4),
    "restore-x1": Kind("restoration"),
    "descratch": Kind("restoration"),
    "colourise": Kind("colourisation", channels=(1, 3)),
    "fill": Kind("inpainting", "inpaint"),
    "labels2facade": Kind("pix2pix"),
    "edges2shoe": Kind("pix2pix", channels=(None, 3)),
    "summer2winter": Kind("cyclegan"),
    "winter2summer": Kind("cyclegan"),
}
"""What each name promises."""

FILES = sorted(FOLDER.glob("*.onnx"))
each_file = pytest.mark.parametrize(
    "path",
    FILES or [pytest.param(None, marks=pytest.mark.skip(reason=f"there is no model in {FOLDER.name} yet"))],
    ids=lambda path: path.stem if path else "none",
)


@each_file
@pytest.mark.slow
def test_a_file_is_verified(path: Path) -> None:
    verification = verify(path)
    assert verification.ok, "\n".join(verification.lines())


@each_file
def test_a_file_is_what_its_name_says(path: Path) -> None:
    metadata, kind = OnnxMetadata.of(read_onnx(path)), KINDS[path.stem]
    spec = metadata.spec
    assert (metadata.model_name, metadata.weights) == (path.stem, "float16")
    assert (spec.use, spec.scale, spec.out_channels) == (kind.use, kind.scale, kind.channels[1])
    assert kind.channels[0] in (None, spec.in_channels)
    assert spec.task == kind.task or (kind.task == "cyclegan" and spec.task == "cut")


@each_file
def test_a_file_is_small(path: Path) -> None:
    assert path.stat().st_size <= LARGEST_BYTES


def test_all_files_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FILES) <= LARGEST_TOGETHER_BYTES


@each_file
def test_a_card_is_complete(path: Path) -> None:
    card, model = path.with_suffix(".md").read_text(encoding="utf-8"), opened(path)
    assert [name for name in REQUIRED if model.card.get(name, NOT_STATED) == NOT_STATED] == []
    metadata = OnnxMetadata.of(read_onnx(path))
    assert (model.licence, model.scale) == (metadata.licence, str(metadata.spec.scale))
    assert card.count(FIGURES_BEGIN) == card.count(FIGURES_END) == 1
    figures = card.partition(FIGURES_BEGIN)[2].partition(FIGURES_END)[0]
    assert figures.strip(), "its figures are missing: benchmarks/shipped_models.py measures them"
    assert card.partition("## Known limits\n\n")[2].startswith("- "), "its limits are missing"


@each_file
@pytest.mark.slow
def test_the_figure_of_a_card_is_measured_again(path: Path) -> None:
    pytest.importorskip("skimage", reason="the photographs come with scikit-image")
    figure, stated = built_in_figure(path.stem, load(path, device="cpu")), opened(path).card.get(FIELD)
    assert (figure is None) == (stated is None) == (path.stem not in FIGURES)
    if figure is not None and stated is not None:
        assert stated_value(stated) == pytest.approx(figure.value, abs=figure.tolerance + 0.005)
        assert figure.value > figure.baseline or path.stem == "upscale-x4-crisp"  # adversarial training costs PSNR


def test_cards_and_texts_belong_to_files() -> None:
    names = {path.stem for path in FILES}
    assert {card.stem for card in FOLDER.glob("*.md")} == names
    texts: dict[str, Any] = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    assert names <= texts.keys() <= KINDS.keys()
