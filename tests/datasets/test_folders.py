"""Which files of a folder are images: by suffix, by content, and not if they are hidden."""

import os
from pathlib import Path

import numpy as np
import pytest

from gan_tasks.datasets.errors import UserError, on_one_line, printable, visible
from gan_tasks.datasets.folders import images_in, visible_files_below
from gan_tasks.datasets.images import Picture, write
from gan_tasks.datasets.images.formats import format_of


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    write(tmp_path / "photo.jpg", Picture(np.zeros((4, 4, 3), np.uint8)))
    return (tmp_path / "photo.jpg").read_bytes()


def test_images_are_found_by_suffix_or_content_and_others_are_problems(tmp_path: Path, photo: bytes) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jfif", "c", "d.heic", "._a.jpg", ".e.jpg", "f.bak"):
        (folder / name).write_bytes(photo)
    (folder / "g.heic").write_bytes(b"")
    (folder / "notes.txt").write_text("BMW")
    images, problems = images_in(folder)
    assert [path.name for path in images] == ["a.jpg", "b.jfif", "c", "d.heic"]
    reasons = {problem.path.name: problem.reason for problem in problems}
    assert reasons.keys() == {"f.bak", "g.heic", "notes.txt"}
    assert "HEIC images cannot be read: convert it" in reasons["g.heic"]
    assert "does not have the suffix of an image" in reasons["notes.txt"]


def test_hidden_files_and_folders_are_left_out_of_subfolders(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png", "sub/.c.png", ".hidden/d.png", "__MACOSX/._a.png", "@eaDir/a.png/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    files, closed = visible_files_below(tmp_path)
    assert files == [tmp_path / "a.png", tmp_path / "sub" / "b.png"] and closed == []
    with pytest.raises(UserError, match="cannot be opened"):
        visible_files_below(tmp_path / "missing")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".npy"])
def test_formats_are_told_by_content(suffix: str, tmp_path: Path) -> None:
    write(tmp_path / f"a{suffix}", Picture(np.zeros((4, 4, 3), np.uint8)))
    names = {".png": "PNG", ".jpg": "JPEG", ".webp": "WebP", ".tif": "TIFF", ".bmp": "BMP", ".npy": "NPY"}
    assert format_of(tmp_path / f"a{suffix}") == names[suffix]
    (tmp_path / "text").write_bytes(b"BM is not a bitmap, and RIFF is not WebP")
    assert format_of(tmp_path / "text") == format_of(tmp_path / "missing") == ""


def test_names_cannot_command_a_terminal() -> None:
    name = "\x1b]0;owned\x07\x1b[31mred\r\x7f\x9b2J \u202egnp.exe\u2066"
    shown = visible(name)
    assert shown == "\\x1b]0;owned\\x07\\x1b[31mred\\x0d\\x7f\\x9b2J \\u202egnp.exe\\u2066"
    assert visible("two\nlines\tand 写 é 🎨") == "two\nlines\tand 写 é 🎨"
    assert on_one_line("two\nlines\tand \x1b 写\u2028") == "two\\x0alines\\x09and \\x1b 写\\u2028"


def test_names_that_are_not_utf8_are_printable() -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9.png")
    assert printable(Path(name)) == "caf\\xe9 é.png"
    assert printable("\ud800") == "\\ud800" and printable("写 é") == "写 é"
