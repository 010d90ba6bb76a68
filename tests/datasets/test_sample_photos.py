"""Test the built-in photos: the task can be learned, and test regions are not part of the training data."""

from pathlib import Path

import numpy as np
import pytest

from gan_tasks.datasets.images import read
from gan_tasks.datasets.paired import PairedConfig, find_pairs
from gan_tasks.datasets.sample_photos import TEST_SIZE, photo_pairs, regions

pytest.importorskip("skimage", reason="the photos come with scikit-image")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_pairs(tmp_path_factory.mktemp("photos"))


def values(root: Path, split: str, side: str) -> np.ndarray:
    """Return all pixels of one side, N×3 in [0, 1]."""
    return (
        np.concatenate([read(path).pixels.reshape(-1, 3) for path in sorted((root / split / side).iterdir())]) / 255
    )


@pytest.mark.parametrize("size", [(300, 451), (400, 600), (427, 640), (500, 741), (512, 512)])
def test_regions_do_not_overlap(size: tuple[int, int]) -> None:
    covered = np.zeros(size, int)
    first_test_column, last_train_column = size[1], 0
    for split, (rows, columns) in regions(*size):
        covered[rows, columns] += 1
        if split == "test":
            assert covered[rows, columns].shape == (TEST_SIZE, TEST_SIZE)
            first_test_column = min(first_test_column, columns.start)
        else:
            assert min(covered[rows, columns].shape) >= TEST_SIZE
            last_train_column = max(last_train_column, columns.stop)
    assert covered.max() == 1
    assert last_train_column <= first_test_column


def test_folder_holds_pairs_without_problems(root: Path) -> None:
    for split, count in (("train", 15), ("test", 24)):
        found = find_pairs(root, split, PairedConfig())
        assert len(found.pairs) == count
        assert not found.problems


def test_paintings_are_flat_and_have_few_colours(root: Path) -> None:
    colours = {tuple(colour) for colour in np.unique(np.rint(values(root, "train", "A") * 255), axis=0)}
    assert len(colours) == 24
    painting = read(next((root / "train" / "A").iterdir())).pixels.astype(int)
    assert (np.diff(painting, axis=1) != 0).any(axis=2).mean() < 0.25  # few borders


def test_a_table_of_colours_beats_the_baselines(root: Path) -> None:
    source, target = values(root, "train", "A"), values(root, "train", "B")
    held_source, held_target = values(root, "test", "A"), values(root, "test", "B")

    def error(prediction: np.ndarray) -> float:
        return float(np.abs(prediction - held_target).mean())

    def with_constant(pixels: np.ndarray) -> np.ndarray:
        return np.column_stack([pixels, np.ones(len(pixels))])

    affine = with_constant(held_source) @ np.linalg.lstsq(with_constant(source), target, rcond=None)[0]
    best_baseline = min(error(held_source), error(target.mean(0)), error(affine))

    def number(pixels: np.ndarray) -> np.ndarray:
        return np.rint(pixels * 255).astype(int) @ np.array([1, 256, 65536])

    table = np.empty_like(held_target)
    for colour in np.unique(number(held_source)):
        table[number(held_source) == colour] = target[number(source) == colour].mean(0)
    assert best_baseline > 0.18
    assert error(table) < best_baseline / 2.5


def test_result_is_the_same_on_every_run(root: Path, tmp_path: Path) -> None:
    again = photo_pairs(tmp_path)
    for path in sorted(root.rglob("*.png")):
        assert (again / path.relative_to(root)).read_bytes() == path.read_bytes()
