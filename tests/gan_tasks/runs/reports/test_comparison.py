"""The page about several runs, and the command that draws it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gan_tasks.apps.cli.main import run as gan_tasks
from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.image_grid import save_grid
from gan_tasks.runs.journal import Journal
from gan_tasks.runs.reports.comparison import distinct_names, write_comparison


def make_run(path: Path, *, lr: float, loss: str = "l1") -> Path:
    journal = Journal(path / "journal.jsonl")
    journal.event(0, 0, "started", total_images=400)
    for step in range(4):
        journal.write(step, 10 * step, {f"g/{loss}": 1 / (1 + step), "g/total": 2.0, "lr/g": lr})
    save_grid(path / "samples" / "step-00000003.png", [[np.zeros((8, 8, 3), np.uint8)]], ["output"])
    config = {"task": "<pix2pix>", "task_config": {"optimisation": {"lr": lr, "batch_size": 4}}, "train_config": {}}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [make_run(tmp_path / "first", lr=1e-3), make_run(tmp_path / "second<b>", lr=2e-3, loss="l2")]


def test_the_page_shows_curves_options_and_samples_of_all_runs(two: list[Path], tmp_path: Path) -> None:
    page = write_comparison(two, tmp_path / "page.html").read_text()
    assert "<td>0.001</td>" in page and "<td>0.002</td>" in page and "--batch-size" not in page
    assert page.count("<img") == 2 and "<b>" not in page and "<pix2pix>" not in page
    (rates,) = [part for part in page.split("<figure") if "<h3>Learning rates" in part]
    assert "first from" in rates and "second&lt;b&gt; from" in rates
    for title in ("Generator losses: l1", "Generator losses: l2"):  # a curve of one of the runs only
        assert f"<h3>{title}</h3>" in page


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    a, b = (tmp_path / parent / "run" for parent in ("a", "b"))
    assert distinct_names([a, b]) == ["a/run", "b/run"]
    assert len(set(distinct_names([a, a]))) == 2


def test_the_command_says_where_the_page_is(
    two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = map(str, two)
    for arguments, page in (
        ([first], two[0] / "report.html"),
        ([first, "--out", "here/one.html"], Path("here/one.html")),
        ([first, second], Path("runs.html")),
        ([first, second, "--out", "both.html"], Path("both.html")),
    ):
        assert gan_tasks(["report", *arguments]) == 0
        assert f"the report: {page}" in capsys.readouterr().err
        assert "</html>" in (tmp_path / page).read_text()


@pytest.mark.parametrize("out", ["page.html", "."])
def test_what_is_no_run_or_no_file_is_refused_and_nothing_written(
    out: str, two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = str(tmp_path) if out == "page.html" else str(two[1])
    with pytest.raises(UserError, match="journal" if out == "page.html" else "folder"):
        gan_tasks(["report", str(two[0]), other, "--out", out])
    assert not (tmp_path / "page.html").exists()


def test_names_that_are_not_utf8_are_shown_and_a_damaged_journal_is_named(two: list[Path], tmp_path: Path) -> None:
    latin = make_run(tmp_path / os.fsdecode(b"caf\xe9"), lr=1e-3)
    assert "caf\\xe9" in write_comparison([two[0], latin], tmp_path / "page.html").read_text()
    with (two[1] / "journal.jsonl").open("a") as file:
        file.write('{"step": 4, "images": 40, "time": 9.0, "event": "best", "val/l1": "bad"}\n')
    with pytest.raises(UserError, match=r"journal\.jsonl"):
        write_comparison(two, tmp_path / "page.html")
