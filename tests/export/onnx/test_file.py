"""Hostile, damaged and other files are refused with an error before a runtime opens them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from handmade_onnx import make_metadata, make_proto, write_onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.load import load_model
from gan_tasks.export.onnx import file as file_module
from gan_tasks.export.onnx.file import (
    MAX_BYTES,
    OnnxFileError,
    constant_operators,
    graph_sha256,
    parse_onnx,
    read_onnx,
)

VALID = make_proto(make_metadata()).SerializeToString()


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def in_graph(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    graph.initializer.append(tensor)


def in_node(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_list(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    node = graph.node.add(op_type="Custom")
    node.attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(tensor)


PLACES = [in_graph, in_node, in_list]
LOCATIONS = ["../secret.bin", "/etc/hostname", "beside.bin", "linked.bin", "~/x", "a/../../secret.bin"]


@pytest.mark.parametrize("location", LOCATIONS)
def test_weights_in_another_file_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "beside.bin").write_bytes(bytes(16))
    (folder / "linked.bin").symlink_to(tmp_path / "secret.bin")
    proto = make_proto(make_metadata())
    in_graph(proto.graph, external(location))
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UserError, match="in another file"):
        load_model(path)


@pytest.mark.parametrize("place", PLACES)
def test_external_weights_are_found_anywhere_in_a_graph(
    place: Callable[[onnx.GraphProto, TensorProto], None],
) -> None:
    proto = make_proto(make_metadata())
    place(proto.graph, external("../secret.bin"))
    with pytest.raises(OnnxFileError, match="in another file"):
        parse_onnx(proto.SerializeToString(), "model")


def with_loop(proto: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    proto.graph.node.append(helper.make_node("Loop", ["", "go"], ["y"], body=body))


def with_graphs_of_an_attribute(proto: onnx.ModelProto) -> None:
    attribute = proto.graph.node.add(op_type="Custom").attribute.add(name="many", type=onnx.AttributeProto.GRAPHS)
    attribute.graphs.add()


def with_function(proto: onnx.ModelProto) -> None:
    proto.functions.append(helper.make_function("d", "f", [], [], [], []))


def with_training(proto: onnx.ModelProto) -> None:
    proto.training_info.add()


def with_sparse_weights(proto: onnx.ModelProto) -> None:
    proto.graph.sparse_initializer.append(onnx.SparseTensorProto(dims=[100_000, 100_000]))


def with_sparse_constant(proto: onnx.ModelProto) -> None:
    attribute = proto.graph.node.add(op_type="Constant").attribute.add(name="sparse_value")
    attribute.sparse_tensor.dims.append(4)


def with_operator_of_another_project(proto: onnx.ModelProto) -> None:
    proto.graph.node.add(op_type="Shell", domain="com.example")


UNSAFE = {
    with_loop: "a graph within its graph",
    with_graphs_of_an_attribute: "a graph within its graph",
    with_function: "functions",
    with_training: "instructions for a training",
    with_sparse_weights: "sparse",
    with_sparse_constant: "sparse",
    with_operator_of_another_project: "an operator of 'com.example'",
}


@pytest.mark.parametrize("make_unsafe", UNSAFE)
def test_what_may_never_end_or_fill_the_memory_is_refused(make_unsafe: Callable[[onnx.ModelProto], None]) -> None:
    proto = make_proto(make_metadata())
    make_unsafe(proto)
    with pytest.raises(OnnxFileError, match=f"model has {UNSAFE[make_unsafe]}"):
        parse_onnx(proto.SerializeToString(), "model")


def test_files_of_very_many_parts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "MAX_NODES", 2)
    with pytest.raises(OnnxFileError, match="more than 2 nodes"):
        parse_onnx(VALID, "model")
    monkeypatch.undo()
    monkeypatch.setattr(file_module, "MAX_FIELDS", 1000)
    with pytest.raises(OnnxFileError, match="or 1,000 fields"):
        parse_onnx(VALID + b"\x28\x00" * 1000, "model")


def test_operators_that_depend_on_no_input_are_found() -> None:
    proto = make_proto(make_metadata())
    assert constant_operators(parse_onnx(proto.SerializeToString(), "model")) == set()
    proto.graph.node.insert(0, helper.make_node("Exp", ["kernel"], ["exp"]))
    proto.graph.node.append(helper.make_node("Erf", ["exp"], ["erf"]))
    proto.graph.node.append(helper.make_node("Constant", [], ["one"], value_float=1.0))
    assert constant_operators(parse_onnx(proto.SerializeToString(), "model")) == {"Exp", "Erf"}
    proto.graph.input.add(name="kernel")  # as files of IR version 3 list their weights
    assert constant_operators(parse_onnx(proto.SerializeToString(), "model")) == {"Exp", "Erf"}


def test_a_second_graph_that_protobuf_would_merge_is_checked() -> None:
    more = onnx.ModelProto()
    in_graph(more.graph, external("../secret.bin"))
    with pytest.raises(OnnxFileError, match="in another file"):
        parse_onnx(VALID + more.SerializeToString(), "model")


def test_a_file_is_refused_before_a_runtime_is_imported(tmp_path: Path) -> None:
    proto = make_proto(make_metadata())
    in_graph(proto.graph, external("../secret.bin"))
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    code = f"""
import sys
from gan_tasks.export.load import load_model
try:
    load_model({str(path)!r})
except ValueError:
    print([name for name in ("onnx", "onnxruntime", "torch") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    file = read_onnx(write_onnx(tmp_path / "model.onnx"))
    assert file.data == VALID
    assert '"task": "pix2pix"' in file.metadata["spec"]
    assert file.metadata["graph_sha256"] == graph_sha256(file)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255))))
def test_any_bytes_raise_only_the_documented_error(damage: bytes | tuple[int, int]) -> None:
    data = damage if isinstance(damage, bytes) else VALID[: damage[0]] + bytes([damage[1]]) + VALID[damage[0] + 1 :]
    try:
        parse_onnx(data, "model")
    except OnnxFileError as error:
        assert str(error).startswith("model ")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50), b"PK\x03\x04" + bytes(99)])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxFileError, match=r"model\.onnx is not an ONNX file"):
        read_onnx(path)


def test_a_too_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a sparse file takes no space
    with pytest.raises(OnnxFileError, match=r"2,147,483,648 bytes: .* at most 2,147,483,647"):
        read_onnx(path)


@pytest.mark.parametrize("name", ["missing.onnx", "folder.onnx"])
def test_a_missing_file_or_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(OnnxFileError, match=r"expected an \.onnx file"):
        load_model(tmp_path / name)
