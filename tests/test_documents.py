"""The documents tell the truth: their commands and code run, their options and links exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tiny import TINY, photo, tiny_task

from gan_tasks.apps.cli.commands.export import export_jy
from gan_tasks.apps.cli.main import COMMANDS, main
from gan_tasks.apps.web import server
from gan_tasks.apps.web.job_queue import open_models
from gan_tasks.datasets.images import Picture, write
from gan_tasks.tasks import TASKS
from gan_tasks.training.loop import Loop, TrainConfig, train

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
NOT_OURS = {"--nproc-per-node", "--all-files"}  # options of torchrun and pre-commit


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The README's `gan-tasks` commands, comments left out. The quickstart, which takes minutes, has its own test."""
    lines = [line.split("  #")[0].strip() for block in blocks("README.md", "bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("gan-tasks ")]


@pytest.fixture(scope="module")
def quickstart_folder(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the quickstart leaves, with tiny pairs and a tiny run of one step."""
    folder = tmp_path_factory.mktemp("readme") / "quickstart"
    folder.mkdir()
    (folder / "pairs").symlink_to(pairs)
    write(folder / "before-after.png", Picture(photo(50, 70, seed=1)))
    train(tiny_task("pix2pix"), data=pairs, out=folder / "run", config=TrainConfig(workers=0, max_steps=1))
    return folder


@pytest.fixture
def after_quickstart(quickstart_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where the quickstart was run. Trainings take no steps, and servers answer nobody."""
    (tmp_path / "quickstart").symlink_to(quickstart_folder)
    (tmp_path / "runs").mkdir()
    export_jy(quickstart_folder / "run", tmp_path / "runs" / "photos.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Loop, "run_to_end", lambda loop: None)
    monkeypatch.setattr(server, "serve", lambda models, **_: open_models(models))


def test_the_commands_of_the_readme_run_one_after_another(after_quickstart: None) -> None:
    assert commands()
    for command in commands():
        arguments = shlex.split(command)[1:]
        if arguments[0] == "train" and arguments[1] in TINY and "--help" not in arguments:
            arguments[2:2] = TINY[arguments[1]]
        with pytest.raises(SystemExit) as exited:
            main(arguments)
        assert exited.value.code == 0, command


@pytest.mark.parametrize("code", blocks("README.md", "python"))
def test_the_python_of_the_readme_runs(code: str, after_quickstart: None) -> None:
    exec(compile(code, "README.md", "exec"), {})


def test_the_readme_shows_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"gan-tasks {name}" not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_in_a_document_exist(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for command in (
        *(["train", entry.name] for entry in TASKS),
        *([name] for name in COMMANDS if name != "train"),
        [],
    ):
        with pytest.raises(SystemExit):
            main([*command, "--help-all"])
    known = {*re.findall(r"--[a-z][\w-]*", capsys.readouterr().out), "--help", "--help-all", "--resume", *NOT_OURS}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= known


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_to_files_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", (ROOT / document).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_files_named_in_contributing_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.]+/)*[\w.]+\.(?:py|md|toml|yaml)|(?:[\w.]+/)+)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
