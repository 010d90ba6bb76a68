"""The folders and files of A and B are recognised by their names."""

from pathlib import Path

import pytest

from gan_tasks.datasets.sides.names import child, find_side_folders, pair_files, suggest_sides


def make(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "x.png").touch()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("before", "after"),
        ("Before", "After"),
        ("input", "target"),
        ("INPUT", "Output"),
        ("lr", "hr"),
        ("a", "b"),
        ("train/A", "train/B"),
        ("Train/a", "Train/b"),
        ("train/input", "train/target"),
        ("trainA", "trainB"),
        ("TrainA", "TrainB"),
        ("train_a", "train_b"),
        ("train-input", "train-output"),
    ],
)
def test_folders_with_the_usual_names(a: str, b: str, tmp_path: Path) -> None:
    make(tmp_path / a, tmp_path / b)
    assert find_side_folders(tmp_path, "train") == (tmp_path / a, tmp_path / b)
    assert find_side_folders(tmp_path, "val") is None


def test_a_and_b_come_first_and_several_other_names_are_not_clear(tmp_path: Path) -> None:
    make(tmp_path / "before", tmp_path / "after", tmp_path / "in", tmp_path / "out")
    assert find_side_folders(tmp_path, "train") is None
    make(tmp_path / "A", tmp_path / "B")
    assert find_side_folders(tmp_path, "train") == (tmp_path / "A", tmp_path / "B")


def test_any_two_folders_can_be_given(tmp_path: Path) -> None:
    a, b = tmp_path / "photos", tmp_path / "paintings"
    make(a / "val", b / "val", tmp_path / "test" / "A", tmp_path / "test" / "B")
    assert find_side_folders(tmp_path, "train", a, b) == (a, b)
    assert find_side_folders(tmp_path, "val", a, b) == (a / "val", b / "val")
    assert find_side_folders(tmp_path, "test", a, b) == (tmp_path / "test" / "A", tmp_path / "test" / "B")
    make(a / "train", b / "train")
    assert find_side_folders(tmp_path, "train", a, b) == (a / "train", b / "train")


def test_folders_of_images_are_suggested(tmp_path: Path) -> None:
    make(tmp_path / "photos", tmp_path / "paintings")
    (tmp_path / "empty").mkdir()
    suggestion = suggest_sides(tmp_path, "train")
    assert f"--a {tmp_path / 'paintings'} --b {tmp_path / 'photos'}" in suggestion
    assert "empty" not in suggestion
    assert suggest_sides(tmp_path / "photos", "train") == ""


def test_a_folder_is_found_in_upper_and_lower_case(tmp_path: Path) -> None:
    make(tmp_path / "Train")
    assert child(tmp_path, "train") == tmp_path / "Train"
    assert child(tmp_path, "val") == tmp_path / "val"
    make(tmp_path / "train")
    assert child(tmp_path, "train") == tmp_path / "train"


@pytest.mark.parametrize(
    "pattern",
    [
        *("{}_{}", "{} {}", "{} ({})", "{}-{}", "{}.{}"),
        *("img{}_{}", "IMG_{}-{}", "{} - {}"),
    ],
)
@pytest.mark.parametrize(
    ("a", "b"),
    [("before", "after"), ("A", "B"), ("input", "target"), ("lr", "hr"), ("in", "out"), ("Before", "AFTER")],
)
def test_files_of_one_folder_are_paired(pattern: str, a: str, b: str) -> None:
    files = [Path(f"{pattern.format(name, side)}.jpg") for name in ("1", "2", "10") for side in (a, b)]
    found = pair_files(files)
    assert found is not None
    sides, pairs = found
    assert sides == (a.lower(), b.lower())
    assert sorted(pairs.values()) == sorted(zip(files[::2], files[1::2], strict=True))


@pytest.mark.parametrize(
    ("a", "b"), [("1a.png", "1b.png"), ("before_x.png", "after_x.png"), ("catBefore.png", "catAfter.png")]
)
def test_other_places_of_the_names(a: str, b: str) -> None:
    found = pair_files([Path(a), Path(b)])
    assert found is not None and list(found[1].values()) == [(Path(a), Path(b))]


@pytest.mark.parametrize(
    "names",
    [
        ("1.png", "2.png"),
        ("cat.png", "cab.png"),  # ends in a letter, not in a name
        ("x_before.png", "y_after.png"),
        ("x_before.png", "x_before.jpg", "x_after.png"),  # two of one side
        ("banana.png", "banb.png", "sofa.png", "sofb.png"),
        ("x_a.png", "x_b.png", "1.png", "2.png", "3.png"),  # less than half
    ],
)
def test_other_files_are_not_paired(names: tuple[str, ...]) -> None:
    assert pair_files([Path(name) for name in names]) is None
