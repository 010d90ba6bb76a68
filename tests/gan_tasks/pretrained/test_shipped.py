"""Models of the package gan-tasks-models: found by name, listed, used, and what is said without the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shipped_package import install_models, uninstall_models

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.apps.suggestions import commands_for
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, read, write
from gan_tasks.pretrained.shipped import entries, find_shipped, located, shipped_models

BAD_INPUT = 2
NAME = Path("upscale-x4")


def run(*arguments: str | Path) -> object:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    return exited.value.code


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return install_models(tmp_path / "site", monkeypatch, "upscale-x4", "restore-x1")


def test_models_are_found_by_their_names(package: Path) -> None:
    assert [model.name for model in shipped_models()] == ["restore-x1", "upscale-x4"]
    model = find_shipped(NAME)
    assert model is not None
    assert (model.path, model.summary, model.scale, model.licence) == (
        package / "upscale-x4.onnx",
        "tests of upscale-x4",
        "4",
        "CC0",
    )
    assert located(NAME) == model.path
    assert find_shipped(Path("folder/upscale-x4")) is None and find_shipped(Path("unknown")) is None


def test_a_folder_of_that_name_takes_precedence(package: Path, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    assert find_shipped(NAME) is None and located(NAME) == NAME


def test_entries_of_a_card_end_at_its_first_section() -> None:
    card = "# Model card: x\n\n- Scale: 2\n- Note: a: b\n- no entry\n\n## Limits\n\n- Scale: 4\n"
    assert list(entries(card)) == [("Scale", "2"), ("Note", "a: b")]


def test_a_model_is_used_by_its_name(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    write(tmp_path / "a.png", Picture(pixels))
    assert run("apply", NAME, "a.png", "b.png", "--provider", "cpu") == 0
    np.testing.assert_array_equal(read(tmp_path / "b.png").pixels, gan_tasks.load(NAME)(pixels))
    assert run("verify", NAME) == 0
    assert capsys.readouterr().out.endswith("verified\n")
    assert run("inspect", NAME) == 0
    printed = capsys.readouterr().out
    assert "tests of upscale-x4" in printed and "scale 4" in printed
    assert "gan-tasks apply upscale-x4 IN OUT --scale 4" in printed and "gan-tasks export" not in printed


def test_a_model_is_evaluated_by_its_name(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
        write(photos / f"{seed}.png", Picture(pixels))
    assert run("evaluate", NAME, "--data", photos, "--features", "none") == 0
    assert "bicubic" in capsys.readouterr().out


def test_models_are_listed_first(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    lines = capsys.readouterr().out.splitlines()
    number = lines.index("installed")
    assert lines[number - 2].startswith("gan-tasks-models: ") and number < 5
    assert lines[number - 1] == "licence of each: CC0"
    found = [line.split() for line in lines[number + 1 : number + 3]]
    assert [words[:3] for words in found] == [["restore-x1", "1", "0.0"], ["upscale-x4", "4", "0.0"]]
    assert lines[number + 2].endswith("tests of upscale-x4")
    card = package / "upscale-x4.md"
    card.write_text(card.read_text().replace("CC0", "MIT"))
    assert run("models") == 0
    lines = capsys.readouterr().out.splitlines()
    assert not any(line.startswith("licence of each") for line in lines)
    assert [line.rpartition("; ")[2] for line in lines if " tests of " in line] == ["CC0", "MIT"]


def test_the_suggested_commands_name_the_model(package: Path) -> None:
    commands = commands_for(NAME, gan_tasks.load(NAME).spec)
    assert [command.split()[1:3] for command in commands] == [
        [each, str(NAME)] for each in ("apply", "serve", "verify")
    ]


@pytest.mark.parametrize(
    "command",
    [("apply", "upscale-x4", "a.png", "b.png"), ("verify", "upscale-x4"), ("doctor", "--bench", "upscale-x4")],
    ids=lambda command: command[0],
)
def test_without_the_package_it_is_said_how_to_install_it(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    uninstall_models(monkeypatch)
    write(tmp_path / "a.png", Picture(np.zeros((8, 8, 3), np.uint8)))
    assert run(*command) == BAD_INPUT
    said = capsys.readouterr().err
    assert "gan-tasks-models is not installed: python -m pip install ./models" in said
    assert run("models") == 0
    assert "to install: python -m pip install ./models" in capsys.readouterr().out
    assert shipped_models() == ()


def test_a_misspelt_name_is_corrected(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"did you mean upscale-x4\?"):
        gan_tasks.load("upscal-x4")
    assert run("verify", "upscal-x4") == BAD_INPUT
    assert "did you mean upscale-x4?" in capsys.readouterr().err


def test_a_package_without_models_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_models(tmp_path, monkeypatch)
    assert run("models") == 0
    assert "installed, without models" in capsys.readouterr().out
    assert run("verify", NAME) == BAD_INPUT
    assert "contains no models" in capsys.readouterr().err
