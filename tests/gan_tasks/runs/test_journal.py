import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_tasks.datasets.errors import UserError
from gan_tasks.runs import journal
from gan_tasks.runs.journal import Journal, read_journal, series


@given(st.dictionaries(st.sampled_from(["g/l1", "d/total", "lr/g"]), st.floats()))
def test_every_float_is_read_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("run") / "journal.jsonl"
    Journal(path).write(7, 28, values)
    (line,) = read_journal(path)
    assert (line["step"], line["images"]) == (7, 28)
    for key, value in values.items():
        assert line[key] == value or (math.isnan(value) and math.isnan(line[key]))


def test_lines_are_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).write(1, 4, {"g/l1": math.nan, "g/total": -math.inf})

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse)["g/l1"] == "nan"


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).write(1, 4, {"g/l1": np.float32(0.5), "skipped": np.int64(3)})
    (line,) = read_journal(path)
    assert (line["g/l1"], line["skipped"]) == (0.5, 3.0)


@pytest.mark.parametrize("block_bytes", [1, 7, 1000])
def test_what_follows_the_last_whole_line_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).write(1, 4, {})
    whole = path.read_bytes()
    monkeypatch.setattr(journal, "LONGEST_LINE_BYTES", block_bytes)
    for rest in (b"", b'{"step": 2, "ima', bytes(5000)):
        path.write_bytes(whole + rest)
        Journal(path)
        assert path.read_bytes() == whole
    path.write_bytes(bytes(5000))
    assert Journal(path).size_bytes() == 0


def test_a_rewound_journal_keeps_changes_alone(tmp_path: Path) -> None:
    written = Journal(tmp_path / "journal.jsonl")
    written.write(1, 4, {})
    size_bytes = written.size_bytes()
    written.write(2, 8, {})
    written.event(2, 8, "changed", epochs="2 → 3")
    with written.path.open("ab") as file:
        file.write(bytes(3_000_000) + b"\n")
    written.rewind(size_bytes)
    assert [line.get("event") for line in read_journal(written.path)] == [None, "changed"]


def test_events_keep_their_details(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).event(3, 12, "checkpoint", name="step-00000003\u2028", l1=0.25)
    (line,) = read_journal(path)
    assert (line["event"], line["name"], line["l1"]) == ("checkpoint", "step-00000003\u2028", 0.25)


def test_a_line_is_in_the_file_when_write_returns(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    program = (
        "import os, pathlib; from gan_tasks.runs.journal import Journal\n"
        f"Journal(pathlib.Path({str(path)!r})).write(1, 4, {{'g/l1': 0.5}})\n"
        "os._exit(1)"  # no buffer is flushed on the way out
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=False, env=environment)
    assert read_journal(path)[0]["g/l1"] == 0.5


@given(st.integers(0, 6), st.integers(0, 6))
def test_rewind_deletes_exactly_the_later_lines(
    tmp_path_factory: pytest.TempPathFactory, before: int, since: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "journal.jsonl"
    journal = Journal(path)
    for step in range(before):
        journal.write(step, 4 * step, {"g/l1": 0.1})
    moment = journal.size_bytes()
    for step in range(since):
        journal.event(step, 4 * step, "checkpoint")
    Journal(path).rewind(moment)
    assert [line["step"] for line in read_journal(path)] == list(range(before)) if path.exists() else before == 0


@pytest.mark.parametrize("incomplete", ['{"step": 2, "im', "{", "\x00\x00"])
def test_an_incomplete_last_line_is_skipped_and_removed_before_the_next_write(
    tmp_path: Path, incomplete: str
) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).write(1, 4, {"g/l1": 0.5})
    with path.open("a") as file:
        file.write(incomplete)
    assert [line["step"] for line in read_journal(path)] == [1]
    journal = Journal(path)
    journal.write(2, 8, {"g/l1": 0.4})
    assert [line["step"] for line in read_journal(path)] == [1, 2]


def test_an_error_names_a_damaged_line_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"step": 1, "images": 4, "time": 1}\n{"step": 2, \n{"step": 3, "images": 12, "time": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        read_journal(path)


def test_a_missing_journal_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"journal\.jsonl does not exist"):
        read_journal(tmp_path / "journal.jsonl")


def test_series_reads_the_lines_with_the_key() -> None:
    lines = [{"images": 1, "a": 0.5}, {"images": 2, "event": "stage"}, {"images": 3, "a": math.inf, "b": 1.0}]
    images, values = series(lines, "a")
    assert (images.tolist(), values.tolist()) == ([1, 3], [0.5, math.inf])
    assert series(lines, "never logged")[0].shape == (0,)


def test_the_journal_works_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # makes importing it fail
    journal = Journal(tmp_path / "journal.jsonl", tensorboard_dir=tmp_path / "tensorboard")
    journal.write(1, 4, {"g/l1": 0.5})
    assert len(read_journal(journal.path)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_line_that_does_not_fit_on_the_disk_leaves_no_half(tmp_path: Path) -> None:
    import resource

    journal = Journal(tmp_path / "journal.jsonl")
    journal.event(1, 1, "started")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size_bytes() + 20, hard))
    try:
        with pytest.raises(OSError, match="large"):
            journal.event(2, 2, "best")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.event(3, 3, "stage")
    assert [line["step"] for line in read_journal(journal.path)] == [1, 3]
