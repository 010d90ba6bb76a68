"""A file that takes too much time or memory, or breaks its process, is an error; the next run is done."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_onnx import SLOW_ON_LARGE, write_onnx
from onnx import helper

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.load import load
from gan_tasks.export.models.base import ModelRunError
from gan_tasks.export.models.interruption import interrupted_by
from gan_tasks.export.onnx.apart import session as session_module
from gan_tasks.export.onnx.apart.limits import Limit, available_bytes, run_limit
from gan_tasks.export.onnx.file import OnnxFileError
from gan_tasks.export.onnx.metadata import MAX_BYTES_PER_PIXEL
from gan_tasks.spec import InputSpec, ModelSpec

SMALL, LARGE = np.zeros((8, 8, 3), np.uint8), np.zeros((1600, 1600, 3), np.uint8)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = tmp_path_factory.mktemp("slow") / "slow.onnx"
    return load(write_onnx(path, more_nodes=SLOW_ON_LARGE, vectors=False), provider="cpu", apart=True)


def test_the_result_is_that_of_the_same_process(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", scale=2)
    pixels = np.random.default_rng(0).integers(0, 256, (13, 22, 3), np.uint8)
    apart = load(path, provider="cpu", apart=True)
    np.testing.assert_array_equal(apart(pixels), load(path, provider="cpu")(pixels))
    apart.model.release_memory()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(apart))(pixels), apart(pixels))


def test_a_run_that_takes_too_long_is_ended_and_the_next_one_is_done(slow: Predictor) -> None:
    slow.model.max_run_seconds = 0.3
    with pytest.raises(ModelRunError, match=r"takes over 0 s for one run on image .*--max-seconds allows more time"):
        slow(LARGE)
    slow.model.max_run_seconds = None
    np.testing.assert_array_equal(slow(SMALL), SMALL)


def test_a_run_whose_result_nobody_wants_is_ended(slow: Predictor) -> None:
    class LeftError(UserError):
        pass

    def check() -> None:
        raise LeftError

    with pytest.raises(LeftError), interrupted_by(check):
        slow(LARGE)
    np.testing.assert_array_equal(slow(SMALL), SMALL)


def test_a_process_that_died_is_replaced(slow: Predictor) -> None:
    slow(SMALL)
    process = slow.model.session._process  # type: ignore[attr-defined]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    np.testing.assert_array_equal(slow(SMALL), SMALL)


MORE_MEMORY: dict[str, list[Any]] = {
    "the size is in the file": [
        helper.make_node("Constant", [], ["size"], value_ints=[30_000, 30_000]),
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
    ],
    "each operator doubles": [
        *(helper.make_node("Concat", [f"d{i}" if i else "enlarged"] * 2, [f"d{i + 1}"], axis=2) for i in range(40)),
        helper.make_node("Identity", ["d40"], ["huge"]),
    ],
}


@pytest.mark.parametrize("nodes", MORE_MEMORY.values(), ids=MORE_MEMORY)
def test_a_run_that_takes_more_memory_than_its_size_should_is_an_error(nodes: list[Any], tmp_path: Path) -> None:
    nodes = [
        *nodes,
        helper.make_node("ReduceMax", ["huge"], ["one"], keepdims=0),
        helper.make_node("Add", ["enlarged", "one"], ["output"]),
    ]
    path = write_onnx(tmp_path / "model.onnx", more_nodes=tuple(nodes), vectors=False)
    with pytest.raises(ModelRunError, match="memory"):
        load(path, provider="cpu", apart=True)(SMALL)


def test_a_much_larger_output_than_promised_is_an_error(tmp_path: Path) -> None:
    nodes = (helper.make_node("Concat", ["enlarged"] * 9, ["output"], axis=3),)
    path = write_onnx(tmp_path / "model.onnx", more_nodes=nodes, vectors=False)
    with pytest.raises(ModelRunError, match="gives 1,728 values where its spec promises 192"):
        load(path, provider="cpu", apart=True)(SMALL)


def test_a_python_that_does_not_start_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_COMMAND", [sys.executable, "-S", "-c", "raise SystemExit(3)"])
    with pytest.raises(UserError, match=r"did not start to run .* \((exit code 3|signal 9)\)") as error:
        load(write_onnx(tmp_path / "model.onnx"), apart=True)
    assert not isinstance(error.value, OnnxFileError)


def test_a_file_that_takes_too_long_to_open_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "opening_limit", lambda *arguments: Limit(0, 0))
    monkeypatch.setattr(session_module, "_WATCH_S", 0.001)
    with pytest.raises(OnnxFileError, match=r"model\.onnx takes over 0 s to open"):
        load(write_onnx(tmp_path / "model.onnx"), apart=True)


def test_what_the_runtime_says_of_a_file_comes_back(tmp_path: Path) -> None:
    nodes = (helper.make_node("NoSuchOperator", ["enlarged"], ["output"]),)
    with pytest.raises(OnnxFileError, match=r"model\.onnx is not accepted by ONNX Runtime .*NoSuchOperator"):
        load(write_onnx(tmp_path / "model.onnx", more_nodes=nodes, vectors=False), provider="cpu", apart=True)
    with pytest.raises(UserError, match="the provider tensorrt cannot be used here"):
        load(write_onnx(tmp_path / "model.onnx"), provider="tensorrt", apart=True)


def test_limits_grow_with_the_features() -> None:
    spec = ModelSpec("any", "translate", (InputSpec("image", "image", 3, "any"),), 3)
    small, large = (
        run_limit(spec, 9_600, {"image": np.zeros((1, 3, side, side), np.float32)}, on_gpu=False) for side in (8, 512)
    )
    assert 60 <= small.seconds < 65 and small.memory_bytes < 6e8
    assert large.seconds > 5000 and large.memory_bytes > 4 * 9_600 * 512**2


def test_a_file_cannot_raise_its_own_limits(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", bytes_per_pixel=2**62)
    with pytest.raises(OnnxFileError, match="bytes_per_pixel"):
        load(path)
    image = InputSpec("image", "image", 3, "any")
    two = ModelSpec("any", "translate", (image, InputSpec("mask", "mask")), 3)
    feeds = {"image": np.zeros((1, 3, 512, 512), np.float32), "mask": np.zeros((1, 1, 512, 512), np.float32)}
    limit = run_limit(two, MAX_BYTES_PER_PIXEL, feeds, on_gpu=False)
    assert limit.seconds < 5000 and limit.memory_bytes < max(12e9, 1.5 * available_bytes())


def test_a_run_gets_time_for_its_largest_image() -> None:
    image, style = InputSpec("image", "image", 3, "any"), InputSpec("style", "image", 3, "any")
    spec = ModelSpec("any", "stylize", (image, style), 3)
    small, large = np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 3, 512, 512), np.float32)
    first, second = (
        run_limit(spec, 960, {"image": one, "style": other}, on_gpu=False)
        for one, other in ((large, small), (small, large))
    )
    assert first.seconds == second.seconds > 500
