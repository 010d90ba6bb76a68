"""The help: which options it shows, under which titles, and in which words."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from tiny import ALL_TASKS

from gan_tasks.apps.cli.commands.train import ResumeOptions, TrainOptions
from gan_tasks.apps.cli.main import COMMANDS, main
from gan_tasks.apps.cli.options import field_docstrings
from gan_tasks.apps.cli.train_options import COMMON
from gan_tasks.tasks import find_task
from gan_tasks.training.config import TrainConfig

every_task = pytest.mark.parametrize("task", ALL_TASKS)
OUR_OPTIONS = [command for name, command in COMMANDS.items() if name != "train"] + [
    TrainOptions,
    ResumeOptions,
    TrainConfig,
]
OLD_WORDS = (
    *("judge", "player", "game", "ruler", "trunk", "facing", "frozen", "remember", "floor", "trivial", "hole"),
    *("swap", "rim", "rough", "reach", "bands", "card", "cases", "prove", "proof", "wish", "measurer", "house"),
)
"""Words that others replace: see the table of terms that the project does not use."""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exited:
        main(list(arguments))
    assert exited.value.code == 0
    return capsys.readouterr().out


def options_in(text: str) -> list[str]:
    return re.findall(r"^  (--[\w-]+)", text, re.MULTILINE)


def titles_in(text: str) -> list[str]:
    return [line for line in text.splitlines()[3:] if re.fullmatch(r"[a-z][a-z -]*", line)]


@every_task
def test_help_shows_the_common_options_and_help_all_every_one(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    common = printed(capsys, "train", task, "--help")
    every = printed(capsys, "train", task, "--help-all")
    assert 18 <= len(options_in(common)) <= 30
    assert set(options_in(common)) == {flag for flag in options_in(every) if flag[2:].replace("-", "_") in COMMON}
    loop = {"--" + field.name.replace("_", "-") for field in fields(TrainConfig)}
    assert loop | {"--config", "--preset", "--batch-size"} <= set(options_in(every))
    assert len(options_in(every)) == len(set(options_in(every)))
    last = common.splitlines()[-1]
    assert last == f"gan-tasks train {task} --help-all shows all {len(options_in(every))} options."
    assert "--help-all" not in every


def test_each_common_option_is_one_of_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {flag for task in ALL_TASKS for flag in options_in(printed(capsys, "train", task, "--help"))}
    assert {"--" + name.replace("_", "-") for name in COMMON} == shown


def test_groups_are_named_after_their_subject(capsys: pytest.CaptureFixture[str]) -> None:
    assert titles_in(printed(capsys, "train", "pix2pix", "--help-all")) == [
        *("options", "model", "discriminator", "losses", "adversarial objective", "perceptual loss", "optimizer"),
        *("learning-rate schedule", "data", "augmentation", "run"),
    ]
    for task in ALL_TASKS:
        titles = set(titles_in(printed(capsys, "train", task, "--help-all")))
        assert {"model", "optimizer", "run"} <= titles and titles & {"data", "augmentation"}
    assert titles_in(printed(capsys, "apply", "--help")) == ["arguments", "options", "inpainting", "stylization"]
    assert titles_in(printed(capsys, "evaluate", "--help")) == ["arguments", "options", "metrics", "masks"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])
def test_the_help_of_a_command_shows_no_code(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, command, "--help")
    assert not re.search(r"UserError|MISSING|dataclass|Positional|task\.\w|None", text)
    assert text == printed(capsys, command, "--help-all")
    assert f"usage: gan-tasks {command} " in text


@every_task
def test_the_help_of_a_task_shows_no_code(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not re.search(r"UserError|MISSING|task\.\w", printed(capsys, "train", task, "--help-all"))


@pytest.mark.parametrize("config", OUR_OPTIONS, ids=lambda config: config.__name__)
def test_every_option_is_explained_in_plain_sentences(config: type) -> None:
    nested = {"options", "mask_options", "mask_files", "style_files", "drawing", "inversion", "running"}
    documented = field_docstrings(config)
    for field in fields(config):
        if field.name in nested:
            continue
        sentence = documented[field.name]
        assert sentence[0].isupper() and sentence.endswith("."), f"{field.name}: {sentence}"
        assert ";" not in sentence, f"{field.name}: {sentence}"


@pytest.mark.parametrize("config", OUR_OPTIONS, ids=lambda config: config.__name__)
def test_the_help_uses_the_terms_of_the_field(config: type) -> None:
    text = " ".join([config.__doc__ or "", *field_docstrings(config).values()]).lower()
    assert [word for word in OLD_WORDS if re.search(rf"\b{word}(s|d|ed)?\b", text)] == []


def test_a_task_and_a_command_with_a_long_name_stand_apart_from_their_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = printed(capsys, "train", "--help")
    for task in ALL_TASKS:
        assert re.search(rf"^  {task} +{re.escape(find_task(task).summary)}$", tasks, re.MULTILINE)
    overview = printed(capsys, "--help")
    for name in COMMANDS:
        assert re.search(rf"^  {name}  +[A-Z].*\.$", overview, re.MULTILINE)


def test_lines_fit_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    lines = printed(capsys, "apply", "--help").splitlines()
    assert max(len(line) for line in lines if not line.startswith("usage")) <= 72
