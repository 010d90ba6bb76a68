"""Filling holes with a model: what is kept, what the network sees, and how its answer is fitted in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny import photo

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import ImageError, to_float
from gan_tasks.export.inference.blending import correction, depth, dilated, extended
from gan_tasks.export.inference.inpaint import fill
from gan_tasks.export.inference.inpaint_options import InpaintOptions
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.regions import regions
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.spec import InputSpec, ModelSpec

HARD = InpaintOptions(feather_px=0, match_colour=False)


class Stand(Model):
    """A model that fills each hole with one gray, and makes the rest a little too dark; notes what it is shown."""

    title = "stand"

    def __init__(self, *, sketch: bool = False, value: float = 0.5, error: float = 0.0) -> None:
        more = (InputSpec("sketch", "mask", optional=True),) if sketch else ()
        inputs = (InputSpec("image", "image", 3, "any"), InputSpec("mask", "mask"), *more)
        self.spec = ModelSpec("inpainting", "inpaint", inputs, 3)
        self.value, self.error = value, error
        self.shown: list[tuple[FloatImages, ...]] = []

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return 1000 * height * width * count > self.max_memory_bytes

    def version(self) -> str:
        return self.title

    def run(self, *inputs: FloatImages) -> FloatImages:
        images, *masks = inputs
        self.shown.append(inputs)
        made: FloatImages = np.where(masks[0] > 0, np.float32(self.value), images) - np.float32(self.error)
        return made


def box(height: int, width: int, *place: int) -> NDArray[np.bool_]:
    """top, bottom, left, right"""
    mask = np.zeros((height, width), np.bool_)
    mask[place[0] : place[1], place[2] : place[3]] = True
    return mask


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(2, 90), st.integers(2, 90)),
    strategy=st.sampled_from(["crop", "resize", "original"]),
    channels=st.sampled_from([1, 2, 3, 4]),
    deep=st.booleans(),
    feather_px=st.integers(0, 9),
)
def test_given_pixels_and_alpha_come_back_to_the_bit(
    seed: int, size: tuple[int, int], strategy: str, channels: int, deep: bool, feather_px: int
) -> None:
    rng = np.random.default_rng(seed)
    dtype = np.uint16 if deep else np.uint8
    image = rng.integers(0, np.iinfo(dtype).max, (*size, channels)).astype(dtype)
    mask = rng.random(size) < 0.4
    mask[0, 0], mask[-1, -1] = False, True
    options = InpaintOptions(strategy=strategy, feather_px=feather_px)  # type: ignore[arg-type]
    filled = fill(Stand(error=0.1), image, mask, options=options).pixels
    assert filled.dtype == dtype and filled.shape == image.shape
    assert np.array_equal(filled[~mask], image[~mask])
    if channels in (2, 4):
        assert np.array_equal(filled[..., -1], image[..., -1])


def test_the_hole_is_what_the_model_makes() -> None:
    image, mask = photo(60, 80, seed=0), box(60, 80, 20, 30, 10, 50)
    filled = fill(Stand(value=0.2), image, mask, options=HARD).pixels
    assert (filled[mask] == round(1.2 * 127.5)).all()


def test_what_was_in_the_hole_has_no_influence() -> None:
    mask = box(700, 900, 100, 500, 200, 800)
    image = photo(700, 900, seed=0)
    other = np.where(mask[..., None], 255 - image, image).astype(np.uint8)
    for strategy in ("crop", "resize", "original"):
        # A model that lets through what it sees: with a hole it must not see what is in it.
        model = Stand(value=-0.3)
        model.max_memory_bytes = 10**9
        results = [
            fill(model, each, mask, options=InpaintOptions(strategy=strategy)).pixels for each in (image, other)
        ]  # type: ignore[arg-type]
        assert np.array_equal(*results)


def test_a_small_hole_in_a_large_picture_is_cut_out_with_its_surroundings() -> None:
    image, mask = np.full((3000, 4000, 3), 90, np.uint8), box(3000, 4000, 1500, 1540, 2000, 2100)
    mask |= box(3000, 4000, 10, 20, 3990, 4000)
    model = Stand()
    assert fill(model, image, mask).notes == ()
    (first, *_), (second, *_) = model.shown
    assert first.shape == (1, 3, 256, 256) and second.shape == (1, 3, 256, 256)
    assert max(each[0].nbytes for each in model.shown) < image.nbytes / 40


def test_several_holes_each_lie_in_the_middle_of_their_part() -> None:
    mask = box(1000, 1000, 300, 340, 300, 380) | box(1000, 1000, 700, 900, 600, 640)
    found = list(regions(mask))
    assert [region.size for region in found] == [(256, 256), (400, 400)]
    covered = np.zeros_like(mask)
    for region in found:
        covered[region.place] |= region.mask
        rows, columns = np.nonzero(region.mask)
        for places, length in ((rows, region.size[0]), (columns, region.size[1])):
            assert abs((places.min() + places.max() + 1) / 2 - length / 2) <= 1
    assert np.array_equal(covered, mask)


def test_a_hole_that_reaches_into_the_part_of_another_is_shown_as_hole_until_it_is_filled() -> None:
    mask = box(300, 300, 20, 40, 20, 40) | box(300, 300, 120, 140, 120, 140)
    model = Stand()
    fill(model, photo(300, 300, seed=1), mask)
    first, second = (shown[1][0, 0] > 0 for shown in model.shown)
    assert first.sum() == 2 * 400 and second.sum() == 400


def test_a_hole_that_is_too_large_is_filled_smaller_and_said_so() -> None:
    image, mask = photo(1200, 1200, seed=2), box(1200, 1200, 100, 1100, 100, 1100)
    model = Stand()
    filled = fill(model, image, mask)
    assert model.shown[0][0].shape[2:] == (512, 512)
    assert "43% of its size" in filled.notes[0]


def test_original_beyond_the_memory_becomes_crop_and_says_so() -> None:
    image, mask = photo(600, 800, seed=3), box(600, 800, 100, 120, 100, 120)
    model = Stand()
    model.max_memory_bytes = 300 * 400 * 1000
    filled = fill(model, image, mask, options=InpaintOptions(strategy="original"))
    assert model.shown[0][0].shape[2:] == (256, 256)
    assert "needs more than 0.1 GiB" in filled.notes[0]
    model.max_memory_bytes = 10**9
    assert fill(model, image, mask, options=InpaintOptions(strategy="original")).notes == ()
    assert model.shown[-1][0].shape[2:] == (600, 800)


def test_memory_for_attention_counts_too() -> None:
    """A place for 8×8 pixels is compared with each other one: a gigapixel's worth of pairs at 2048²."""
    model = Stand()
    model.max_memory_bytes = 2048**2 * 1000 + 1
    fill(model, photo(2048, 2048, seed=0), box(2048, 2048, 0, 9, 0, 9), options=InpaintOptions(strategy="original"))
    assert model.shown[0][0].shape[2:] == (256, 256)


