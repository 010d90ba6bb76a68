"""Which photographs are gray, and so which steps they get."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gan_tasks.datasets.images import ImageError, Pixels, fit_channels
from gan_tasks.export.photographs.tones import Tones, steps_for, tones_of

RNG = np.random.default_rng(0)


def scene() -> Pixels:
    """A sky, a red wall and a meadow, with noise."""
    rgb = np.zeros((200, 240, 3))
    rgb[:90] = np.linspace(120, 250, 240)[:, None] * (0.7, 0.85, 1)
    rgb[90:] = (90, 140, 60)
    rgb[70:130, 60:120] = (170, 60, 50)
    return with_noise(rgb, 8)


def with_noise(pixels: Pixels | np.ndarray, levels: float) -> Pixels:
    return np.clip(pixels + RNG.normal(0, levels, pixels.shape), 0, 255).astype(np.uint8)


GRAY = fit_channels(scene(), 1)
SEPIA = np.clip(GRAY * np.array([1.0, 0.85, 0.65]) + (20, 10, 0), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "tones"),
    [
        (scene(), "colour"),
        (scene().astype(np.uint16) * 257, "colour"),
        (GRAY, "gray"),
        (fit_channels(GRAY, 4), "gray"),
        (with_noise(fit_channels(GRAY, 3), 4), "gray"),  # as scanned in RGB
        (SEPIA, "toned"),
        (SEPIA[:1, :1], "toned"),
    ],
)
def test_a_photograph_is_gray_toned_or_in_colour(pixels: Pixels, tones: Tones) -> None:
    assert tones_of(pixels) == tones


def test_only_a_gray_photograph_is_colourised_unless_asked() -> None:
    steps = ("restore", "colourise", "upscale")
    without = ("restore", "upscale")
    assert steps_for(GRAY, steps) == steps
    assert steps_for(SEPIA, steps) == steps_for(scene(), steps) == without
    assert steps_for(SEPIA, steps, "toned") == steps
    assert steps_for(scene(), steps, "toned") == without
    assert steps_for(scene(), steps, "any") == steps
    assert steps_for(GRAY, without) == without


@pytest.mark.parametrize("shape", [(63, 60_000, 3), (60_000, 63, 3), (1500, 2000, 3)])
def test_looking_at_a_photograph_needs_little_memory(shape: tuple[int, int, int]) -> None:
    pixels = np.full(shape, 80, np.uint8)
    tracemalloc.start()
    assert tones_of(pixels) == "gray"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < pixels.nbytes / 2


def test_pixels_that_are_no_levels_are_refused() -> None:
    with pytest.raises(ImageError, match=r"image is float32 of shape .*: expected H×W×C pixels of uint8 or uint16"):
        steps_for(np.zeros((8, 8, 3), np.float32), ("colourise",))
