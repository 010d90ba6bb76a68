"""The data set of colourisation: colour photographs alone, and gray images as at inference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import photo

from gan_tasks.datasets.colourisation import ColourisationDataConfig, PhotographFraming, open_colourisation
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.images import Picture, centred, fit_channels, read, to_float, write

CONFIG = ColourisationDataConfig(framing=PhotographFraming(load_size=0, crop_size=(16, 16)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Colour photographs, and gray ones as gray and as colour files."""
    for number in range(3):
        write(tmp_path / f"{number}.png", Picture(photo(40, 30, seed=number)))
    with_alpha = np.dstack([photo(40, 30, seed=3), np.full((40, 30), 99, np.uint8)])
    write(tmp_path / "alpha.png", Picture(with_alpha))
    gray = photo(300, 280, seed=4, channels=1)
    write(tmp_path / "gray.png", Picture(gray))
    write(tmp_path / "gray-in-colour.jpg", Picture(np.repeat(gray, 3, axis=2)))
    return tmp_path


def test_gray_photographs_are_left_out_and_reported(folder: Path) -> None:
    data, found = open_colourisation(folder, "train", CONFIG, 0, True)
    assert [data.name(index) for index in range(len(data))] == ["0", "1", "2", "alpha"]
    reasons = {problem.path.name: problem.reason for problem in found.problems}
    assert all("no colour" in reasons[name] for name in ("gray.png", "gray-in-colour.jpg"))
    assert found.summary == f"4 colour photographs in {folder}; 2 files with problems left out"
    with pytest.raises(UserError, match="without --strict"):
        open_colourisation(folder, "train", ColourisationDataConfig(strict=True), 0, True)
    with pytest.raises(MissingSplitError, match="holds no test images"):
        open_colourisation(folder, "test", CONFIG, 0, False)
    (folder / "test").mkdir()
    write(folder / "test" / "gray.png", Picture(photo(9, 9, seed=0, channels=1)))
    with pytest.raises(UserError, match="no usable colour photograph"):
        open_colourisation(folder, "test", CONFIG, 0, False)


def test_the_gray_image_is_that_of_inference_and_whole_without_augmentation(folder: Path) -> None:
    data, _ = open_colourisation(folder, "train", CONFIG, 0, False)
    for index, name in ((0, "0.png"), (3, "alpha.png")):
        pixels = read(folder / name).pixels
        sample = data[(0, index)]
        assert np.array_equal(sample.source, to_float(fit_channels(pixels, 1)))
        assert np.array_equal(sample.target, to_float(pixels[..., :3]))


def test_a_training_sample_depends_on_its_key_alone_and_both_sides_get_one_crop(folder: Path) -> None:
    data, _ = open_colourisation(folder, "train", CONFIG, 0, True)
    first, again, later = data[(0, 1)], data[(0, 1)], data[(1, 1)]
    assert np.array_equal(first.source, again.source) and np.array_equal(first.target, again.target)
    assert not np.array_equal(first.target, later.target)
    assert first.source.shape == (1, 16, 16) and first.target.shape == (3, 16, 16)
    luma = np.tensordot(np.float32([0.299, 0.587, 0.114]), first.target, axes=1)
    assert np.abs(luma - first.source[0]).max() <= 1.01 / 255
    loaded = data.load((0, 1))
    assert loaded.source.dtype == loaded.target.dtype == np.uint8
    assert np.array_equal(centred(loaded.source), first.source)
