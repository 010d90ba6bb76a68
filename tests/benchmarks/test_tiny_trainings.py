"""The trainings that the trials of `benchmarks/reliability` make fit their tasks."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from reliability.tiny_trainings import TINY, TWO_SIDED, tiny_options
from tiny import photo, write_pairs

from gan_tasks.apps.cli.commands.train import parse_train
from gan_tasks.datasets.images import Picture, write
from gan_tasks.tasks import TASKS, TaskEntry


def test_every_task_has_one() -> None:
    assert list(TINY) == [entry.name for entry in TASKS] and set(TWO_SIDED) <= set(TINY)


@pytest.mark.parametrize("entry", TASKS, ids=lambda entry: entry.name)
def test_its_data_and_options_fit_the_task(entry: TaskEntry, tmp_path: Path) -> None:
    if entry.name in TWO_SIDED:
        write_pairs(tmp_path / "data", train=2)
    else:
        for number in range(2):
            path = tmp_path / "data" / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            write(path, Picture(photo(80, 80, seed=number)))
    words = ["--data", "data", "--out", "out", *shlex.split(tiny_options(entry.name, tmp_path))]
    task = entry.load()(parse_train(entry.load(), words).task)
    data, _ = task.open_data(tmp_path / "data", "train", augment=True, seed=0)
    assert len(data) == 2
    task.resolved(data).build(for_training=True)
