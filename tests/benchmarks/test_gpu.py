"""`benchmarks/gpu.sh` runs at the first go on a GPU, as far as that can be tried on a CPU with tiny images."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gpu import data, measure, part, steps
from gpu.options import Options

from gan_tasks.networks import layers

TINY = ("--device", "cpu", "--tiny", "--tasks", "compact")


def here(name: str, options: Options, rows: Path, limit_s: float) -> str:
    """Run a part in this process, which saves its start."""
    part.run(name, options, rows)
    return ""


def measured(folder: Path, *arguments: str, start: measure.Start = here) -> tuple[dict[str, Any], str]:
    assert measure.main([*TINY, "--out", str(folder), *arguments], start) == 0
    found = json.loads((folder / "gpu.json").read_text())
    return {each["title"]: each for each in found["parts"]}, (folder / "gpu.md").read_text()


@pytest.fixture(autouse=True)
def own_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain form changes the layers of its process."""
    monkeypatch.setattr(layers, "has_own_form", layers.has_own_form)


def test_every_part_fills_its_table(tmp_path: Path) -> None:
    names = ("machine", "own", "plain", "memory", "waiting", "training", "inference")
    parts, report = measured(tmp_path, "--parts", *names)
    assert list(parts) == list(names)
    for name in names:
        assert parts[name]["rows"] and not parts[name]["problem"], name
        assert not any("error" in row for row in parts[name]["rows"]), name
    for title in ("Training steps", "Memory", "Waiting for data", "A short training", "Exported networks"):
        assert f"\n## {title}" in report
    lines = [line for line in report.splitlines() if line.startswith("| compact | 1 | fp32 |")]
    assert len(lines) == 2 and all(line.count("×") == 1 and "%" in line for line in lines), lines
    assert {"python", "torch", "cores"} <= parts["machine"]["rows"][0].keys()
    assert {"psnr", "images_per_s", "steps"} <= parts["training"]["rows"][0].keys()


def test_a_part_that_fails_is_listed_and_the_others_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*given: Any, **options: Any) -> Any:
        raise RuntimeError("CUDA out of\nmemory")

    monkeypatch.setattr(steps, "own_step", failing)
    parts, report = measured(tmp_path, "--parts", "own", "plain")
    assert [row["error"] for row in parts["own"]["rows"]] == ["RuntimeError: CUDA out of memory"] * 2
    assert "| compact | 1 | fp32 | eager | RuntimeError: CUDA out of memory |" in report
    assert parts["own"]["problem"] == "2 of 2 lines have no figures"
    assert all("ms" in row for row in parts["plain"]["rows"])


def test_a_process_that_fails_or_hangs_is_listed(tmp_path: Path) -> None:
    """What a process had measured before it was ended is kept."""
    rows = tmp_path / "rows"
    rows.write_text('{"precision": "fp32"}\n')
    failed = measure.in_a_process("machine", Options("cuda:99", end_s=0), rows, 60)
    assert failed.startswith("failed with exit code 1") and "cuda:99" in failed
    assert measure.in_a_process("machine", Options("cpu", end_s=0), rows, 0.1) == "ended after its limit of 0 s"
    assert rows.read_text() == '{"precision": "fp32"}\n'


def test_what_cannot_run_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Packages may be missing, and an earlier part may have taken all the time."""
    monkeypatch.setattr(measure, "find_spec", lambda name: None if name in ("onnx", "yaml") else name)

    def fifty_seconds(name: str, options: Options, rows: Path, limit_s: float) -> str:
        began.append(limit_s)
        clock[0] += 50
        return ""

    began: list[float] = []
    clock = [0.0]
    monkeypatch.setattr(measure, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    parts, report = measured(tmp_path, "--minutes", "2", start=fifty_seconds)
    problems = {name: each["problem"] for name, each in parts.items()}
    assert problems["tests"] == "not run: needs yaml" and problems["inference"] == "not run: needs yaml, onnx"
    assert problems["memory"] == problems["compiled compact"] == "not run: no time was left"
    assert len(began) == 3 and sum(began) < 120
    assert "missing packages: yaml, onnx" in capsys.readouterr().out
    assert "Missing packages: yaml, onnx." in report and "| memory | 0 | not run: no time was left |" in report


def test_the_short_training_is_ended_by_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time counts from the start of the part. Here the signal comes once a line of the journal has a speed."""
    run, given = tmp_path / "run", []

    def timer(seconds: float, function: Callable[..., None], args: tuple[Any, ...]) -> Any:
        def signal() -> None:
            journal = run / "journal.jsonl"
            while not over.wait(0.02):
                if journal.exists() and "images_per_second" in journal.read_text():
                    function(*args)
                    break

        given.append(seconds)
        over = threading.Event()
        return SimpleNamespace(start=threading.Thread(target=signal, daemon=True).start, cancel=over.set)

    monkeypatch.setattr(data, "TINY_STEPS", 0)
    monkeypatch.setattr(data, "threading", SimpleNamespace(Timer=timer))
    data.write_pairs(tmp_path, 4, (40, 36), ("train", "test"))
    row = data.trained(Options("cpu", time.monotonic() + 100, tiny=True), tmp_path, run)
    assert 0 < given[0] <= 100 - data.LEFT_FOR_EVALUATION_S
    assert 2 <= float(row["steps"] or 0) < 400 and row["psnr"]


def test_no_more_runs_are_launched_than_take_the_measured_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch returns at once, and only waiting for the device shows what the runs take."""
    clock, queued, longest = [0.0], [0], [0]

    def launch() -> None:
        queued[0] += 1

    def wait(device: torch.device) -> None:
        longest[0] = max(longest[0], queued[0])
        clock[0] += 0.01 * queued[0]
        queued[0] = 0

    monkeypatch.setattr(steps, "synchronise", wait)
    monkeypatch.setattr(steps, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert steps.seconds_of(launch, torch.device("cpu"), Options("cuda", 0)) == pytest.approx(0.01)
    assert 0.01 * longest[0] <= 2 * steps.MEASURED_S and clock[0] < 1
