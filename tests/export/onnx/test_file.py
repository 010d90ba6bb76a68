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
from gan_tasks.export.onnx.file import MAX_BYTES, OnnxFileError, graph_sha256, parse_onnx, read_onnx

VALID = make_proto(make_metadata()).SerializeToString()


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def in_graph(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    graph.initializer.append(tensor)


def in_sparse(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor, dims=[4]))


def in_node(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_list(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    node = graph.node.add(op_type="Custom")
    node.attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(tensor)


def in_branch(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [tensor])
    graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))


PLACES = [in_graph, in_sparse, in_node, in_list, in_branch]
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


def test_external_weights_are_found_in_functions_and_training_graphs() -> None:
    node = helper.make_node("Constant", [], ["c"], value=external("x"))
    with_function, with_training = make_proto(make_metadata()), make_proto(make_metadata())
    with_function.functions.append(helper.make_function("d", "f", [], ["c"], [node], []))
    with_training.training_info.add().algorithm.node.append(node)
    for proto in (with_function, with_training):
        with pytest.raises(OnnxFileError, match="in another file"):
            parse_onnx(proto.SerializeToString(), "model")


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


def test_deep_nesting_is_refused() -> None:
    graph = b""
    for _ in range(100):  # graph → node → attribute → graph …
        for tag in (0x32, 0x2A, 0x0A):
            graph = bytes([tag, *varint(len(graph))]) + graph
    with pytest.raises(OnnxFileError, match="nested"):
        parse_onnx(b"\x08\x0a" + bytes([0x3A, *varint(len(graph))]) + graph, "model")


def varint(number: int) -> bytes:
    digits = []
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


@pytest.mark.parametrize("name", ["missing.onnx", "folder.onnx"])
def test_a_missing_file_or_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(OnnxFileError, match=r"expected an \.onnx file"):
        load_model(tmp_path / name)
