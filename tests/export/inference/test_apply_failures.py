"""A file that fails never ends a folder: it is named at the end, the others are done, and a rerun goes on."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_onnx import write_onnx
from onnx import helper
from PIL import Image

from gan_tasks import progress
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets import images
from gan_tasks.datasets.images import Picture, atomic, read, write
from gan_tasks.datasets.images.formats import format_of
from gan_tasks.export.inference.apply import Summary, apply_to_files
from gan_tasks.export.inference.files.pairs import files_to_do
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.load import load

BAD_INPUT = 2
RNG = np.random.default_rng(0)


def noise(height: int = 8, width: int = 9, channels: int = 3) -> Picture:
    return Picture(RNG.integers(0, 256, (height, width, channels), dtype=np.uint8))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "model.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images; `b.png` is wider than the others."""
    (tmp_path / "in").mkdir()
    for name, width in (("a.png", 9), ("b.png", 13), ("c.png", 9)):
        write(tmp_path / "in" / name, noise(8, width))
    return tmp_path / "in"


def apply(model: Path, source: Path, out: Path, **options: Any) -> Summary:
    return apply_to_files(load(model, device="cpu"), files_to_do(source, out), quiet=True, **options)


def command_line(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exited:
        main(["apply", *map(str, arguments)])
    assert isinstance(exited.value.code, int)
    return exited.value.code


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# Errors of one file.


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("by nothing\nand more"), "unexpected ZeroDivisionError: by nothing (--debug"),
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
)
@pytest.mark.parametrize("step", ["read", "predict", "write"])
def test_any_error_of_a_file_is_its_line(
    step: str,
    error: Exception,
    reason: str,
    model: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, calls = getattr(Predictor, step), iter([False, True, False])

    def fails_once(*arguments: Any, **named: Any) -> Any:
        if next(calls):
            raise error
        return whole(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Predictor, step, fails_once)
        done = apply(model, folder, tmp_path / "out")
    assert done.written == 2
    (failure,) = done.failures
    assert reason in str(failure) and "\n" not in str(failure)
    again = apply(model, folder, tmp_path / "out")
    assert (again.written, again.kept, again.failures) == (1, 2, ())


def test_an_unexpected_error_of_a_video_is_its_line(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = pytest.importorskip("gan_tasks.export.inference.video.process")

    def faulty(*_: Any, **__: Any) -> None:
        raise IndexError("mistake")

    monkeypatch.setattr(process, "apply_to_video", faulty)
    for name in ("1.mp4", "2.mkv"):
        (folder / name).write_bytes(b"")
    done = apply(model, folder, tmp_path / "out")
    assert done.written == 3
    assert [str(failure).partition(" (")[0] for failure in done.failures] == [
        f"{folder / name}: unexpected IndexError: mistake" for name in ("1.mp4", "2.mkv")
    ]


def test_a_model_that_gives_no_numbers_is_the_line_of_each_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = (helper.make_node("Sub", ["enlarged", "enlarged"], ["z"]), helper.make_node("Log", ["z"], ["output"]))
    broken = write_onnx(tmp_path / "broken.onnx", more_nodes=nodes, vectors=False)
    with pytest.raises(SystemExit) as ended:
        main(["apply", str(broken), str(folder), str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("broken.onnx gives values that are NaN or infinite") == 3
    assert "0 of 3 images written" in said and not list((tmp_path / "out").glob("*"))


def test_debug_shows_the_traceback_of_an_unexpected_error(
    model: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def faulty(*_: Any, **__: Any) -> None:
        raise KeyError("mistake")

    monkeypatch.setattr(Predictor, "predict", faulty)
    assert command_line(model, folder, tmp_path / "out") == BAD_INPUT
    printed = capsys.readouterr().err
    assert printed.count("unexpected KeyError: 'mistake'") == 3 and "Traceback" not in printed
    assert command_line(model, folder, tmp_path / "out", "--debug") == BAD_INPUT
    assert "Traceback" in capsys.readouterr().err


def test_many_failures_are_listed_up_to_a_number(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(60):
        (folder / f"{number}.heic").write_bytes(b"")
    assert command_line(model, folder, tmp_path / "out") == BAD_INPUT
    printed = capsys.readouterr().err
    assert printed.count("HEIC images cannot be read: convert") == 50 and "not done: 10 more" in printed
    assert names(tmp_path / "out") == {"a.png", "b.png", "c.png"}


def test_a_full_disk_fails_one_file_and_leaves_no_part_of_it(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = images.encode.write_bytes

    def full(path: Path, data: bytes) -> None:
        if path.name == "b.png":
            with atomic.replaced(path) as temporary:
                temporary.write_bytes(data[:10])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(temporary))
        encode(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(images.encode, "write_bytes", full)
        done = apply(model, folder, tmp_path / "out")
    (failure,) = done.failures
    assert "b.png cannot be written: No space left on device" in str(failure)
    assert names(tmp_path / "out") == {"a.png", "c.png"}
    assert apply(model, folder, tmp_path / "out").written == 1


def test_a_destination_that_cannot_be_written_is_found_before_the_network_runs(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("the network should not run")

    monkeypatch.setattr(Predictor, "predict", run)
    (tmp_path / "file").write_text("")
    failures = apply(model, folder, tmp_path / "file" / "out").failures
    assert len(failures) == 3 and f"{tmp_path / 'file'} is not a folder" in str(failures[0])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    failures = apply(model, folder, tmp_path / "out").failures
    assert len(failures) == 3 and f"{tmp_path} cannot be written to" in str(failures[0])


# Limits of formats.


def test_a_result_too_wide_for_webp_or_jpeg_is_written_as_png(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder, out = write_onnx(tmp_path / "x2.onnx", scale=2), tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write(folder / "a.webp", noise(2, 8191))
    write(folder / "b.webp", noise(2, 8192))
    write(folder / "c.jpg", noise(32751, 1))
    assert command_line(model, folder, out) == 0
    assert names(out) == {"a.webp", "b.webp.png", "c.jpg.png"}
    assert read(out / "b.webp.png").pixels.shape == (4, 16384, 3)
    printed = capsys.readouterr().err
    assert "b.webp: written as b.webp.png: WebP images have at most 16,383 px on a side" in printed
    assert "c.jpg: written as c.jpg.png: JPEG images have at most 65,500 px on a side" in printed
    assert command_line(model, folder, out) == 0
    assert "3 were there already" in capsys.readouterr().err
    assert command_line(model, folder / "b.webp", tmp_path / "one.webp") == 0
    assert format_of(tmp_path / "one.webp.png") == "PNG" and not (tmp_path / "one.webp").exists()


def test_the_size_after_scaling_decides(tmp_path: Path) -> None:
    path, source = write_onnx(tmp_path / "x2.onnx", scale=2, task="super-resolution"), tmp_path / "in.webp"
    write(source, noise(2, 8192))
    for scale, name in ((1.0, "in.webp"), (2.0, "in.webp.png")):
        out = tmp_path / str(scale)
        code = command_line(path, source, out, "--scale", str(scale))
        assert code == 0 and names(out) == {name}


def test_a_png_with_alpha_called_jpg_becomes_a_png(model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write(tmp_path / "rgba.png", noise(channels=4))
    (folder / "a.jpg").write_bytes((tmp_path / "rgba.png").read_bytes())
    done = apply(model, folder, out)
    assert done.written == 1 and "JPEG has no alpha channel" in done.notes[0]
    np.testing.assert_array_equal(read(out / "a.jpg.png").pixels[..., 3], read(tmp_path / "rgba.png").pixels[..., 3])
    assert apply(model, folder, out).kept == 1


def test_a_name_with_png_added_does_not_replace_another_result(model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write(folder / "a.jpg.png", noise(channels=4))
    (folder / "a.jpg").write_bytes((folder / "a.jpg.png").read_bytes())
    (failure,) = apply(model, folder, out).failures
    assert failure.path == folder / "a.jpg" and "rename one of them" in str(failure)
    assert names(out) == {"a.jpg.png"}

    (folder / "a.jpg.png").unlink()
    (out / "a.jpg.png").write_bytes(b"of another program")
    (failure,) = apply(model, folder, out).failures
    assert "gan-tasks did not make it" in str(failure)
    assert (out / "a.jpg.png").read_bytes() == b"of another program"


@pytest.mark.parametrize("letter", ["x", "é", "写"])
@pytest.mark.parametrize("bytes_", [240, 247, 255])
def test_long_names_are_written(letter: str, bytes_: int, model: Path, tmp_path: Path) -> None:
    stem = letter * ((bytes_ - 4) // len(letter.encode()))
    source = tmp_path / "in" / f"{stem}.png"
    source.parent.mkdir()
    write(source, noise())
    assert apply(model, source.parent, tmp_path / "out").written == 1
    assert apply(model, source.parent, tmp_path / "out").kept == 1
    assert names(tmp_path / "out") == {source.name}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_gets_too_long_by_its_suffix_is_one_failure(overwrite: bool, model: Path, folder: Path) -> None:
    write(folder / f"{'x' * 251}.bmp", noise())
    write(folder / f"{'y' * 247}.bmp", noise())
    (folder / f"{'z' * 251}.avi").write_bytes(b"")
    done = apply(model, folder, folder.parent / "out", overwrite=overwrite)
    assert done.written == 4
    assert {failure.path.name[0] for failure in done.failures} == {"x", "z"}
    assert all("longer than the 255 bytes" in str(failure) for failure in done.failures)


# Which files of a folder are taken.


def test_files_are_taken_by_their_content(model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "__MACOSX").mkdir(parents=True)
    (folder / ".thumbs").mkdir()
    write(tmp_path / "photo.jpg", noise())
    photo = (tmp_path / "photo.jpg").read_bytes()
    for name in ("a.jfif", "b.jpe", "c.JPG", "d.jpeg.", "e", "f.heic", "g.jpg-large"):
        (folder / name).write_bytes(photo)
    for name in (".hidden.jpg", "._a.jpg", "__MACOSX/a.jpg", ".thumbs/a.jpg", "copy.bak", "copy.jpg~"):
        (folder / name).write_bytes(photo)
    for name in ("notes.txt", "data.json", "Thumbs.db", "no suffix", "B.dat"):
        (folder / name).write_bytes(b"BMW and other text")
    done = apply(model, folder, out)
    assert done.failures == ()
    jpegs = {"a.jfif.jpg", "b.jpe.jpg", "c.JPG", "d.jpeg..jpg", "e.jpg", "f.heic.jpg", "g.jpg-large.jpg"}
    assert names(out) == jpegs
    assert {format_of(out / name) for name in jpegs} == {"JPEG"}
    assert apply(model, folder, out).kept == len(jpegs)


def test_images_that_cannot_be_read_are_not_done(model: Path, folder: Path, tmp_path: Path) -> None:
    heic = b"\0\0\0\x18ftypheic" + bytes(40)
    contents = {"a.heic": heic, "renamed.jpg": heic, "b.psd": b"8BPS", "c.svg": b"<svg/>", "d": b"\0\0\0\x20ftypavif"}
    contents["e.cr2"] = b"II*\0" + bytes(40)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "gone.png").symlink_to("nowhere.png")
    done = apply(model, folder, tmp_path / "out")
    assert done.written == 3
    failures = {failure.path.name: str(failure) for failure in done.failures}
    assert failures.keys() == {*contents, "gone.png"}
    for name, kind in (("a.heic", "HEIC"), ("renamed.jpg", "HEIC"), ("b.psd", "Photoshop"), ("d", "AVIF")):
        assert f"{kind} images cannot be read: convert it" in failures[name]
    assert "camera raw" in failures["e.cr2"] and "SVG" in failures["c.svg"]


def test_a_folder_that_does_not_open_is_one_failure(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sub").mkdir()
    listing = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    done = apply(model, folder, tmp_path / "out")
    assert done.written == 3 and [failure.path for failure in done.failures] == [folder / "sub"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_names_that_are_not_utf8(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latin = Path(os.fsdecode(b"caf\xe9.png"))
    (folder / "a.png").rename(folder / latin)
    (folder / os.fsdecode(b"\xff.heic")).write_bytes(b"")
    assert command_line(model, folder, tmp_path / "out") == BAD_INPUT
    assert r"\xff.heic: HEIC images cannot be read" in capsys.readouterr().err
    assert (tmp_path / "out" / latin).is_file()


# Options and destinations.


def test_the_limit_of_pixels_can_be_raised(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in.png", noise(10, 11))
    assert command_line(model, tmp_path / "in.png", tmp_path / "out.png", "--max-pixels", "109") == BAD_INPUT
    assert "over the limit of 109 px" in capsys.readouterr().err
    assert command_line(model, tmp_path / "in.png", tmp_path / "out.png", "--max-pixels", "110") == 0
    assert command_line(model, tmp_path / "in.png", tmp_path / "out.png", "--max-pixels", "0") == BAD_INPUT
    assert "expected a number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("destination", "hint"),
    [
        ("out.pgn", "did you mean out.png?"),
        ("out.jgp", "did you mean out.jpg?"),
        ("out.wepb", "did you mean out.webp?"),
        ("out.heic", "give out.png"),
        ("out.bmp", "give out.png"),
        ("out.jfif", "give out.png, or .jpg"),
    ],
)
def test_a_suffix_that_is_misspelled_or_not_written_is_questioned(
    destination: str, hint: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in.png", noise())
    assert command_line(model, tmp_path / "in.png", tmp_path / destination) == BAD_INPUT
    assert hint in capsys.readouterr().err
    assert not (tmp_path / destination).exists()


def test_folders_may_have_any_name_that_is_not_of_a_file(model: Path, folder: Path, tmp_path: Path) -> None:
    for name in ("out.v2", "out.2024", "photos.test", "results"):
        assert apply(model, folder / "a.png", tmp_path / name).written == 1
        assert names(tmp_path / name) == {"a.png"}
    (tmp_path / "out.pgn").mkdir()
    assert apply(model, folder / "a.png", tmp_path / "out.pgn").written == 1
    assert command_line(model, folder, tmp_path / "out.png") == BAD_INPUT
    assert not (tmp_path / "out.png").exists()


# Progress.


def test_one_image_shows_its_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_onnx(tmp_path / "big.onnx", bytes_per_pixel=1000)
    Image.new("RGB", (120, 90)).save(tmp_path / "in.png")
    monkeypatch.setattr(progress, "PATIENCE_S", 0)
    arguments = (model, tmp_path / "in.png", tmp_path / "out.png", "--max-memory", "3MB", "--overwrite")
    assert command_line(*arguments) == 0
    assert "Applying: 6/6 tiles" in capsys.readouterr().err
    monkeypatch.setattr(progress, "PATIENCE_S", 60)
    assert command_line(*arguments) == 0
    assert "tiles," not in capsys.readouterr().err.replace("in tiles,", "")
