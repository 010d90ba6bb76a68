"""Training images are held out where there are no others, are never trained on, and are those that evaluate uses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import photo, tiny_task, write_pairs

from gan_tasks.apps.cli.main import run as gan_tasks
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.evaluation.data import held_out_names
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.runs.journal import read_journal
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.data import open_data
from gan_tasks.training.hold_out import choose, names_of
from gan_tasks.training.loop import resume, train

IMAGES = 44
CONFIG = TrainConfig(device="cpu", precision="fp32", workers=0, max_steps=1, evaluate_every_steps=1, quiet=True)
TASKS = ("pix2pix", "cyclegan", "cut", "super-resolution", "inpainting")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images for each of the tasks, without val and test: folders A and B, and the photos beside them."""
    root = tmp_path_factory.mktemp("images")
    for index in range(IMAGES):
        b = photo(40, 36, seed=index)
        for side, pixels in ((root / "A", 255 - b), (root / "B", b), (root, b)):
            side.mkdir(exist_ok=True)
            write(side / f"{index:03d}.png", Picture(pixels))
    return root


def opened(name: str, root: Path, **options: Any) -> Any:
    return open_data(tiny_task(name), root, 0, quiet=True, **options)[1]


@pytest.mark.parametrize("name", TASKS)
def test_a_tenth_is_held_out_and_not_trained_on(name: str, folder: Path) -> None:
    data = opened(name, folder, hold_out=None)
    sides = 2 if name in ("cyclegan", "cut") else 1
    assert [len(side) for side in data.taken_out] == sides * [IMAGES // 10]
    for trained, held_out in zip(names_of(data.train), names_of(data.held_out), strict=True):
        assert not set(trained) & set(held_out) and len(set(trained) | set(held_out)) == IMAGES
    assert data.shown is data.held_out
    again = opened(name, folder, hold_out=None)
    assert again.taken_out == data.taken_out and opened(name, folder, taken_out=data.taken_out).taken_out
    epochs = [data.train[(epoch, index)] for epoch in (0, 1) for index in range(len(data.train))]
    assert len(epochs) == 2 * (IMAGES - IMAGES // 10)


def test_other_files_do_not_change_the_order(folder: Path, tmp_path: Path) -> None:
    whole = opened("pix2pix", folder, hold_out=0).train
    (few,), (more,) = choose(whole, 3), choose(whole, 8)
    assert more[:3] == few
    fewer = Path(shutil.copytree(folder, tmp_path / "fewer"))
    for side in "AB":
        (fewer / side / f"{more[0]}.png").unlink()
    assert choose(opened("pix2pix", fewer, hold_out=0).train, 7) == [more[1:]]


def test_small_folders_folders_with_a_split_and_hold_out_0_train_on_all(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert opened("pix2pix", folder, hold_out=0).held_out is None
    small = Path(shutil.copytree(folder, tmp_path / "small"))
    for index in range(10):
        for side in "AB":
            (small / side / f"{index:03d}.png").unlink()
    _, data = open_data(tiny_task("pix2pix"), small, 0, hold_out=None, quiet=False)
    assert data.held_out is None and len(data.train) == 34
    assert "no images are held out" in (said := capsys.readouterr().err) and "34 are fewer than 40" in said
    assert [len(side) for side in opened("pix2pix", small, hold_out=5).taken_out] == [5]
    with pytest.raises(UserError, match=r"--hold-out is 34.*0 to 33"):
        opened("pix2pix", small, hold_out=34)
    for split in ("val", "test"):
        data = opened(
            "pix2pix",
            write_pairs(tmp_path / split, train=42, val=split == "val", test=split == "test"),
            hold_out=None,
        )
        assert len(data.train) == 42 and not data.taken_out


@pytest.mark.parametrize("name", TASKS)
def test_evaluate_uses_the_images_that_the_run_held_out(name: str, folder: Path, tmp_path: Path) -> None:
    run = train(tiny_task(name), data=folder, out=tmp_path / "run", config=CONFIG)
    taken_out = json.loads((run / "config.json").read_bytes())["held_out"]
    assert gan_tasks(["evaluate", str(run), "--data", str(folder), "--features", "none", "--device", "cpu"]) == 0
    found = json.loads((run / "evaluation.json").read_bytes())
    assert found["split"] == "held-out" and any("held out" in note for note in found["notes"])
    assert {name.partition(",")[0] for name in found["names"]} == set(taken_out[0])
    assert (run / "evaluation.html").is_file()


def test_the_held_out_images_choose_the_best_checkpoint_and_a_resumed_run_has_the_same(
    folder: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    run = train(tiny_task("pix2pix"), data=own, out=tmp_path / "run", config=CONFIG)
    before = json.loads((run / "config.json").read_bytes())["held_out"]
    write(own / "A" / "new.png", Picture(photo(40, 36, seed=99)))
    write(own / "B" / "new.png", Picture(photo(40, 36, seed=99)))
    resume(run, max_steps=2)
    assert json.loads((run / "config.json").read_bytes())["held_out"] == before
    lines = [line for line in read_journal(run / "journal.jsonl") if "val/l1" in line]
    assert [line["step"] for line in lines] == [1, 2] and (run / "best").is_file()


def test_runs_of_which_one_was_trained_on_all_images_hold_none_out_together(folder: Path, tmp_path: Path) -> None:
    def trained(hold_out: int) -> TrainedModel:
        config = replace(CONFIG, hold_out=hold_out)
        return TrainedModel(train(tiny_task("pix2pix"), data=folder, out=tmp_path / str(hold_out), config=config))

    none, two, four = map(trained, (0, 2, 4))
    assert held_out_names({"none": none, "two": two}, folder) == []
    assert [len(names) for names in held_out_names({"two": two, "four": four}, folder)] == [2]


def test_a_folder_of_other_images_is_evaluated_as_a_whole_and_one_that_was_trained_on_is_not(
    folder: Path, tmp_path: Path
) -> None:
    config = TrainConfig(device="cpu", precision="fp32", workers=0, max_steps=1, hold_out=0, quiet=True)
    run = train(tiny_task("pix2pix"), data=folder, out=tmp_path / "run", config=config)
    command = ["evaluate", str(run), "--features", "none", "--device", "cpu", "--limit", "3", "--data"]
    with pytest.raises(UserError, match=r"trained on all images.*--split train"):
        gan_tasks([*command, str(folder)])
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    assert gan_tasks([*command, str(other), "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_bytes())
    assert found["split"] == "all" and found["images"] == 3
    with pytest.raises(UserError, match="There is train: give --split train"):
        gan_tasks([*command, str(write_pairs(tmp_path / "split", test=0))])


def test_a_benchmark_folder_is_evaluated_as_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Set5/GTmod12 and Set5/LRbicx2: no folder test/. What check accepts, evaluate measures on."""
    run = train(tiny_task("super-resolution"), data=folder, out=tmp_path / "run", config=CONFIG)
    benchmark = tmp_path / "Set5"
    for index in range(3):
        high = photo(24, 36, seed=300 + index)
        write_all = {"GTmod12": high, "LRbicx2": high[::2, ::2], "LRbicx4": high[::4, ::4]}
        for name, pixels in write_all.items():
            (benchmark / name).mkdir(parents=True, exist_ok=True)
            write(benchmark / name / f"{index}.png", Picture(pixels))
    assert gan_tasks(["check", str(benchmark), "--task", "super-resolution", "--scale", "2"]) == 0
    assert "1/2 size from files" in capsys.readouterr().out
    command = ["evaluate", str(run), "--data", str(benchmark), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert gan_tasks([*command, "--features", "none", "--luma", "--crop", "2"]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_bytes())
    assert found["names"] == ["0", "1", "2"] and found["split"] == "all" and found["sizes"] == [[12, 18], [12, 18]]
