"""Sound: copied where the container takes it, converted where not, or left out and said; always in sync."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flash_and_beep import FRAMES, RATE, flash_and_beep, measure
from handmade_onnx import write_onnx

from gan_tasks.export.inference.apply import Summary, apply_to_files
from gan_tasks.export.inference.files.pairs import files_to_do
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.load import load

av = pytest.importorskip("av", reason="videos need PyAV")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(write_onnx(tmp_path_factory.mktemp("model") / "model.onnx"), device="cpu")


def apply(model: Predictor, source: Path, out: Path) -> Summary:
    return apply_to_files(model, files_to_do(source, out), quiet=True)


def sound_codecs(path: Path) -> list[str]:
    with av.open(str(path)) as file:
        return [stream.codec_context.codec.canonical_name for stream in file.streams.audio]


@pytest.mark.parametrize(
    ("name", "codec", "sound", "out", "after"),
    [
        ("in.wmv", "wmv2", "wmav2", "out.mp4", "aac"),
        ("in.wmv", "wmv2", "wmav2", "out.mkv", "aac"),
        ("in.wmv", "wmv2", "wmav2", "out.webm", "opus"),
        ("in.mov", "mpeg4", "libopencore_amrnb", "out.mp4", "aac"),
        ("in.avi", "mpeg4", "adpcm_ms", "out.mkv", "aac"),
        ("in.avi", "mpeg4", "pcm_u8", "out.mov", "pcm_u8"),
        ("in.avi", "mpeg4", "pcm_mulaw", "out.mp4", "aac"),
        ("in.mkv", "mpeg4", "ac3", "out.mp4", "ac3"),
        ("in.mkv", "mpeg4", "libmp3lame", "out.webm", "opus"),
        ("in.mkv", "mpeg4", "libopus", "out.mp4", "opus"),
    ],
)
def test_sound_is_copied_or_converted(
    name: str, codec: str, sound: str, out: str, after: str, model: Predictor, tmp_path: Path
) -> None:
    rate = 8000 if "amr" in sound else 48000
    source = flash_and_beep(
        tmp_path / name,
        codec=codec,
        sound=sound,
        container="asf" if name.endswith("wmv") else None,
        sample_rate=rate,
    )
    done = apply(model, source, tmp_path / out)
    (before,) = sound_codecs(source)
    assert done.failures == () and sound_codecs(tmp_path / out) == [after]
    assert (f"{before} copied" if before == after else f"{before} converted to {after}") in done.videos[0]
    found, expected = measure(tmp_path / out), measure(source)
    assert found.beeps[0] - found.flashes[0] == pytest.approx(expected.beeps[0] - expected.flashes[0], abs=0.01)


@pytest.mark.parametrize("out", ["out.mp4", "out.webm"])
def test_late_sound_and_several_tracks_are_kept(out: str, model: Predictor, tmp_path: Path) -> None:
    source = flash_and_beep(tmp_path / "in.mov", codec="mpeg4", sound="pcm_s8", sound_start_s=0.3, tracks=2)
    assert apply(model, source, tmp_path / out).failures == ()
    for track in range(2):
        found = measure(tmp_path / out, track=track)
        assert found.beeps[0] == pytest.approx(found.flashes[0], abs=0.01)


def test_surround_sound_is_converted(model: Predictor, tmp_path: Path) -> None:
    source = flash_and_beep(tmp_path / "in.mkv", codec="mpeg4", sound="ac3", layout="5.1(side)")
    assert "ac3 converted to opus" in apply(model, source, tmp_path / "out.webm").videos[0]
    with av.open(str(tmp_path / "out.webm")) as file:
        assert file.streams.audio[0].layout.nb_channels == 6


def damage(path: Path, numbers: range) -> None:
    """Overwrite packets of the sound."""
    with av.open(str(path)) as file:
        packets = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
    data, generator = path.read_bytes(), np.random.default_rng(0)
    for packet in packets[numbers.start : numbers.stop]:
        data = data.replace(packet, generator.bytes(len(packet)))
    path.write_bytes(data)


@pytest.mark.parametrize("out", ["out.mkv", "out.webm"])
def test_damaged_sound_does_not_stop_the_video(out: str, model: Predictor, tmp_path: Path) -> None:
    source = flash_and_beep(tmp_path / "in.mkv", codec="mpeg4", sound="libmp3lame")
    expected = measure(source)
    damage(source, range(2, 7))
    done = apply(model, source, tmp_path / out)
    found = measure_readable(tmp_path / out)
    assert done.written == 1 and len(expected.frames) == FRAMES
    if out == "out.webm":
        assert "packets of sound and subtitles are damaged" in done.videos[0]
        assert measure(tmp_path / out).beeps[0] == pytest.approx(expected.beeps[0], abs=0.01)
    assert found == FRAMES


def measure_readable(path: Path) -> int:
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


def test_sound_that_cannot_be_decoded_is_left_out_and_named(model: Predictor, tmp_path: Path) -> None:
    source = flash_and_beep(tmp_path / "in.mkv", codec="mpeg4", sound="libmp3lame")
    damage(source, range(FRAMES * 48000 // RATE))
    done = apply(model, source, tmp_path / "out.webm")
    assert done.failures == () and sound_codecs(tmp_path / "out.webm") == []
    assert "no sound; left out: sound (mp3, which cannot be decoded)" in done.videos[0]
