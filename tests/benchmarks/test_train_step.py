"""The profile of `benchmarks/train_step.py`."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import pytest
import torch
import train_step


def operation(device_type: str, key: str, cpu_us: int, device_us: int) -> SimpleNamespace:
    kind = SimpleNamespace(name=device_type)
    return SimpleNamespace(
        device_type=kind, key=key, self_cpu_time_total=cpu_us, self_device_time_total=device_us, count=5
    )


def test_on_a_gpu_the_time_of_kernels_counts_once() -> None:
    """A kernel counts with the operation that started it, and waiting on the CPU does not count."""
    found = operation("CPU", "conv", 10, 5_000), operation("CPU", "sync", 90_000, 0), operation("CUDA", "k", 0, 5_000)
    lines = list(train_step.profile_lines(found, torch.device("cuda")))
    assert lines[0].startswith("1 ms a step on cuda") and lines[2] == "| `conv` | 100.0% | 1 |"
    lines = list(train_step.profile_lines(found, torch.device("cpu")))
    assert lines[0].startswith("18 ms a step on cpu") and lines[2] == "| `sync` | 100.0% | 1 |"


def test_a_step_is_profiled(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(train_step, "PROFILED_STEPS", 1)
    options = argparse.Namespace(device="cpu", precision="auto", compile=False, recompute=False)
    train_step.profile("compact", 1, 32, options)
    assert "| `aten::convolution" in (said := capsys.readouterr().out) and said.count("compact") == 1
