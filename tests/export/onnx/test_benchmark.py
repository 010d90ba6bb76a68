"""Benchmark and choice of providers, with invented results, and once with real ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import mean_filter, write_onnx
from hypothesis import given
from hypothesis import strategies as st

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.load import load_model
from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx import benchmark as bench_module
from gan_tasks.export.onnx.benchmark import Measured, bench, choose, fidelity_db, speed_up
from gan_tasks.export.onnx.file import OnnxFile, read_onnx
from gan_tasks.export.onnx.providers import CPU, PROVIDERS, Configuration, missing
from gan_tasks.metrics import reference

OTHERS = PROVIDERS[1:]


def invented(index: int, seconds: float | Sequence[float], db: float) -> Measured:
    provider = CPU if index == 0 else OTHERS[index - 1]
    latencies = (seconds,) * 5 if isinstance(seconds, float) else tuple(seconds)
    return Measured(Configuration(provider, 2), 0.1, latencies, db)


def test_the_fastest_accurate_provider_is_chosen() -> None:
    first, exact, coarse = invented(0, 1.0, math.inf), invented(1, 0.6, 110.0), invented(2, 0.1, 44.9)
    just = invented(3, 0.5, 45.0)
    assert choose([first, exact, coarse]) == exact
    assert choose([first, exact, coarse, just]) == just
    assert choose([first, coarse]) == first
    assert choose([first]) == first


def test_a_speed_up_within_the_noise_is_ignored() -> None:
    first = invented(0, 1.0, math.inf)
    assert choose([first, invented(1, 0.97, 110.0)]) == first
    assert choose([first, invented(1, 0.94, 110.0)]).configuration.provider == OTHERS[0]


@pytest.mark.parametrize("db", [math.nan, -math.inf])
def test_a_provider_with_outputs_that_are_not_finite_is_not_chosen(db: float) -> None:
    first = invented(0, 1.0, math.inf)
    assert choose([first, invented(1, 0.1, db)]) == first


def test_a_provider_that_failed_is_not_chosen() -> None:
    first = invented(0, 1.0, math.inf)
    failed = Measured(Configuration(OTHERS[0], 2), problem="no memory")
    assert choose([first, failed]) == first


def test_a_change_of_the_machines_speed_does_not_change_the_choice() -> None:
    """The machine becomes three times as slow during the benchmark."""
    drift = np.array([1, 1, 1, 3, 3])
    slow, fast = invented(0, list(drift * 1.0), math.inf), invented(1, list(drift * 0.8), 99.0)
    assert speed_up(slow, fast) == pytest.approx(1.25)


@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 0.5))
def test_fidelity_is_psnr(seed: int, amount: float) -> None:
    import torch

    rng = np.random.default_rng(seed)
    expected = rng.random((1, 3, 6, 5), np.float32)
    output = np.clip(expected + amount * rng.standard_normal(expected.shape), 0, 1).astype(np.float32)
    own = float(reference.psnr(torch.from_numpy(output * 2 - 1), torch.from_numpy(expected * 2 - 1)))
    assert fidelity_db(output, expected) == pytest.approx(own, abs=1e-3)


def test_fidelity_of_equal_and_invalid_outputs() -> None:
    image = np.zeros((1, 3, 4, 4), np.float32)
    assert fidelity_db(image, image) == math.inf
    assert fidelity_db(image[..., 1:], image) == -math.inf
    assert fidelity_db(image * np.float32("nan"), image) == -math.inf


class Fake:
    """A session of the mean filter with a constant error; with None, running it fails."""

    def __init__(self, real: bench_module.Session, error: float | None) -> None:
        self.get_inputs, self.get_outputs, self.get_providers = real.get_inputs, real.get_outputs, real.get_providers
        self.error = error
        self.shapes: list[tuple[int, ...]] = []

    def run(self, names: Sequence[str], feeds: dict[str, FloatImages]) -> list[FloatImages]:
        if self.error is None:
            raise RuntimeError("out of something")
        self.shapes.append(feeds["image"].shape)
        return [mean_filter(feeds["image"]) + np.float32(self.error)]


def test_every_round_runs_every_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read_onnx(write_onnx(tmp_path / "model.onnx"))
    start = bench_module.start_session
    tried = [Configuration(CPU, 1), *(Configuration(provider, 1) for provider in OTHERS[:3])]
    errors = [0.0, 0.1, None, 0.001]
    fakes: dict[str, Fake] = {}

    def start_fake(file: OnnxFile, configuration: Configuration) -> Fake:
        fake = Fake(start(file, tried[0]), errors[tried.index(configuration)])
        return fakes.setdefault(configuration.provider.name, fake)

    monkeypatch.setattr(bench_module, "start_session", start_fake)
    monkeypatch.setattr(bench_module, "MAX_ROUNDS", 7)
    result = bench(file, size=30, tried=tried, quiet=True)
    assert result.size == (32, 32)  # the model's multiple is 4
    assert [one.configuration for one in result.measured] == tried
    assert [len(one.latencies_s) for one in result.measured] == [7, 7, 0, 7]
    assert [one.fidelity_db for one in result.measured][:2] == [math.inf, pytest.approx(20, abs=0.01)]
    assert result.measured[3].fidelity_db == pytest.approx(60, abs=0.01)
    assert result.measured[2].problem.endswith("out of something")
    timed = [shape for shape in fakes["cpu"].shapes if shape == (1, 3, 32, 32)]
    assert len(timed) == 7 + 2
    assert (1, 3, 16, 24) in fakes["cpu"].shapes  # a test vector of the file


def test_a_benchmark_needs_a_reference_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: OnnxFile, configuration: Configuration) -> Fake:
        raise UserError("no runtime")

    monkeypatch.setattr(bench_module, "start_session", refuse)
    with pytest.raises(UserError, match="no runtime"):
        bench(read_onnx(write_onnx(tmp_path / "model.onnx")))
    with pytest.raises(UserError, match="pip install"):
        bench(read_onnx(tmp_path / "model.onnx"), tried=())


def run_command(*arguments: str) -> object:
    with pytest.raises(SystemExit) as exited:
        main(["doctor", *arguments])
    return exited.value.code


def test_doctor_measures_a_model_and_later_sessions_use_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(bench_module, "MEASURING_S", 0.1)
    path = str(write_onnx(tmp_path / "model.onnx"))
    assert run_command("--bench", path, "--size", "32", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    here = [provider.name for provider in PROVIDERS if missing(provider) is None]
    assert sorted({row["provider"] for row in result["measured"]}) == sorted(here)
    problems = {row["provider"]: row["problem"] for row in result["measured"] if row.get("problem")}
    assert all("winograd" in name and "no convolution" in problem for name, problem in problems.items())
    (chosen,) = (row["provider"] for row in result["measured"] if row.get("chosen"))
    assert Path(result["cached_in"]).is_relative_to(tmp_path / "cache")
    assert "cached by doctor --bench" in load_model(path).runs_on
    assert load_model(path).runs_on.lower().startswith(chosen.partition("-")[0])

    assert run_command("--bench", path, "--size", "32", "--provider", "cpu") == 0
    printed = capsys.readouterr().out
    assert "→ cpu, " in printed
    assert all(f"not tried: {provider.name};" in printed for provider in PROVIDERS if missing(provider))


def test_doctor_refuses_missing_providers_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write_onnx(tmp_path / "model.onnx"))
    absent = next(provider.name for provider in PROVIDERS if missing(provider))
    assert run_command("--bench", path, "--provider", absent) == 2
    assert f"the provider {absent} cannot be used here" in capsys.readouterr().err
    assert run_command("--bench", str(tmp_path)) == 2
