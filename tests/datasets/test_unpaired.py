"""The folders of the data set of unpaired images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gan_tasks.datasets.augmentations import FramingConfig
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.datasets.unpaired import UnpairedConfig, open_unpaired

CONFIG = UnpairedConfig()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def put_images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        write(folder / f"{number}.png", Picture(np.full((8, 8, 3), number, np.uint8)))
    return folder


def test_usual_names_are_found_in_any_case(tmp_path: Path) -> None:
    before, after = put_images(tmp_path / "Before", 2), put_images(tmp_path / "after", 3)
    data, found = open_unpaired(tmp_path, "train", CONFIG, 0, False)
    assert (len(data.a), len(data.b)) == (2, 3)
    assert f"2 images in {before} and 3 in {after}" in found.summary


def test_any_two_folders_are_named_and_taken_with_options(tmp_path: Path) -> None:
    a, b = put_images(tmp_path / "photos", 2), put_images(tmp_path / "paintings", 3)
    with pytest.raises(MissingSplitError, match=f"--a {b} --b {a}"):
        open_unpaired(tmp_path, "train", CONFIG, 0, False)
    data, _ = open_unpaired(tmp_path, "train", replace(CONFIG, a=a, b=b), 0, False)
    assert (len(data.a), len(data.b)) == (2, 3)
    with pytest.raises(UserError, match="give both"):
        UnpairedConfig(b=b)


def test_a_single_pair_gives_as_many_crops_as_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_tasks.datasets import unpaired

    rng = np.random.default_rng(0)
    for side in "AB":
        (tmp_path / side).mkdir()
        write(tmp_path / side / "x.png", Picture(rng.integers(0, 256, (60, 50, 3), dtype=np.uint8)))
    framing = FramingConfig(load_size=0, crop_size=(16, 16), zoom_out=2)
    config = replace(CONFIG, crops_per_image=20, framing=framing)
    opened: list[Path] = []
    read = unpaired.read
    monkeypatch.setattr(unpaired, "read", lambda path, **more: opened.append(path) or read(path, **more))
    data, _ = open_unpaired(tmp_path, "train", config, 0, True)
    assert len(data) == 20
    crops = [data[(epoch, index)] for epoch in (0, 1) for index in range(20)]
    assert {crop.a.shape for crop in crops} == {(3, 16, 16)}
    assert len({crop.a.tobytes() for crop in crops}) == len({crop.b.tobytes() for crop in crops}) == 40
    assert len(opened) == 2, "each file is decoded once"
    assert np.array_equal(data[(1, 3)].a, crops[23].a)
    whole, _ = open_unpaired(tmp_path, "train", config, 0, False)
    assert len(whole) == 1 and whole[(0, 0)].a.shape == (3, 60, 50)


def test_the_crops_of_a_changed_file_are_those_of_its_new_content(tmp_path: Path) -> None:
    put_images(tmp_path / "A", 1)
    put_images(tmp_path / "B", 1)
    config = replace(CONFIG, framing=FramingConfig(load_size=0, crop_size=(4, 4)))
    data, _ = open_unpaired(tmp_path, "train", config, 0, True)
    assert (data[(0, 0)].a == -1).all()
    write(tmp_path / "A" / "0.png", Picture(np.full((8, 8, 3), 255, np.uint8)))
    assert (data[(0, 0)].a == 1).all()
