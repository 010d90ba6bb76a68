"""Evaluation of runs, ONNX files and public checkpoints on the same data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from handmade_onnx import make_metadata, make_proto, mean_filter, write_onnx
from tiny import write_pairs
from tiny_runs import make_run

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.augmentations import FramingConfig
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, read, to_float, write
from gan_tasks.datasets.paired import PairedConfig
from gan_tasks.export.evaluation.data import in_sides
from gan_tasks.export.evaluation.evaluate import evaluate
from gan_tasks.export.evaluation.model_tasks import task_of
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.evaluation.result import Evaluation
from gan_tasks.export.evaluation.samples import run_models
from gan_tasks.export.formats.jy import write_jy
from gan_tasks.export.models.run_model import TrainedModel, without_paths
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.networks.backbone import Generator
from gan_tasks.runs.folder import from_json
from gan_tasks.tasks.pix2pix import Pix2PixConfig


def gray_sources(root: Path) -> Path:
    """Pairs with a gray B, the input of the run, and a colour A."""
    for path in write_pairs(root).glob("*/B/*.png"):
        write(path, Picture(read(path).pixels[..., :1]))
    return root


def test_a_run_its_onnx_file_and_its_public_checkpoint_get_equal_metrics(tmp_path: Path) -> None:
    """A run from B to A with other numbers of channels; the public checkpoint needs the direction as an argument."""
    data = gray_sources(tmp_path / "pairs")
    run = make_run(tmp_path / "run", generator="resnet-6", norm="batch", channels=(1, 3))
    config = json.loads((run / "config.json").read_text())
    config["task_config"]["data"]["direction"] = "b-to-a"
    (run / "config.json").write_text(json.dumps(config))
    trained = TrainedModel(run, device="cpu")
    expected = evaluate(trained, data, quiet=True)

    export_onnx(trained, tmp_path / "model.onnx", model_name="m")
    exported = OnnxModel(tmp_path / "model.onnx", device="cpu")
    assert_alike(evaluate(exported, data, quiet=True), expected)

    generator = next(part for part in trained.network.modules() if isinstance(part, Generator))
    write_jy(tmp_path / "net.pth", generator)
    public = gan_tasks.load(tmp_path / "net.pth", device="cpu").model
    assert_alike(evaluate(public, data, task=task_of(public, direction="b-to-a"), quiet=True), expected)

    a_to_b = evaluate(public, data, quiet=True)
    with pytest.raises(AssertionError):
        assert_alike(a_to_b, expected)
    assert_alike(evaluate(exported, data, task=task_of(exported, direction="a-to-b"), quiet=True), a_to_b)


def assert_alike(found: Evaluation, expected: Evaluation) -> None:
    assert found.images == expected.images == 2
    subjects = zip((*found.models, *found.baselines), (*expected.models, *expected.baselines), strict=True)
    for ours, theirs in subjects:
        assert ours.per_image.keys() == theirs.per_image.keys()
        for metric, values in theirs.per_image.items():
            assert ours.per_image[metric] == pytest.approx(values, rel=1e-3, abs=1e-3)
    assert [subject.name for subject in found.baselines] == [subject.name for subject in expected.baselines]


def test_a_sample_has_inputs_outputs_and_target(tmp_path: Path) -> None:
    """They have the model's numbers of channels, in [-1, 1]; alpha is left out."""
    data_folder = write_pairs(tmp_path / "pairs", train=0, test=3)
    first = data_folder / "test" / "A" / "000.png"
    rgb = read(first).pixels
    write(first, Picture(np.concatenate([rgb, np.full_like(rgb[..., :1], 9)], axis=2)))
    model = OnnxModel(write_onnx(tmp_path / "mean.onnx", minimum_size=4, size_multiple=4), device="cpu")
    task = task_of(model)
    data, _ = task.open_data(data_folder, "test", augment=False, seed=0)
    for index in (0, 1):
        sample = run_models({"mean": model}, task, data, index)
        assert sample.name == f"00{index}"
        a, b = (read(data_folder / "test" / side / f"{sample.name}.png").pixels[..., :3] for side in "AB")
        np.testing.assert_array_equal(sample.inputs[0], to_float(a))
        np.testing.assert_array_equal(sample.target, to_float(b))
        expected = mean_filter((to_float(a)[None] + 1) / 2)[0] * 2 - 1  # 40×36 pixels, which need no padding
        np.testing.assert_allclose(sample.outputs["mean"], expected, atol=1e-5)


