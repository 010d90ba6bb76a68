"""The listing of the files that a training reads, and what is said about changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.inputs import Input, difference, list_files, list_inputs, read_inputs, write_inputs


def make(root: Path, **sizes: int) -> Path:
    for name, size in sizes.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return root


def test_only_what_a_training_reads_is_listed(tmp_path: Path) -> None:
    data = make(tmp_path, a_png=1, train__b_JPG=2, train__A__c_tif=3, notes_txt=4, train__Thumbs_db=5)
    make(data / "runs" / "one", train_toml=1, samples__step_png=9)  # a run within the data
    make(data / ".hidden", d_png=1)
    make(data, _e_png=1)
    assert list_files(data) == {"a.png": 1, "train/b.JPG": 2, "train/A/c.tif": 3}


def test_links_are_followed_and_may_lead_back(tmp_path: Path) -> None:
    data = make(tmp_path / "data", a_png=1)
    elsewhere = make(tmp_path / "elsewhere", b_png=2)
    (data / "train").symlink_to(elsewhere)
    (data / "loop").symlink_to(data)
    assert list_files(data) == {"a.png": 1, "train/b.png": 2}


def test_a_file_is_known_by_its_size_under_any_name(tmp_path: Path) -> None:
    make(tmp_path, a_pth=5, b_pth=5, c_pth=6)
    first, moved, other = (
        Input(tmp_path / name, list_files(tmp_path / name)) for name in ("a.pth", "b.pth", "c.pth")
    )
    assert difference(first, moved) == ""
    assert difference(first, other) == "of 1 files 1 of another size"


def test_the_difference_counts_added_missing_and_changed_files() -> None:
    before = Input(Path("a"), {"1": 1, "2": 2, "3": 3, "4": 4})
    assert difference(before, Input(Path("elsewhere"), before.files)) == ""
    now = Input(Path("a"), {"1": 1, "2": 20, "5": 5, "6": 6, "7": 7})
    assert difference(before, now) == "of 4 files 3 added, 2 missing and 1 of another size"


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "caf\udce9.png").write_bytes(b"x")
    inputs = list_inputs({"data": data})
    write_inputs(tmp_path, inputs)
    assert read_inputs(tmp_path) == inputs and list(inputs["data"].files) == ["caf\udce9.png"]


@pytest.mark.parametrize("content", [None, "", "[]", '{"data": 1}', '{"data": {"path": "a"}}'])
def test_a_damaged_listing_is_a_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "inputs.json").write_text(content)
    with pytest.raises(UserError, match=r"inputs\.json"):
        read_inputs(tmp_path)
