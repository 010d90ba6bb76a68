"""The data set of restoration: crops, degradations and masks, all from (seed, epoch, index)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import photo

from gan_tasks.datasets import restoration
from gan_tasks.datasets.degradations import photographs
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.datasets.restoration import (
    MARGIN,
    Degraded,
    DegradedImages,
    RestorationDataConfig,
    open_restoration,
)

KINDS = pytest.mark.parametrize("kind", ["photographs", "damage"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for split in ("train", "test"):
        (root / split).mkdir()
        for index in range(3):
            write(root / split / f"{index}.png", Picture(photo(70, 90, seed=index)))
    return root


def opened(root: Path, kind: str, *, seed: int = 0, augment: bool = True, **options: float) -> DegradedImages:
    config = RestorationDataConfig(degradation=kind, **({"crop_size": 32} | options))  # type: ignore[arg-type]
    return open_restoration(root, "train" if augment else "test", config, seed, augment)[0]


def equal(a: Degraded[np.ndarray], b: Degraded[np.ndarray]) -> bool:  # type: ignore[type-arg]
    return all(map(np.array_equal, a, b))


@KINDS
def test_a_sample_depends_on_seed_epoch_and_index_alone(photos: Path, kind: str) -> None:
    first, again, other = opened(photos, kind), opened(photos, kind), opened(photos, kind, seed=1)
    sample = first[(2, 1)]
    assert sample.degraded.shape == sample.clean.shape == (3, 32, 32) and sample.mask.shape == (1, 32, 32)
    assert equal(sample, again[(2, 1)])
    assert not any(equal(sample, each) for each in (first[(3, 1)], first[(2, 0)], other[(2, 1)]))


@KINDS
def test_held_out_photographs_are_whole_and_the_same_in_each_run(photos: Path, kind: str) -> None:
    sample = opened(photos, kind, augment=False)[(0, 1)]
    assert equal(sample, opened(photos, kind, seed=5, augment=False)[(9, 1)])
    assert sample.clean.shape == (3, 70, 90)


@KINDS
def test_held_out_photographs_are_degraded_whatever_the_clean_share(photos: Path, kind: str) -> None:
    """The PSNR of an undegraded one would be infinite."""
    data = opened(photos, kind, augment=False, clean_share=1.0)
    assert not any(np.array_equal(data[(0, index)].degraded, data[(0, index)].clean) for index in range(len(data)))


@KINDS
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_clean_and_gray_shares(photos: Path, kind: str, share: float) -> None:
    data = opened(photos, kind, clean_share=share, gray_share=share)
    samples = [data[(epoch, 0)] for epoch in range(6)]
    for sample in samples:
        assert all(np.array_equal(each[0], each[1]) == bool(share) for each in (sample.clean, sample.degraded))
    # A small crop may lie beside the damage.
    unchanged = [np.array_equal(sample.degraded, sample.clean) for sample in samples]
    assert all(unchanged) if share else not all(unchanged)


def test_damage_of_a_gray_photograph_is_gray(photos: Path) -> None:
    sample = opened(photos, "damage", gray_share=1.0, clean_share=0.0)[(0, 0)]
    assert sample.mask.any() and np.array_equal(sample.degraded[0], sample.degraded[2])


def test_the_mask_is_where_damage_is_visible(photos: Path) -> None:
    data = opened(photos, "damage", clean_share=0.0)
    for epoch in range(5):
        sample = data[(epoch, 0)]
        levels = np.abs(sample.degraded - sample.clean).max(axis=0) * 127.5
        assert np.array_equal(sample.mask[0] > 0, levels > 4.5)


def test_photographs_smaller_than_the_crop_are_reflected(photos: Path) -> None:
    assert opened(photos, "photographs", crop_size=96)[(0, 0)].clean.shape == (3, 96, 96)


@pytest.mark.parametrize(("margin", "expected"), [(MARGIN, set(range(8))), (1, {0})])
def test_blocks_of_a_jpeg_begin_anywhere_in_the_crop(
    margin: int, expected: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a margin a model would see them at one place only, and not repair cropped photographs."""
    monkeypatch.setattr(restoration, "MARGIN", margin)
    monkeypatch.setattr(restoration, "CROPPED_SHARE", 1.0)
    monkeypatch.setattr(photographs, "draw_kinds", lambda rng: ["jpeg"])
    monkeypatch.setitem(photographs.STEPS, "jpeg", lambda pixels, rng: of_quality_10(pixels))
    rows, columns = np.mgrid[:90, :90]
    smooth = 128 + 60 * np.sin(rows / 9) + 60 * np.sin(columns / 9)
    write(tmp_path / "smooth.png", Picture(np.repeat(smooth[..., None], 3, axis=2).astype(np.uint8)))
    data = opened(tmp_path, "photographs", clean_share=0.0)
    assert {first_block(data[(epoch, 0)].degraded) for epoch in range(60)} == expected


def of_quality_10(pixels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    _, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 10])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))


def first_block(image: np.ndarray) -> int:  # type: ignore[type-arg]
    """Return the first column, from 0 to 7, at which a block of 8 columns begins."""
    bends = np.abs(np.diff(image, n=3, axis=2)).mean(axis=(0, 1))  # largest for a step in the middle of four columns
    return (int(np.argmax([bends[phase::8].mean() for phase in range(8)])) + 2) % 8


def test_what_cannot_be_used_is_said(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="crop_size is 0"):
        RestorationDataConfig(crop_size=0)
    with pytest.raises(MissingSplitError, match="holds no test images"):
        open_restoration(photos / "train", "test", RestorationDataConfig(), 0, False)
    write(tmp_path / "good.png", Picture(photo(40, 40, seed=0)))
    (tmp_path / "bad.png").write_bytes(b"no image")
    _, found = open_restoration(tmp_path, "train", RestorationDataConfig(), 0, True)
    assert "1 image" in found.summary and [problem.path.name for problem in found.problems] == ["bad.png"]
    with pytest.raises(UserError, match="without --strict"):
        open_restoration(tmp_path, "train", RestorationDataConfig(strict=True), 0, True)
