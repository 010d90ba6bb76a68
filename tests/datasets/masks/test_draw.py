"""Test drawn masks: the numbers of DeepFill v2, the bounds of the mask ratio, and the shape of each kind."""

from math import ceil, cos, floor, hypot, pi, sin
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import ndimage

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.masks.draw import (
    MaskConfig,
    draw_blobs,
    draw_border,
    draw_box,
    draw_damage,
    draw_free_form,
    draw_inverse,
    draw_mask,
    draw_strokes,
    drawn_mask_ratios,
    resize_outline,
)
from gan_tasks.datasets.masks.kinds import MaskKind

KINDS: tuple[MaskKind, ...] = ("free-form", "strokes", "box", "inverse", "blobs", "border", "damage")
kinds = pytest.mark.parametrize("kind", KINDS)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def parts_of(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Label 8-connected components from 1 on, and count them."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return labels, count


def reference_strokes(generator: np.random.Generator, size: int) -> np.ndarray:
    """Draw strokes with the steps of the DeepFill v2 code, which uses PIL."""
    diagonal = hypot(size, size)
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    for _ in range(generator.integers(1, 4)):
        segments = generator.integers(4, 12)
        smallest, largest = (2 * pi / 5 + sign * generator.uniform(0, 2 * pi / 15) for sign in (-1, 1))
        joints = [(int(generator.integers(size)), int(generator.integers(size)))]
        for number in range(segments):
            angle = generator.uniform(smallest, largest)
            angle = 2 * pi - angle if number % 2 == 0 else angle
            length = np.clip(generator.normal(diagonal / 8, diagonal / 16), 0, diagonal / 4)
            x = np.clip(joints[-1][0] + length * cos(angle), 0, size)
            y = np.clip(joints[-1][1] + length * sin(angle), 0, size)
            joints.append((int(x), int(y)))
        width = int(generator.uniform(12, 40))
        draw.line(joints, fill=1, width=width)
        for column, row in joints:
            draw.ellipse((column - width // 2, row - width // 2, column + width // 2, row + width // 2), fill=1)
    return np.asarray(image, bool)


def test_strokes_have_the_mask_ratios_of_deepfill_v2() -> None:
    ours = [draw_strokes(rng(seed), 256, 256).mean() for seed in range(600)]
    theirs = [reference_strokes(rng(seed), 256).mean() for seed in range(600)]
    # The deviation of one ratio is 0.081, that of a mean of 600 is 0.0033; allow three deviations of a difference.
    assert abs(np.mean(ours) - np.mean(theirs)) < 0.014
    np.testing.assert_allclose(np.quantile(ours, [0.1, 0.5, 0.9]), np.quantile(theirs, [0.1, 0.5, 0.9]), atol=0.025)


def test_strokes_have_the_widths_of_deepfill_v2() -> None:
    def widest(mask: np.ndarray) -> float:
        return float(ndimage.distance_transform_edt(np.pad(mask, 1)).max())

    ours = [widest(draw_strokes(rng(seed), 256, 256)) for seed in range(300)]
    theirs = [widest(reference_strokes(rng(seed), 256)) for seed in range(300)]
    np.testing.assert_allclose(np.quantile(ours, [0.1, 0.5, 0.9]), np.quantile(theirs, [0.1, 0.5, 0.9]), atol=2)
    assert 6 <= min(ours) < 8  # of masks with strokes of about 12 px only


@pytest.mark.parametrize("size", [(128, 128), (256, 256), (512, 512), (192, 320)])
def test_mask_ratios_hardly_depend_on_the_image_size(size: tuple[int, int]) -> None:
    for kind in ("free-form", "inverse", "blobs", "border"):
        config = MaskConfig(mask_kinds=(kind,))
        assert abs(drawn_mask_ratios(config, size, 100).mean - drawn_mask_ratios(config, (256, 256), 100).mean) < 0.06


def test_box_has_half_the_size_minus_up_to_16_px_per_side() -> None:
    heights, widths, corners = [], [], set()
    for seed in range(600):
        rows, columns = np.nonzero(draw_box(rng(seed), 256, 256))
        height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
        assert len(rows) == height * width
        heights.append(height)
        widths.append(width)
        corners.add((rows[0] < 64, columns[0] < 64))
    assert set(heights) == set(widths) == set(range(96, 129, 2))
    assert len(corners) == 4


def test_free_form_is_the_union_of_strokes_and_a_box() -> None:
    for seed in range(10):
        generator = rng(seed)
        box, strokes = draw_box(generator, 96, 128), draw_strokes(generator, 96, 128)
        np.testing.assert_array_equal(draw_free_form(rng(seed), 96, 128), box | strokes)


def test_inverse_masks_everything_outside_strokes_and_boxes() -> None:
    masks = [draw_inverse(rng(seed), 256, 256) for seed in range(200)]
    ratios = [mask.mean() for mask in masks]
    assert 0 <= min(ratios) < 0.1 and 0.5 < max(ratios) <= 0.65
    at_image_border = [np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean() for mask in masks]
    assert np.mean(at_image_border) > 1.3 * np.mean(ratios)  # strokes and boxes are rare there
    for mask in masks[:20]:  # unmasked regions are as wide as a stroke of 12 px or more
        opened = ndimage.binary_opening(np.pad(~mask, 12, mode="edge"), np.ones((7, 7)))[12:-12, 12:-12]
        assert (opened != ~mask).mean() < 0.03


def test_blobs_are_few_and_smooth() -> None:
    for seed in range(60):
        mask = draw_blobs(rng(seed), 256, 256)
        _, count = parts_of(mask)
        assert 1 <= count <= 3
        smoothed = ndimage.gaussian_filter(mask.astype(float), 2, mode="nearest") >= 0.5
        assert (smoothed != mask).mean() < 0.005  # smoothing would remove a ragged edge


def test_border_masks_one_side_two_sides_or_all() -> None:
    masked_sides = set()
    for seed in range(200):
        mask = draw_border(rng(seed), 60, 90)
        rows, columns = np.nonzero(~mask)
        unmasked = np.zeros_like(mask)
        unmasked[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        np.testing.assert_array_equal(unmasked, ~mask)  # the unmasked region is one rectangle
        masked_sides.add((rows.min() > 0, rows.max() < 59, columns.min() > 0, columns.max() < 89))
    assert {sum(sides) for sides in masked_sides} == {1, 2, 4}
    assert len(masked_sides) == 4 + 6 + 1


def test_scratches_are_thin_and_long() -> None:
    longest = []
    for seed in range(60):
        mask = draw_damage(rng(seed), 256, 256)
        thin = mask & ~ndimage.binary_opening(mask, np.ones((7, 7)))  # without the stains
        labels, count = parts_of(thin)
        extents = [hypot(*(axis.stop - axis.start for axis in part)) for part in ndimage.find_objects(labels)]
        longest.append(max(extents))
        assert count > 5  # dust
    assert np.median(longest) > 150
    assert drawn_mask_ratios(MaskConfig(mask_kinds=("damage",))).maximum < 0.2


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 2**32),
)
def test_mask_ratios_stay_within_any_bounds(
    kind: MaskKind, size: tuple[int, int], bounds: tuple[float, float], seed: int
) -> None:
    low, high = sorted(bounds)
    mask = draw_mask(rng(seed), *size, MaskConfig(mask_kinds=(kind,), min_mask_ratio=low, max_mask_ratio=high))
    pixels = size[0] * size[1]
    assert mask.shape == size
    assert mask.dtype == np.bool_
    assert mask.any()
    assert pixels == 1 or not mask.all()
    # The bounds are rounded to whole pixels, and at least one pixel is masked and one is not.
    assert min(ceil(low * pixels), pixels - 1) <= mask.sum() <= max(floor(high * pixels), ceil(low * pixels), 1)


@kinds
def test_mask_depends_on_the_generator_only(kind: MaskKind) -> None:
    config = MaskConfig(mask_kinds=(kind,))
    masks = [draw_mask(rng(seed), 64, 48, config).tobytes() for seed in range(20)]
    assert masks == [draw_mask(rng(seed), 64, 48, config).tobytes() for seed in range(20)]
    assert len(set(masks)) == 20


@kinds
def test_reachable_bounds_do_not_change_the_shape(kind: MaskKind) -> None:
    """The outline is not moved if drawing again is enough."""
    free = drawn_mask_ratios(MaskConfig(mask_kinds=(kind,)), (64, 64), 100)
    config = MaskConfig(mask_kinds=(kind,), max_mask_ratio=free.mean)
    functions: dict[MaskKind, Any] = {
        "free-form": draw_free_form,
        "strokes": draw_strokes,
        "box": draw_box,
        "inverse": draw_inverse,
        "blobs": draw_blobs,
        "border": draw_border,
        "damage": draw_damage,
    }
    for seed in range(20):
        bounded, generator = draw_mask(rng(seed), 64, 64, config), rng(seed)
        generator.integers(1)  # the draw of the kind
        drawn = (functions[kind](generator, 64, 64) for _ in range(20))
        assert any(np.array_equal(bounded, mask) for mask in drawn)


def test_larger_damage_has_more_scratches_not_thicker_ones() -> None:
    config = MaskConfig(mask_kinds=("damage",), min_mask_ratio=0.2, max_mask_ratio=0.3)
    assert drawn_mask_ratios(MaskConfig(mask_kinds=("damage",))).mean < 0.08
    masks = np.stack([draw_mask(rng(seed), 256, 256, config) for seed in range(10)])
    thick = np.stack([ndimage.binary_opening(mask, np.ones((9, 9))) for mask in masks])
    assert thick.sum() < 0.4 * masks.sum()


def test_repeated_kinds_are_drawn_more_often() -> None:
    config = MaskConfig(mask_kinds=("border", "box", "box", "box"))
    corners = [draw_mask(rng(seed), 32, 32, config) for seed in range(400)]
    is_border = [mask[0].all() or mask[-1].all() or mask[:, 0].all() or mask[:, -1].all() for mask in corners]
    assert abs(np.mean(is_border) - 0.25) < 0.07


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), wanted=st.integers(1, 899))
def test_outline_moves_by_the_same_distance_everywhere(seed: int, wanted: int) -> None:
    mask = draw_blobs(rng(seed), 30, 30)
    resized = resize_outline(mask, wanted, wanted)
    assert resized.sum() == wanted
    assert (mask <= resized).all() if wanted >= mask.sum() else (resized <= mask).all()
    distance = ndimage.distance_transform_edt(~mask if wanted >= mask.sum() else mask)
    moved = resized ^ mask
    stayed = ~resized if wanted >= mask.sum() else resized
    assert not moved.any() or not stayed.any() or distance[moved].max() <= distance[stayed].min() + 1e-3


def test_mask_ratios_are_summarized() -> None:
    ratios = drawn_mask_ratios(MaskConfig(mask_kinds=("box",)), (256, 256), 300)
    assert 0.14 < ratios.minimum < 0.15 < ratios.mean < 0.24 < ratios.maximum <= 0.25
    assert abs(ratios.mean - (112 / 256) ** 2) < 0.005
    assert str(ratios) == "19% on average, 14% to 25%"


@pytest.mark.parametrize(
    "bad",
    [
        {"mask_kinds": ()},
        {"mask_kinds": ("circle",)},
        {"min_mask_ratio": 0.6, "max_mask_ratio": 0.5},
        {"max_mask_ratio": 1.5},
    ],
)
def test_invalid_options_are_rejected(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        MaskConfig(**bad)
