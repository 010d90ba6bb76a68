"""Tiles cover the image, their weights sum to one, and they change nothing that a pixel's surroundings decide."""

from __future__ import annotations

import numpy as np
import pytest
from handmade_onnx import mean_filter
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_tasks.export.model import FloatImages
from gan_tasks.export.tiling import run_in_tiles, spans, tile_size, watching_tiles


@st.composite
def sides(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """length, tile, overlap, multiple."""
    multiple = draw(st.sampled_from([1, 2, 4, 8]))
    overlap = draw(st.integers(1, 6)) * multiple
    tile = 2 * overlap + draw(st.integers(0, 10)) * multiple
    return draw(st.integers(1, 60)) * multiple, tile, overlap, multiple


@given(sides())
def test_weights_sum_to_one_on_tiles_that_share_one_grid(side: tuple[int, int, int, int]) -> None:
    length, tile, _, multiple = side
    total = np.zeros(length)
    for span in spans(*side):
        assert 0 <= span.start < span.stop <= length
        assert span.stop - span.start == min(tile, length) == len(span.weights)
        assert span.start % multiple == 0
        assert (span.weights >= 0).all()
        total[span.start : span.stop] += span.weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(sides())
def test_a_pixel_without_its_surroundings_does_not_count(side: tuple[int, int, int, int]) -> None:
    length, _, overlap, _ = side
    margin = overlap // 4
    for span in spans(*side):
        if span.start > 0:
            assert not span.weights[:margin].any()
        if span.stop < length:
            assert not span.weights[len(span.weights) - margin :].any()


def test_the_blend_is_gradual() -> None:
    first, second = spans(length=48, tile=32, overlap=16, multiple=1)
    assert (second.start, second.stop) == (16, 48)
    rising = second.weights[:16]
    np.testing.assert_allclose(rising[4:12], (np.arange(8) + 0.5) / 8, atol=1e-6)
    np.testing.assert_allclose(first.weights[16:], rising[::-1], atol=1e-6)


@pytest.mark.parametrize("changes", [{"tile": 15}, {"length": 50, "multiple": 4}, {"overlap": 20}])
def test_tiles_that_do_not_fit_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        spans(**({"length": 100, "tile": 32, "overlap": 8, "multiple": 1} | changes))


def halved(images: FloatImages) -> FloatImages:
    """The mean over blocks of 2×2, at the size of the input: depends on where the grid begins."""
    n, c, height, width = images.shape
    means = images.reshape(n, c, height // 2, 2, width // 2, 2).mean((3, 5))
    return means.repeat(2, 2).repeat(2, 3)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["identity", "mean", "halved"]),
)
def test_tiles_give_the_whole_image(rows: int, columns: int, scale: int, kind: str) -> None:
    multiple, overlap = 4, 8
    image = np.random.default_rng(rows).uniform(-1, 1, (3, rows * 4, columns * 4)).astype(np.float32)
    filters = {"identity": lambda x: x, "mean": mean_filter, "halved": halved}

    def run(images: FloatImages) -> FloatImages:
        return filters[kind](images).repeat(scale, 2).repeat(scale, 3)

    tiled = run_in_tiles(run, image, tile=(16, 20), overlap=overlap, multiple=multiple, scale=scale)
    np.testing.assert_allclose(tiled, run(image[None])[0], atol=1e-5)
    assert tiled.dtype == np.float32


@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 40_000))
def test_tiles_keep_to_the_limit_unless_they_are_the_smallest(rows: int, columns: int, max_pixels: int) -> None:
    multiple, minimum = 4, 16
    height, width = tile_size(4 * rows, 4 * columns, max_pixels=max_pixels, multiple=multiple, minimum=minimum)
    assert height % multiple == width % multiple == 0
    assert min(minimum, 4 * rows) <= height <= 4 * rows
    assert min(minimum, 4 * columns) <= width <= 4 * columns
    smallest = min(minimum, 4 * rows) * min(minimum, 4 * columns)
    if smallest <= max_pixels:
        assert height * width <= max_pixels


def test_a_narrow_image_gets_long_tiles() -> None:
    assert tile_size(20, 100_000, max_pixels=20_000, multiple=4, minimum=16) == (20, 1000)
    assert tile_size(100_000, 20, max_pixels=20_000, multiple=4, minimum=16) == (1000, 20)
    assert tile_size(1000, 1000, max_pixels=20_000, multiple=4, minimum=16) == (140, 140)


def test_whoever_watches_is_told_of_each_tile_and_can_end_it() -> None:
    image = np.zeros((1, 40, 40), np.float32)
    seen: list[tuple[int, int]] = []

    def on_tile(done: int, count: int) -> None:
        seen.append((done, count))
        if done == 3:
            raise InterruptedError

    run_in_tiles(lambda x: x, image, tile=(16, 16), overlap=8)
    with watching_tiles(lambda done, count: seen.append((done, count))):
        run_in_tiles(lambda x: x, image, tile=(16, 40), overlap=8)
    assert seen == [(done, 4) for done in range(5)]
    seen.clear()
    with pytest.raises(InterruptedError), watching_tiles(on_tile):
        run_in_tiles(lambda x: x, image, tile=(16, 16), overlap=8)
    assert seen == [(done, 16) for done in range(4)]
    run_in_tiles(lambda x: x, image, tile=(16, 16), overlap=8)
    assert len(seen) == 4, "outside nothing is told"
