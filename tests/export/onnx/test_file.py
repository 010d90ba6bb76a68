"""A hostile, damaged or foreign ONNX file is refused in one sentence, before any runtime sees it."""

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

SOUND = make_proto(make_metadata()).SerializeToString()


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
def test_wherever_they_are_named(place: Callable[[onnx.GraphProto, TensorProto], None]) -> None:
    proto = make_proto(make_metadata())
    place(proto.graph, external("../secret.bin"))
    with pytest.raises(OnnxFileError, match="in another file"):
        parse_onnx(proto.SerializeToString(), "model")


def test_in_functions_and_training_graphs_too() -> None:
    node = helper.make_node("Constant", [], ["c"], value=external("x"))
    with_function, with_training = make_proto(make_metadata()), make_proto(make_metadata())
    with_function.functions.append(helper.make_function("d", "f", [], ["c"], [node], []))
    with_training.training_info.add().algorithm.node.append(node)
    for proto in (with_function, with_training):
        with pytest.raises(OnnxFileError, match="in another file"):
            parse_onnx(proto.SerializeToString(), "model")


def test_a_second_graph_that_protobuf_would_merge_is_looked_at() -> None:
    more = onnx.ModelProto()
    in_graph(more.graph, external("../secret.bin"))
    with pytest.raises(OnnxFileError, match="in another file"):
        parse_onnx(SOUND + more.SerializeToString(), "model")


def test_it_is_refused_before_a_runtime_is_even_imported(tmp_path: Path) -> None:
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


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    file = read_onnx(write_onnx(tmp_path / "model.onnx"))
    assert file.data == SOUND
    assert '"task": "pix2pix"' in file.metadata["spec"]
    assert file.metadata["graph_sha256"] == graph_sha256(file)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255))))
def test_any_bytes_at_all_raise_nothing_else(damage: bytes | tuple[int, int]) -> None:
    data = damage if isinstance(damage, bytes) else SOUND[: damage[0]] + bytes([damage[1]]) + SOUND[damage[0] + 1 :]
    try:
        parse_onnx(data, "model")
    except OnnxFileError as error:
        assert str(error).startswith("model ")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50), b"PK\x03\x04" + bytes(99)])
def test_what_is_no_onnx_file_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxFileError, match=r"model\.onnx is not an ONNX file"):
        read_onnx(path)


def test_too_large_a_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no space
    with pytest.raises(OnnxFileError, match=r"2,147,483,648 bytes: .* at most 2,147,483,647"):
        read_onnx(path)


def test_endless_nesting_is_refused() -> None:
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
def test_no_file_is_said_plainly(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(OnnxFileError, match=r"expected an \.onnx file"):
        load_model(tmp_path / name)
