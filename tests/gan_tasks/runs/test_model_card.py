"""The model card describes the run, and does not show paths of the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from handmade_onnx import make_metadata, write_onnx
from tiny import tiny_task, write_pairs, write_run

from gan_tasks.apps.cli.commands.export import export_verified
from gan_tasks.apps.cli.main import main
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.runs.model_card import model_card


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = write_run(tmp_path / "secret" / "zebra", tiny_task("pix2pix"))
    config = json.loads((path / "config.json").read_text())
    config["command"] = f"gan-tasks train pix2pix --data {tmp_path}/secret/photos --out {path} --l1 50"
    config["data"] = f"{tmp_path}/secret/photos"
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_the_model_card_of_a_run_without_an_evaluation(run: Path) -> None:
    card = model_card(run, licence="CC BY 4.0", training_data="My own photos")
    for expected in (
        "# Model card: zebra",
        "pix2pix, translate images, learned from pairs",
        "My own photos",
        "CC BY 4.0",
        "`gan-tasks train pix2pix --data photos --out zebra --l1 50`",
        "step-00000000, the newest",
        "torch ",
        "Not evaluated yet",
        "no evidence",
    ):
        assert expected in card, expected
    assert "Licence: not stated" in model_card(run) and "Training data: photos" in model_card(run)
    assert "secret" not in card


def test_evaluate_updates_the_model_card(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_pairs(tmp_path / "data")
    with pytest.raises(SystemExit):
        main(["evaluate", str(run), "--data", str(data)])
    card = (run / "model-card.md").read_text()
    found = json.loads((run / "evaluation.json").read_text())
    mean = found["model"]["l1"]["mean"]
    assert f"| This model | {mean:.4f} [" in card and "| mean image | " in card
    worst = max(zip(found["per_image"]["l1"], found["names"], strict=True))
    assert f"Worst images: {worst[1]} (L1 {worst[0]:.4f})" in card
    assert "40 × 36" in card and "Colour drift" in card
    before = card
    with pytest.raises(SystemExit):  # an evaluation of a part of the images does not change the run folder
        main(["evaluate", str(run), "--data", str(data), "--limit", "1"])
    assert (run / "model-card.md").read_text() == before
    assert "--out FOLDER" in capsys.readouterr().out


def test_the_exported_file_contains_the_model_card(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_verified(run, tmp_path / "m.onnx", licence="CC0")
    card = OnnxMetadata.of(read_onnx(tmp_path / "m.onnx")).model_card
    assert card == model_card(run, licence="CC0") and "secret" not in card
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / "m.onnx")])
    assert "# Model card: zebra" in capsys.readouterr().out


def test_a_file_without_a_model_card_is_read(tmp_path: Path) -> None:
    assert OnnxMetadata.of(read_onnx(write_onnx(tmp_path / "m.onnx"))).model_card == make_metadata().model_card == ""
