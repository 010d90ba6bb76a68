"""Run models with the ncnn package from PyPI, as a reference."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

needs_ncnn = pytest.mark.skipif(
    find_spec("ncnn") is None, reason="the package ncnn is not installed: pip install --no-deps ncnn"
)


def by_ncnn(path: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a `.param` and its `.bin` with ncnn on the CPU in float32. Images are C×H×W in [0, 1]."""
    lines = path.read_text().splitlines()
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 1
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    assert net.load_param(str(path)) == 0 and net.load_model(str(path.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    pixels = np.ascontiguousarray(image)  # keep a reference, because a Mat does not own its data
    first, last = ([word for word in lines[place].split() if "=" not in word][-1] for place in (2, -1))
    extractor.input(first, ncnn.Mat(pixels).clone())
    status, output = extractor.extract(last)
    assert status == 0
    return np.array(output)


def decibels(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the PSNR of images in [0, 1], in dB."""
    return float(-10 * np.log10(np.mean((found - expected) ** 2)))
