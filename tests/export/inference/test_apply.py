"""A model on a folder: results that are written, kept and refused, and interrupted runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_onnx import write_onnx
from PIL import ExifTags, Image, ImageCms
from tiny_runs import make_run

from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, atomic, read, write
from gan_tasks.export.inference.apply import Summary, apply_to_files
from gan_tasks.export.inference.files.pairs import files_to_do
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.load import load, load_model

RNG = np.random.default_rng(0)
BAD_INPUT = 2
LONGEST_WAIT_S = 60


def noise(height: int = 12, width: int = 9, channels: int = 3) -> Picture:
    return Picture(RNG.integers(0, 256, (height, width, channels), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one in a subfolder."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "sub/c.tif"):
        write(tmp_path / "in" / name, noise())
    return tmp_path / "in"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "model.onnx")


def apply(model: Path, source: Path, out: Path, **options: Any) -> Summary:
    return apply_to_files(load(model, device="cpu"), files_to_do(source, out), quiet=True, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_result_has_the_format_of_its_input(folder: Path, model: Path, tmp_path: Path) -> None:
    for name in ("d.bmp", "e.npy"):  # formats that cannot contain the mark
        write(folder / name, noise())
    done = apply(model, folder, tmp_path / "out")
    assert (done.written, done.kept, done.tiled, done.failures) == (5, 0, 0, ())
    assert set(contents(tmp_path / "out")) == {"a.png", "b.jpg", "d.bmp.png", "e.npy.png", "sub/c.tif"}
    filter_alone = load(model)
    for name in ("a.png", "sub/c.tif"):
        np.testing.assert_array_equal(read(tmp_path / "out" / name).pixels, filter_alone(read(folder / name).pixels))
    assert all(read_xmp(path) for path in (tmp_path / "out").rglob("*") if path.is_file())


# Continuing an earlier run.


def test_existing_results_are_kept(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apply(model, folder, out)
    first = times(out)
    (out / "a.png").unlink()
    done = apply(model, folder, out)
    assert (done.written, done.kept) == (1, 2)
    again = times(out)
    assert [name for name in first if first[name] != again[name]] == ["a.png"]


def test_results_of_other_files_or_models_are_made_again(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apply(model, folder, out)
    stat = (folder / "a.png").stat()
    write(folder / "a.png", noise())
    os.utime(folder / "a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as copying tools set the times
    done = apply(model, folder, out)
    assert (done.written, done.kept) == (1, 2)
    np.testing.assert_array_equal(read(out / "a.png").pixels, load(model)(read(folder / "a.png").pixels))
    os.utime(folder / "b.jpg")
    assert apply(model, folder, out).kept == 3, "a newer modification time does not change the content"
    other = write_onnx(tmp_path / "other.onnx", licence="CC-BY")  # of the same name
    assert apply(other, folder, out).written == 3
    assert apply(model, folder, out, overwrite=True).written == 3
    assert apply(model, folder, out, overwrite=True).written == 3


def test_files_of_other_programs_are_replaced_only_with_overwrite(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out / "a.png", noise())
    (out / "b.jpg").write_bytes(b"")
    there = contents(out)
    done = apply(model, folder, out)
    assert done.written == 1
    assert [failure.path for failure in done.failures] == [folder / "a.png", folder / "b.jpg"]
    assert all("--overwrite" in str(failure) for failure in done.failures)
    assert {name: contents(out)[name] for name in there} == there
    assert apply(model, folder, out, overwrite=True).written == 3
    assert not apply(model, folder, out).failures


def test_runs_are_identified_by_their_weights(folder: Path, tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / name / "run", generator="unet-128", norm=norm)
        for name, norm in (("one", "batch"), ("two", "instance"))
    ]
    one, two = (load_model(run, device="cpu") for run in runs)
    assert one.title == two.title
    assert one.version() != two.version()
    assert one.version() == load_model(runs[0] / "checkpoints" / "step-00000001", device="cpu").version()
    assert load_model(runs[0], device="cpu", mode="train").version() != one.version()


@pytest.mark.slow
def test_a_killed_run_leaves_complete_files_and_can_be_continued(model: Path, tmp_path: Path) -> None:
    source, out, uninterrupted = tmp_path / "in", tmp_path / "out", tmp_path / "uninterrupted"
    source.mkdir()
    for number in range(80):
        suffix = (".png", ".jpg", ".tif", ".webp")[number % 4]
        write(source / f"{number:02}{suffix}", noise(200, 200))
    assert apply(model, source, uninterrupted).written == 80

    command = [
        sys.executable,
        "-m",
        "gan_tasks.apps.cli.main",
        "apply",
        str(model),
        str(source),
        str(out),
        "--device=cpu",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    end_s = time.monotonic() + LONGEST_WAIT_S
    while process.poll() is None and time.monotonic() < end_s and not (out / "05.jpg").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the process should be killed before it ends"

    left = contents(out)
    whole = {name: data for name, data in left.items() if not name.startswith(".")}
    assert 5 <= len(whole) < 80
    expected = contents(uninterrupted)
    assert all(expected[name] == data for name, data in whole.items())
    (out / ".79.webp.0123abcd.tmp").write_bytes(b"half a fi")  # left by a kill during a write
    first = times(out)

    done = apply(model, source, out)
    assert (done.written, done.kept) == (80 - len(whole), len(whole))
    assert contents(out) == expected
    assert {name: times(out)[name] for name in whole} == {name: first[name] for name in whole}


def test_leftovers_of_other_files_are_not_removed(tmp_path: Path) -> None:
    names = (".a.png.0123abcd.tmp", ".b.png.0123abcd.tmp", ".a.png.tmp", "a.png", ".a.png.0123abcd.tmp.png")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    atomic.remove_leftovers([tmp_path / "a.png", tmp_path / "missing" / "a.png"])
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])


# Errors before anything is written.


def test_two_inputs_with_one_output_are_refused(folder: Path, model: Path, tmp_path: Path) -> None:
    write(folder / "d.bmp", noise())
    write(folder / "d.bmp.png", noise())
    with pytest.raises(UserError, match=r"d\.bmp and .*d\.bmp\.png would both become"):
        apply(model, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_would_replace_an_input_is_refused(model: Path, tmp_path: Path) -> None:
    inner = tmp_path / "out" / "in"
    (inner / "in").mkdir(parents=True)
    write(inner / "a.png", noise())
    write(inner / "in" / "a.png", noise())
    there = contents(tmp_path)
    with pytest.raises(UserError, match="would replace its own input"):
        apply(model, inner, tmp_path / "out" / ".." / "out" / "in")
    with pytest.raises(UserError, match=r"would replace the input .*in/a\.png"):
        apply(model, inner, tmp_path / "out")  # in/in/a.png would become in/a.png
    assert contents(tmp_path) == there


def test_results_inside_the_folder_are_not_inputs_of_the_next_run(folder: Path, model: Path) -> None:
    assert apply(model, folder, folder / "results").written == 3
    assert apply(model, folder, folder / "results").kept == 3
    assert not (folder / "results" / "results").exists()


# The command line.


def command_line(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exited:
        main(["apply", *map(str, arguments)])
    assert isinstance(exited.value.code, int)
    return exited.value.code


def test_kept_results_are_counted_and_failures_are_listed(
    folder: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (folder / "empty.jpg").write_bytes(b"")
    assert command_line(model, folder, tmp_path / "out") == BAD_INPUT
    assert command_line(model, folder, tmp_path / "out") == BAD_INPUT
    printed = capsys.readouterr().err
    assert "3 of 5 images written" in printed
    assert "0 of 5 images written" in printed and "3 were there already" in printed
    assert printed.count(f"{folder / 'empty.jpg'}: the file is empty") == 2
    assert printed.count(f"{folder / 'broken.png'}: cannot be decoded") == 2
    (folder / "broken.png").unlink()
    (folder / "empty.jpg").unlink()
    assert command_line(model, folder, tmp_path / "out") == 0
    assert command_line(model, folder, tmp_path / "out", "--overwrite") == 0
    assert "3 images written" in capsys.readouterr().err


def test_large_images_respect_the_memory_limit(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.png"
    write(path, noise(150, 180))
    big = write_onnx(tmp_path / "big.onnx", bytes_per_pixel=1000)
    assert command_line(big, path, tmp_path / "whole.png", "--device", "cpu") == 0
    assert "tiles" not in capsys.readouterr().err
    assert command_line(big, path, tmp_path / "tiled.png", "--device", "cpu", "--max-memory", "5MB") == 0
    assert "1 in tiles" in capsys.readouterr().err
    whole, tiled = (read(tmp_path / f"{name}.png").pixels for name in ("whole", "tiled"))
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert command_line(big, path, tmp_path / "x.png", "--max-memory", "0.1MB") == BAD_INPUT
    assert "allow more memory" in capsys.readouterr().err
    assert command_line(big, path, tmp_path / "x.png", "--max-memory", "much") == BAD_INPUT
    assert "expected such as 2GB" in capsys.readouterr().err


def test_a_run_folder_respects_the_memory_limit(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "run", generator="unet-128", norm="batch"), device="cpu")
    assert not run.model.runs_in_tiles(300, 400)
    run.model.max_memory_bytes = 10**6
    assert run.model.runs_in_tiles(300, 400)
    with pytest.raises(UserError, match="allow more memory"):
        run(noise(300, 400).pixels)


def test_profile_orientation_and_depth_are_kept(model: Path, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "in").mkdir()
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    image = Image.fromarray(noise(12, 9).pixels)
    image.save(tmp_path / "in" / "turned.jpg", exif=turned, icc_profile=profile)
    deep = Picture(RNG.integers(0, 65536, (12, 9, 3), np.uint16), profile)
    write(tmp_path / "in" / "deep.png", deep)
    write(tmp_path / "in" / "gray.png", noise(12, 9, channels=1))
    assert apply(model, tmp_path / "in", tmp_path / "out").written == 3
    upright, same, gray = (read(tmp_path / "out" / name) for name in ("turned.jpg", "deep.png", "gray.png"))
    assert upright.pixels.shape == (9, 12, 3) and upright.icc_profile == profile
    assert same.pixels.dtype == np.uint16 and same.icc_profile == profile
    np.testing.assert_array_equal(same.pixels, load(model)(deep.pixels))
    assert gray.pixels.shape == (12, 9, 3)


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (37, 61)])
def test_any_size_runs_in_tiles(size: tuple[int, int], tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", scale=2, bytes_per_pixel=1000)
    write(tmp_path / "in.png", noise(*size))
    whole, tiled = load(path), load(path)
    tiled.model.max_memory_bytes = 10**6
    pixels = read(tmp_path / "in.png").pixels
    assert tiled.model.runs_in_tiles(*size) == (size != (1, 1))
    for image in (pixels, pixels.astype(np.uint16) * 257):
        result = tiled(image)
        assert result.shape == (2 * size[0], 2 * size[1], 3) and result.dtype == image.dtype
        assert np.abs(result.astype(int) - whole(image)).max() <= 1


def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (12_000, 12_000)).save(path)
    tracemalloc.start()
    assert command_line(model, path, tmp_path / "out.png") == BAD_INPUT
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "12000 × 12000 px (144,000,000) is over the limit of 100,000,000 px" in capsys.readouterr().err
    assert peak_bytes < 20e6
    assert not (tmp_path / "out.png").exists()