def test_a_file_without_task_options_is_evaluated_with_the_defaults(pairs: Path, tmp_path: Path) -> None:
    proto = make_proto(make_metadata())
    kept = [entry for entry in proto.metadata_props if entry.key not in ("task_options", "width", "source", "family")]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    onnx.save(proto, tmp_path / "old.onnx")
    model = OnnxModel(tmp_path / "old.onnx", device="cpu")
    assert task_of(model).config == Pix2PixConfig()
    assert evaluate(model, pairs, options=EvaluationOptions(limit=1), quiet=True).images == 1
    assert task_of(model, "crisp").name == "crisp"


def test_a_chain_is_evaluated_for_the_task_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    write(tmp_path / "test" / "image.png", Picture(np.full((32, 32, 3), 90, np.uint8)))
    model = OnnxModel(write_onnx(tmp_path / "chain.onnx", task="chain", use="upscale", scale=2), device="cpu")
    with pytest.raises(UserError, match=r"a model of 'chain', which no task is called: give the task .* with --task"):
        task_of(model)
    found = evaluate(model, tmp_path, task=task_of(model, "super-resolution"), quiet=True)
    assert [metric.key for metric in found.metrics][:2] == ["l1", "psnr"]
    with pytest.raises(UserError, match="no task is called 'nothing'"):
        task_of(model, "nothing")


def test_a_model_of_another_scale_is_refused(pairs: Path, tmp_path: Path) -> None:
    model = OnnxModel(write_onnx(tmp_path / "model.onnx", scale=2), device="cpu")
    with pytest.raises(UserError, match=r"000: the output has 80×72 pixels .* for an input of 40×36.*give data"):
        evaluate(model, pairs, quiet=True)


def test_channels_that_do_not_fit_are_refused(pairs: Path, tmp_path: Path) -> None:
    model = OnnxModel(write_onnx(tmp_path / "model.onnx", in_channels=7, out_channels=7), device="cpu")
    with pytest.raises(UserError, match="3 channels and 7 are expected"):
        evaluate(model, pairs, quiet=True)


@pytest.mark.parametrize("options", ["{", "[1]", "3", '{"width": "wide"}'])
def test_damaged_task_options_are_refused(options: str, tmp_path: Path) -> None:
    model = OnnxModel(write_onnx(tmp_path / "model.onnx", task_options=options), device="cpu")
    with pytest.raises(UserError, match=r"task_options|width"):
        task_of(model)


def test_task_options_contain_no_paths() -> None:
    here, framing = Path("images/of/somebody"), FramingConfig(crop_size=(64, 48))
    config = Pix2PixConfig(width=32, data=PairedConfig(direction="b-to-a", framing=framing, extra_data=here))
    text = json.dumps(without_paths(config))
    assert "somebody" not in text
    expected = Pix2PixConfig(width=32, data=PairedConfig(direction="b-to-a", framing=framing))
    assert from_json(Pix2PixConfig, json.loads(text)) == expected


def test_names_that_are_not_utf8_are_in_every_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_pairs(tmp_path / os.fsdecode(b"pa\xefrs"), train=0, test=2)
    for side in "AB":
        (data / "test" / side / "000.png").rename(data / "test" / side / os.fsdecode(b"caf\xe9.png"))
    model = write_onnx(tmp_path / "mean.onnx", minimum_size=4, size_multiple=4)
    with pytest.raises(SystemExit) as exited:
        main(["evaluate", str(model), "--data", str(data), "--out", str(tmp_path / "out"), "--json"])
    assert exited.value.code == 0
    reports = [capsys.readouterr().out]
    reports += [(tmp_path / "out" / f"evaluation.{kind}").read_text(encoding="utf-8") for kind in ("html", "csv")]
    assert all(r"caf\xe9" in report for report in reports[1:])
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert r"caf\xe9" in found["names"] and json.loads(reports[0])["names"] == found["names"]


def test_held_out_names_of_other_data_are_those_of_all_sides() -> None:
    assert in_sides([["a", "b"], ["b", "c"]], 2) == [["a", "b"], ["b", "c"]]
    assert in_sides([["a", "b"], ["b", "c"]], 1) == [["b"]]
    assert in_sides([["a", "b"]], 2) == [["a", "b"], ["a", "b"]]
