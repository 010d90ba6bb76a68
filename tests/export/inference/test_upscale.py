"""Scale and blend weight of super-resolution models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, read, resize, write
from gan_tasks.export.inference.predictor import PredictOptions, Predictor
from gan_tasks.export.inference.upscale import UpscaleOptions, blended
from gan_tasks.export.load import load
from gan_tasks.export.models import resizing
from gan_tasks.export.models.resizing import resized

RNG = np.random.default_rng(0)


@pytest.fixture
def model(tmp_path: Path) -> Predictor:
    return load(write_onnx(tmp_path / "model.onnx", scale=2, task="super-resolution", use="upscale"))


def upscaled(model: Predictor, image: Pixels, **options: float) -> Pixels:
    return model(image, options=PredictOptions(UpscaleOptions(**options)))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 90), st.integers(1, 70), st.integers(0, 1))
def test_strip_wise_resizing_equals_resizing_at_once(
    height: int, width: int, to_height: int, to_width: int, kind: int
) -> None:
    image = np.random.default_rng(0).integers(0, 65536, (height, width, 1), np.uint16)
    kernel = ("bicubic", "lanczos")[kind]
    plane = Image.fromarray(image[..., 0].astype(np.float32))
    whole = np.asarray(plane.resize((to_width, to_height), Image.Resampling[kernel.upper()]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resizing, "STRIP_PIXELS", 5 * to_width)
        result = resized(image, (to_height, to_width), kernel)
    assert result.dtype == np.uint16
    np.testing.assert_allclose(result[..., 0], np.clip(whole, 0, 65535), atol=0.6)


def test_bicubic_equals_matlabs_imresize() -> None:
    image = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    expected = resize.bicubic(image.astype(np.float32), (50, 75))
    found = resized(image, (50, 75), "bicubic")
    inner = (slice(5, -5), slice(5, -5))  # at the border it repeats the outermost pixel, and PIL does not
    np.testing.assert_allclose(found[inner], np.clip(expected, 0, 255)[inner], atol=0.51)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [0.5, 1, 2, 2.5, 3.7, 16])
def test_any_scale_gives_the_right_size_and_type(model: Predictor, scale: float, dtype: type) -> None:
    level = np.iinfo(dtype).max // 3
    for size in ((1, 1), (3, 40), (9, 7)):
        result = upscaled(model, np.full((*size, 4), level, dtype), scale=scale)
        rows, columns = (max(1, int(side * scale + 0.5)) for side in size)
        assert result.shape == (rows, columns, 4) and result.dtype == dtype
    flat = upscaled(model, np.full((20, 20, 3), level, dtype), scale=scale)
    middle = flat[flat.shape[0] * 2 // 5 : flat.shape[0] * 3 // 5, flat.shape[1] // 2]
    np.testing.assert_allclose(middle.astype(float), level, atol=1)


def test_the_models_own_scale_does_not_resize(model: Predictor) -> None:
    image = RNG.integers(0, 256, (9, 7, 3), np.uint8)
    np.testing.assert_array_equal(upscaled(model, image, scale=2), model(image))
    np.testing.assert_array_equal(upscaled(model, image), model(image))


def test_the_blend_weight_mixes_bicubic_and_the_model(model: Predictor) -> None:
    image = RNG.integers(0, 65536, (9, 7, 1), np.uint16)
    plain = resized(image.repeat(3, 2), (18, 14), "bicubic")
    np.testing.assert_array_equal(upscaled(model, image, blend_weight=0), plain)
    np.testing.assert_array_equal(upscaled(model, image, blend_weight=1), model(image))
    half = upscaled(model, image, blend_weight=0.5)
    np.testing.assert_allclose(half, (plain.astype(float) + model(image)) / 2, atol=0.51)
    np.testing.assert_array_equal(blended(plain, plain, 0.3), plain)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"scale": 0}, "scale is 0"),
        ({"scale": -2}, "scale is -2"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": 17}, "above 0 to 16"),
        ({"blend_weight": 1.5}, "blend_weight is 1.5"),
        ({"blend_weight": float("nan")}, "blend_weight is nan"),
    ],
)
def test_values_out_of_range_are_refused(model: Predictor, options: dict[str, float], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        upscaled(model, np.zeros((2, 2, 3), np.uint8), **options)


# The command line.


def apply(*arguments: object) -> object:
    with pytest.raises(SystemExit) as exited:
        main(["apply", *map(str, arguments)])
    return exited.value.code


def test_results_of_other_options_are_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_onnx(tmp_path / "model.onnx", scale=2, task="super-resolution", use="upscale")
    source, out = tmp_path / "in.png", tmp_path / "out.png"
    write(source, Picture(RNG.integers(0, 65536, (10, 8, 3), np.uint16)))
    for options in ([], ["--scale", "2.5"], ["--scale", "2.5", "--blend-weight", "0.4"], ["--blend-weight", "0.4"]):
        assert apply(path, source, out, *options) == 0
        assert "1 image written" in capsys.readouterr().err
        pixels = read(out).pixels
        assert pixels.shape == ((25, 20, 3) if "--scale" in options else (20, 16, 3)) and pixels.dtype == np.uint16
        assert apply(path, source, out, *options) == 0
        assert "1 were there already" in capsys.readouterr().err


def test_other_tasks_refuse_scale_and_blend_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    write(tmp_path / "in.png", Picture(np.zeros((10, 8, 3), np.uint8)))
    for options in (["--scale", "2"], ["--blend-weight", "0.5"]):
        assert apply(path, tmp_path / "in.png", tmp_path / "out.png", *options) == 2
        assert "does not upscale: leave out --scale and --blend-weight" in capsys.readouterr().err
        assert not (tmp_path / "out.png").exists()
