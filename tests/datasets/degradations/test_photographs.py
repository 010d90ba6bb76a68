"""Degradations of photographs stay within what their descriptions say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import photo

from gan_tasks.datasets.degradations import photographs

DRAWS = 80
Bytes = NDArray[np.uint8]


def uniform(*rgb: int, side: int = 40) -> Bytes:
    return np.full((side, side, 3), rgb, np.uint8)


def test_photographs_are_degraded_in_one_way_or_in_order() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(tuple(photographs.draw_kinds(rng)) for _ in range(1000))
    alone = {kinds[0]: count / 1000 for kinds, count in drawn.items() if len(kinds) == 1}
    assert alone == pytest.approx(photographs.ALONE, abs=0.05)
    order = list(photographs.STEPS)
    assert all(sorted(kinds, key=order.index) == list(kinds) for kinds in drawn)
    assert set(drawn) >= {("blur", "noise", "jpeg"), ("blur", "noise"), ("blur", "jpeg"), ("noise", "jpeg")}


def test_what_is_drawn_is_done_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "draw_kinds", lambda rng: ["double", "add"])
    monkeypatch.setitem(photographs.STEPS, "double", lambda pixels, rng: 2 * pixels)
    monkeypatch.setitem(photographs.STEPS, "add", lambda pixels, rng: pixels + np.uint8(1))
    assert (photographs.degrade(uniform(3, 4, 5), np.random.default_rng(0)) == (7, 9, 11)).all()


def test_the_blur_has_a_standard_deviation_of_0_3_to_2_px() -> None:
    edge = uniform(0, 0, 0)
    edge[:, 20:] = 255
    rng = np.random.default_rng(0)
    sigmas = []
    for _ in range(DRAWS):
        steps = np.diff(photographs.blur(edge, rng)[20, :, 1].astype(float)) / 255  # the kernel
        places = np.arange(len(steps))
        sigmas.append(np.sqrt(steps @ (places - steps @ places) ** 2))
    assert min(sigmas) < 0.5 and 1.7 < max(sigmas) < 2.1


@pytest.mark.parametrize(("level", "most"), [(128, 40), (190, 45)])
def test_noise_has_a_standard_deviation_of_up_to_40_and_more_in_bright_areas(level: int, most: float) -> None:
    rng = np.random.default_rng(0)
    found = [
        photographs.add_noise(uniform(level, level, level - 1), rng).std(axis=(0, 1)).max() for _ in range(DRAWS)
    ]
    assert min(found) < 4 and 0.8 * most < max(found) < 1.1 * most


def test_noise_of_gray_photographs_is_gray_and_of_others_mostly_coloured() -> None:
    rng = np.random.default_rng(0)

    def is_gray(pixels: Bytes) -> bool:
        difference = photographs.add_noise(pixels, rng).astype(int) - pixels
        return bool((difference == difference[..., :1]).all())

    assert all(is_gray(uniform(90, 90, 90)) for _ in range(20))
    assert 0.2 < np.mean([is_gray(uniform(90, 90, 80)) for _ in range(DRAWS)]) < 0.5


def test_jpeg_qualities_are_10_to_95_and_most_are_low(monkeypatch: pytest.MonkeyPatch) -> None:
    encode, given = cv2.imencode, []

    def noted(suffix: str, pixels: Bytes, options: Sequence[int]) -> Any:
        given.append(dict(zip(options[::2], options[1::2], strict=True)))
        return encode(suffix, pixels, options)

    monkeypatch.setattr(cv2, "imencode", noted)
    rng = np.random.default_rng(0)
    for _ in range(400):
        photographs.compress(uniform(50, 60, 70, side=8), rng)
    qualities = np.array([options[cv2.IMWRITE_JPEG_QUALITY] for options in given])
    assert 10 <= qualities.min() < 15 and 90 < qualities.max() <= 95
    assert 0.65 < np.mean(qualities <= 60) < 0.85
    is_halved = [
        options[cv2.IMWRITE_JPEG_SAMPLING_FACTOR] == cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 for options in given
    ]
    assert 0.6 < np.mean(is_halved) < 0.8


def test_jpeg_keeps_detail_in_red_better_than_in_blue() -> None:
    """Red is a larger part of the luma. With red and blue exchanged it would be the other way round."""
    detail = np.random.default_rng(0).integers(60, 200, (64, 64), np.uint8)
    errors = []
    for channel in (0, 2):
        pixels = uniform(128, 128, 128, side=64)
        pixels[..., channel] = detail
        results = [photographs.compress(pixels, np.random.default_rng(seed))[..., channel] for seed in range(6)]
        errors.append(np.abs(np.array(results, float) - detail).mean())
    assert errors[0] < 0.97 * errors[1]


@pytest.mark.parametrize("kind", list(photographs.STEPS))
def test_gray_stays_gray_and_the_size_stays(kind: str) -> None:
    gray = np.repeat(photo(33, 50, seed=0, channels=1), 3, axis=2)
    for seed in range(5):
        degraded = photographs.STEPS[kind](gray, np.random.default_rng(seed))
        assert degraded.shape == gray.shape and degraded.dtype == np.uint8
        assert (degraded == degraded[..., :1]).all()
