"""The remembered provider: found again, and ignored with a sentence wherever it does not hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from handmade_onnx import write_onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan_tasks.export.onnx import provider_cache as remembered
from gan_tasks.export.onnx.file import OnnxFile, read_onnx
from gan_tasks.export.onnx.provider_cache import cpu_name, memory_path, recall, remember
from gan_tasks.export.onnx.providers import CPU, Configuration, find_provider

CHOICE = Configuration(CPU, 1)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnnxFile:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return read_onnx(write_onnx(tmp_path / "model.onnx"))


def change(file: OnnxFile, **entries: Any) -> None:
    path = memory_path(file)
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def assert_ignored(file: OnnxFile, reason: str) -> None:
    found, sentence = recall(file)
    assert found is None
    assert reason in sentence
    assert f"doctor --bench {file.name}" in sentence


def test_it_is_found_again_and_replaced(file: OnnxFile) -> None:
    assert recall(file) == (None, "")
    remember(file, CHOICE)
    assert recall(file) == (CHOICE, "")
    pytest.importorskip("openvino")
    remember(file, Configuration(find_provider("openvino"), 1))
    assert recall(file) == (Configuration(find_provider("openvino"), 1), "")


def test_it_is_of_the_content_whatever_the_name(file: OnnxFile) -> None:
    remember(file, CHOICE)
    assert recall(OnnxFile("renamed.onnx", file.data, file.metadata)) == (CHOICE, "")
    assert recall(OnnxFile(file.name, file.data + b"\0", file.metadata)) == (None, "")


@pytest.mark.parametrize(
    ("change_setting", "said"),
    [
        ({"runtimes": {"onnxruntime": "1.0.0"}}, "other runtimes"),
        ({"cpu": "Z80"}, "other cpu"),
        ({"cores": 1000}, "other cores"),
        ({"gpus": ["NVIDIA H100"]}, "other gpus"),
    ],
)
def test_it_does_not_hold_for_another_setting(change_setting: dict[str, Any], said: str, file: OnnxFile) -> None:
    remember(file, CHOICE)
    setting = json.loads(memory_path(file).read_text())["setting"]
    change(file, setting=setting | change_setting)
    assert_ignored(file, said)


def test_a_provider_that_is_gone(file: OnnxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    remember(file, Configuration(find_provider("openvino"), 1))
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert_ignored(file, "openvino cannot be used any more")


@pytest.mark.parametrize("entries", [{"provider": "abacus"}, {"threads": 0}, {"threads": 10**6}])
def test_what_no_version_wrote(entries: dict[str, Any], file: OnnxFile) -> None:
    remember(file, CHOICE)
    change(file, **entries)
    assert_ignored(file, "names no provider")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(damage=st.binary(max_size=200) | st.integers(0, 300))
def test_a_damaged_memory_is_ignored(damage: bytes | int, file: OnnxFile) -> None:
    """Any bytes in its place, or its own cut short."""
    whole = remember(file, CHOICE).read_bytes()
    damaged = damage if isinstance(damage, bytes) else whole[: min(damage, len(whole) - 1)]
    memory_path(file).write_bytes(damaged)
    assert_ignored(file, "cannot be read")


def test_a_folder_in_its_place(file: OnnxFile) -> None:
    memory_path(file).mkdir(parents=True)
    assert_ignored(file, "cannot be read")


def test_the_hardware_has_a_name_on_any_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_name()

    def unreadable(path: Path, **_: Any) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert remembered.cpu_name()
