"""Test the data set of pairs: layouts, problems, and samples."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_tasks.datasets.augmentations import FramingConfig
from gan_tasks.datasets.errors import DoubtfulDataError, UserError
from gan_tasks.datasets.images import Picture, fit_channels, read, to_float, to_uint8, write
from gan_tasks.datasets.paired import PairedConfig, PairedImages, find_pairs, open_pairs

AS_IS = PairedConfig(framing=FramingConfig(load_size=0, crop_size=(0, 0), flip=False))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def noise(seed: int, height: int = 12, width: int = 10, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Picture(pixels))


def put_pairs(a: Path, b: Path, stems: str) -> None:
    for number, stem in enumerate(stems):
        put(a / f"{stem}.png", noise(2 * number))
        put(b / f"{stem}.png", noise(2 * number + 1))


def put_aligned(folder: Path, stems: str) -> None:
    for number, stem in enumerate(stems):
        put(folder / f"{stem}.png", np.hstack([noise(2 * number), noise(2 * number + 1)]))


def stems(found: object) -> str:
    return "".join(files.stem for files in found.pairs)  # type: ignore[attr-defined]


FOLDER_LAYOUTS = {
    "in the split": ("train/A", "train/B"),
    "by the split's name": ("trainA", "trainB"),
    "in the root": ("A", "B"),
}


@pytest.mark.parametrize("layout", FOLDER_LAYOUTS)
def test_folders_a_and_b_are_found(layout: str, tmp_path: Path) -> None:
    a, b = FOLDER_LAYOUTS[layout]
    put_pairs(tmp_path / a, tmp_path / b, "cab")
    found = find_pairs(tmp_path, "train", PairedConfig())
    assert (found.layout, stems(found), found.problems) == ("folders", "abc", ())
    assert found.split_folder == (tmp_path / a).parent
    source, target = open_pairs(tmp_path, "train", AS_IS, 0, False)[0][0, 1]
    np.testing.assert_array_equal(source, to_float(read(tmp_path / a / "b.png").pixels))
    np.testing.assert_array_equal(target, to_float(read(tmp_path / b / "b.png").pixels))


@pytest.mark.parametrize("folder", ["train", "."])
def test_aligned_files_are_split_into_halves(folder: str, tmp_path: Path) -> None:
    put_aligned(tmp_path / folder, "xyz")
    dataset, found = open_pairs(tmp_path, "train", AS_IS, 0, False)
    assert (found.layout, stems(found)) == ("aligned", "xyz")
    source, target = dataset[0, 2]
    np.testing.assert_array_equal(source, to_float(noise(4)))
    np.testing.assert_array_equal(target, to_float(noise(5)))


def test_direction_swaps_source_and_target(tmp_path: Path) -> None:
    put_aligned(tmp_path, "x")
    forward = open_pairs(tmp_path, "train", AS_IS, 0, False)[0][0, 0]
    backward = open_pairs(tmp_path, "train", replace(AS_IS, direction="b-to-a"), 0, False)[0][0, 0]
    np.testing.assert_array_equal(forward.source, backward.target)
    np.testing.assert_array_equal(forward.target, backward.source)


def test_stems_may_differ_in_suffix(tmp_path: Path) -> None:
    put(tmp_path / "A" / "x.png", noise(0))
    put(tmp_path / "B" / "x.JPG".lower(), noise(1))
    assert stems(find_pairs(tmp_path, "train", PairedConfig())) == "x"


def test_val_and_test_must_have_their_own_folder(tmp_path: Path) -> None:
    put_pairs(tmp_path / "A", tmp_path / "B", "a")
    put_pairs(tmp_path / "test" / "A", tmp_path / "test" / "B", "t")
    assert stems(find_pairs(tmp_path, "test", PairedConfig())) == "t"
    with pytest.raises(UserError, match="val"):
        find_pairs(tmp_path, "val", PairedConfig())


def test_layout_can_be_chosen(tmp_path: Path) -> None:
    put_pairs(tmp_path / "A", tmp_path / "B", "ab")
    put_aligned(tmp_path, "x")
    assert stems(find_pairs(tmp_path, "train", PairedConfig())) == "ab"
    assert stems(find_pairs(tmp_path, "train", PairedConfig(layout="aligned"))) == "x"


def test_summary_is_one_line_and_names_the_options(tmp_path: Path) -> None:
    put_pairs(tmp_path / "A", tmp_path / "B", "abc")
    summary = find_pairs(tmp_path, "train", PairedConfig()).summary
    assert "\n" not in summary
    for part in ("3 pairs", str(tmp_path), "a-to-b", "layout", "direction"):
        assert part in summary


def test_missing_pairs_are_reported_with_the_expected_layout(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match=r"A/ and B/|not a folder"):
            open_pairs(root, "train", PairedConfig(), 0, True)
    (tmp_path / "A").mkdir()
    (tmp_path / "B").mkdir()
    with pytest.raises(UserError, match="no usable train pair"):
        open_pairs(tmp_path, "train", PairedConfig(), 0, True)


def test_mismatches_are_listed_and_left_out(tmp_path: Path) -> None:
    a, b = tmp_path / "A", tmp_path / "B"
    put_pairs(a, b, "abcdefg")
    (b / "b.png").unlink()  # no partner
    put(b / "z.png", noise(0))  # no partner
    put(a / "c.jpg", noise(0))  # two of one stem
    put(b / "d.png", noise(0, height=13))  # another size
    (a / "e.png").write_bytes(b"not an image")
    put(b / "f.tif", noise(0, channels=7))  # two of one stem
    (a / "notes.txt").write_text("not an image")
    (a / ".hidden").write_text("skipped")
    dataset, found = open_pairs(tmp_path, "train", AS_IS, 0, False)
    assert stems(found) == "ag"
    assert len(dataset) == 2
    listed = {str(problem.path.relative_to(tmp_path)): problem.reason for problem in found.problems}
    assert listed.keys() == {
        *("A/b.png", "B/z.png", "A/c.jpg", "A/c.png", "B/c.png", "B/d.png"),
        *("A/e.png", "A/f.png", "B/f.png", "B/f.tif", "A/notes.txt"),
    }
    assert "10 × 13" in listed["B/d.png"]
    assert "10 × 12" in listed["B/d.png"]
    assert "11 files" in found.summary


def test_aligned_files_need_an_even_width_and_one_stem(tmp_path: Path) -> None:
    put_aligned(tmp_path, "ab")
    put(tmp_path / "odd.png", noise(0, width=21))
    put(tmp_path / "b.jpg", noise(0))
    _, found = open_pairs(tmp_path, "train", AS_IS, 0, False)
    assert stems(found) == "a"
    assert sorted(problem.path.name for problem in found.problems) == ["b.jpg", "b.png", "odd.png"]


def test_twelve_damaged_files_of_a_hundred_are_listed(tmp_path: Path) -> None:
    names = [f"{number:03}" for number in range(100)]
    for number, name in enumerate(names):
        put(tmp_path / "train" / f"{name}.png", noise(number, width=20))
    good_png = (tmp_path / "train" / "050.png").read_bytes()
    write(tmp_path / "x.jpg", Picture(noise(0)))
    bomb = good_png[:16] + (30_000).to_bytes(4, "big") * 2 + good_png[24:]
    contents = [
        b"",
        b"text",
        good_png[:100],
        good_png[: len(good_png) // 2],
        (tmp_path / "x.jpg").read_bytes()[:-50],
        bomb,
    ]
    bad = names[5:95:8]
    assert len(bad) == 12
    for number, name in enumerate(bad):
        (tmp_path / "train" / f"{name}.png").write_bytes(contents[number % len(contents)])
    dataset, found = open_pairs(tmp_path, "train", AS_IS, 0, False)
    assert len(dataset) == 88
    assert [problem.path.stem for problem in found.problems] == bad
    assert all(problem.reason for problem in found.problems)
    with pytest.raises(UserError) as raised:
        open_pairs(tmp_path, "train", replace(AS_IS, strict=True), 0, False)
    assert all(f"{name}.png" in str(raised.value) for name in bad)


def test_channels_are_taken_from_the_first_good_pair(tmp_path: Path) -> None:
    put(tmp_path / "A" / "a.png", noise(0, channels=1))
    put(tmp_path / "A" / "b.png", noise(1, channels=3))
    put(tmp_path / "B" / "a.png", noise(2, channels=4))
    put(tmp_path / "B" / "b.png", noise(3, channels=3))
    dataset, _ = open_pairs(tmp_path, "train", AS_IS, 0, False)
    assert (dataset.source_channels, dataset.target_channels) == (1, 4)
    source, target = dataset[0, 1]
    np.testing.assert_array_equal(source, to_float(fit_channels(noise(1), 1)))
    assert (target[3] == 1).all()
    swapped, _ = open_pairs(tmp_path, "train", replace(AS_IS, direction="b-to-a", target_channels=3), 0, False)
    assert (swapped.source_channels, swapped.target_channels) == (4, 3)


def test_channels_that_cannot_be_converted_are_a_problem(tmp_path: Path) -> None:
    for name, channels in (("a", 7), ("b", 3), ("c", 7)):
        put(tmp_path / "A" / f"{name}.tif", noise(0, channels=channels))
        put(tmp_path / "B" / f"{name}.png", noise(1))
    dataset, found = open_pairs(tmp_path, "train", AS_IS, 0, False)
    assert (dataset.source_channels, stems(found)) == (7, "ac")
    assert "3 channels" in found.problems[0].reason


CROPS = PairedConfig(framing=FramingConfig(load_size=40, crop_size=(24, 24)))


def test_crops_differ_within_an_epoch_and_between_epochs(tmp_path: Path) -> None:
    for stem in "abcdef":  # the same image six times
        put(tmp_path / f"{stem}.png", np.hstack([noise(0, 40, 40), noise(1, 40, 40)]))
    dataset, _ = open_pairs(tmp_path, "train", CROPS, 0, True)
    samples = [dataset[epoch, index].source.tobytes() for epoch in range(3) for index in range(6)]
    assert len(set(samples)) == len(samples)
    assert samples == [dataset[epoch, index].source.tobytes() for epoch in range(3) for index in range(6)]
    other_seed, _ = open_pairs(tmp_path, "train", CROPS, 1, True)
    assert other_seed[0, 0].source.tobytes() != samples[0]


def test_evaluation_gets_complete_images(tmp_path: Path) -> None:
    put_aligned(tmp_path, "x")
    dataset, _ = open_pairs(tmp_path, "train", replace(CROPS, photometric=1.0, denoise=9.0), 0, False)
    np.testing.assert_array_equal(dataset[5, 0].source, to_float(noise(0)))


def test_extra_data_is_drawn_with_its_weight_and_only_in_training(tmp_path: Path) -> None:
    for stem in "abc":
        put(tmp_path / "real" / f"{stem}.png", np.zeros((8, 16, 3), np.uint8))
        put(tmp_path / "made" / "A" / f"{stem}.png", np.full((8, 8, 3), 255, np.uint8))
        put(tmp_path / "made" / "B" / f"{stem}.png", np.full((8, 8, 3), 255, np.uint8))
    (tmp_path / "made" / "A" / "bad.png").write_bytes(b"")
    cropped = FramingConfig(load_size=0, crop_size=(4, 4), flip=False)
    config = replace(AS_IS, extra_data=tmp_path / "made", extra_weight=0.3, framing=cropped)
    dataset, found = open_pairs(tmp_path / "real", "train", config, 0, True)
    drawn = np.array([dataset[epoch, index].source.mean() for epoch in range(200) for index in range(3)])
    assert len(dataset) == 3
    assert abs((drawn == 1).mean() - 0.3) < 0.06
    assert [problem.path.name for problem in found.problems] == ["bad.png"]
    evaluation, _ = open_pairs(tmp_path / "real", "train", config, 0, False)
    assert all(evaluation[0, index].source.mean() == -1 for index in range(3))


@pytest.mark.parametrize("bad", [{"photometric": 2.0}, {"extra_weight": -0.1}, {"denoise": -1.0}])
def test_invalid_options_are_rejected(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        PairedConfig(**bad)


def test_dataset_needs_resolved_channel_counts() -> None:
    with pytest.raises(ValueError, match="open_pairs"):
        PairedImages((), PairedConfig(), 0, False)


def test_files_named_before_and_after_are_pairs(tmp_path: Path) -> None:
    for number in range(2):
        put(tmp_path / "train" / f"{number}_before.png", noise(2 * number))
        put(tmp_path / "train" / f"{number}_after.png", noise(2 * number + 1))
    put(tmp_path / "train" / "other.png", noise(9))
    dataset, found = open_pairs(tmp_path, "train", AS_IS, 0, False)
    assert (found.layout, stems(found)) == ("names", "01")
    assert "such as 0_before.png and 0_after.png" in found.summary
    assert [problem.path.name for problem in found.problems] == ["other.png"]
    np.testing.assert_array_equal(dataset[0, 1].source, to_float(noise(2)))
    np.testing.assert_array_equal(dataset[0, 1].target, to_float(noise(3)))
    aligned = find_pairs(tmp_path, "train", replace(AS_IS, layout="aligned"))
    assert (aligned.layout, len(aligned.pairs)) == ("aligned", 5)


def smooth(seed: int, height: int, width: int) -> np.ndarray:
    """Make an image in which each column is like its neighbours."""
    columns = noise(seed, height, width // 8 + 2).repeat(8, axis=1).astype(float)
    window = np.ones(8) / 8
    blurred = np.apply_along_axis(lambda row: np.convolve(row, window, mode="valid"), 1, columns)
    return blurred[:, :width].astype(np.uint8)


def test_halves_of_single_pictures_are_questioned(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / "train" / f"{number}.png", smooth(number, 64, 96))
        put(tmp_path / "val" / f"{number}.png", np.hstack([smooth(number, 64, 48), smooth(number + 9, 64, 48)]))
    with pytest.raises(DoubtfulDataError, match=r"4 files in .*train look like single pictures.*--layout aligned"):
        open_pairs(tmp_path, "train", AS_IS, 0, False)
    assert len(open_pairs(tmp_path, "val", AS_IS, 0, False)[0]) == 4
    assert len(open_pairs(tmp_path, "train", replace(AS_IS, layout="aligned"), 0, False)[0]) == 4


def test_two_folders_are_named_and_taken_with_options(tmp_path: Path) -> None:
    a, b = tmp_path / "photos", tmp_path / "paintings"
    put_pairs(a, b, "xy")
    with pytest.raises(UserError, match=f"--a {b} --b {a}"):
        open_pairs(tmp_path, "train", AS_IS, 0, False)
    dataset, found = open_pairs(tmp_path, "train", replace(AS_IS, a=a, b=b), 0, False)
    assert (stems(found), "A in the folder photos, B in paintings" in found.summary) == ("xy", True)
    np.testing.assert_array_equal(dataset[0, 0].source, to_float(noise(0)))
    with pytest.raises(UserError, match="give both"):
        PairedConfig(a=a)
    with pytest.raises(UserError, match=r"missing is not a folder"):
        open_pairs(tmp_path, "train", replace(AS_IS, a=a, b=tmp_path / "missing"), 0, False)


def put_jpeg_and_png(folder: Path, pixels: np.ndarray) -> None:
    """Put the same pixels as A and as B, which is a PNG and decoded whole."""
    put(folder / "A/x.jpg", pixels)
    put(folder / "B/x.png", read(folder / "A/x.jpg").pixels)


def gradients(height: int, width: int) -> np.ndarray:
    rows, columns = np.linspace(0, 4, height)[:, None], np.linspace(0, 4, width)
    waves = 128 + 60 * np.sin(rows * columns) + 60 * np.cos(rows)
    return np.dstack([waves, waves[::-1], waves[:, ::-1]]).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 92), (63, 92)])
def test_a_jpeg_and_a_png_make_equal_training_samples(size: tuple[int, int], tmp_path: Path) -> None:
    put_jpeg_and_png(tmp_path, gradients(*size))
    framing = FramingConfig(load_size=23, crop_size=(20, 20), keep_aspect=True)
    dataset, _ = open_pairs(tmp_path, "train", PairedConfig(framing=framing), 0, True)
    for epoch in range(5):
        source, target = dataset[(epoch, 0)]
        assert np.abs(source - target).mean() < 2 / 255


def test_held_out_jpegs_are_decoded_exactly(tmp_path: Path) -> None:
    put_jpeg_and_png(tmp_path / "val", gradients(64, 92))
    dataset, _ = open_pairs(tmp_path, "val", PairedConfig(framing=FramingConfig(load_size=8)), 0, False)
    source, target = dataset[(0, 0)]
    np.testing.assert_array_equal(source, target)


@pytest.mark.parametrize("width", [64, 66, 67])
def test_the_sides_of_a_jpeg_do_not_mix(width: int, tmp_path: Path) -> None:
    sides = [np.full((64, width, 3), level, np.uint8) for level in (40, 220)]
    put(tmp_path / "x.jpg", np.hstack(sides))
    framing = FramingConfig(load_size=20, crop_size=(0, 0), flip=False)
    dataset, _ = open_pairs(tmp_path, "train", PairedConfig(layout="aligned", framing=framing), 0, True)
    for side, level in zip(dataset[(0, 0)], (40, 220), strict=True):
        assert np.abs(to_uint8(side).astype(int) - level).max() < 5