def test_resize_shows_the_whole_picture_at_once() -> None:
    image, mask = photo(1024, 2048, seed=4), box(1024, 2048, 0, 30, 0, 30)
    model = Stand()
    fill(model, image, mask, options=InpaintOptions(strategy="resize"))
    assert model.shown[0][0].shape[2:] == (362, 724)


def test_colours_are_matched_at_the_edge() -> None:
    """The model is 0.2 too dark everywhere; its fill is brought to where its surroundings are."""
    image = np.full((64, 64, 3), 128, np.uint8)
    mask = box(64, 64, 20, 40, 20, 40)
    model = Stand(value=to_float(image)[0, 0, 0], error=0.2)
    wrong = fill(model, image, mask, options=HARD).pixels[mask].astype(int)
    right = fill(model, image, mask).pixels[mask].astype(int)
    assert np.abs(wrong - 128).min() >= 25 and np.abs(right - 128).max() <= 1


def test_feathering_changes_a_band_inside_the_hole_alone() -> None:
    rng = np.random.default_rng(0)
    given_image = rng.uniform(-1, 1, (3, 50, 50)).astype(np.float32)
    made, mask = np.zeros_like(given_image), box(50, 50, 10, 40, 10, 40)
    added = correction(made, given_image, mask, feather_px=4, match_colour=False)
    inner = box(50, 50, 14, 36, 14, 36)
    assert not added[:, inner].any() and added[:, mask & ~inner].any()


