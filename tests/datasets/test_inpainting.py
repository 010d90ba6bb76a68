"""Test the data set of inpainting: files that are used, files that are rejected, and samples."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_tasks.datasets.augmentations import FramingConfig
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.images import Picture, to_float, write
from gan_tasks.datasets.inpainting import Masked, MaskedConfig, MaskedImages, edge_lines, open_masked
from gan_tasks.datasets.loading.loader import load_batches
from gan_tasks.datasets.loading.sampler import ImageStream
from gan_tasks.datasets.masks.draw import MaskConfig
from gan_tasks.datasets.masks.files import resize_mask
from gan_tasks.datasets.masks.kinds import MaskKind
from gan_tasks.datasets.masks.pairing import MaskPairing
from gan_tasks.datasets.paired import Split

CROPS = MaskedConfig(framing=FramingConfig(load_size=0, crop_size=(24, 32)))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def noise(seed: int, height: int = 40, width: int = 48, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def box_mask(top: int, height: int = 40, width: int = 48) -> np.ndarray:
    mask = np.zeros((height, width, 1), np.uint8)
    mask[top : top + 8, 10:30] = 255
    return mask


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Picture(pixels))


def put_all(folder: Path, stems: str, masks: Path | None = None) -> None:
    for number, stem in enumerate(stems):
        put(folder / f"{stem}.png", noise(number))
        if masks is not None:
            put(masks / f"{stem}.png", box_mask(3 * number))


def equal(one: Masked[np.ndarray], other: Masked[np.ndarray]) -> bool:
    return all(np.array_equal(left, right) for left, right in zip(one, other, strict=True))


def check_sample(sample: Masked[np.ndarray], channels: int, height: int, width: int) -> None:
    assert [part.shape for part in sample] == [(channels, height, width), (1, height, width), (1, height, width)]
    assert all(part.dtype == np.float32 for part in sample)
    assert np.abs(sample.image).max() <= 1
    for part in (sample.mask, sample.sketch):
        assert set(np.unique(part)) <= {0, 1}
    assert 0 < sample.mask.mean() < 1
    assert not (sample.sketch * (1 - sample.mask)).any()


def test_training_samples_are_crops_with_different_masks(tmp_path: Path) -> None:
    for stem in "abc":  # the same image three times
        put(tmp_path / f"{stem}.png", noise(0))
    dataset, found = open_masked(tmp_path, "train", CROPS, 0, True)
    assert len(dataset) == 3
    assert found.masks is None and found.problems == ()
    assert [dataset.name(index) for index in range(3)] == ["a", "b", "c"]
    samples = [dataset[epoch, index] for epoch in range(4) for index in range(3)]
    for sample in samples:
        check_sample(sample, 3, 24, 32)
        assert not sample.sketch.any()
    assert len({sample.mask.tobytes() for sample in samples}) == 12
    assert len({sample.image.tobytes() for sample in samples}) == 12
    other, _ = open_masked(tmp_path, "train", CROPS, 1, True)
    assert not equal(other[0, 0], samples[0])


def test_image_includes_the_masked_region(tmp_path: Path) -> None:
    put(tmp_path / "test" / "a.png", noise(0))
    for config in (CROPS, replace(CROPS, sketch=True)):
        dataset, _ = open_masked(tmp_path, "test", config, 0, False)
        np.testing.assert_array_equal(dataset[0, 0].image, to_float(noise(0)))


def test_held_out_masks_do_not_depend_on_seed_or_epoch(tmp_path: Path) -> None:
    for number, stem in enumerate("abcd"):
        put(tmp_path / "val" / f"{stem}.png", noise(0, 30 + number, 50))
    config = replace(CROPS, sketch=True)
    samples = [open_masked(tmp_path, "val", config, seed, False)[0] for seed in (0, 7)]
    for index in range(4):
        check_sample(samples[0][0, index], 3, 30 + index, 50)
        assert equal(samples[0][0, index], samples[1][5, index])
    same = np.stack([resize_mask(samples[0][0, index].mask[0] > 0, 30, 50) for index in range(4)])
    assert (same[0] != same[1:]).any(axis=(1, 2)).all()  # each image has its own mask


def test_channel_shuffle_uses_every_order_and_only_in_training(tmp_path: Path) -> None:
    put_all(tmp_path / "train", "a")
    put_all(tmp_path / "test", "a")
    shuffling = replace(CROPS, channel_shuffle=True)
    shuffled, plain = (open_masked(tmp_path, "train", config, 0, True)[0] for config in (shuffling, CROPS))
    orders = set()
    for epoch in range(40):
        sample, unshuffled = shuffled[epoch, 0], plain[epoch, 0]
        order = [
            int(np.argmin([np.abs(channel - other).sum() for other in unshuffled.image])) for channel in sample.image
        ]
        assert np.array_equal(sample.image, unshuffled.image[order])
        assert np.array_equal(sample.mask, unshuffled.mask)
        orders.add(tuple(order))
    assert orders == set(permutations(range(3)))
    held_out = [open_masked(tmp_path, "test", config, 0, False)[0][0, 0] for config in (shuffling, CROPS)]
    assert equal(*held_out)


def test_samples_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    put_all(tmp_path, "abcd")
    dataset, _ = open_masked(tmp_path, "train", replace(CROPS, sketch=True), 3, True)
    stream = ImageStream(4, 2, 3)
    by_workers = []
    for workers in (0, 2):
        batches = iter(load_batches(dataset, stream, workers=workers))
        by_workers.append([next(batches) for _ in range(5)])
    for one, other in zip(*by_workers, strict=True):
        assert isinstance(one, Masked)
        assert one.image.shape == (2, 3, 24, 32)
        assert all(left.equal(right) for left, right in zip(one, other, strict=True))


def test_mask_ratios_stay_within_the_bounds_in_all_splits(tmp_path: Path) -> None:
    put_all(tmp_path, "ab")
    put_all(tmp_path / "test", "ab")
    kinds: tuple[MaskKind, ...] = ("strokes", "damage", "blobs", "border")
    config = replace(CROPS, drawn_masks=MaskConfig(mask_kinds=kinds, min_mask_ratio=0.2, max_mask_ratio=0.3))
    splits: tuple[tuple[Split, bool, int], ...] = (("train", True, 40), ("test", False, 1))
    for split, augment, epochs in splits:
        dataset, found = open_masked(tmp_path, split, config, 0, augment)
        for epoch in range(epochs):
            for index in range(2):
                assert 0.2 <= dataset[epoch, index].mask.mean() <= 0.3
        assert "strokes, damage, blobs, border" in found.summary
        assert "20% to 30%" in found.summary


def test_masks_are_paired_with_images_of_the_same_name(tmp_path: Path) -> None:
    put_all(tmp_path / "test", "cab", tmp_path / "masks")
    put_all(tmp_path / "train", "cab", tmp_path / "masks")
    config = replace(CROPS, masks=tmp_path / "masks")
    held_out, found = open_masked(tmp_path, "test", config, 0, False)
    assert found.masks is not None and found.masks.by_image is not None
    for index, number in enumerate((1, 2, 0)):  # a, b, c
        np.testing.assert_array_equal(held_out[0, index].image, to_float(noise(number)))
        np.testing.assert_array_equal(held_out[0, index].mask[0] * 255, box_mask(3 * number)[..., 0])
    ratio = 8 * 20 / (40 * 48)
    assert f"mask ratio {ratio:.0%} on average, {ratio:.0%} to {ratio:.0%}" in found.summary


def test_mask_is_cropped_and_mirrored_with_its_image(tmp_path: Path) -> None:
    image = noise(0)
    mask = (image[..., :1] > 200).astype(np.uint8) * 255  # the mask can be computed from the image
    put(tmp_path / "a.png", image)
    put(tmp_path / "masks" / "a.png", mask)
    dataset, _ = open_masked(tmp_path, "train", replace(CROPS, masks=tmp_path / "masks"), 0, True)
    for epoch in range(20):
        image, drawn, _ = dataset[epoch, 0]
        np.testing.assert_array_equal(drawn[0] == 1, np.rint((image[0] + 1) * 127.5) > 200)


def test_crop_without_masked_pixels_is_drawn_again(tmp_path: Path) -> None:
    mask = np.zeros((40, 48, 1), np.uint8)
    mask[0, 24] = 255  # half of all crops or more do not contain it
    put(tmp_path / "a.png", noise(0))
    put(tmp_path / "masks" / "a.png", mask)
    dataset, _ = open_masked(tmp_path, "train", replace(CROPS, masks=tmp_path / "masks"), 0, True)
    hits = [dataset[epoch, 0].mask.any() for epoch in range(200)]
    once = 1 / (40 - 24 + 1)  # only the first of the 17 possible top rows of a crop contains it
    assert abs(np.mean(hits) - (1 - (1 - once) ** 10)) < 0.11


def test_masks_of_other_names_are_picked_at_random_and_resized(tmp_path: Path) -> None:
    put_all(tmp_path / "test", "abcdef")
    masks = {name: box_mask(top, 20, 64) for name, top in (("x", 0), ("y", 6), ("z", 12))}
    for name, mask in masks.items():
        put(tmp_path / "masks" / f"{name}.png", mask)
    config = replace(CROPS, masks=tmp_path / "masks")
    dataset, found = open_masked(tmp_path, "test", config, 0, False)
    assert found.problems == () and "from 3 files" in found.summary
    resized = [resize_mask(mask[..., 0] > 0, 40, 48) for mask in masks.values()]
    drawn = [dataset[0, index].mask[0] == 1 for index in range(6)]
    assert all(any(np.array_equal(one, mask) for mask in resized) for one in drawn)
    assert len({one.tobytes() for one in drawn}) > 1

    put_all(tmp_path / "train", "a")
    dataset, _ = open_masked(tmp_path, "train", config, 0, True)
    resized = [resize_mask(mask[..., 0] > 0, 24, 32) for mask in masks.values()]
    picked = {
        next(n for n, m in enumerate(resized) if np.array_equal(dataset[e, 0].mask[0] == 1, m)) for e in range(30)
    }
    assert picked == {0, 1, 2}


def test_masks_picked_at_random_must_be_within_the_bounds(tmp_path: Path) -> None:
    put_all(tmp_path / "train", "a")
    for rows in (2, 10, 30):
        put(
            tmp_path / "masks" / f"{rows}.png",
            np.repeat([[255]] * rows + [[0]] * (40 - rows), 40, 1)[..., None].astype("u1"),
        )
    config = replace(CROPS, masks=tmp_path / "masks", drawn_masks=MaskConfig(min_mask_ratio=0.2, max_mask_ratio=0.5))
    _, found = open_masked(tmp_path, "train", config, 0, True)
    assert found.masks is not None
    assert [path.stem for path in found.masks.paths] == ["10"]
    assert found.problems == () and "2 with other mask ratios left out" in found.summary
    with pytest.raises(UserError, match=r"none of the 3 masks .* mask ratio is 35% on average, 5% to 75%"):
        open_masked(tmp_path, "train", replace(config, drawn_masks=MaskConfig(min_mask_ratio=0.8)), 0, True)


def test_mask_pairing_can_be_chosen(tmp_path: Path) -> None:
    put_all(tmp_path, "abc", tmp_path / "masks")
    (tmp_path / "masks" / "c.png").unlink()
    config = replace(CROPS, masks=tmp_path / "masks")
    lengths: dict[MaskPairing, int] = {"auto": 2, "stem": 2, "random": 3}
    for pairing, length in lengths.items():
        dataset, found = open_masked(tmp_path, "train", replace(config, mask_pairing=pairing), 0, True)
        assert len(dataset) == length
        assert len(found.problems) == 3 - length
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "x.png")
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(UserError, match="has no mask called a"):
        open_masked(tmp_path, "train", replace(config, mask_pairing="stem"), 0, True)


def test_unusable_masks_are_listed(tmp_path: Path) -> None:
    masks = tmp_path / "masks" / "train"
    put_all(tmp_path / "train", "abcdefg", masks)
    put(masks / "b.png", box_mask(0, 40, 47))
    put(masks / "c.png", np.zeros((40, 48, 1), np.uint8))
    put(masks / "d.png", np.full((40, 48, 1), 255, np.uint8))
    (masks / "e.png").write_bytes(b"not an image")
    put(masks / "f.bmp", box_mask(0))
    (masks / "g.png").unlink()
    put(masks / "h.png", box_mask(0))
    (masks / "notes.txt").write_text("hello")
    config = replace(CROPS, masks=tmp_path / "masks")
    dataset, found = open_masked(tmp_path, "train", config, 0, True)
    assert [path.stem for path in dataset.images] == ["a"]
    reasons = {f"{problem.path.parent.name}/{problem.path.name}": problem.reason for problem in found.problems}
    assert "is 47 × 40 px but its image" in reasons["train/b.png"]
    messages = {problem.path: problem.reason for problem in found.problems if problem.path.parent == masks}
    assert "no pixel is masked" in messages[masks / "c.png"]
    assert "all pixels are masked" in messages[masks / "d.png"]
    assert "known format" in messages[masks / "e.png"]
    assert messages[masks / "f.png"] == messages[masks / "f.bmp"] == f"2 masks in {masks} are called f; keep one"
    assert messages[masks / "h.png"] == "no image has this name"
    assert "does not have the suffix of an image" in messages[masks / "notes.txt"]
    images = {problem.path.stem for problem in found.problems if problem.path.parent == tmp_path / "train"}
    assert images == {"c", "d", "e", "g"}
    with pytest.raises(UserError) as raised:
        open_masked(tmp_path, "train", replace(config, strict=True), 0, True)
    assert all(f"{stem}.png" in str(raised.value) for stem in "bcdefgh")


def test_mask_polarity_and_threshold_can_be_chosen(tmp_path: Path) -> None:
    put(tmp_path / "a.png", noise(0))
    levels = np.where(box_mask(5) > 0, 60, 90).astype(np.uint8)
    levels[0, 0] = 89  # a third value: of two values, the higher one would be masked
    put(tmp_path / "masks" / "a.png", levels)
    config = replace(CROPS, masks=tmp_path / "masks")
    with pytest.raises(UserError, match="--mask-threshold 75"):
        open_masked(tmp_path, "train", config, 0, False)
    dataset, _ = open_masked(tmp_path, "train", replace(config, mask_threshold=75, invert_mask=True), 0, False)
    np.testing.assert_array_equal(dataset[0, 0].mask[0] * 255, box_mask(5)[..., 0])


def test_masks_of_two_dark_values_need_no_threshold(tmp_path: Path) -> None:
    put(tmp_path / "a.png", noise(0))
    put(tmp_path / "masks" / "a.png", np.where(box_mask(5) > 0, 1, 0).astype(np.uint8))
    dataset, _ = open_masked(tmp_path, "train", replace(CROPS, masks=tmp_path / "masks"), 0, False)
    np.testing.assert_array_equal(dataset[0, 0].mask[0] * 255, box_mask(5)[..., 0])


def test_half_of_the_samples_get_a_sketch_of_the_masked_region(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:96, :96]
    disc = np.where(np.hypot(rows - 48, columns - 48) < 30, 220, 30).astype(np.uint8)
    put(tmp_path / "a.png", disc[..., None])
    put(tmp_path / "masks" / "a.png", np.where(columns < 48, 255, 0).astype(np.uint8)[..., None])
    framing = FramingConfig(load_size=0, crop_size=(96, 96), flip=False)
    config = MaskedConfig(framing=framing, masks=tmp_path / "masks", sketch=True)
    dataset, _ = open_masked(tmp_path, "train", config, 0, True)
    sketches = [dataset[epoch, 0].sketch[0] for epoch in range(100)]
    with_lines = [sketch for sketch in sketches if sketch.any()]
    assert 35 < len(with_lines) < 65
    distance = np.abs(np.hypot(rows - 48, columns - 48) - 30)
    assert distance[with_lines[0] == 1].max() < 2  # on the circle
    assert not with_lines[0][:, 48:].any()  # and only in the masked region
    assert with_lines[0][distance < 2].sum() > 0.4 * 2 * np.pi * 30 / 2
    assert np.array_equal(with_lines[0] == 1, edge_lines(dataset[0, 0].image) & (columns < 48))


@pytest.mark.parametrize(("stored", "channels"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_alpha_is_dropped(stored: int, channels: int, tmp_path: Path) -> None:
    put(tmp_path / "a.png", noise(0, channels=stored))
    put(tmp_path / "b.png", noise(1, channels=3))
    dataset, _ = open_masked(tmp_path, "train", CROPS, 0, False)
    assert dataset.config.image_channels == channels
    np.testing.assert_array_equal(dataset[0, 0].image, to_float(noise(0, channels=stored)[..., :channels]))
    check_sample(dataset[0, 1], channels, 40, 48)


def test_small_images_and_16_bits_are_supported(tmp_path: Path) -> None:
    put(tmp_path / "a.png", noise(0, 5, 7))
    put(tmp_path / "b.png", noise(1).astype(np.uint16) * 257)
    for augment, size in ((True, (24, 32)), (False, (5, 7))):
        dataset, _ = open_masked(tmp_path, "train", CROPS, 0, augment)
        check_sample(dataset[0, 0], 3, *size)
    np.testing.assert_array_equal(dataset[0, 1].image, to_float(noise(1).astype(np.uint16) * 257))


def test_missing_files_and_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        open_masked(tmp_path / "nowhere", "train", CROPS, 0, True)
    put_all(tmp_path / "train", "a")
    with pytest.raises(MissingSplitError, match="no val images"):
        open_masked(tmp_path, "val", CROPS, 0, False)
    with pytest.raises(UserError, match="holds the mask files"):
        open_masked(tmp_path, "train", replace(CROPS, masks=tmp_path / "nowhere"), 0, True)
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match="no mask files; put masks into it"):
        open_masked(tmp_path, "train", replace(CROPS, masks=tmp_path / "masks"), 0, True)
    (tmp_path / "train" / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="the file is empty"):
        open_masked(tmp_path, "train", CROPS, 0, True)


@pytest.mark.parametrize("bad", [{"image_channels": -1}, {"mask_threshold": 0}, {"mask_threshold": 256}])
def test_invalid_options_are_rejected(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        MaskedConfig(**bad)


def test_dataset_needs_a_resolved_channel_count() -> None:
    with pytest.raises(ValueError, match="open_masked"):
        MaskedImages((), None, MaskedConfig(), 0, False)
