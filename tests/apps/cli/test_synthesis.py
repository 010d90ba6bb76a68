"""The commands of generators, from a person's side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_onnx
from tiny import photo, tiny_task, write_run

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.export.inference.synthesis.points import load_point

BAD_INPUT = 2
SIDE = 16
SMALL = ("--style-width", "8", "--mapping-layers", "2", "--crop-size", str(SIDE), str(SIDE))
CLASSES = ("--classes", "--class-names", "cat", "dog")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StyleGAN2 of two classes, with random weights; not to be changed."""
    task = tiny_task("synthesis", "--network", "stylegan2", *SMALL, *CLASSES)
    return write_run(tmp_path_factory.mktemp("runs") / "run", task)


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def gan_tasks(*arguments: str | Path) -> int:
    """The exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    code = exited.value.code
    assert isinstance(code, int)
    return code


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def pixels(name: str) -> np.ndarray:
    return read(Path(name)).pixels.astype(int)


def test_images_are_generated_once_and_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gan_tasks("generate", run, "out", "--seeds", "0-2", "--class", "dog", "--truncation", "0.7") == 0
    assert "3 images written to out" in said(capsys)
    assert sorted(path.name for path in Path("out").iterdir()) == ["seed0000.png", "seed0001.png", "seed0002.png"]
    Path("out/seed0001.png").unlink()
    before = Path("out/seed0002.png").stat().st_mtime_ns
    assert gan_tasks("generate", run, "out", "--seeds", "0-3", "--class", "1", "--truncation", "0.7", "--grid") == 0
    assert "2 images written to out; 2 were there already" in said(capsys)
    assert Path("out/seed0002.png").stat().st_mtime_ns == before
    grid = pixels("out/grid.png")
    assert grid.shape == (2 * SIDE, 2 * SIDE, 3)
    assert (grid[SIDE:, :SIDE] == pixels("out/seed0002.png")).all()
    assert gan_tasks("generate", run, "out", "--seeds", "2", "--class", "cat") == 0
    assert "1 image written" in said(capsys)
    assert (grid[SIDE:, :SIDE] != pixels("out/seed0002.png")).any()


def test_an_image_is_made_again_from_its_mark(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gan_tasks("generate", run, "one.png", "--seeds", "7", "--class", "dog", "--truncation", "0.5") == 0
    assert gan_tasks("generate", run, "again.png", "--seeds", "one.png") == 0
    assert Path("one.png").read_bytes() == Path("again.png").read_bytes()
    capsys.readouterr()
    assert gan_tasks("inspect", "one.png") == 0
    assert 'generated from {"seed": 7, "class": 1, "truncation": 0.5}' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "RUN", "out"), "needs a class: give one of cat, dog, or a number from 0 to 1"),
        (("generate", "RUN", "out", "--class", "dgo"), "has no class 'dgo'"),
        (("generate", "RUN", "out", "--class", "cat", "--seeds", "x"), "is no seed"),
        (("generate", "RUN", "out", "--class", "cat", "--truncation", "2"), "truncation is 2: expected"),
        (("generate", "RUN", "out.png", "--class", "cat", "--seeds", "1,2"), "give a folder, or --grid"),
        (("generate", "RUN", "out.gif", "--class", "cat", "--seeds", "1"), "is no name of an image file"),
        (("generate", "RUN", "photos", "--class", "cat", "--seeds", "0"), "gan-tasks did not make it"),
        (("generate", "RUN", "out", "--seeds", "photos/seed0000.png"), "does not say what it was generated from"),
        (("generate", "other.onnx", "out"), "does not generate images from seeds"),
        (("interpolate", "RUN", "walk.png", "--class", "cat", "--seeds", "1"), "two seeds or more"),
        (("mix", "other.onnx", "mix.png"), "does not generate images from seeds"),
        (("mix", "RUN", "mix.png", "--class", "cat", "--layers", "99"), "the model has"),
        (("invert", "RUN", "missing.png", "out", "--class", "cat"), "missing.png does not exist"),
        (("invert", "RUN", "photos/seed0000.png", "out.npz", "--class", "cat"), "give a folder"),
        (("directions", "RUN", "found.png", "--class", "cat"), "is no .npz file"),
        (("directions", "RUN", "d.npz", "--method", "boundary", "--class", "cat"), "give all three"),
        (("edit", "RUN", "out.png", "--direction", "d.npz", "--class", "cat"), "d.npz does not exist"),
        (("mix", "RUN", "out.png", "--provider", "cpu"), "has no option --provider"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_onnx(Path("other.onnx"))
    Path("photos").mkdir()
    write(Path("photos/seed0000.png"), Picture(photo(32, 32, seed=0)))
    assert gan_tasks(*(str(run) if word == "RUN" else word for word in arguments)) == BAD_INPUT
    error = said(capsys)
    assert message in error and "Traceback" not in error
    assert not Path("out").exists()


def test_walks_mixtures_directions_and_edits_are_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cat, dog = ("--class", "cat"), ("--class", "dog")
    assert gan_tasks("interpolate", run, "walk.png", "--seeds", "1,2", "--frames", "3", *cat) == 0
    assert pixels("walk.png").shape == (SIDE, 4 * SIDE, 3)
    assert gan_tasks("interpolate", run, "walk.mp4", "--seeds", "1,2", "--frames", "2", "--loop", *cat) == 0
    assert gan_tasks("interpolate", run, "frames", "--seeds", "1,2", "--frames", "1", *cat) == 0
    assert sorted(path.name for path in Path("frames").iterdir()) == ["0000.png", "0001.png"]
    assert np.abs(pixels("frames/0000.png") - pixels("walk.png")[:, :SIDE]).max() <= 1

    assert gan_tasks("mix", run, "mix.png", "--coarse", "1", "--fine", "2", *dog) == 0
    assert gan_tasks("mix", run, "grid.png", "--coarse", "1-2", "--fine", "mix.png", "--layers", "0-1", *dog) == 0
    assert pixels("grid.png").shape == (3 * SIDE, 2 * SIDE, 3)

    assert gan_tasks("directions", run, "d.npz", "--count", "2", *cat) == 0
    assert "2 directions written to d.npz, shown in d.png" in said(capsys)
    assert pixels("d.png").shape == (2 * SIDE, 5 * SIDE, 3)
    sets = ("--method", "boundary", "--without", "0-5", "--having", "6-9,mix.png")
    assert gan_tasks("directions", run, "boundary.npz", *sets, *cat) == 0
    assert gan_tasks("edit", run, "edited.png", "--seed", "mix.png", "--direction", "d.npz#1", "--amount", "-3") == 0
    assert (pixels("edited.png") != pixels("mix.png")).any()
    row = ("--seed", "edited.png", "--direction", "d.npz#1", "--amount", "0", "3", "--layers", "0-2")
    assert gan_tasks("edit", run, "row.png", *row) == 0
    assert np.abs(pixels("row.png")[:, :SIDE] - pixels("edited.png")).max() <= 1


def test_a_photograph_is_inverted_and_its_latent_used(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("face.png"), Picture(photo(40, 50, seed=3)))
    options = ("--class", "cat", "--steps", "3", "--features", "none")
    assert gan_tasks("invert", run, "face.png", "found", *options) == 0
    assert "dB; higher is nearer" in said(capsys)
    assert load_point(Path("found/face.npz")).styles is not None
    assert gan_tasks("invert", run, "face.png", "found", *options) == 0
    assert "was there already" in said(capsys)
    assert gan_tasks("generate", run, "again", "--seeds", "found/face.npz") == 0
    assert np.abs(pixels("again/face.png") - pixels("found/face.png")).max() <= 1
