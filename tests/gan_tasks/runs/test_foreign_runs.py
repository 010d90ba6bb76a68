"""Run folders that somebody else sent, or that were edited: a sentence, and nothing outside them changes."""

import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_task, write_run

from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.checkpoint import DamagedCheckpointError, load_state, state_bytes
from gan_tasks.runs.folder import RunFolder, load_trained, read_run
from gan_tasks.runs.journal import Journal, read_journal
from gan_tasks.runs.reports.report import facts, write_report
from gan_tasks.training.loop import resume


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("runs") / "run", tiny_task("pix2pix"))
    Journal(run / "journal.jsonl").write(1, 4, {"g/l1": 0.5})
    return run


def write_bomb(path: Path) -> None:
    """Write a PNG that declares 60,000 × 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)))


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


def edit(run: Path, work: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((run / "config.json").read_bytes())
    work(content)
    (run / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("work", "named"),
    [
        (lambda content: content.update(colour=1), "colour is unknown"),
        (lambda content: content["task_config"].update(widht=4), "widht is unknown"),
        (lambda content: content["task_config"]["data"].update(x=1, y=2), "data.x and data.y are unknown"),
        (lambda content: content.update(held_out="x"), "held_out"),
        (lambda content: content.pop("data"), "data"),
        (lambda content: content.update(task=["x"]), "task"),
        (lambda content: content["task_config"].update(width="wide"), "width"),
        (lambda content: content["task_config"].update(width=10**9), "width"),
        (lambda content: content.update(data="a\0b"), "data: .* is no path"),
        (lambda content: content.update(init_from="\ud800"), "init-from: .* is no path"),
    ],
)
def test_what_does_not_fit_in_config_json_is_named(run: Path, work: Callable[[Any], object], named: str) -> None:
    edit(run, work)
    with pytest.raises(UserError, match=rf"config\.json cannot be used: .*{named}"):
        read_run(run)


@pytest.mark.parametrize("text", [b"", b"[" * 100_000, b"\xff\xfe", b"[]", b'"x"', b"1"])
@pytest.mark.parametrize("name", ["config.json", "inputs.json"])
def test_files_that_are_not_what_they_should_be(run: Path, name: str, text: bytes) -> None:
    (run / name).write_bytes(text)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        resume(run)


def enlarge(path: Path) -> None:
    """Make a file a gigabyte long, of which only the beginning takes room on the disk."""
    os.truncate(path, 1_000_000_000)


@pytest.mark.parametrize("name", ["config.json", "inputs.json"])
def test_a_file_that_is_far_too_large_is_not_read(run: Path, name: str) -> None:
    enlarge(run / name)
    with pytest.raises(UserError, match=rf"{name} has 1,000,000,000 bytes"):
        resume(run)


def test_a_checkpoint_of_far_too_large_files_is_damaged(run: Path) -> None:
    enlarge(run / "checkpoints" / "step-00000000" / "state.json")
    enlarge(run / "checkpoints" / "step-00000000" / "generators.safetensors")
    with pytest.raises(DamagedCheckpointError, match="step-00000000"):
        load_trained(run)


@pytest.mark.parametrize("name", ["9" * 20, "1e9", "", "٣" * 8])
def test_a_folder_of_another_name_is_no_checkpoint(run: Path, name: str) -> None:
    (run / "checkpoints" / "step-00000000").rename(run / "checkpoints" / f"step-{name}")
    with pytest.raises(UserError, match="no checkpoint yet"):
        load_trained(run)


def test_a_renamed_checkpoint_is_not_resumed(run: Path, pairs: Path) -> None:
    edit(run, lambda content: content.update(data=str(pairs)))
    (run / "checkpoints" / "step-00000000").rename(run / "checkpoints" / "step-00000009")
    with pytest.raises(UserError, match="give it the name step-00000000"):
        resume(run)


def test_held_out_images_of_other_data_are_named(run: Path, pairs: Path) -> None:
    edit(run, lambda content: content.update(data=str(pairs), held_out=[["000"], ["001"]]))
    with pytest.raises(UserError, match=r"images of 2 sides, expected 1: restore its config\.json"):
        resume(run)


@pytest.mark.parametrize("option", ["width", "d_width"])
def test_networks_of_absurd_size_are_refused_before_they_take_memory(
    run: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    edit(run, lambda content: content["task_config"].update({option: 4096}))
    edit(run, lambda content: content.update(data=str(pairs)))
    monkeypatch.setattr(torch.nn.init, "normal_", on_meta_only(torch.nn.init.normal_))
    for open_run in (resume,) if option == "d_width" else (load_trained, resume):
        with pytest.raises(UserError, match="more than 2,000,000,000 parameters"):
            open_run(run)


def on_meta_only(work: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def checked(tensor: torch.Tensor, *options: Any, **more: Any) -> torch.Tensor:
        assert tensor.is_meta
        return work(tensor, *options, **more)

    return checked


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
@pytest.mark.parametrize("name", ["journal.jsonl", "lock", "samples", "checkpoints", "checkpoints/step-00000000"])
def test_a_training_follows_no_link(run: Path, tmp_path: Path, name: str) -> None:
    outside, place = tmp_path / "outside", run / name
    if place.is_dir():
        place.rename(outside)
    place.unlink(missing_ok=True)
    place.symlink_to(outside)
    with pytest.raises(UserError, match=f"{place} is a link"):
        resume(run)
    assert outside.is_dir() or not outside.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run: Path) -> None:
    (run / "journal.jsonl").unlink()
    os.mkfifo(run / "journal.jsonl")
    for work in (resume, write_report):
        with pytest.raises(UserError, match=r"journal\.jsonl is not a file"):
            work(run)


@pytest.mark.parametrize("make", [Path.mkdir, getattr(os, "mkfifo", Path.mkdir), write_bomb])
def test_a_sample_that_is_no_image_is_left_out(run: Path, make: Callable[[Path], None]) -> None:
    (run / "samples").mkdir()
    make(run / "samples" / "step-00000003.png")
    make(run / "before-after.png")
    page = write_report(run).read_text()
    assert "step-00000003.png could not be read" in page and "before-after.png could not be read" in page


@pytest.mark.parametrize("pointer", ["../../x", "/", "", "step-00000009", "\0", "x" * 5000])
def test_best_points_to_a_checkpoint_of_the_run_or_to_nothing(run: Path, pointer: str) -> None:
    (run / "best").write_text(pointer)
    assert load_trained(run)[1].name == "step-00000000"


def test_another_checkpoint_than_the_newest_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = Path(shutil.copytree(run / "checkpoints" / "step-00000000", run / "checkpoints" / "step-00000004"))
    assert load_trained(run)[1] == newest and capsys.readouterr().err == ""
    weights = newest / "generators.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert load_trained(run)[1].name == "step-00000000"
    assert "step-00000000 is taken instead" in capsys.readouterr().err
    with pytest.raises(DamagedCheckpointError):
        load_trained(newest)


@pytest.mark.parametrize(("key", "value"), [("step", "x"), ("images", -1), ("stage", 7), ("unknown", 1)])
def test_a_position_that_no_training_has(run: Path, pairs: Path, key: str, value: Any) -> None:
    edit(run, lambda content: content.update(data=str(pairs)))
    checkpoint = run / "checkpoints" / "step-00000000"
    state = load_state(checkpoint)
    state["position"][key] = value
    (checkpoint / "state.json").write_bytes(state_bytes(state))
    with pytest.raises(UserError, match="step-00000000"):
        resume(run)


@pytest.mark.parametrize(
    "line",
    [
        "1",
        "{}",
        "[" * 100_000,
        '{"step": 1, "images": "x", "time": 1}',
        '{"step": 1, "images": 1, "time": 1e300, "event": "x"}',
        '{"step": 1, "images": 1, "time": 1, "g/l1": [1]}',
        f'{{"step": {10**400}, "images": 1, "time": 1}}',
        "\0" * 2_000_000,
    ],
)
def test_a_line_that_no_training_wrote_is_named(run: Path, line: str) -> None:
    with (run / "journal.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match="line 2"):
        write_report(run)


def test_a_pointer_of_a_gigabyte_points_to_nothing(run: Path) -> None:
    (run / "best").write_text("step-00000000")
    enlarge(run / "best")
    assert RunFolder(run).best is None


@pytest.mark.parametrize("content", [{"images": 3}, {"images": "x", "model": 1}, {"model": {"l1": {"mean": None}}}])
def test_an_evaluation_of_another_form_is_named(run: Path, content: Any) -> None:
    from gan_tasks.runs.model_card import model_card

    (run / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"evaluation\.json"):
        model_card(run)


def test_a_clock_that_is_set_changes_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write(1, 4, {"g/l1": 0.5})
    monkeypatch.setattr("time.time", lambda: 1e9)
    journal.write(2, 8, {"g/l1": 0.5})
    one, other = read_journal(journal.path)
    assert 0 <= other["time"] - one["time"] < 60
    set_back = [one, {**other, "time": one["time"] - 3e7}]
    assert dict(facts(set_back))["Training time"] == "0 s"
