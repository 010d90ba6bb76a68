"""The files of the steps of a chain: when they are kept, made again and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_gain, write_onnx

from gan_tasks.datasets.images import Picture, Pixels, read, write
from gan_tasks.export.inference.apply import Summary, apply_to_files
from gan_tasks.export.inference.files.pairs import files_to_do
from gan_tasks.export.inference.files.step_files import StepFiles
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.load import load, load_chain

RGB = np.random.default_rng(0).integers(0, 256, (12, 8, 3), np.uint8)
STEP = "photo.png.1-Gain.png"


@pytest.fixture(scope="module")
def gain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gain(tmp_path_factory.mktemp("gain") / "gain.onnx", (0.9, 0.5, 0.2), model_name="Gain")


@pytest.fixture(scope="module")
def chain(gain: Path) -> Predictor:
    return load_chain([gain, write_onnx(gain.with_name("mean.onnx"))], device="cpu")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return photograph(tmp_path / "album" / "photo.png", RGB).parent


def photograph(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(exist_ok=True)
    write(path, Picture(pixels))
    return path


def restored(
    chain: Predictor, source: Path, out: Path, *, keep_steps: bool = True, overwrite: bool = False
) -> Summary:
    files = StepFiles(source.parent / "steps", out) if keep_steps else None
    return apply_to_files(chain, files_to_do(source, out), quiet=True, step_files=files, overwrite=overwrite)


def test_a_step_of_another_model_is_made_again(chain: Predictor, gain: Path, album: Path, tmp_path: Path) -> None:
    other = load_chain(
        [write_gain(tmp_path / "gain.onnx", (0.2, 0.5, 0.9), model_name="Gain"), gain.with_name("mean.onnx")],
        device="cpu",
    )
    restored(other, album, tmp_path / "out")
    restored(chain, album, tmp_path / "out", keep_steps=False)
    assert restored(chain, album, tmp_path / "out").written == 1
    np.testing.assert_array_equal(read(tmp_path / "steps" / STEP).pixels, load(gain, device="cpu")(RGB))
    assert restored(chain, album, tmp_path / "out").kept == 1


def test_a_file_of_another_program_is_not_replaced(chain: Predictor, album: Path, tmp_path: Path) -> None:
    restored(chain, album, tmp_path / "out")
    photograph(tmp_path / "steps" / STEP, RGB)
    for out in ("out", "new"):  # with a result that is there, and without one
        (failure,) = restored(chain, album, tmp_path / out).failures
        assert f"{STEP} exists already, and gan-tasks did not make it" in failure.reason
    np.testing.assert_array_equal(read(tmp_path / "steps" / STEP).pixels, RGB)
    assert restored(chain, album, tmp_path / "out", overwrite=True).written == 1


def test_a_step_that_is_done_is_there_when_the_next_one_is_interrupted(
    chain: Predictor, gain: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(pixels: Pixels) -> Pixels:
        raise KeyboardInterrupt

    monkeypatch.setattr(chain.model.steps[1], "run_pixels", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restored(chain, album, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "steps" / STEP).pixels, load(gain, device="cpu")(RGB))
    assert not (tmp_path / "out" / "photo.png").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_photograph_whose_steps_would_have_too_long_names_fails_alone(
    overwrite: bool, chain: Predictor, album: Path, tmp_path: Path
) -> None:
    restored(chain, photograph(album / f"{'long' * 61}.png", RGB).parent, tmp_path / "out", keep_steps=False)
    done = restored(chain, album, tmp_path / "out", overwrite=overwrite)
    assert [failure.path.name[:8] for failure in done.failures] == ["longlong"]
    assert "which is longer than the 255 bytes that file systems allow: rename the input" in done.failures[0].reason
    assert (done.written, done.kept) == (1, 0)


def test_a_result_under_another_name_is_kept_with_its_steps(chain: Predictor, album: Path, tmp_path: Path) -> None:
    rgba = np.dstack([RGB, RGB[..., 0]])
    source = photograph(album / "clear.png", rgba)
    assert restored(chain, source, tmp_path / "out.jpg").notes
    assert {path.name for path in (album / "steps").iterdir()} == {"out.jpg.1-Gain.png"}
    assert (tmp_path / "out.jpg.png").exists()
    assert restored(chain, source, tmp_path / "out.jpg").kept == 1
