"""Alpha goes round a network that has no place for it, and is enlarged where the network enlarges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_onnx

from gan_tasks.export.model import enlarge, load


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [2, 4])
def test_enlarging_keeps_a_ramp_and_its_extremes(scale: int, dtype: type) -> None:
    largest = np.iinfo(dtype).max
    rows, columns = np.mgrid[0:12, 0:15]
    step = largest // 40
    ramp = (step * (rows + columns)).astype(dtype)[..., None]
    result = enlarge(ramp, scale)[..., 0]
    assert result.dtype == dtype and result.shape == (12 * scale, 15 * scale)
    # Cubic interpolation reproduces a plane; output pixel i lies at (i + 1/2) / scale - 1/2 of the input.
    at = (np.mgrid[0 : 12 * scale, 0 : 15 * scale] + 0.5) / scale - 0.5
    inner = slice(2 * scale, -2 * scale)
    np.testing.assert_allclose(result[inner, inner], (step * at.sum(axis=0))[inner, inner], atol=0.51)
    edge = np.repeat([0, largest], 6).astype(dtype)[None, :, None].repeat(8, axis=0)
    overshot = enlarge(edge, scale)
    assert (overshot[:, 0] == 0).all() and (overshot[:, -1] == largest).all(), "clipped, not wrapped around"


def test_a_model_that_enlarges_takes_rgba(tmp_path: Path) -> None:
    model = load(write_onnx(tmp_path / "model.onnx", scale=2))
    result = model(np.full((9, 7, 4), 200, np.uint8))
    assert result.shape == (18, 14, 4)
    assert (result[..., 3] == 200).all()
