"""The folders of the data set of unpaired images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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
