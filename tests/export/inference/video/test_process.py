"""A model on a video: frames, times, colours and sound; interrupted runs and errors."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_onnx import write_onnx

from gan_tasks.apps.cli.commands.inspect import inspect
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, read, write
from gan_tasks.export.inference.apply import Summary, apply_to_files
from gan_tasks.export.inference.files.pairs import files_to_do
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.load import load
from gan_tasks.export.models.base import Model, ModelRunError
from gan_tasks.spec import InputSpec, ModelSpec

av = pytest.importorskip("av", reason="videos need PyAV")
video = pytest.importorskip("gan_tasks.export.inference.video.process")
writer = pytest.importorskip("gan_tasks.export.inference.video.writer")
PART_FRAMES = video.PART_FRAMES
BAD_INPUT = 2
HEIGHT, WIDTH, FRAMES, RATE = 48, 64, 20, 10
SAMPLE_RATE = 16000
TIME_BASE = Fraction(1, 12800)
STEP = 1280


def moving(number: int, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """A smooth image that differs in every frame."""
    rows, columns = np.mgrid[:height, :width]
    channels = [rows * 4 + number * 3, columns * 3 + number * 5, np.full_like(rows, 40 + number * 7)]
    return (np.stack(channels, 2) % 256).astype(np.uint8) // 2 + 60


def make_video(
    path: Path,
    *,
    frames: Sequence[Pixels] | None = None,
    times: Sequence[int] | None = None,
    sound: str = "aac",
    pixel_format: str = "yuv420p",
    codec: str = "libx264",
    rotation: int | None = None,
    pixel_aspect: Fraction = Fraction(1),
    metadata: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    keyframes: int = 12,
) -> Path:
    frames = frames or [moving(number) for number in range(FRAMES)]
    times = times or [number * STEP for number in range(len(frames))]
    with av.open(str(path), "w", options=options or {}) as file:
        file.metadata.update(metadata or {})
        stream = file.add_stream(codec, rate=RATE, options={"crf": "10", "g": str(keyframes)})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        voice = file.add_stream(sound, rate=SAMPLE_RATE) if sound else None
        for pixels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = time, TIME_BASE
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if voice:
            count = int((times[-1] + STEP) * TIME_BASE * SAMPLE_RATE)
            wave = np.sin(2 * np.pi * 440 * np.arange(count) / SAMPLE_RATE) * 8000
            for start in range(0, count, 1024):
                samples = wave[None, start : start + 1024]
                data = av.AudioFrame.from_ndarray(samples.astype(np.int16), format="s16", layout="mono")
                data.sample_rate, data.pts, data.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
                file.mux(voice.encode(data))
            file.mux(voice.encode())
    return path


def decode(path: Path) -> tuple[list[Fraction], list[Pixels]]:
    """Times in seconds and RGB of all frames."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return [frame.pts * frame.time_base for frame in frames], [
            frame.to_ndarray(format="rgb24") for frame in frames
        ]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(audio=0) if packet.size]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets]


def frame_sizes(path: Path) -> list[int]:
    """Bytes of each coded frame."""
    with av.open(str(path)) as file:
        return [packet.size for packet in file.demux(video=0) if packet.size]


def metadata_of(path: Path) -> tuple[dict[str, str], Any]:
    with av.open(str(path)) as file:
        return dict(file.metadata), read_xmp(path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "model.onnx")


def apply(model: Path | Model, source: Path, out: Path, **options: Any) -> Summary:
    predictor = load(model, device="cpu") if isinstance(model, Path) else Predictor(model)
    return apply_to_files(predictor, files_to_do(source, out), quiet=True, **options)


class Counting(Model):
    """A model that darkens its input and calls `at` before each frame with the number of earlier frames."""

    title = "Counting"
    spec = ModelSpec("test", "translate", (InputSpec("image", "image", 3, "any"),), 3)

    def __init__(self, at: Callable[[int], None] = lambda number: None) -> None:
        self.at, self.calls = at, 0

    def version(self) -> str:
        return "sha256:1"

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False

    def run(self, *inputs: Any) -> Any:
        return inputs[0] * 0.75

    def run_pixels(self, pixels: Pixels) -> Pixels:
        self.at(self.calls)
        self.calls += 1
        return super().run_pixels(pixels)


def stop_at(number: int) -> Callable[[int], None]:
    def at(call: int) -> None:
        if call == number:
            raise KeyboardInterrupt

    return at


