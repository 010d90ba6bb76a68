"""Alpha bypasses a network without alpha, and is upscaled with its scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_onnx

from gan_tasks.export.load import load
from gan_tasks.export.models.alpha import spread_colour
from gan_tasks.export.models.resizing import resized


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [2, 4])
def test_upscaling_keeps_a_ramp_and_clips(scale: int, dtype: type) -> None:
    largest = np.iinfo(dtype).max
    rows, columns = np.mgrid[0:12, 0:15]
    step = largest // 40
    ramp = (step * (rows + columns)).astype(dtype)[..., None]
    result = resized(ramp, (12 * scale, 15 * scale), "bicubic")[..., 0]
    assert result.dtype == dtype and result.shape == (12 * scale, 15 * scale)
    # Cubic interpolation reproduces a plane; output pixel i is at (i + 1/2) / scale - 1/2 of the input.
    at = (np.mgrid[0 : 12 * scale, 0 : 15 * scale] + 0.5) / scale - 0.5
    inner = slice(2 * scale, -2 * scale)
    np.testing.assert_allclose(result[inner, inner], (step * at.sum(axis=0))[inner, inner], atol=0.51)
    edge = np.repeat([0, largest], 6).astype(dtype)[None, :, None].repeat(8, axis=0)
    overshot = resized(edge, (8 * scale, 12 * scale), "bicubic")
    assert (overshot[:, 0] == 0).all() and (overshot[:, -1] == largest).all(), "clipped, not wrapped around"


def test_a_model_that_upscales_takes_rgba(tmp_path: Path) -> None:
    model = load(write_onnx(tmp_path / "model.onnx", scale=2))
    result = model(np.full((9, 7, 4), 200, np.uint8))
    assert result.shape == (18, 14, 4)
    assert (result[..., 3] == 200).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_white_disc_on_transparent_black_keeps_white_edges(dtype: type, tmp_path: Path) -> None:
    largest = np.iinfo(dtype).max
    rows, columns = np.mgrid[-10:11, -12:13]
    disc = np.zeros((21, 25, 4), dtype)
    disc[rows**2 + columns**2 <= 36] = largest
    blurs = load(write_onnx(tmp_path / "model.onnx", scale=2, task="super-resolution", use="upscale"))
    result = blurs(disc)
    assert (result[..., :3][result[..., 3] > 0] >= largest - 1).all()
    without_spreading = load(write_onnx(tmp_path / "other.onnx", scale=2))(disc)
    assert without_spreading[..., :3][without_spreading[..., 3] > 0].min() < largest // 2, (
        "without spreading there are dark edges, so the test can fail"
    )


def test_transparent_pixels_take_colours_nearby_and_visible_ones_do_not_change() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (13, 30, 3), np.uint8)
    colour[:, :6], colour[:, -6:] = (200, 10, 30), (10, 200, 30)
    alpha = np.full((13, 30, 1), 255, np.uint8)
    alpha[:, 3:-3] = 0
    alpha[:, 0] = 1
    filled = spread_colour(colour, alpha)
    np.testing.assert_array_equal(filled[:, :4], colour[:, :4])
    np.testing.assert_array_equal(filled[:, -4:], colour[:, -4:])
    assert (filled[..., 2] == 30).all()
    nothing = np.zeros_like(alpha)
    np.testing.assert_array_equal(spread_colour(colour, nothing), colour)
    np.testing.assert_array_equal(spread_colour(colour, nothing + 1), colour)
