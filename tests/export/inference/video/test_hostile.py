"""Videos that are made to cost much, or to make FFmpeg open other files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from handmade_onnx import write_onnx

av = pytest.importorskip("av", reason="videos need PyAV")
reader = pytest.importorskip("gan_tasks.export.inference.video.reader")
process = pytest.importorskip("gan_tasks.export.inference.video.process")
writer = pytest.importorskip("gan_tasks.export.inference.video.writer")

from reliability.hostile_videos import HOSTILE, PLAYLISTS, video, with_chapters, with_streams  # noqa: E402

from gan_tasks.datasets.errors import UserError  # noqa: E402
from gan_tasks.export.load import load  # noqa: E402


def applied(path: Path, name: str) -> tuple[Path, str]:
    """Apply a model; return the result and its description."""
    model = load(write_onnx(path.parent / "model.onnx", scale=1))
    result = path.with_name(name)
    return result, process.apply_to_video(model, path, result, model_version="", quiet=True).summary


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_is_not_opened(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"playlists|cannot be read as a video"):
        reader.probe(PLAYLISTS[kind](tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="names of files on Windows have no colon")
def test_a_name_that_looks_like_an_address_is_that_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video(tmp_path, "secret.ts")
    for name in ("concat:secret.ts", "http:", "subfile,,start,0,end,0,,:secret.ts"):
        with pytest.raises(UserError, match="No such file"):
            reader.probe(Path(name))
    Path("secret.ts").rename("concat:a.ts")
    result, _ = applied(Path("concat:a.ts"), "http:a.mkv")
    assert result.is_file()


@pytest.mark.parametrize("limit", [32 * 32 - 1, 32 * 32])
def test_the_size_of_frames_is_limited(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are read, and those of the result."""
    path = video(tmp_path, "a.mp4")
    reads = reader.probe(path)
    monkeypatch.setattr(writer, "MAX_PIXELS", limit)
    if limit < 32 * 32:
        with pytest.raises(UserError, match="are over the limit of 1,023 pixels: use a model with a smaller scale"):
            writer.plan(reads, tmp_path / "result.mp4", 1)
    else:
        assert writer.plan(reads, tmp_path / "result.mp4", 1).width == 32
    monkeypatch.setattr(reader, "MAX_PIXELS", limit)
    if limit < 32 * 32:
        with pytest.raises(UserError, match="frames of 32 × 32 px are over the limit of 1,023 px"):
            reader.probe(path)
    else:
        assert reader.probe(path).width == 32


def test_encoders_keep_fewer_large_frames() -> None:
    assert writer.find_encoder(Path("a.mp4"), "mp4", 1080, 1920).options["rc-lookahead"] == "40"
    assert int(writer.find_encoder(Path("a.mp4"), "mp4", 8192, 8192).options["rc-lookahead"]) < 10
    assert int(writer.find_encoder(Path("a.webm"), "webm", 8192, 8192).options["lag-in-frames"]) < 10


def test_a_short_file_does_not_become_many_hours_of_silence(tmp_path: Path) -> None:
    path = HOSTILE["MKV, sound with 50 gaps of ten hours"](tmp_path)
    result, said = applied(path, "result.mp4")
    assert "converted to aac" in said
    assert result.stat().st_size < 1_000_000
    with av.open(str(result)) as file:
        (sound,) = file.streams.audio
        times = [packet.pts * packet.time_base for packet in file.demux(sound) if packet.size]
    assert len(times) < 1000
    assert abs(float(times[-1]) - 49 * 36_000) < 1  # the times are still right


MANY: dict[str, tuple[Callable[[Path], Path], str]] = {
    "chapters": (lambda folder: with_chapters(folder, 1100), "chapters after the first 1,000 are left out"),
    "streams of sound": (
        lambda folder: with_streams(folder, "sound", 40),
        "8 more sound streams left out; left out: 32 × ",
    ),
    "attachments": (lambda folder: with_streams(folder, "attachment", 40), "left out: 40 × attachment"),
}


@pytest.mark.parametrize("kind", MANY)
def test_many_parts_are_left_out_and_said_once(kind: str, tmp_path: Path) -> None:
    make, expected = MANY[kind]
    _, said = applied(make(tmp_path), "result.mp4")
    assert expected in said
    assert len(said) < 400
