"""Several ONNX files as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from handmade_onnx import write_colouriser, write_filler, write_gain, write_onnx

from gan_tasks.apps.cli.commands.export import check_can_follow
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.chains import merge
from gan_tasks.export.chains.merge import merge_onnx
from gan_tasks.export.load import load, load_chain

RGB = np.random.default_rng(0).integers(0, 256, (28, 36, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    return {
        "gain": write_gain(folder / "gain.onnx", (1.4, 0.7, 0.9), model_name="Gain", licence="MIT"),
        "colour": write_colouriser(folder / "colour.onnx", licence="CC0"),
        "double": write_onnx(
            folder / "double.onnx",
            model_name="Double",
            task="super-resolution",
            scale=2,
            licence="",
            training_data="",
        ),
        "fill": write_filler(folder / "fill.onnx"),
        "five": write_onnx(folder / "five.onnx", in_channels=4, out_channels=4, model_name="RGBA"),
        "fixed": write_onnx(folder / "fixed.onnx", model_name="Fixed", fixed_size=True),
    }


def test_one_file_gives_what_its_models_give_one_after_the_other(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_cache: list[str] = []
    monkeypatch.setattr(
        "gan_tasks.export.onnx.model.read_cached", lambda file: (None, by_cache.append(file.name) or "")
    )
    parts = [files[name] for name in ("gain", "colour", "double")]  # the gain exceeds 1, where values are clipped
    out = tmp_path / "chain.onnx"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(parts[0]), str(out), "--then", str(parts[1]), "--then", str(parts[2]), "--name", "All"])
    assert ended.value.code == 0, "it is verified"
    assert by_cache == [str(out)], "its models are run on the CPU, whichever provider is the fastest here"
    model, chain = load(out, device="cpu"), load_chain(parts, device="cpu")
    assert (model.title, model.model.licence, model.spec) == ("All", "MIT + CC0 + not stated", chain.spec)
    assert model.model.training_data == "none + not stated"
    assert model.model.parameter_count == chain.model.parameter_count
    whole, steps = model(RGB).astype(int), chain(RGB)
    assert np.abs(whole - steps).max() <= 1  # pixels are rounded between the steps, and values in one graph are not
    model.model.max_memory_bytes = 3_000_000
    assert model.model.runs_in_tiles(200, 200)
    large = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert np.abs(model(large).astype(int) - chain(large)).max() <= 1


def test_a_graph_that_gives_other_values_is_not_written(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "REC_601", (0.3, 0.3, 0.4))
    with pytest.raises(UserError, match="was not written: as one graph the models differ by"):
        merge_onnx([files["gain"], files["colour"]], tmp_path / "chain.onnx", model_name="")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("gain", "fill"), "Orange takes mask beside the image: it cannot be a step of a chain"),
        (("gain", "five"), "here 3 channels would become 4: run the models one after the other"),
        (("gain", "fixed"), "Fixed takes images of one size alone: no chain with it has one graph"),
    ],
)
def test_what_cannot_be_one_graph_is_refused(
    names: tuple[str, ...], message: str, files: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        merge_onnx([files[name] for name in names], tmp_path / "chain.onnx", model_name="")


def test_files_of_different_sets_of_operators_become_one(files: dict[str, Path], tmp_path: Path) -> None:
    newer = onnx.version_converter.convert_version(onnx.load(files["colour"]), 20)
    (converted,) = merge.in_one_opset([onnx.load(files["gain"]), newer], ["Gain", "Gray"])[:1]
    assert converted.opset_import[0].version == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gain", "gain", "colour"), "would replace the model "),
        (("gain", "colour", "colour"), "would replace the model "),
        (("gain", "out", "colour", "--half"), "gain.onnx is exported already, with float32 weights"),
        (("gain", "out", "colour", "--direction", "b-to-a"), "gain.onnx has one direction only"),
    ],
)
def test_no_model_is_replaced_and_no_option_is_passed_over(
    words: tuple[str, ...], message: str, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in files.values()}
    model, out, then, *options = (str({**files, "out": tmp_path / "out.onnx"}.get(word, word)) for word in words)
    with pytest.raises(SystemExit) as ended:
        main(["export", model, out, "--then", then, *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in files.values()}
    assert not list(tmp_path.iterdir())
    check_can_follow(write_gain(tmp_path / "half.onnx", (1, 1, 1), weights="float16"), direction="", half=True)
