"""Test the data set of super-resolution: downscaling, pairs of files, crops, flips, and rejected input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.images import Picture, Pixels, fit_channels, read, to_float, write
from gan_tasks.datasets.images.resize import bicubic
from gan_tasks.datasets.super_resolution import (
    HighAndLow,
    SuperResolutionDataConfig,
    SuperResolutionImages,
    open_super_resolution,
)

BENCHMARK = Path(__file__).parents[2].parent / "shared" / "data" / "sr_x4"
needs_benchmark = pytest.mark.skipif(not BENCHMARK.is_dir(), reason=f"no super-resolution benchmark at {BENCHMARK}")

LEVEL = 2 / 255
SCALES = (1, 2, 3, 4, 8)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def noise(seed: int, height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> Pixels:
    rng = np.random.default_rng(seed)
    return rng.integers(0, int(np.iinfo(dtype).max) + 1, (height, width, channels), dtype=dtype)


def put(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Picture(pixels))
    return path


def opened(root: Path, *, augment: bool = False, seed: int = 0, **options: object) -> SuperResolutionImages:
    return open_super_resolution(root, "train", SuperResolutionDataConfig(**options), seed, augment)[0]  # type: ignore[arg-type]


def places(part: Pixels, whole: Pixels) -> list[tuple[int, int]]:
    """Return the positions of an exact copy of a C×h×w part in a C×H×W image."""
    windows = sliding_window_view(whole, part.shape)[0]
    return [(int(top), int(left)) for top, left in zip(*np.nonzero((windows == part).all((2, 3, 4))), strict=True)]


def shapes(sample: tuple[Pixels, ...]) -> list[tuple[int, ...]]:
    return [image.shape for image in sample]


# Low-resolution images made from high-resolution ones.


@needs_benchmark
@pytest.mark.parametrize("name", ["Set5/HR/img_004.png", "Set14/HR/img_005.png", "Set14/HR/img_003.png"])
def test_low_resolution_image_matches_matlab(name: str) -> None:
    high = BENCHMARK / name
    data = SuperResolutionImages([HighAndLow(high, None)], SuperResolutionDataConfig(), seed=0, augment=False)
    low, _ = data[(0, 0)]
    expected = to_float(fit_channels(read(BENCHMARK / name.replace("HR", "LR")).pixels, 3))
    np.testing.assert_allclose(low, expected, atol=1.01 * LEVEL)


@pytest.mark.parametrize("scale", SCALES)
def test_complete_image_is_cut_to_a_multiple_and_downscaled(scale: int, tmp_path: Path) -> None:
    pixels = noise(0, 37, 50)
    put(tmp_path / "a.png", pixels)
    low, high = opened(tmp_path, scale=scale, crop_size=4 * scale)[(0, 0)]
    height, width = 37 // scale, 50 // scale
    assert shapes((low, high)) == [(3, height, width), (3, scale * height, scale * width)]
    assert low.dtype == high.dtype == np.float32
    np.testing.assert_array_equal(high, to_float(pixels[: scale * height, : scale * width]))
    np.testing.assert_array_equal(low, to_float(bicubic(pixels[: scale * height, : scale * width], (height, width))))
    if scale == 1:
        np.testing.assert_array_equal(low, high)


@pytest.mark.parametrize("scale", SCALES)
def test_low_crop_equals_the_crop_of_the_downscaled_image(scale: int, tmp_path: Path) -> None:
    """It is equal bit for bit: because of the margin, the border of the crop has no effect."""
    pixels = noise(1, 20 * scale, 22 * scale)
    put(tmp_path / "a.png", pixels)
    data = opened(tmp_path, augment=True, scale=scale, crop_size=6 * scale, flip=False)
    corners = set()
    for epoch in range(6):
        low, high = data[(epoch, 0)]
        assert shapes((low, high)) == [(3, 6, 6), (3, 6 * scale, 6 * scale)]
        ((top, left),) = places(high, to_float(pixels))
        corners.add((top, left))
        on_its_grid = pixels[top % scale :, left % scale :]
        size = on_its_grid.shape[0] // scale, on_its_grid.shape[1] // scale
        whole = bicubic(on_its_grid[: size[0] * scale, : size[1] * scale], size)
        expected = to_float(whole)[:, top // scale :, left // scale :][:, :6, :6]
        np.testing.assert_array_equal(low, expected)
    assert len(corners) > 1


def test_crops_may_start_at_any_position(tmp_path: Path) -> None:
    """Crops are not restricted to multiples of the scale."""
    pixels = noise(2, 24 + 64, 24 + 64)
    put(tmp_path / "a.png", pixels)
    data = opened(tmp_path, augment=True, scale=8, crop_size=16, flip=False)
    found = [places(data[(epoch, 0)].high, to_float(pixels))[0] for epoch in range(60)]
    assert {top % 8 for top, _ in found} == {left % 8 for _, left in found} == set(range(8))


@settings(max_examples=25, deadline=None)
@given(height=st.integers(2, 60), width=st.integers(2, 60), scale=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99))
def test_images_smaller_than_the_crop_are_padded_by_reflection(
    height: int, width: int, scale: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    height, width = max(height, scale), max(width, scale)
    path = put(tmp_path_factory.mktemp("small") / "a.png", noise(seed, height, width))
    config = SuperResolutionDataConfig(scale=scale, crop_size=8 * scale, flip=False)
    low, high = SuperResolutionImages([HighAndLow(path, None)], config, seed, augment=True)[(0, 0)]
    assert shapes((low, high)) == [(3, 8, 8), (3, 8 * scale, 8 * scale)]
    around = to_float(np.pad(read(path).pixels, [(100, 100), (100, 100), (0, 0)], mode="symmetric"))
    assert places(high, around)
    if scale == 1:
        np.testing.assert_array_equal(low, high)


# Pairs of files.


@pytest.mark.parametrize("suffix", ["", "x4", "_x4"])
@pytest.mark.parametrize(("folder", "names"), [("train", ("HR", "LR")), (".", ("high", "low"))])
def test_pairs_are_read_from_two_folders(suffix: str, folder: str, names: tuple[str, str], tmp_path: Path) -> None:
    for number, stem in enumerate("ba"):
        put(tmp_path / folder / names[0] / f"{stem}.png", noise(number, 32, 40))
        put(tmp_path / folder / names[1] / f"{stem}{suffix}.png", noise(10 + number, 8, 10))
    data, found = open_super_resolution(tmp_path, "train", SuperResolutionDataConfig(crop_size=16), 0, False)
    assert [data.name(index) for index in range(len(data))] == ["a", "b"] and not found.problems
    assert "2 images" in found.summary and "1/4 size from files" in found.summary
    low, high = data[(0, 0)]
    np.testing.assert_array_equal(low, to_float(noise(11, 8, 10)))
    np.testing.assert_array_equal(high, to_float(noise(1, 32, 40)))


def test_pair_gets_the_same_crop_and_flips(tmp_path: Path) -> None:
    """The high image repeats each pixel of the low one. This must still hold after cropping and flipping."""
    small = noise(0, 9, 12)
    put(tmp_path / "LR" / "a.png", small)
    put(tmp_path / "HR" / "a.png", small.repeat(4, 0).repeat(4, 1))
    data = opened(tmp_path, augment=True, crop_size=20)
    orientations = set()
    for epoch in range(60):
        low, high = data[(epoch, 0)]
        assert low.shape == (3, 5, 5)
        np.testing.assert_array_equal(high, low.repeat(4, 1).repeat(4, 2))
        for turns in range(4):
            for mirrored in (False, True):
                upright = np.rot90(low[:, :, ::-1] if mirrored else low, turns, (1, 2))
                if places(upright, to_float(small)):
                    orientations.add((turns, mirrored))
    assert len(orientations) == 8


def test_small_pair_is_padded_by_whole_low_resolution_pixels(tmp_path: Path) -> None:
    small = noise(0, 3, 6)
    put(tmp_path / "LR" / "a.png", small)
    put(tmp_path / "HR" / "a.png", small.repeat(4, 0).repeat(4, 1))
    data = opened(tmp_path, augment=True, crop_size=32)
    for epoch in range(5):
        low, high = data[(epoch, 0)]
        assert low.shape == (3, 8, 8)
        np.testing.assert_array_equal(high, low.repeat(4, 1).repeat(4, 2))


def test_high_image_may_have_a_remainder(tmp_path: Path) -> None:
    """A quarter of 33 × 43 px is 8 × 10 px; the last row and the last three columns are not used."""
    pixels = noise(0, 33, 43)
    put(tmp_path / "HR" / "a.png", pixels)
    put(tmp_path / "LR" / "a.png", noise(1, 8, 10))
    low, high = opened(tmp_path, crop_size=16)[(0, 0)]
    assert low.shape == (3, 8, 10)
    np.testing.assert_array_equal(high, to_float(pixels[:32, :40]))


@pytest.mark.parametrize("folder", ["HR", "high"])
def test_folder_of_high_images_only_is_downscaled(folder: str, tmp_path: Path) -> None:
    put(tmp_path / "train" / folder / "a.png", noise(0, 32, 40))
    low, _ = opened(tmp_path, crop_size=16)[(0, 0)]
    np.testing.assert_array_equal(low, to_float(bicubic(noise(0, 32, 40), (8, 10))))


# Reproducibility.


@pytest.mark.parametrize("degradation", ["bicubic", "real-esrgan"])
def test_sample_depends_on_seed_epoch_and_index_only(degradation: str, tmp_path: Path) -> None:
    for name in "ab":
        put(tmp_path / f"{name}.png", noise(3, 100, 100))
    options = {"crop_size": 16, "scale": 2, "degradation": degradation, "degrade_on": "workers"}
    data, again, other = (opened(tmp_path, augment=True, seed=seed, **options) for seed in (5, 5, 6))
    for key in ((1, 1), (0, 0), (0, 1)):  # read other samples first
        again[key]
    for first, second in zip(data[(2, 1)], again[(2, 1)], strict=True):
        np.testing.assert_array_equal(first, second)
    for different in (data[(2, 0)], data[(3, 1)], other[(2, 1)]):
        assert not np.array_equal(different.high, data[(2, 1)].high)


def test_complete_images_are_degraded_the_same_each_time(tmp_path: Path) -> None:
    put(tmp_path / "a.png", noise(0, 33, 40))
    options = {"degradation": "real-esrgan", "degrade_on": "workers"}
    first, second = (opened(tmp_path, **options)[(0, 0)] for _ in range(2))
    assert shapes(first) == [(3, 8, 10), (3, 32, 40)]
    np.testing.assert_array_equal(first.low, second.low)


def test_samples_to_degrade_on_the_device_have_a_margin(tmp_path: Path) -> None:
    put(tmp_path / "a.png", noise(0, 120, 120))
    options = {"degradation": "real-esrgan", "degrade_on": "device", "crop_size": 16, "scale": 2}
    low, high = opened(tmp_path, augment=True, **options)[(0, 0)]
    assert shapes((low, high)) == [(3, 24, 24), (3, 48, 48)]


@pytest.mark.parametrize(
    ("folders", "low_folder"),
    [
        (("HR", "LR"), "LR"),
        (("high", "low"), "low"),
        (("GTmod12", "LRbicx2", "LRbicx4"), "LRbicx4"),
        (("GT", "LR_bicubic/X2", "LR_bicubic/X4"), "LR_bicubic/X4"),
        (("hr", "lr_x4", "original"), "lr_x4"),
        (("HR", "LRx2"), None),  # of another scale: the low-resolution images are made
        (("HR",), None),
    ],
)
def test_the_folders_of_benchmarks_are_known(
    folders: tuple[str, ...], low_folder: str | None, tmp_path: Path
) -> None:
    for index, name in enumerate(folders):
        side = 16 if index == 0 else 8 if name[-1] == "2" else 4
        put(tmp_path / name / "a.png", noise(0, side, side))
    config = SuperResolutionDataConfig(crop_size=8)
    _, found = open_super_resolution(tmp_path, "train", config, 0, False)
    (files,) = found.images
    assert files.high == tmp_path / folders[0] / "a.png"
    assert files.low == (None if low_folder is None else tmp_path / low_folder / "a.png")


# Channels and bit depths.


@pytest.mark.parametrize("present", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_gray_colour_and_alpha_are_converted(present: int, channels: int, tmp_path: Path) -> None:
    pixels = noise(0, 16, 16, present)
    put(tmp_path / "a.png", pixels)
    low, high = opened(tmp_path, channels=channels, crop_size=8)[(0, 0)]
    assert shapes((low, high)) == [(channels, 4, 4), (channels, 16, 16)]
    np.testing.assert_array_equal(high, to_float(fit_channels(pixels, channels)))


def test_16_bits_are_kept(tmp_path: Path) -> None:
    pixels = noise(0, 16, 16, dtype=np.uint16)
    put(tmp_path / "a.png", pixels)
    low, high = opened(tmp_path, crop_size=8)[(0, 0)]
    np.testing.assert_array_equal(high, to_float(pixels))
    np.testing.assert_array_equal(low, to_float(bicubic(pixels, (4, 4))))
    degraded = opened(tmp_path, crop_size=8, degradation="real-esrgan", degrade_on="workers")[(0, 0)]
    assert shapes(degraded) == [(3, 4, 4), (3, 16, 16)] and np.abs(degraded.low).max() <= 1


# Rejected input.


def test_unusable_files_are_listed_and_the_others_used(tmp_path: Path) -> None:
    high, low = tmp_path / "train" / "HR", tmp_path / "train" / "LR"
    for name in ("good", "wrong_size", "no_low", "many", "deep"):
        put(high / f"{name}.png", noise(0, 16, 16))
    for name, side in (("good", 4), ("wrong_size", 5), ("no_high", 4), ("many", 4), ("deep", 4)):
        put(low / f"{name}x4.png", noise(0, side, side))
    put(low / "manyx4.bmp", noise(0, 4, 4))
    put(high / "tiny.png", noise(0, 3, 16))
    put(low / "tiny.png", noise(0, 1, 4))
    write(high / "layers.tif", Picture(noise(0, 16, 16, 5)))
    put(low / "layers.png", noise(0, 4, 4))
    (high / "deep.png").write_bytes(b"")
    (low / "notes.txt").write_text("LR by bicubic")
    data, found = open_super_resolution(tmp_path, "train", SuperResolutionDataConfig(crop_size=8), 0, False)
    assert [data.name(index) for index in range(len(data))] == ["good"]
    problems = {(problem.path.parent.name, problem.path.name): problem.reason for problem in found.problems}
    assert problems.keys() == {
        ("LR", "wrong_sizex4.png"),
        ("HR", "no_low.png"),
        ("LR", "no_highx4.png"),
        ("HR", "many.png"),
        ("LR", "manyx4.png"),
        ("LR", "manyx4.bmp"),
        ("HR", "deep.png"),
        ("HR", "tiny.png"),
        ("HR", "layers.tif"),
        ("LR", "notes.txt"),
    }
    assert "5 × 5 px; expected 4 × 4 px, 1/4" in problems["LR", "wrong_sizex4.png"]
    assert "no partner called no_low" in problems["HR", "no_low.png"]
    assert "keep one of each" in problems["HR", "many.png"]
    assert "empty" in problems["HR", "deep.png"]
    assert "16 × 3 px; expected at least 4 × 4 px" in problems["HR", "tiny.png"]
    assert "5 channels" in problems["HR", "layers.tif"]
    assert "10 files with problems left out" in found.summary
    with pytest.raises(UserError, match="without --strict"):
        opened(tmp_path, crop_size=8, strict=True)


def test_low_images_of_the_size_of_the_high_ones_are_named(tmp_path: Path) -> None:
    for name, side in (("a", 16), ("b", 4)):
        put(tmp_path / "Train" / "hr" / f"{name}.png", noise(0, 16, 16))
        put(tmp_path / "Train" / "Lq" / f"{name}.png", noise(0, side, side))
    _, found = open_super_resolution(tmp_path, "train", SuperResolutionDataConfig(crop_size=8), 0, False)
    assert [problem.path.name for problem in found.problems] == ["a.png"]
    assert "has the size of the high-resolution image" in found.problems[0].reason


def test_missing_images_are_reported_with_the_expected_layout(tmp_path: Path) -> None:
    config = SuperResolutionDataConfig()
    with pytest.raises(UserError, match="is not a folder"):
        open_super_resolution(tmp_path / "missing", "train", config, 0, False)
    with pytest.raises(MissingSplitError, match="folders HR and LR"):
        open_super_resolution(tmp_path, "train", config, 0, False)
    put(tmp_path / "a.png", noise(0, 16, 16))
    assert len(open_super_resolution(tmp_path, "train", config, 0, False)[0]) == 1
    with pytest.raises(MissingSplitError, match="holds no test images"):
        open_super_resolution(tmp_path, "test", config, 0, False)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "b.png").write_text("not an image")
    with pytest.raises(UserError, match=r"no usable image(.|\n)*b\.png"):
        open_super_resolution(tmp_path, "test", config, 0, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 5}, "scale is 5; give 1, 2, 3, 4 or 8"),
        ({"scale": 0}, "scale is 0"),
        ({"crop_size": 130}, "crop_size is 130.*such as 128"),
        ({"scale": 3}, "crop_size is 128.*such as 126"),
        ({"scale": 8, "crop_size": 4}, "crop_size is 4.*such as 8"),
        ({"crop_size": 0}, "crop_size is 0"),
        ({"crop_size": -8}, "crop_size is -8"),
        ({"degradation": "real-esrgan", "channels": 1}, "--channels 3"),
    ],
)
def test_invalid_options_are_rejected(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SuperResolutionDataConfig(**options)  # type: ignore[arg-type]