# Results.


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_times_sound_and_size(suffix: str, scale: int, tmp_path: Path) -> None:
    source, out = make_video(tmp_path / f"in{suffix}", pixel_aspect=Fraction(4, 3)), tmp_path / f"out{suffix}"
    model = write_onnx(tmp_path / "model.onnx", scale=scale)
    done = apply(model, source, out)
    assert (done.written, done.failures) == (1, ())
    times, frames = decode(out)
    assert times == decode(source)[0] and len(frames) == FRAMES
    assert frames[0].shape == (scale * HEIGHT, scale * WIDTH, 3)
    assert sound_of(out) == sound_of(source), "all packets of the sound are copied"
    predictor = load(model, device="cpu")
    for got, before in zip(frames, decode(source)[1], strict=True):
        # Encoded with crf 18, and with half the resolution for colour.
        assert np.abs(got.astype(float) - predictor(before)).mean() < 4
    with av.open(str(source)) as one, av.open(str(out)) as other:
        before, after = one.streams.video[0], other.streams.video[0]
        assert after.codec_context.name == "h264"
        assert after.time_base == before.time_base
        next(other.decode(video=0))
        assert after.codec_context.sample_aspect_ratio == Fraction(4, 3)
    assert "H.264" in done.videos[0] and "aac copied" in done.videos[0]


