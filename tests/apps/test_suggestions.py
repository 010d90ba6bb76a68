"""The commands that are suggested run, for every task: after a training, and by `inspect`."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import ALL_TASKS, photo, tiny_task, write_run

from gan_tasks.apps.cli.arguments import without_option
from gan_tasks.apps.cli.commands.serve import Serve
from gan_tasks.apps.cli.main import COMMANDS, main
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.load import load
from gan_tasks.tasks.own import OPTION


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files that the words in capitals stand for, and a server that only loads its models."""
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((40, 36, 1), np.uint8)
    mask[5:9, 5:20] = 255
    write(Path("in.png"), Picture(photo(40, 36, seed=0)))
    write(Path("mask.png"), Picture(mask))
    monkeypatch.setattr(Serve, "run", lambda self: 0 if all(load(path).title for path in self.models) else 1)


def run_command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    assert isinstance(exited.value.code, int)
    return exited.value.code


def suggested(printed: str) -> list[list[str]]:
    lines = [line.partition(": gan-tasks ")[2] for line in printed.splitlines() if ": gan-tasks " in line]
    return [shlex.split(line) for line in lines]


def fitted(words: list[str], data: Path) -> list[str]:
    """A command with files in place of the words in capitals."""
    files = {"IN": "in.png", "OUT": "out.png", "MASK": "mask.png", "STYLE": "mask.png", "DIR": str(data)}
    return [files.get(word, word) for word in words]


@pytest.mark.parametrize("task", ALL_TASKS)
def test_inspect_suggests_commands_that_run(task: str, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(Path("a run"), tiny_task(task))
    capsys.readouterr()
    assert run_command("inspect", run) == 0
    commands = suggested(capsys.readouterr().out)
    spec = load(run).spec
    names = [command[0] for command in commands]
    expected = {"serve", "evaluate", "export"} | {"generate" if spec.use == "generate" else "apply"}
    assert set(names) == expected and len(names) == len(set(names))
    if spec.use == "inpaint":
        assert "--mask" in commands[0]
    if spec.use == "upscale":
        assert commands[0][-2:] == ["--scale", str(spec.scale)]
    for name, *words in commands:
        if name == "export":  # it takes long, and tests/test_whole_way.py exports every task
            COMMANDS[name].parse(without_option(OPTION, words)[0], name)
        else:
            assert run_command(name, *fitted(words, pairs)) == 0, (name, words)
    checkpoint = run / "checkpoints" / "step-00000000"
    capsys.readouterr()
    assert run_command("inspect", checkpoint) == 0
    of_checkpoint = suggested(capsys.readouterr().out)
    assert [command[0] for command in of_checkpoint] == names
    assert run_command(*fitted(of_checkpoint[0], pairs)) == 0


def test_a_run_without_a_checkpoint_is_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(Path("run"), tiny_task("pix2pix"))
    shutil.rmtree(run / "checkpoints")
    assert run_command("inspect", run) == 0
    assert suggested(capsys.readouterr().out) == [["train", "--resume", "run"]]
