"""Every numeric option of every command and task has a range, and a number out of it ends with exit code 2."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from gan_tasks.apps.cli.main import COMMANDS, main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import ranges
from gan_tasks.tasks import TASKS
from gan_tasks.training.config import TrainConfig


def options_in(config_type: type, name: str) -> Iterator[tuple[str, type, dataclasses.Field[Any], Any]]:
    """Each field of a dataclass and of those in it: where it stands, the dataclass, the field and its type."""
    hints = get_type_hints(config_type)
    for field in dataclasses.fields(config_type):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from options_in(hint, f"{name}.{field.name}")
        else:
            yield f"{name}.{field.name}", config_type, field, hint


def numeric_options() -> dict[str, tuple[type, dataclasses.Field[Any]]]:
    """The options that are numbers, of every command, of every task, and of the training loop."""
    types: dict[str, type] = {name: command for name, command in COMMANDS.items() if name != "train"}
    types["train"] = TrainConfig
    types |= {entry.name: entry.load().Config for entry in TASKS}
    return {
        where: (owner, field)
        for name, config_type in types.items()
        for where, owner, field, hint in options_in(config_type, name)
        if {int, float} & {hint, *get_args(hint)}
    }


NUMERIC = numeric_options()


def test_every_numeric_option_has_a_range() -> None:
    assert len(NUMERIC) > 60
    without = [where for where, (owner, field) in NUMERIC.items() if field.name not in ranges(owner)]
    assert without == []


@pytest.mark.parametrize("where", NUMERIC)
def test_a_number_out_of_every_range_is_refused(where: str) -> None:
    owner, field = NUMERIC[where]
    required = {each.name: None for each in dataclasses.fields(owner) if each.default is dataclasses.MISSING}
    for number in (math.nan, math.inf, -1e18, 1e40):
        value = (number,) * (len(field.default) or 1) if isinstance(field.default, tuple) else number
        with pytest.raises(UserError, match=f"{field.name} is "):
            owner(**{**required, field.name: value})


@pytest.mark.parametrize(
    "options",
    ["--keep-checkpoints -1", "--clip-grad-norm -1", "--ema-halflife-images nan", "--max-steps -1", "--lr inf"],
)
def test_train_ends_with_exit_code_2_before_anything_is_written(
    tmp_path: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flag, number = options.split()
    with pytest.raises(SystemExit, match="2"):
        main(["train", "pix2pix", "--data", str(tmp_path), "--out", str(run), flag, number])
    name = flag.removeprefix("--").replace("-", "_")
    assert f"{name} is {number}: expected a number" in capsys.readouterr().err
    assert not run.exists()
