"""Inpainting with a model: unchanged pixels, inputs of the network, and blending of its output."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny import photo

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import ImageError, to_float
from gan_tasks.export.inference.blending import correction, depth, dilated, extrapolated
from gan_tasks.export.inference.inpaint import fill
from gan_tasks.export.inference.inpaint_options import InpaintOptions
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.regions import regions
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.spec import InputSpec, ModelSpec

HARD = InpaintOptions(feather_px=0, match_colour=False)


class FakeInpainter(Model):
    """A model that fills masked pixels with one gray level, adds an error everywhere, and records its inputs."""

    title = "fake"

    def __init__(self, *, sketch: bool = False, value: float = 0.5, error: float = 0.0) -> None:
        more = (InputSpec("sketch", "mask", optional=True),) if sketch else ()
        inputs = (InputSpec("image", "image", 3, "any"), InputSpec("mask", "mask"), *more)
        self.spec = ModelSpec("inpainting", "inpaint", inputs, 3)
        self.value, self.error = value, error
        self.calls: list[tuple[FloatImages, ...]] = []

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return 1000 * height * width * count > self.max_memory_bytes

    def version(self) -> str:
        return self.title

    def run(self, *inputs: FloatImages) -> FloatImages:
        images, *masks = inputs
        self.calls.append(inputs)
        output: FloatImages = np.where(masks[0] > 0, np.float32(self.value), images) - np.float32(self.error)
        return output


def box(height: int, width: int, *place: int) -> NDArray[np.bool_]:
    """A mask of one rectangle: top, bottom, left, right."""
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
def test_unmasked_pixels_and_alpha_do_not_change(
    seed: int, size: tuple[int, int], strategy: str, channels: int, deep: bool, feather_px: int
) -> None:
    rng = np.random.default_rng(seed)
    dtype = np.uint16 if deep else np.uint8
    image = rng.integers(0, np.iinfo(dtype).max, (*size, channels)).astype(dtype)
    mask = rng.random(size) < 0.4
    mask[0, 0], mask[-1, -1] = False, True
    options = InpaintOptions(strategy=strategy, feather_px=feather_px)  # type: ignore[arg-type]
    filled = fill(FakeInpainter(error=0.1), image, mask, options=options).pixels
    assert filled.dtype == dtype and filled.shape == image.shape
    assert np.array_equal(filled[~mask], image[~mask])
    if channels in (2, 4):
        assert np.array_equal(filled[..., -1], image[..., -1])


def test_masked_pixels_come_from_the_model() -> None:
    image, mask = photo(60, 80, seed=0), box(60, 80, 20, 30, 10, 50)
    filled = fill(FakeInpainter(value=0.2), image, mask, options=HARD).pixels
    assert (filled[mask] == round(1.2 * 127.5)).all()


def test_masked_pixels_of_the_input_have_no_influence() -> None:
    mask = box(700, 900, 100, 500, 200, 800)
    image = photo(700, 900, seed=0)
    other = np.where(mask[..., None], 255 - image, image).astype(np.uint8)
    for strategy in ("crop", "resize", "original"):
        # The model returns its input outside the mask, which must not depend on masked pixels.
        model = FakeInpainter(value=-0.3)
        model.max_memory_bytes = 10**9
        results = [
            fill(model, each, mask, options=InpaintOptions(strategy=strategy)).pixels for each in (image, other)
        ]  # type: ignore[arg-type]
        assert np.array_equal(*results)


def test_a_small_region_of_a_large_image_is_cut_out_with_its_surroundings() -> None:
    image, mask = np.full((3000, 4000, 3), 90, np.uint8), box(3000, 4000, 1500, 1540, 2000, 2100)
    mask |= box(3000, 4000, 10, 20, 3990, 4000)
    model = FakeInpainter()
    assert fill(model, image, mask).notes == ()
    (first, *_), (second, *_) = model.calls
    assert first.shape == (1, 3, 256, 256) and second.shape == (1, 3, 256, 256)
    assert max(each[0].nbytes for each in model.calls) < image.nbytes / 40


def test_each_masked_region_is_in_the_middle_of_its_part() -> None:
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


def test_other_regions_in_a_part_are_masked_until_they_are_filled() -> None:
    mask = box(300, 300, 20, 40, 20, 40) | box(300, 300, 120, 140, 120, 140)
    model = FakeInpainter()
    fill(model, photo(300, 300, seed=1), mask)
    first, second = (call[1][0, 0] > 0 for call in model.calls)
    assert first.sum() == 2 * 400 and second.sum() == 400


def test_a_too_large_region_is_downscaled_with_a_note() -> None:
    image, mask = photo(1200, 1200, seed=2), box(1200, 1200, 100, 1100, 100, 1100)
    model = FakeInpainter()
    filled = fill(model, image, mask)
    assert model.calls[0][0].shape[2:] == (512, 512)
    assert "43% of its size" in filled.notes[0]


def test_original_falls_back_to_crop_with_a_note_for_too_little_memory() -> None:
    image, mask = photo(600, 800, seed=3), box(600, 800, 100, 120, 100, 120)
    model = FakeInpainter()
    model.max_memory_bytes = 300 * 400 * 1000
    filled = fill(model, image, mask, options=InpaintOptions(strategy="original"))
    assert model.calls[0][0].shape[2:] == (256, 256)
    assert "needs more than 0.1 GiB" in filled.notes[0]
    model.max_memory_bytes = 10**9
    assert fill(model, image, mask, options=InpaintOptions(strategy="original")).notes == ()
    assert model.calls[-1][0].shape[2:] == (600, 800)


def test_the_memory_limit_includes_attention() -> None:
    """Each position of 8×8 pixels is compared with every other one, so 2048² pixels have 4·10⁹ pairs."""
    model = FakeInpainter()
    model.max_memory_bytes = 2048**2 * 1000 + 1
    fill(model, photo(2048, 2048, seed=0), box(2048, 2048, 0, 9, 0, 9), options=InpaintOptions(strategy="original"))
    assert model.calls[0][0].shape[2:] == (256, 256)


def test_resize_downscales_the_whole_image() -> None:
    image, mask = photo(1024, 2048, seed=4), box(1024, 2048, 0, 30, 0, 30)
    model = FakeInpainter()
    fill(model, image, mask, options=InpaintOptions(strategy="resize"))
    assert model.calls[0][0].shape[2:] == (362, 724)


def test_colours_are_matched_at_the_boundary() -> None:
    """The output is 0.2 too dark everywhere; the correction removes the error."""
    image = np.full((64, 64, 3), 128, np.uint8)
    mask = box(64, 64, 20, 40, 20, 40)
    model = FakeInpainter(value=to_float(image)[0, 0, 0], error=0.2)
    wrong = fill(model, image, mask, options=HARD).pixels[mask].astype(int)
    right = fill(model, image, mask).pixels[mask].astype(int)
    assert np.abs(wrong - 128).min() >= 25 and np.abs(right - 128).max() <= 1


def test_feathering_changes_only_a_strip_inside_the_boundary() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (3, 50, 50)).astype(np.float32)
    output, mask = np.zeros_like(image), box(50, 50, 10, 40, 10, 40)
    added = correction(output, image, mask, feather_px=4, match_colour=False)
    inner = box(50, 50, 14, 36, 14, 36)
    assert not added[:, inner].any() and added[:, mask & ~inner].any()


def test_a_ramp_is_extrapolated_into_the_masked_region() -> None:
    ramp = np.linspace(-1, 1, 64, dtype=np.float32) * np.ones((1, 64, 1), np.float32)
    known = ~box(64, 64, 24, 40, 24, 40)
    filled = extrapolated(np.where(known, ramp, 0), known)
    assert np.array_equal(filled[:, known], ramp[:, known])
    assert np.abs(filled - ramp).max() < 0.1


def test_depth_and_dilation() -> None:
    mask = box(9, 9, 2, 7, 2, 7)
    assert depth(mask, 10)[4].tolist() == [0, 0, 1, 2, 3, 2, 1, 0, 0]
    assert depth(mask, 2)[4].tolist() == [0, 0, 1, 2, 2, 2, 1, 0, 0]
    assert depth(box(9, 9, 0, 9, 0, 3), 5)[4].tolist() == [3, 2, 1, 0, 0, 0, 0, 0, 0]
    assert np.array_equal(dilated(mask, 1), box(9, 9, 1, 8, 1, 8))
    assert np.array_equal(dilated(mask, 0), mask)


def test_dilated_pixels_are_filled_too() -> None:
    image, mask = photo(40, 40, seed=5), box(40, 40, 10, 20, 10, 20)
    dilated_mask = box(40, 40, 7, 23, 7, 23)
    options = InpaintOptions(dilate_px=3, feather_px=0, match_colour=False)
    filled = fill(FakeInpainter(), image, mask, options=options).pixels
    assert (filled[dilated_mask] == round(1.5 * 127.5)).all() and np.array_equal(
        filled[~dilated_mask], image[~dilated_mask]
    )


def test_a_sketch_is_an_input_of_the_network() -> None:
    image, mask = photo(40, 40, seed=6), box(40, 40, 10, 30, 10, 30)
    sketch = box(40, 40, 15, 16, 10, 30)
    model = FakeInpainter(sketch=True)
    fill(model, image, mask, sketch)
    fill(model, image, mask)
    assert np.array_equal(model.calls[0][2][0, 0] > 0, sketch) and not model.calls[1][2].any()
    with pytest.raises(UserError, match="trained without sketches"):
        fill(FakeInpainter(), image, mask, sketch)


def test_a_predictor_takes_an_image_and_a_mask() -> None:
    image, mask = photo(40, 40, seed=7), np.zeros((40, 40, 1), np.uint8)
    mask[10:20, 10:20] = 255
    assert np.array_equal(
        Predictor(FakeInpainter())(image, mask), fill(FakeInpainter(), image, mask[..., 0] > 0).pixels
    )


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((30, 40), np.bool_), "mask is 40 × 30 px and the image 40 × 40"),
        (np.ones((40, 40), np.bool_), "covers the whole image"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask: NDArray[np.bool_], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        fill(FakeInpainter(), photo(40, 40, seed=8), mask)


def test_an_empty_mask_does_not_change_the_image() -> None:
    image, model = photo(40, 40, seed=9), FakeInpainter()
    filled = fill(model, image, np.zeros((40, 40), np.bool_))
    assert np.array_equal(filled.pixels, image) and "nothing to fill" in filled.notes[0] and not model.calls


def test_too_little_memory_is_an_error() -> None:
    model = FakeInpainter()
    model.max_memory_bytes = 1000
    with pytest.raises(UserError, match="allow more memory"):
        fill(model, photo(80, 80, seed=0), box(80, 80, 0, 9, 0, 9))


def test_a_missing_mask_is_an_error() -> None:
    with pytest.raises(UserError, match="needs mask too"):
        Predictor(FakeInpainter())(photo(8, 8, seed=0))
