"""ncnn itself, from its package on PyPI, to compare with."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

needs_ncnn = pytest.mark.skipif(
    find_spec("ncnn") is None, reason="the package ncnn is not there: pip install --no-deps ncnn"
)


def by_ncnn(path: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """ncnn's own answer on the CPU in float32, for a `.param` and its `.bin`; C×H×W in [0, 1]."""
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 1
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    assert net.load_param(str(path)) == 0 and net.load_model(str(path.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    pixels = np.ascontiguousarray(image)  # kept, as a Mat does not keep what it looks at
    extractor.input("data", ncnn.Mat(pixels).clone())
    status, output = extractor.extract("output")
    assert status == 0
    return np.array(output)


def decibels(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """PSNR of images in [0, 1]."""
    return float(-10 * np.log10(np.mean((found - expected) ** 2)))