def test_a_ramp_is_led_on_into_the_hole() -> None:
    ramp = np.linspace(-1, 1, 64, dtype=np.float32) * np.ones((1, 64, 1), np.float32)
    known = ~box(64, 64, 24, 40, 24, 40)
    led_on = extended(np.where(known, ramp, 0), known)
    assert np.array_equal(led_on[:, known], ramp[:, known])
    assert np.abs(led_on - ramp).max() < 0.1


def test_depth_and_dilation_by_steps() -> None:
    mask = box(9, 9, 2, 7, 2, 7)
    assert depth(mask, 10)[4].tolist() == [0, 0, 1, 2, 3, 2, 1, 0, 0]
    assert depth(mask, 2)[4].tolist() == [0, 0, 1, 2, 2, 2, 1, 0, 0]
    assert depth(box(9, 9, 0, 9, 0, 3), 5)[4].tolist() == [3, 2, 1, 0, 0, 0, 0, 0, 0]
    assert np.array_equal(dilated(mask, 1), box(9, 9, 1, 8, 1, 8))
    assert np.array_equal(dilated(mask, 0), mask)


def test_dilation_fills_the_rim_too() -> None:
    image, mask = photo(40, 40, seed=5), box(40, 40, 10, 20, 10, 20)
    grown = box(40, 40, 7, 23, 7, 23)
    options = InpaintOptions(dilate_px=3, feather_px=0, match_colour=False)
    filled = fill(Stand(), image, mask, options=options).pixels
    assert (filled[grown] == round(1.5 * 127.5)).all() and np.array_equal(filled[~grown], image[~grown])


def test_a_sketch_reaches_the_network() -> None:
    image, mask = photo(40, 40, seed=6), box(40, 40, 10, 30, 10, 30)
    sketch = box(40, 40, 15, 16, 10, 30)
    model = Stand(sketch=True)
    fill(model, image, mask, sketch)
    fill(model, image, mask)
    assert np.array_equal(model.shown[0][2][0, 0] > 0, sketch) and not model.shown[1][2].any()
    with pytest.raises(UserError, match="has not learned to follow a sketch"):
        fill(Stand(), image, mask, sketch)


def test_called_with_an_image_and_a_mask() -> None:
    image, mask = photo(40, 40, seed=7), np.zeros((40, 40, 1), np.uint8)
    mask[10:20, 10:20] = 255
    assert np.array_equal(Predictor(Stand())(image, mask), fill(Stand(), image, mask[..., 0] > 0).pixels)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.zeros((30, 40), np.bool_), "mask is 40 × 30 px and the image 40 × 40"),
        (np.ones((40, 40), np.bool_), "covers the whole image"),
    ],
)
def test_masks_that_make_no_sense_are_refused(mask: NDArray[np.bool_], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        fill(Stand(), photo(40, 40, seed=8), mask)


def test_an_empty_mask_leaves_the_picture_as_it_is() -> None:
    image, model = photo(40, 40, seed=9), Stand()
    filled = fill(model, image, np.zeros((40, 40), np.bool_))
    assert np.array_equal(filled.pixels, image) and "nothing to fill" in filled.notes[0] and not model.shown


def test_too_little_memory_is_said() -> None:
    model = Stand()
    model.max_memory_bytes = 1000
    with pytest.raises(UserError, match="allow more memory"):
        fill(model, photo(80, 80, seed=0), box(80, 80, 0, 9, 0, 9))


def test_without_a_mask_the_call_says_what_is_missing() -> None:
    with pytest.raises(UserError, match="needs mask too"):
        Predictor(Stand())(photo(8, 8, seed=0))
