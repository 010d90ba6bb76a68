import dataclasses
import json
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from gan_tasks.apps.cli import machine
from gan_tasks.apps.cli.commands.doctor import print_doctor
from gan_tasks.apps.cli.machine import Package, Report, device_problem, doctor, installation_problems, names_to_show
from gan_tasks.export.onnx import providers

PYPROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
TRAIN = [Requirement(text) for text in PYPROJECT["project"]["optional-dependencies"]["train"]]
HEALTHY = {"torch": "2.13.0+cpu", "kornia": "0.9.0", "albumentations": "2.0.8", "scikit-image": "0.26.0"}


@pytest.mark.parametrize(
    "others",
    [{}, {"datasets": "4.0.0"}, {"onnxruntime": "1.31.0"}, {"opencv-python-headless": "5.0.0"}],
    ids=lambda others: "+".join(others) or "bare",
)
def test_a_healthy_installation_has_no_problems(others: dict[str, str]) -> None:
    assert list(installation_problems(HEALTHY | others, TRAIN, has_gpu=True)) == []
    assert list(installation_problems({}, TRAIN, has_gpu=False)) == []  # an extra that is not installed is no problem


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (
            {"onnxruntime": "1.31.0", "onnxruntime-gpu": "1.31.0"},
            ["`pip uninstall -y onnxruntime onnxruntime-gpu`", "`pip install onnxruntime-gpu`"],
        ),
        (
            {"opencv-python": "5.0.0", "opencv-python-headless": "5.0.0"},
            ["`pip uninstall -y opencv-python opencv-python-headless`", "`pip install opencv-python-headless`"],
        ),
        ({"torch": "2.9.1"}, ["torch 2.9.1", "pip install 'torch<2.14,>=2.10'"]),
        ({"torch": "2.14.0+cu130"}, ["torch 2.14.0+cu130"]),
        ({"albumentations": "2.0.9"}, ["pip install 'albumentations==2.0.8'"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_each_problem_comes_with_the_commands_that_mend_it(others: dict[str, str], expected: list[str]) -> None:
    (problem,) = installation_problems(HEALTHY | others, TRAIN, has_gpu=True)
    for part in expected:
        assert part in problem


def test_no_gpu_runtime_is_recommended_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    both = HEALTHY | {"onnxruntime": "1.31.0", "onnxruntime-gpu": "1.31.0"}
    (problem,) = installation_problems(both, TRAIN, has_gpu=False)
    assert "then `pip install onnxruntime`" in problem
    assert "onnxruntime-gpu" not in names_to_show(HEALTHY, has_gpu=False)
    assert "onnxruntime" not in names_to_show(HEALTHY, has_gpu=True)
    assert "onnxruntime" not in names_to_show({"onnxruntime-gpu": "1.31.0"}, has_gpu=True)
    monkeypatch.setattr(providers, "has_nvidia_gpu", lambda: False)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(get_available_providers=list))
    for provider in providers.PROVIDERS:
        reason = providers.missing(provider) or ""
        assert "gpu" not in reason and "CUDA" not in reason, provider.name
    monkeypatch.setattr(providers, "has_nvidia_gpu", lambda: True)
    assert "onnxruntime-gpu" in (providers.missing(providers.CUDA) or "")


@pytest.mark.parametrize(
    ("has_nvidia_gpu", "torch_cuda", "cuda_works", "expected"),
    [
        (False, None, False, None),
        (False, "13.0", False, None),
        (True, "13.0", True, None),
        (True, None, False, "CPU build"),
        (True, "13.0", False, "driver"),
    ],
)
def test_an_idle_gpu_is_explained(
    has_nvidia_gpu: bool, torch_cuda: str | None, cuda_works: bool, expected: str | None
) -> None:
    problem = device_problem(has_nvidia_gpu=has_nvidia_gpu, torch_cuda=torch_cuda, cuda_works=cuda_works)
    assert problem is None if expected is None else problem is not None and expected in problem


def test_this_machine_is_described_and_the_report_is_json() -> None:
    report = doctor()
    content = json.loads(json.dumps(dataclasses.asdict(report)))
    assert content["python"] == ".".join(map(str, sys.version_info[:3]))
    versions = {package["name"]: package["version"] for package in content["packages"]}
    assert versions["numpy"] == __import__("numpy").__version__
    assert any(device.startswith("CPU, ") for device in content["devices"])


def test_a_broken_torch_is_reported_instead_of_crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # makes importing it fail
    monkeypatch.setattr(machine, "distributions", list)
    assert doctor().problems == ()  # not installed: nothing is wrong
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert any("torch is installed but cannot be imported" in problem for problem in doctor().problems)


def test_what_is_missing_is_printed_with_the_extra_that_brings_it(capsys: pytest.CaptureFixture[str]) -> None:
    packages = (Package("torch", None, "train"), Package("numpy", "2.4.6", None), Package("onnx", None, None))
    print_doctor(
        Report("3.11.7", "0.1.0", packages, ("CPU, 2 cores",), {"cuda": "buy one"}, ("Something [odd] is wrong.",))
    )
    output = capsys.readouterr().out
    assert "not installed: pip install 'gan-tasks[train]'" in output
    assert "Problem: Something [odd] is wrong." in output
    assert "provider cuda" in output
    assert "not here: buy one" in output
    assert "No problems" not in output
