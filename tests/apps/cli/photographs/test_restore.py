"""`restore` and `apply --then`: chains of models over files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_colouriser, write_filler, write_gain, write_onnx

from gan_tasks.apps.cli.commands.photographs.restore import Restore
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.images import Picture, fit_channels, read, write
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.load import load

RNG = np.random.default_rng(0)
OK, BAD_INPUT = 0, 2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "descratch": write_gain(folder / "a.onnx", (0.9, 0.9, 0.9), model_name="descratch"),
        "restore": write_onnx(folder / "b.onnx", model_name="restore-x1"),
        "colourise": write_colouriser(folder / "c.onnx", model_name="colourise"),
        "upscale": write_onnx(folder / "d.onnx", model_name="upscale-x2", task="super-resolution", scale=2),
        "fill": write_filler(folder / "fill.onnx"),
    }


@pytest.fixture(scope="module")
def loaded(models: dict[str, Path]) -> dict[str, Predictor]:
    return {name: load(path) for name, path in models.items()}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A gray photograph, one in colour in a subfolder, and a file that is no image."""
    folder = tmp_path / "album"
    (folder / "trip").mkdir(parents=True)
    colours = np.kron(RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    write(folder / "gray.png", Picture(fit_channels(colours, 1)))
    write(folder / "trip" / "colour.png", Picture(colours))
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def flags(models: dict[str, Path], *steps: str) -> list[object]:
    return [word for step in steps for word in (f"--{step}", models[step])]


def test_restore_takes_the_steps_that_each_photograph_needs(
    models: dict[str, Path],
    loaded: dict[str, Predictor],
    album: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, kept = tmp_path / "out", tmp_path / "steps"
    steps = ("descratch", "restore", "colourise", "upscale")
    words = ("restore", album, out, *flags(models, *steps), "--keep-steps", kept)
    np.save(album / "float.npy", np.zeros((8, 8, 3), np.float32))
    assert run(*words) == BAD_INPUT  # for the file that is no image, and the one that has no levels
    said = capsys.readouterr().err
    named = "1 photograph in colour or toned (trip/colour.png), not colourised (--colourise-if toned or any)"
    assert f"{named}: descratch + restore-x1 + upscale-x2" in said
    assert "descratch + restore-x1 + colourise + upscale-x2" in said
    assert "broken.png" in said
    assert "float.npy: image is float32 of shape (8, 8, 3)" in said
    expected = {}
    for name, taken in (("gray.png", steps), ("trip/colour.png", tuple(s for s in steps if s != "colourise"))):
        pixels = read(album / name).pixels
        for number, step in enumerate(taken, start=1):
            pixels = loaded[step](pixels)
            title = loaded[step].title
            expected[out / name if number == len(taken) else kept / f"{name}.{number}-{title}.png"] = (pixels, number)
        mark = read_xmp(out / name)
        assert mark is not None
        assert mark.model == " + ".join(loaded[step].title for step in taken)
    written = {path for folder in (out, kept) for path in folder.rglob("*") if path.is_file()}
    assert written == set(expected)
    for path, (pixels, number) in expected.items():
        np.testing.assert_array_equal(read(path).pixels, pixels)
        mark = read_xmp(path)
        assert mark is not None and mark.model.count("+") == number - 1  # a step names the models up to it

    times = {path: path.stat().st_mtime_ns for path in expected}
    lost = kept / "gray.png.2-restore-x1.png"
    lost.unlink()
    assert run(*words) == BAD_INPUT
    again = {path for path in expected if path.stat().st_mtime_ns != times[path]}
    assert again == {path for path in expected if "gray" in path.name}, "what is complete is kept"


def test_a_photograph_in_colour_alone_is_not_colourised(
    models: dict[str, Path], album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("restore", album / "trip", tmp_path / "out", "--steps", "colourise", *flags(models, "colourise"))
    assert run(*words) == BAD_INPUT
    assert "it is in colour or toned, and colourise is the only step: give" in capsys.readouterr().err
    assert run(*words, "--colourise-if", "toned") == BAD_INPUT
    assert "it is in colour, and colourise is the only step: give --colourise-if any" in capsys.readouterr().err
    assert run(*words, "--colourise-if", "any") == OK
    assert read(tmp_path / "out" / "colour.png").pixels.shape == (32, 32, 3)


def test_of_many_photographs_the_first_ones_are_named(album: Path, tmp_path: Path) -> None:
    pairs = [(album / f"{number}.png", tmp_path / f"{number}.png") for number in range(7)]
    command = Restore(album, tmp_path)
    assert command.some_of(pairs) == "0.png, 1.png, 2.png, 3.png, 4.png and 2 more"
    assert command.some_of(pairs[:2]) == "0.png, 1.png"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the models descratch, restore-x1, colourise and upscale-x2 are not installed"),
        (("--steps", "descratch", "--descratch", "DESCRATCH", "--scale", "4"), "--scale 4 needs the step upscale"),
        (("--steps", "restore", "--descratch", "DESCRATCH"), "descratch is not among --steps"),
        (("--steps", "descratch", "restore", "--descratch", "DESCRATCH"), "the model restore-x1 is not installed"),
        (("--descratch", "DESCRATCH", "--scale", "4"), "the model upscale-x4 is not installed"),
        (("--scale", "1", "--upscale", "UPSCALE"), "--scale 1 leaves out upscale, which is asked for"),
        (("--steps", "--descratch", "DESCRATCH"), "--steps names no step"),
        (("--descratch", "FILL"), "takes mask beside the image: it cannot be a step of a chain"),
        (("--descratch", "DESCRATCH", "--keep-steps", "ALBUM/steps"), "is in the folder of the photographs"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    words: tuple[str, ...],
    message: str,
    models: dict[str, Path],
    album: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gan_tasks.export.photographs.steps.is_there", lambda name: False)
    paths = {name.upper(): str(path) for name, path in models.items()} | {"ALBUM/steps": str(album / "steps")}
    assert run("restore", album, tmp_path / "out", *(paths.get(word, word) for word in words)) == BAD_INPUT
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_steps_without_a_model_are_left_out_and_said(
    models: dict[str, Path],
    album: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gan_tasks.export.photographs.steps.is_there", lambda name: False)
    out = tmp_path / "out.png"
    assert run("restore", album / "gray.png", out, *flags(models, "descratch", "upscale"), "--scale", "4") == OK
    assert "the models are not installed: restore-x1, colourise\n" in capsys.readouterr().err
    assert read(out).pixels.shape == (128, 128, 3)  # the model of scale 2 is enlarged to the scale that is asked for


def test_apply_runs_the_models_after_then_on_the_result(
    models: dict[str, Path],
    loaded: dict[str, Predictor],
    album: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo, out = album / "trip" / "colour.png", tmp_path / "out.png"
    then = ("--then", models["restore"], "--then", models["upscale"])
    assert run("apply", models["descratch"], photo, out, *then) == OK
    assert "descratch + restore-x1 + upscale-x2 runs on" in capsys.readouterr().err
    pixels = read(photo).pixels
    for step in ("descratch", "restore", "upscale"):
        pixels = loaded[step](pixels)
    np.testing.assert_array_equal(read(out).pixels, pixels)
    mark = read_xmp(out)
    assert mark is not None and mark.model == "descratch + restore-x1 + upscale-x2"
    assert run("apply", models["descratch"], photo, tmp_path / "no.png", "--then", models["fill"]) == BAD_INPUT
    assert "Orange takes mask beside the image" in capsys.readouterr().err
