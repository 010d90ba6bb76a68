"""Tiles cover the image, their weights sum to one, and the result equals that of the whole image."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from handmade_onnx import mean_filter
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gan_tasks.export.models.base import MAX_MEMORY_BYTES, FloatImages
from gan_tasks.export.models.tiling import overlap_of, reporting_tiles, rise, run_in_tiles, spans, tile_size
from gan_tasks.networks.super_resolution.convolutional import LARGEST_RECEPTIVE_FIELD


@st.composite
def sides(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Draw length, tile, overlap and multiple."""
    multiple = draw(st.sampled_from([1, 2, 4, 8]))
    overlap = draw(st.integers(1, 6)) * multiple
    tile = 2 * overlap + draw(st.integers(0, 10)) * multiple
    return draw(st.integers(1, 60 * multiple)), tile, overlap, multiple


def weights_of(side: tuple[int, int, int, int]) -> list[NDArray[np.float64]]:
    """The weights of each tile at each pixel, after all tiles are blended in order."""
    length = side[0]
    weights: list[NDArray[np.float64]] = []
    for span in spans(*side):
        own = np.zeros(length)
        own[span.start : span.stop] = 1
        own[span.start : span.start + span.shared] = rise(span.shared)
        weights = [*(before * (1 - own) for before in weights), own]
    return weights


@given(sides())
def test_weights_sum_to_one_and_tiles_share_one_grid(side: tuple[int, int, int, int]) -> None:
    length, tile, overlap, multiple = side
    tiles = spans(*side)
    assert (tiles[0].start, tiles[0].shared, tiles[-1].stop) == (0, 0, length)
    sizes = [span.stop - span.start for span in tiles]
    assert len(set(sizes[:-1])) <= 1 and 0 <= sizes[0] - sizes[-1] < multiple
    assert tiles[0].stop <= tile
    for before, span in pairwise(tiles):
        assert span.start % multiple == 0
        assert before.stop - span.start == span.shared >= overlap
    np.testing.assert_allclose(np.sum(weights_of(side), axis=0), 1, atol=1e-6)


@given(sides())
def test_pixels_near_the_edge_of_a_tile_have_weight_0(side: tuple[int, int, int, int]) -> None:
    length, _, overlap, _ = side
    margin = 3 * overlap // 8
    for span, weights in zip(spans(*side), weights_of(side), strict=True):
        assert not weights[: span.start + margin * (span.start > 0)].any()
        assert not weights[span.stop - margin * (span.stop < length) :].any()


def test_the_blend_is_gradual() -> None:
    first, second = spans(length=48, tile=32, overlap=16, multiple=1)
    assert (first.stop, second.start, second.stop) == (32, 16, 48)
    np.testing.assert_allclose(rise(16)[6:10], (np.arange(4) + 0.5) / 4)
    np.testing.assert_allclose(rise(16) + rise(16)[::-1], 1)


@pytest.mark.parametrize("changes", [{"tile": 15}, {"tile": 34, "multiple": 4}, {"overlap": 20}])
def test_tiles_that_do_not_fit_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        spans(**({"length": 100, "tile": 32, "overlap": 8, "multiple": 1} | changes))


def halved(images: FloatImages) -> FloatImages:
    """The mean over blocks of 2×2 at the size of the input, which depends on the position of the grid."""
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
def test_tiles_give_the_output_of_the_whole_image(rows: int, columns: int, scale: int, kind: str) -> None:
    multiple, overlap = 4, 8
    image = np.random.default_rng(rows).uniform(-1, 1, (3, rows * 4, columns * 4)).astype(np.float32)
    filters = {"identity": lambda x: x, "mean": mean_filter, "halved": halved}

    def run(images: FloatImages) -> FloatImages:
        return filters[kind](images).repeat(scale, 2).repeat(scale, 3)

    tiled = run_in_tiles(run, image, tile=(16, 20), overlap=overlap, multiple=multiple, scale=scale)
    np.testing.assert_allclose(tiled, run(image[None])[0], atol=1e-5)
    assert tiled.dtype == np.float32


@given(st.integers(1, 40), st.integers(1, 40))
def test_integers_that_are_equal_in_both_tiles_do_not_change(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 65536, (3, height, width), np.uint16)

    def run(tile: NDArray[np.uint16]) -> NDArray[np.uint16]:
        return tile.repeat(2, 2).repeat(2, 3)

    tiled = run_in_tiles(run, image, tile=(9, 8), overlap=4, scale=2)
    assert tiled.dtype == np.uint16
    np.testing.assert_array_equal(tiled, run(image[None])[0])


@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 40_000))
def test_tiles_respect_the_limit_unless_they_are_the_smallest(rows: int, columns: int, max_pixels: int) -> None:
    multiple, overlap = 4, 8
    sides = (4 * rows, 4 * columns)
    tile = tile_size(*sides, max_pixels=max_pixels, overlap=overlap, multiple=multiple)
    for side, length in zip(tile, sides, strict=True):
        assert side % multiple == 0 and min(2 * overlap, length) <= side <= length
        spans(length, side, overlap, multiple)
    if sides[0] * sides[1] <= max_pixels:
        assert tile == sides
    if min(24, sides[0]) * min(24, sides[1]) <= max_pixels:
        assert tile[0] * tile[1] <= max_pixels


@pytest.mark.parametrize("size", [(1000, 1000), (2000, 3000), (3000, 4000), (300, 8000)])
def test_few_pixels_are_run_twice(size: tuple[int, int]) -> None:
    """Up to 12 megapixels with RRDBNet of 23 blocks by default, which needs 2.43 kB per pixel, in 2.4 GB."""
    overlap = overlap_of(LARGEST_RECEPTIVE_FIELD, multiple=1, minimum_size=1)
    tile = tile_size(*size, max_pixels=MAX_MEMORY_BYTES // 2432, overlap=overlap, multiple=1)
    rows, columns = (spans(length, side, overlap, 1) for length, side in zip(size, tile, strict=True))
    assert len(rows) * tile[0] * len(columns) * tile[1] <= 1.25 * size[0] * size[1]


def test_a_narrow_image_has_long_tiles() -> None:
    height, width = tile_size(20, 100_000, max_pixels=20_000, overlap=8, multiple=4)
    assert height == 20 and 900 < width <= 1000
    height, width = tile_size(1000, 1000, max_pixels=20_000, overlap=8, multiple=4)
    assert height > 100 and width > 100


def test_the_callback_gets_each_tile_and_can_stop_the_run() -> None:
    image = np.zeros((1, 40, 40), np.float32)
    calls: list[tuple[int, int]] = []

    def on_tile(done: int, count: int) -> None:
        calls.append((done, count))
        if done == 3:
            raise InterruptedError

    run_in_tiles(lambda x: x, image, tile=(16, 16), overlap=8)
    with reporting_tiles(lambda done, count: calls.append((done, count))):
        run_in_tiles(lambda x: x, image, tile=(16, 40), overlap=8)
    assert calls == [(done, 4) for done in range(5)]
    calls.clear()
    with pytest.raises(InterruptedError), reporting_tiles(on_tile):
        run_in_tiles(lambda x: x, image, tile=(16, 16), overlap=8)
    assert calls == [(done, 16) for done in range(4)]
    run_in_tiles(lambda x: x, image, tile=(16, 16), overlap=8)
    assert len(calls) == 4, "the callback is not called outside the block"
