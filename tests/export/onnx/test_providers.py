"""Providers of exported models: all give the same output, and none is silently replaced by another."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from handmade_onnx import mean_filter, write_onnx
from onnx import helper

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.load import load_model
from gan_tasks.export.onnx import providers
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.model import OUTPUT, OnnxModel
from gan_tasks.export.onnx.provider_cache import write_cached
from gan_tasks.export.onnx.providers import (
    CPU,
    CUDA,
    PROVIDERS,
    Configuration,
    OnDevice,
    configurations,
    find_provider,
    missing,
    start_default,
    start_session,
)

IMAGE = np.random.default_rng(0).random((2, 3, 20, 24), np.float32)


def need(name: str) -> Configuration:
    """The configuration of a provider; skips the test if it is missing."""
    provider = find_provider(name)
    if (reason := missing(provider)) is not None:
        pytest.skip(f"{name}: {reason}")
    return Configuration(provider, 1)


@pytest.mark.parametrize("name", [provider.name for provider in PROVIDERS if not provider.winograd])
def test_every_provider_computes_the_same(name: str, tmp_path: Path) -> None:
    configuration = need(name)
    session = start_session(read_onnx(write_onnx(tmp_path / "model.onnx")), configuration)
    assert session.get_providers()[0] == configuration.provider.engine
    tolerance = 1e-5 if configuration.provider.precision == "fp32" else 5e-3
    for images in (IMAGE, IMAGE[:1, :, :8, :12]):  # one session for all sizes
        np.testing.assert_allclose(session.run([OUTPUT], {"image": images})[0], mean_filter(images), atol=tolerance)


def test_waiting_threads_leave_the_cores_to_others(tmp_path: Path) -> None:
    file = read_onnx(write_onnx(tmp_path / "model.onnx"))
    options: Any = start_session(file, Configuration(CPU, 2)).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    request: Any = start_session(file, need("openvino"))._request
    assert request.get_compiled_model().get_property("ENABLE_CPU_PINNING") is False


def test_a_result_is_not_overwritten_by_the_next(tmp_path: Path) -> None:
    session = start_session(read_onnx(write_onnx(tmp_path / "model.onnx")), need("openvino"))
    first = session.run([OUTPUT], {"image": IMAGE})[0]
    session.run([OUTPUT], {"image": 1 - IMAGE})
    np.testing.assert_allclose(first, mean_filter(IMAGE), atol=1e-5)


def test_bound_inputs_and_outputs_change_nothing(tmp_path: Path) -> None:
    """On the CPU, which does not need binding but supports it."""
    session = start_session(read_onnx(write_onnx(tmp_path / "model.onnx")), Configuration(CPU, 1))
    bound = OnDevice(session, "cpu", 0)
    turned = IMAGE.transpose(0, 1, 3, 2)  # not row-major in memory
    np.testing.assert_allclose(bound.run([OUTPUT], {"image": turned})[0], mean_filter(turned), atol=1e-5)
    assert list(bound.get_providers()) == session.get_providers()


def test_openvino_gives_names_and_shapes_as_onnx_runtime_does(tmp_path: Path) -> None:
    file = read_onnx(write_onnx(tmp_path / "model.onnx"))
    session = start_session(file, need("openvino"))
    ((image,), (output,)) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ("image", (-1, 3, -1, -1))
    assert (output.name, output.shape[1]) == (OUTPUT, 3)


def test_signals_can_be_handled_after_another_thread_freed_openvino_sessions(tmp_path: Path) -> None:
    """The first thread that uses the plugin gets a signal stack, which was freed with the plugin."""
    path = write_onnx(tmp_path / "model.onnx")
    need("openvino")
    code = f"""
import gc, os, signal, threading
from gan_tasks.export.load import load_model
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
sessions = [load_model({str(path)!r}, provider="openvino")]
def free():
    sessions.clear()
    gc.collect()
thread = threading.Thread(target=free)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_a_graph_that_openvino_refuses_is_a_user_error(tmp_path: Path) -> None:
    nodes = (helper.make_node("NoSuchOperator", ["enlarged"], ["output"]),)
    path = write_onnx(tmp_path / "model.onnx", more_nodes=nodes)
    need("openvino")
    with pytest.raises(UserError, match="not accepted by OpenVINO"):
        load_model(path, provider="openvino")


