"""Colour casts of outputs are found, and chance is not called one."""

from __future__ import annotations

import numpy as np
import pytest

from gan_tasks.metrics.colour import colour_shift, mean_chroma, shift_sentence


def means(cast: tuple[float, ...], *, spread: float, images: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Means of real images, and of outputs with a cast and with differences by chance."""
    rng = np.random.default_rng(seed)
    real = rng.uniform(60, 190, (images, len(cast)))
    return real + np.asarray(cast) + spread * rng.standard_normal(real.shape), real


@pytest.mark.parametrize(
    ("cast", "expected"),
    [
        ((30, -10, 20), "too much red, too little green and too much blue"),
        ((-20, 14, -20), "too little red, too much green and too little blue"),
        ((25, 25, 25), "too bright"),
        ((-40,), "too dark"),
        ((0, 0, 0, 0, 60), "too much channel 5"),
        ((4, -4, 4), None),
        ((12, 12, 12), None),
    ],
)
def test_a_visible_cast_is_named(cast: tuple[float, ...], expected: str | None) -> None:
    outputs, real = means(cast, spread=2)
    sentence = shift_sentence(colour_shift(outputs, real, paired=True))
    assert sentence is None if expected is None else sentence is not None and expected in sentence


def test_differences_of_single_images_are_no_cast() -> None:
    """Outputs of the right colours on average, each wrong by 25 levels: few of such runs are called wrong."""
    found = [
        shift_sentence(colour_shift(*means((0, 0, 0), spread=25, images=4, seed=seed), paired=True))
        for seed in range(300)
    ]
    assert sum(sentence is not None for sentence in found) <= 15


def test_the_content_of_unpaired_images_is_no_cast_and_a_strong_cast_is() -> None:
    rng = np.random.default_rng(0)
    for seed in range(50):
        outputs, _ = means((0, 0, 0), spread=0, seed=seed)
        real = rng.uniform(60, 190, (16, 3))
        assert shift_sentence(colour_shift(outputs, real, paired=False)) is None
    grays = rng.uniform(60, 190, (16, 1)) + rng.uniform(-6, 6, (16, 3))
    assert shift_sentence(colour_shift(grays[:4] + np.array([40, 0, 30]), grays[4:], paired=False)) is not None


def test_one_image_shows_no_cast() -> None:
    assert shift_sentence(colour_shift(*means((90, 0, 0), spread=0, images=1), paired=True)) is None


def test_the_mean_chroma_is_0_for_gray_and_known_for_pure_colours() -> None:
    assert mean_chroma(np.full((2, 3, 1), 90, np.uint8)) == mean_chroma(np.full((2, 3, 3), 90, np.uint8)) == 0
    blue_and_gray = np.array([[[0, 0, 255, 9], [70, 70, 70, 9]]], np.uint8)  # with alpha, which has no colour
    assert mean_chroma(blue_and_gray) == pytest.approx(np.hypot(0.5, 0.114 / 1.402) / 2, abs=1e-4)
    assert mean_chroma(np.array([[[0, 65535, 0]]], np.uint16)) == pytest.approx(
        0.587 * np.hypot(1 / 1.772, 1 / 1.402), abs=1e-4
    )
