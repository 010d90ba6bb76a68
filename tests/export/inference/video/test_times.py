"""Times of frames and of sound: AVI, raw streams, and clocks of MPEG streams that start anywhere or jump."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from flash_and_beep import FLASH_S, FRAMES, RATE, flash_and_beep, measure
from handmade_onnx import write_onnx

from gan_tasks.export.inference.apply import Summary, apply_to_files
from gan_tasks.export.inference.files.pairs import files_to_do
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.load import load

av = pytest.importorskip("av", reason="videos need PyAV")
STEP_S = round(1 / RATE, 3)
LATE_S = 0.055  # by which the ffmpeg command delays the picture of an AVI file with B-frames
B_FRAMES = {"bf": "3", "b_strategy": "0"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(write_onnx(tmp_path_factory.mktemp("model") / "model.onnx"), device="cpu")


def apply(model: Predictor, source: Path, out: Path) -> Summary:
    return apply_to_files(model, files_to_do(source, out), quiet=True)


@pytest.mark.parametrize("b_pyramid", ["none", "normal"])
def test_h264_with_b_frames_in_avi_keeps_its_times(b_pyramid: str, model: Predictor, tmp_path: Path) -> None:
    options = {**B_FRAMES, "x264-params": f"b-pyramid={b_pyramid}"}
    source = flash_and_beep(tmp_path / "in.avi", sound="pcm_s16le", options=options)
    assert apply(model, source, tmp_path / "out.mp4").failures == ()
    found = measure(tmp_path / "out.mp4")
    assert found.gaps_s == [STEP_S] * (FRAMES - 1)
    assert -STEP_S <= found.flashes[0] - found.beeps[0] <= LATE_S


def test_frames_after_damage_in_avi_keep_their_times(model: Predictor, tmp_path: Path) -> None:
    source = flash_and_beep(tmp_path / "in.avi", options=B_FRAMES)
    expected = measure(apply_to(model, source, tmp_path / "whole.mp4"))
    data = source.read_bytes()
    with av.open(str(source)) as file:
        packets = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    for packet in packets[3:5]:
        data = data.replace(packet, b"\xff" * len(packet))
    source.write_bytes(data)
    (failure,) = apply(model, source, tmp_path / "out.mp4").failures
    found = measure(tmp_path / "out.mp4")
    assert "2 packets cannot be decoded" in str(failure)
    assert found.frames[-1] == expected.frames[-1]
    assert found.flashes == expected.flashes


def apply_to(model: Predictor, source: Path, out: Path) -> Path:
    apply(model, source, out)
    return out


def test_packed_b_frames_of_mpeg4_keep_their_times(model: Predictor, tmp_path: Path) -> None:
    """As DivX and Xvid write them: a B-frame is in the packet of the frame before it, and an empty frame follows."""
    plain = flash_and_beep(tmp_path / "plain.avi", codec="mpeg4", options={"bf": "1", "b_strategy": "0"})
    start, empty = b"\0\0\1\xb6", b"\0\0\1\xb6\x50\0\x7f"
    with av.open(str(plain)) as file, av.open(str(tmp_path / "in.avi"), "w") as packed:
        packets = [bytes(packet) for packet in file.demux(video=0) if packet.size]
        are_b = [packet[packet.find(start) + 4] >> 6 == 2 for packet in packets]
        joined = list[bytes]()
        for packet, is_b in zip(packets, are_b, strict=True):
            joined += [joined.pop() + packet, empty] if is_b else [packet]
        at = joined[0].find(start)
        joined[0] = joined[0][:at] + b"\0\0\1\xb2DivX503b1393p" + joined[0][at:]
        stream = packed.add_stream_from_template(file.streams.video[0], opaque=True)
        for number, data in enumerate(joined):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, RATE), number, number
            packed.mux(packet)
    assert sum(are_b) > 5
    found = measure(apply_to(model, tmp_path / "in.avi", tmp_path / "out.mp4"))
    assert found.gaps_s == [STEP_S] * (FRAMES - 1)


def test_dropped_frames_in_avi_are_kept_as_gaps(model: Predictor, tmp_path: Path) -> None:
    times = [number + 5 * (number >= 12) for number in range(FRAMES)]
    source = flash_and_beep(tmp_path / "in.avi", options=B_FRAMES, times=times)
    gaps_s = measure(apply_to(model, source, tmp_path / "out.mp4")).gaps_s
    assert sorted(gaps_s) == [*[STEP_S] * (FRAMES - 2), 6 * STEP_S]


@pytest.mark.parametrize(("suffix", "codec"), [(".m2v", "mpeg2video"), (".m1v", "mpeg1video")])
def test_raw_mpeg_video_has_an_even_rate(suffix: str, codec: str, model: Predictor, tmp_path: Path) -> None:
    source = flash_and_beep(tmp_path / f"in{suffix}", codec=codec, container=codec, options={"bf": "2"})
    assert measure(apply_to(model, source, tmp_path / "out.mkv")).gaps_s == [STEP_S] * (FRAMES - 1)


def shifted(source: Path, out: Path, shift_s: Fraction, container: str) -> Path:
    """Copy the streams of a file to later times."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as file, av.open(str(out), "w", format=container, options=options) as copy:
        streams: dict[int, Any] = {
            stream.index: copy.add_stream_from_template(stream, opaque=True)
            for stream in file.streams
            if stream.type in ("video", "audio")
        }
        for packet in file.demux(list(file.streams.video) + list(file.streams.audio)):
            if packet.size:
                shift = round(shift_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    return out


@pytest.mark.parametrize("shift_s", [Fraction(80000), Fraction(2**33, 90000) - 2], ids=["hours", "wrapping"])
def test_a_broadcast_begins_at_zero(shift_s: Fraction, model: Predictor, tmp_path: Path) -> None:
    begun = flash_and_beep(tmp_path / "zero.ts", codec="mpeg2video", sound="mp2")
    source = shifted(begun, tmp_path / "in.ts", shift_s, "mpegts")
    found = measure(apply_to(model, source, tmp_path / "out.mp4"))
    assert 0 <= found.frames[0] < 0.1 and found.gaps_s == [STEP_S] * (FRAMES - 1)
    assert found.flashes[0] == pytest.approx(found.beeps[0], abs=0.005)


@pytest.mark.parametrize(("suffix", "container"), [(".vob", "vob"), (".ts", "mpegts")])
@pytest.mark.parametrize("shift_s", [0, 500], ids=["back", "ahead"])
def test_jumps_of_the_clock_are_closed(
    suffix: str, container: str, shift_s: int, model: Predictor, tmp_path: Path
) -> None:
    one = flash_and_beep(tmp_path / f"1{suffix}", codec="mpeg2video", sound="ac3", container=container)
    two = shifted(one, tmp_path / f"2{suffix}", Fraction(shift_s), container) if shift_s else one
    source = tmp_path / f"in{suffix}"
    source.write_bytes(one.read_bytes() + two.read_bytes() + one.read_bytes())
    for out in ("copied.mp4", "converted.webm"):
        apply(model, source, tmp_path / out)
        found = measure(tmp_path / out)
        assert len(found.frames) == 3 * FRAMES
        assert found.gaps_s == pytest.approx([STEP_S] * (3 * FRAMES - 1), abs=0.0011)
        assert found.flashes == pytest.approx([found.flashes[0] + n * FRAMES / RATE for n in range(3)], abs=0.002)
        assert found.beeps == pytest.approx(found.flashes, abs=0.05), f"{out} is not in sync"


def test_the_time_base_of_dv_and_its_time_code_do_not_stop_a_video(model: Predictor, tmp_path: Path) -> None:
    source = flash_and_beep(tmp_path / "in.dv", codec="dvvideo", container="dv", height=576, width=720)
    done = apply(model, source, tmp_path / "out.mp4")
    assert done.failures == () and "left out: timecode" in done.videos[0]
    assert "all frames are interlaced, but are treated as progressive" in done.videos[0]
    found = measure(tmp_path / "out.mp4")
    assert found.gaps_s == [STEP_S] * (FRAMES - 1)
    assert found.flashes == [FLASH_S]
