"""The cached provider is read again, and ignored with a reason if it is not valid."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from handmade_onnx import write_onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan_tasks.export.onnx import provider_cache
from gan_tasks.export.onnx.file import OnnxFile, read_onnx
from gan_tasks.export.onnx.provider_cache import cache_path, cpu_name, read_cached, write_cached
from gan_tasks.export.onnx.providers import CPU, Configuration, find_provider

CHOICE = Configuration(CPU, 1)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnnxFile:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return read_onnx(write_onnx(tmp_path / "model.onnx"))


def change(file: OnnxFile, **entries: Any) -> None:
    path = cache_path(file)
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def assert_ignored(file: OnnxFile, reason: str) -> None:
    found, sentence = read_cached(file)
    assert found is None
    assert reason in sentence
    assert f"doctor --bench {file.name}" in sentence


def test_a_provider_is_cached_and_replaced(file: OnnxFile) -> None:
    assert read_cached(file) == (None, "")
    write_cached(file, CHOICE)
    assert read_cached(file) == (CHOICE, "")
    pytest.importorskip("openvino")
    write_cached(file, Configuration(find_provider("openvino"), 1))
    assert read_cached(file) == (Configuration(find_provider("openvino"), 1), "")


def test_the_cache_depends_on_the_content_not_on_the_name(file: OnnxFile) -> None:
    write_cached(file, CHOICE)
    assert read_cached(OnnxFile("renamed.onnx", file.data, file.metadata)) == (CHOICE, "")
    assert read_cached(OnnxFile(file.name, file.data + b"\0", file.metadata)) == (None, "")


@pytest.mark.parametrize(
    ("change_setting", "reason"),
    [
        ({"runtimes": {"onnxruntime": "1.0.0"}}, "other runtimes"),
        ({"cpu": "Z80"}, "other cpu"),
        ({"cores": 1000}, "other cores"),
        ({"gpus": ["NVIDIA H100"]}, "other gpus"),
    ],
)
def test_it_is_ignored_with_other_hardware_or_runtimes(
    change_setting: dict[str, Any], reason: str, file: OnnxFile
) -> None:
    write_cached(file, CHOICE)
    setting = json.loads(cache_path(file).read_text())["setting"]
    change(file, setting=setting | change_setting)
    assert_ignored(file, reason)


def test_it_is_ignored_if_the_provider_was_uninstalled(file: OnnxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    write_cached(file, Configuration(find_provider("openvino"), 1))
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert_ignored(file, "openvino is not available any more")


@pytest.mark.parametrize("entries", [{"provider": "abacus"}, {"threads": 0}, {"threads": 10**6}])
def test_invalid_values_are_ignored(entries: dict[str, Any], file: OnnxFile) -> None:
    write_cached(file, CHOICE)
    change(file, **entries)
    assert_ignored(file, "names no provider")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(damage=st.binary(max_size=200) | st.integers(0, 300))
def test_a_damaged_file_is_ignored(damage: bytes | int, file: OnnxFile) -> None:
    """Any bytes instead of the file, or the file cut short."""
    whole = write_cached(file, CHOICE).read_bytes()
    damaged = damage if isinstance(damage, bytes) else whole[: min(damage, len(whole) - 1)]
    cache_path(file).write_bytes(damaged)
    assert_ignored(file, "cannot be read")


def test_a_folder_instead_of_the_file_is_ignored(file: OnnxFile) -> None:
    cache_path(file).mkdir(parents=True)
    assert_ignored(file, "cannot be read")


def test_the_hardware_has_a_name_on_any_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_name()

    def unreadable(path: Path, **_: Any) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert provider_cache.cpu_name()