@pytest.mark.parametrize("name", [provider.name for provider in PROVIDERS[2:]])
def test_a_missing_provider_is_refused_with_the_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(providers, "has_nvidia_gpu", lambda: True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    expected = r"pip install 'gan-tasks\[openvino\]'" if "openvino" in name else "onnxruntime-gpu"
    with pytest.raises(UserError, match=f"{name} cannot be used here.*{expected}"):
        load_model(write_onnx(tmp_path / "model.onnx"), provider=name)


def test_bf16_is_refused_on_a_cpu_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = types.SimpleNamespace(get_property=lambda device, name: ["FP32", "INT8"])
    monkeypatch.setitem(sys.modules, "openvino", types.SimpleNamespace(Core=lambda: core))
    with pytest.raises(UserError, match="no bf16"):
        load_model(write_onnx(tmp_path / "model.onnx"), provider="openvino-bf16")
    assert missing(find_provider("openvino")) is None


def test_a_provider_that_onnx_runtime_silently_replaces_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime-gpu without a driver does this: it lists CUDA, accepts it, and runs on the CPU."""
    path = write_onnx(tmp_path / "model.onnx")
    file = read_onnx(path)
    silent = providers.start_onnx_runtime(file, Configuration(CPU, 1))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA.engine, CPU.engine])
    monkeypatch.setattr(providers, "start_onnx_runtime", lambda file, configuration: silent)
    with pytest.raises(UserError, match="cannot use cuda here"):
        start_session(file, Configuration(CUDA, 1))
    configuration, _ = start_default(file)  # if no provider is requested, the CPU is used
    assert configuration.provider == CPU
    assert OnnxModel(path).runs_on == "CPU fp32, ONNX Runtime"


def test_an_unknown_provider_is_refused_with_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no provider is called 'tpu': expected auto, cpu, .*cuda, .*openvino-bf16"):
        load_model(write_onnx(tmp_path / "model.onnx"), provider="tpu")


@pytest.mark.parametrize(("device", "provider"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda:1", "openvino")])
def test_a_device_and_a_provider_that_contradict_each_other_are_refused(
    device: str, provider: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="leave out one"):
        load_model(write_onnx(tmp_path / "model.onnx"), device=device, provider=provider)


def test_a_provider_is_refused_for_a_run_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="run by PyTorch"):
        load_model(tmp_path, provider="openvino")


@pytest.mark.parametrize(("cores", "expected"), [(1, (1,)), (2, (2,)), (3, (3,)), (4, (4, 2)), (16, (16, 8))])
def test_half_the_threads_are_tried_if_there_are_many_cores(
    cores: int, expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "core_count", lambda: cores)
    tried = configurations()
    assert tuple(one.threads for one in tried if one.provider == CPU) == expected
    assert tried[0] == Configuration(CPU, cores)


def test_the_cached_provider_is_used_if_none_is_requested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_onnx(tmp_path / "model.onnx")
    assert load_model(path).runs_on == "CPU fp32, ONNX Runtime"
    write_cached(read_onnx(path), need("openvino"))
    assert load_model(path).runs_on == "OpenVINO fp32 (cached by doctor --bench)"
    assert (
        load_model(path, device="cpu").runs_on == load_model(path, provider="cpu").runs_on == "CPU fp32, ONNX Runtime"
    )
    other = write_onnx(tmp_path / "other.onnx", licence="another")
    assert load_model(other).runs_on == "CPU fp32, ONNX Runtime"


def test_a_cached_provider_that_fails_is_ignored_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_onnx(tmp_path / "model.onnx")
    write_cached(read_onnx(path), need("openvino"))

    class Broken:
        def __init__(self, *_: Any) -> None:
            raise UserError("it does not start")

    monkeypatch.setattr(providers, "OpenVinoSession", Broken)
    runs_on = load_model(path).runs_on
    assert runs_on.startswith("CPU fp32, ONNX Runtime")
    assert "ignored: it does not start" in runs_on