def test_webm_is_vp9(model: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.webm", codec="libvpx-vp9", sound="")
    done = apply(model, source, tmp_path / "out.webm")
    assert "VP9" in done.videos[0] and "no sound" in done.videos[0]
    assert decode(tmp_path / "out.webm")[0] == decode(source)[0]
    with pytest.raises(StopIteration):
        next(iter(apply(model, source, tmp_path / "out.mp4").failures))
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.video[0].codec_context.name == "h264"


def test_uneven_times_are_kept(model: Path, tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(1, 5000, FRAMES)
    times = [700, *(700 + np.cumsum(steps)[:-1]).tolist()]  # and not from zero on
    source = make_video(tmp_path / "in.mp4", times=times, options={"movie_timescale": str(TIME_BASE.denominator)})
    apply(model, source, tmp_path / "out.mp4")
    assert decode(tmp_path / "out.mp4")[0] == decode(source)[0] == [time * TIME_BASE for time in times]
    assert sound_of(tmp_path / "out.mp4") == sound_of(source)
    with av.open(str(source)) as one, av.open(str(tmp_path / "out.mp4")) as other:
        assert one.streams.video[0].duration == other.streams.video[0].duration, "the last frames differ in duration"


def test_frames_before_time_zero_are_delayed_and_shown(model: Path, tmp_path: Path) -> None:
    times = [number * STEP - 2000 for number in range(FRAMES)]
    source = make_video(tmp_path / "in.m2ts", times=times, options={"avoid_negative_ts": "disabled"})
    before = decode(source)[0]
    assert before[0] < 0
    for suffix in (".mp4", ".mkv"):
        apply(model, source, tmp_path / f"out{suffix}")
        after = decode(tmp_path / f"out{suffix}")[0]
        exact = Fraction(0) if suffix == ".mp4" else Fraction(1, 1000)  # Matroska counts milliseconds
        assert max(abs(a - b + before[0]) for a, b in zip(after, before, strict=True)) <= exact
        sounds = [sound_of(path) for path in (source, tmp_path / f"out{suffix}")]
        assert abs((sounds[1][0][0] - after[0]) - (sounds[0][0][0] - before[0])) <= Fraction(2, 1000), (
            "sound and frames are not in sync"
        )


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_frames_are_turned_upright(rotation: int, tmp_path: Path) -> None:
    quadrants = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for number in range(4):
        rows, columns = (number // 2) * HEIGHT // 2, (number % 2) * WIDTH // 2
        quadrants[rows : rows + HEIGHT // 2, columns : columns + WIDTH // 2] = 40 + 50 * number
    source = make_video(
        tmp_path / "in.mp4", frames=[quadrants] * 3, rotation=rotation, sound="", pixel_aspect=Fraction(4, 3)
    )
    inputs_of_model: list[Pixels] = []

    class Recording(Counting):
        def run(self, *inputs: Any) -> Any:
            inputs_of_model.append(inputs[0])
            return inputs[0]

    apply(Recording(), source, tmp_path / "out.mp4")
    _, frames = decode(tmp_path / "out.mp4")
    upright = np.rot90(quadrants, rotation // 90)  # counter-clockwise, as the display matrix says
    assert frames[0].shape == upright.shape
    assert np.abs(frames[0].astype(int) - upright).mean() < 3
    shown = ((inputs_of_model[0][0].transpose(1, 2, 0) + 1) * 127.5).round()
    assert np.abs(shown - upright).mean() < 3, "the model should get upright frames"
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert next(file.decode(video=0)).rotation == 0, "the result should not be rotated again"
        assert file.streams.video[0].sample_aspect_ratio == (Fraction(3, 4) if rotation % 180 else Fraction(4, 3))


@pytest.mark.parametrize(("matrix", "k_red", "k_blue"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_are_converted_by_the_formula_of_their_standard(
    matrix: int, k_red: float, k_blue: float, full_range: bool, tmp_path: Path
) -> None:
    """H.273: R = Y + 2(1 − k_red)·Cr, B = Y + 2(1 − k_blue)·Cb, Y = k_red·R + (1 − k_red − k_blue)·G + k_blue·B."""
    levels = (120, 90, 160)
    with av.open(str(tmp_path / "in.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"qp": "0"})
        stream.width, stream.height = WIDTH, HEIGHT
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, 2 if full_range else 1
        for _ in range(2):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane, level in zip(frame.planes, levels, strict=True):
                plane.update(bytes([level]) * plane.buffer_size)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    inputs_of_model: list[Pixels] = []

    class Same(Counting):
        def run_pixels(self, pixels: Pixels) -> Pixels:
            inputs_of_model.append(pixels)
            return pixels

    apply(Same(), tmp_path / "in.mp4", tmp_path / "out.mp4")
    y, cb, cr = [(level - (0 if full_range else 16)) / (255 if full_range else 219) for level in levels[:1]] + [
        (level - 128) / (255 if full_range else 224) for level in levels[1:]
    ]
    red, blue = y + 2 * (1 - k_red) * cr, y + 2 * (1 - k_blue) * cb
    green = (y - k_red * red - k_blue * blue) / (1 - k_red - k_blue)
    np.testing.assert_allclose(inputs_of_model[0][20, 20], np.array([red, green, blue]) * 255, atol=1.01)
    with av.open(str(tmp_path / "out.mp4")) as file:
        frame = next(file.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (matrix, 2 if full_range else 1)
        for plane, level in zip(frame.planes, levels, strict=True):
            assert abs(bytes(plane)[5] - level) <= 2


def test_ten_bits_stay_ten_bits(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", pixel_format="yuv420p10le", sound="")
    inputs_of_model: list[Any] = []

    class Recording(Counting):
        def run_pixels(self, pixels: Pixels) -> Pixels:
            inputs_of_model.append(pixels.dtype)
            return super().run_pixels(pixels)

    apply(Recording(), source, tmp_path / "out.mp4")
    assert set(inputs_of_model) == {np.dtype(np.uint16)}
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert next(file.decode(video=0)).format.name == "yuv420p10le"


def test_odd_sizes_repeat_their_last_row_and_column(model: Path, tmp_path: Path) -> None:
    frames = [moving(number, 47, 63) for number in range(3)]
    source = make_video(tmp_path / "in.mp4", frames=frames, sound="", pixel_format="yuv444p")
    done = apply(model, source, tmp_path / "out.mp4")
    assert "63×47 become 64×48 pixels" in done.videos[0]
    assert decode(tmp_path / "out.mp4")[1][0].shape == (48, 64, 3)


def test_a_video_is_marked_as_made_by_the_model(model: Path, tmp_path: Path) -> None:
    for suffix in (".mp4", ".mov", ".mkv"):
        source = make_video(tmp_path / f"in{suffix}", metadata={"title": "Märchen", "comment": "mine"})
        out = tmp_path / f"out{suffix}"
        apply(model, source, out)
        mark = read_xmp(out)
        assert mark is not None and read_xmp(source) is None
        assert (mark.source_type, mark.model) == ("trainedAlgorithmicMedia", "Mean <3×3> & more")
        with av.open(str(out)) as file:
            found = {key.lower(): value for key, value in file.metadata.items()}
        assert found["title"] == "Märchen"
        assert found["comment"].startswith("mine\nMade by the model Mean <3×3> & more with gan-tasks")
        lines = list(inspect(out))
        assert lines[0] == "video of 48×64 pixels (height × width), 20 frames"
        assert any("marked as made by the model Mean <3×3> & more" in line for line in lines)
        assert not any("marked" in line for line in inspect(source))


def test_subtitles_and_chapters_are_copied(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as file:
        stream, text = file.add_stream("libx264", rate=RATE), file.add_mux_stream("subrip")
        stream.width, stream.height = WIDTH, HEIGHT
        text.time_base, text.metadata["language"] = Fraction(1, 1000), "deu"
        chapter = {"id": 1, "start": 0, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {"title": "Eins"}}
        file.set_chapters([chapter])
        words = av.Packet(b"Hallo")
        words.stream, words.pts, words.dts, words.duration, words.time_base = text, 300, 300, 500, text.time_base
        for number in range(8):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(moving(number))))
        file.mux(words)
        file.mux(stream.encode())
    assert "subrip copied" in apply(model, source, tmp_path / "out.mkv").videos[0]
    with av.open(str(tmp_path / "out.mkv")) as file:
        assert [chapter["metadata"] for chapter in file.chapters()] == [{"title": "Eins"}]
        assert file.streams.subtitles[0].metadata["language"] == "deu"
        found = [(packet.pts, bytes(packet)) for packet in file.demux(subtitles=0) if packet.size]
        assert found == [(300, b"Hallo")]
    assert "left out: subtitle (subrip)" in apply(model, source, tmp_path / "out.mp4").videos[0]


def test_running_on_a_video_imports_no_torch(model: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4")
    code = f"""import sys
from gan_tasks.apps.cli.main import main
from gan_tasks.apps.cli.commands.inspect import inspect
try:
    main(["apply", {str(model)!r}, {str(source)!r}, {str(tmp_path / "out.mp4")!r}])
except SystemExit as exited:
    assert exited.code == 0
assert "av" in sys.modules and "torch" not in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    assert (tmp_path / "out.mp4").is_file()


def test_few_frames_are_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_video(tmp_path / "in.mp4", frames=[moving(number % 20) for number in range(150)], sound="")
    alive, most, lock = 0, 0, threading.Lock()
    real = video.to_pixels

    def died() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def to_pixels(*arguments: Any) -> Pixels:
        nonlocal alive, most
        pixels: Pixels = real(*arguments)
        with lock:
            alive += 1
            most = max(most, alive)
        weakref.finalize(pixels, died)
        return pixels

    monkeypatch.setattr(video, "to_pixels", to_pixels)
    apply(Counting(), source, tmp_path / "out.mp4")
    assert len(decode(tmp_path / "out.mp4")[1]) == 150
    assert most <= 8


# Continuing an interrupted run.


def test_an_interrupted_video_is_continued_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossless = tuple(replace(encoder, options={**encoder.options, "crf": "0"}) for encoder in writer.ENCODERS)
    # On a busy machine x264 sometimes encodes the same frames differently; lossless encoding avoids that.
    monkeypatch.setattr(writer, "ENCODERS", lossless)
    count = 2 * PART_FRAMES + 10
    source = make_video(tmp_path / "in.mp4", frames=[moving(number) for number in range(count)])
    apply(Counting(), source, tmp_path / "uninterrupted.mp4")
    out = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        apply(Counting(stop_at(PART_FRAMES + 20)), source, out)
    assert not out.exists()
    parts = tmp_path / ".out.mp4.parts"
    assert [path.name for path in parts.glob("*.nut")] == ["000000.nut"]
    assert not list(parts.glob(".*")), "an incomplete part is left"
    kept = frame_sizes(parts / "000000.nut")
    again = Counting()
    assert apply(again, source, out).written == 1
    assert again.calls == count - PART_FRAMES
    assert not parts.exists()
    uninterrupted = tmp_path / "uninterrupted.mp4"
    (times, frames), (expected_times, expected_frames) = decode(out), decode(uninterrupted)
    assert times == expected_times and len(frames) == count
    assert all(np.array_equal(*pair) for pair in zip(frames, expected_frames, strict=True))
    assert sound_of(out) == sound_of(uninterrupted)
    assert metadata_of(out) == metadata_of(uninterrupted)
    # A keyframe may contain the headers in one container and not in another.
    assert len(kept) == PART_FRAMES and kept[1:] == frame_sizes(out)[1:PART_FRAMES], (
        "the part is used without changes"
    )
    idle = Counting()
    assert (apply(idle, source, out).kept, idle.calls) == (1, 0)


def test_parts_of_another_source_or_with_overwrite_are_made_again(tmp_path: Path) -> None:
    frames = [moving(number) for number in range(PART_FRAMES + 5)]
    source, out = make_video(tmp_path / "in.mp4", frames=frames, sound=""), tmp_path / "out.mp4"
    for change in ("source", "overwrite"):
        with pytest.raises(KeyboardInterrupt):
            apply(Counting(stop_at(PART_FRAMES + 4)), source, out)
        assert (tmp_path / ".out.mp4.parts" / "000000.nut").exists()
        if change == "source":
            make_video(source, frames=frames[::-1], sound="")
        model = Counting()
        apply(model, source, out, overwrite=change == "overwrite")
        assert model.calls == len(frames)
        out.unlink()


def test_parts_are_kept_after_a_run_over_its_limits(tmp_path: Path) -> None:
    def over_its_limits(number: int) -> None:
        if number == PART_FRAMES + 1:
            raise ModelRunError("over its limits")

    frames = [moving(number) for number in range(PART_FRAMES + 3)]
    source, out = make_video(tmp_path / "in.mp4", frames=frames, sound=""), tmp_path / "out.mp4"
    assert [str(failure) for failure in apply(Counting(over_its_limits), source, out).failures]
    again = Counting()
    assert (apply(again, source, out).written, again.calls) == (1, 3)


def test_parts_left_by_a_run_killed_at_its_end_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = make_video(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(video, "remove_parts", lambda result: None)
        apply(Counting(), source, out)
    assert (tmp_path / ".out.mp4.parts").exists()
    assert apply(Counting(), source, out).kept == 1
    assert not (tmp_path / ".out.mp4.parts").exists()


def test_a_folder_of_parts_of_another_program_is_not_changed(model: Path, tmp_path: Path) -> None:
    source, parts = make_video(tmp_path / "in.mp4"), tmp_path / ".out.mp4.parts"
    parts.mkdir()
    (parts / "diary.txt").write_text("dear")
    (failure,) = apply(model, source, tmp_path / "out.mp4").failures
    assert "gan-tasks did not make diary.txt" in str(failure)
    assert (parts / "diary.txt").read_text() == "dear"


def test_results_are_kept_replaced_and_refused_as_for_images(model: Path, tmp_path: Path) -> None:
    source, out = make_video(tmp_path / "in.mp4", sound=""), tmp_path / "out.mp4"
    make_video(out, frames=[moving(0)], sound="")
    foreign = out.read_bytes()
    (failure,) = apply(model, source, out).failures
    assert "--overwrite" in str(failure) and out.read_bytes() == foreign
    assert apply(model, source, out, overwrite=True).written == 1
    assert apply(model, source, out).kept == 1
    other = write_onnx(tmp_path / "other.onnx", licence="CC-BY")
    assert apply(other, source, out).written == 1, "another model should replace the result"
    make_video(source, frames=[moving(3)] * 4, sound="")
    assert apply(other, source, out).written == 1, "another source should replace the result"
    assert len(decode(out)[1]) == 4


def test_a_folder_of_images_and_videos(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    write(folder / "a.png", Picture(moving(0)))
    make_video(folder / "sub" / "b.mp4")
    make_video(folder / "c.avi", codec="mpeg4", sound="pcm_s16le")
    assert command_line(model, folder, out) == 0
    printed = capsys.readouterr().err
    assert "3 images and videos written" in printed and "20 frames of 64×48 pixels, H.264" in printed
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {"a.png", "sub/b.mp4", "c.avi.mkv"}
    assert len(decode(out / "c.avi.mkv")[1]) == FRAMES
    assert [data for _, data in sound_of(out / "c.avi.mkv")] == [data for _, data in sound_of(folder / "c.avi")]
    assert command_line(model, folder, out) == 0
    assert "0 of 3 images and videos written" in capsys.readouterr().err
    assert read(out / "a.png").pixels.shape == (HEIGHT, WIDTH, 3)


# Damaged files and errors.


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_readable_part_of_a_cut_video_is_written_as_a_failure(
    suffix: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = make_video(tmp_path / f"whole{suffix}", options=options).read_bytes()
    source, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    source.write_bytes(whole[: len(whole) * 6 // 10])
    assert command_line(model, source, out) == BAD_INPUT
    printed = capsys.readouterr().err
    assert "the file ends after" in printed and f"{out} contains the readable part" in printed
    assert "1 video written" in printed
    times = decode(out)[0]
    assert 4 < len(times) < FRAMES and times == decode(source)[0]
    written_ns = out.stat().st_mtime_ns
    assert command_line(model, source, out) == BAD_INPUT, "a damaged video is a failure every time"
    assert "is damaged" in capsys.readouterr().err
    assert out.stat().st_mtime_ns == written_ns, "the result should not be made again"


def test_damaged_packets_are_skipped_and_counted(model: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mkv", sound="", keyframes=4)
    with av.open(str(source)) as file:
        packets = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    data = source.read_bytes()
    hit = packets[5]
    source.write_bytes(data.replace(hit, b"\xff" * len(hit)))
    (failure,) = apply(model, source, tmp_path / "out.mkv").failures
    assert "cannot be decoded" in str(failure)
    assert decode(tmp_path / "out.mkv")[0][-1] == Fraction(FRAMES - 1, RATE), "frames after the damage are missing"


def test_a_file_that_is_not_a_video_is_a_failure(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mkv").write_text("no video")
    whole = make_video(folder / "headless.mp4").read_bytes()
    (folder / "headless.mp4").write_bytes(whole[: len(whole) // 2])  # its index was at the end
    make_video(folder / "whole.mp4")
    done = apply(model, folder, tmp_path / "out")
    assert done.written == 1
    assert {failure.path.name for failure in done.failures} == {"empty.mp4", "text.mkv", "headless.mp4"}
    assert all("cannot be read as a video" in str(failure) for failure in done.failures)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"whole.mp4"}


def test_frames_that_change_their_size_are_refused(model: Path, tmp_path: Path) -> None:
    one, two = (
        make_video(tmp_path / f"{height}.m2ts", frames=[moving(0, height)] * 3, sound="") for height in (48, 96)
    )
    both = tmp_path / "in.m2ts"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    (failure,) = apply(model, both, tmp_path / "out.mp4").failures
    assert "change from 64×48 to 64×96" in str(failure)
    assert not list(tmp_path.glob("*out.mp4*")), "a result or its parts are left"


def test_one_of_several_video_streams_is_used_with_a_remark(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as file:
        streams = [file.add_stream("libx264", rate=RATE) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height = WIDTH, HEIGHT
        for number in range(4):
            for stream in streams:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(moving(number))))
        for stream in streams:
            file.mux(stream.encode())
    done = apply(model, source, tmp_path / "out.mkv")
    assert "1 more video stream left out" in done.videos[0]
    with av.open(str(tmp_path / "out.mkv")) as file:
        assert len(file.streams) == 1


def test_a_video_cannot_become_an_image_or_vice_versa(model: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4")
    write(tmp_path / "in.png", Picture(moving(0)))
    with pytest.raises(UserError, match=r"is a video and .* an image"):
        files_to_do(source, tmp_path / "out.png")
    with pytest.raises(UserError, match=r"is an image and .* a video"):
        files_to_do(tmp_path / "in.png", tmp_path / "out.mp4")
    (failure,) = apply(model, source, tmp_path / "out.avi").failures
    assert "cannot be written as .avi: use .mp4" in str(failure)
    assert apply(model, source, tmp_path / "folder").written == 1
    assert (tmp_path / "folder" / "in.mp4").is_file()


def test_without_pyav_a_video_is_refused_with_the_remedy(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = make_video(folder / "in.mp4")
    write(folder / "a.png", Picture(moving(0)))
    monkeypatch.setitem(sys.modules, "av", None)  # importing it then fails
    with pytest.raises(UserError, match=r"pip install 'gan-tasks\[video\]'"):
        files_to_do(source, tmp_path / "out.mp4")
    done = apply(model, folder, tmp_path / "out")
    assert done.written == 1, "images need no PyAV"
    assert [str(failure.path) for failure in done.failures] == [str(source)]
    assert "gan-tasks[video]" in str(done.failures[0])


def command_line(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exited:
        main(["apply", *map(str, arguments)])
    assert isinstance(exited.value.code, int)
    return exited.value.code
