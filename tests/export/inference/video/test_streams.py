"""What a video has beside its frames and sound: kept, or named in the remarks. Videos of any suffix."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_and_beep import FRAMES, flash_and_beep, measure
from handmade_onnx import write_onnx
from PIL import Image

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.apply import Summary, apply_to_files
from gan_tasks.export.inference.files.pairs import files_to_do
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.video.containers import VIDEO_SUFFIXES
from gan_tasks.export.load import load

av = pytest.importorskip("av", reason="videos need PyAV")
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
ATTACHED_PICTURE = 1024
FONT = bytes(range(100))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(write_onnx(tmp_path_factory.mktemp("model") / "model.onnx"), device="cpu")


def apply(model: Predictor, source: Path, out: Path) -> Summary:
    return apply_to_files(model, files_to_do(source, out), quiet=True)


def cover_of(path: Path) -> bytes | None:
    """The cover picture of a file."""
    with av.open(str(path)) as file:
        for stream in file.streams.video:
            if stream.disposition & ATTACHED_PICTURE:
                return next(bytes(packet) for packet in file.demux(stream) if packet.size)
    return None


@pytest.fixture(scope="module")
def cover() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_covers_and_attachments_are_kept_or_named(model: Predictor, cover: bytes, tmp_path: Path) -> None:
    def attach(file: Any, stream: Any) -> None:
        file.add_attachment("cover.jpg", "image/jpeg", cover)
        file.add_attachment("letters.ttf", "application/x-truetype-font", FONT)

    source = flash_and_beep(tmp_path / "in.mkv", prepare=attach)
    assert cover_of(source) == cover
    done = {suffix: apply(model, source, tmp_path / f"out{suffix}").videos for suffix in (".mkv", ".mp4", ".mov")}
    assert cover_of(tmp_path / "out.mkv") == cover_of(tmp_path / "out.mp4") == cover
    assert "left out" not in done[".mkv"][0]
    with av.open(str(tmp_path / "out.mkv")) as file:
        assert "letters.ttf" in [stream.metadata.get("filename") for stream in file.streams]
    assert done[".mp4"][0].endswith("left out: attachment (unknown)")
    assert "left out: cover picture (mjpeg)" in done[".mov"][0]
    assert len(measure(tmp_path / "out.mp4").frames) == FRAMES
    assert cover_of(tmp_path / "out.mp4") == cover
    apply(model, tmp_path / "out.mp4", tmp_path / "again.mkv")
    assert cover_of(tmp_path / "again.mkv") == cover


def test_static_hdr_metadata_are_kept_in_h264_and_named_for_vp9(model: Predictor, tmp_path: Path) -> None:
    def prepare(file: Any, stream: Any) -> None:
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1

    def described(path: Path) -> tuple[list[bytes], int, int, str]:
        with av.open(str(path)) as file:
            frame = next(file.decode(video=0))
            kinds = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
            data = [bytes(each) for each in frame.side_data if each.type.name in kinds]
            return data, frame.color_trc, frame.colorspace, frame.format.name

    source = flash_and_beep(
        tmp_path / "in.mp4",
        pixel_format="yuv420p10le",
        options={"x264-params": f"mastering-display={MASTERING}:cll=1000,400"},
        prepare=prepare,
    )
    assert "left out" not in apply(model, source, tmp_path / "out.mp4").videos[0]
    before, after = described(source), described(tmp_path / "out.mp4")
    assert len(before[0]) == 2 and after == before
    assert "left out: HDR10 metadata" in apply(model, source, tmp_path / "out.webm").videos[0]


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "remarks"),
    [
        ("in.webm", "libvpx-vp9", "yuva420p", ["its transparency is left out"]),
        (
            "in.mov",
            "png",
            "rgba",
            ["its transparency is left out", "its colour resolution (rgba) is reduced to 4:2:0"],
        ),
        ("in.mkv", "ffv1", "yuv444p12le", ["its 12 bits per channel are reduced to 10", "(yuv444p12le) is reduced"]),
        ("in.mkv", "ffv1", "yuv420p", []),
        ("in.mkv", "ffv1", "gray", []),
    ],
)
def test_what_the_encoder_cannot_keep_is_named(
    name: str, codec: str, pixel_format: str, remarks: list[str], model: Predictor, tmp_path: Path
) -> None:
    options = {"auto-alt-ref": "0"} if codec == "libvpx-vp9" else {}
    source = flash_and_beep(tmp_path / name, codec=codec, pixel_format=pixel_format, options=options)
    video = apply(model, source, tmp_path / "out.mp4").videos[0]
    assert all(remark in video for remark in remarks)
    assert bool(remarks) == ("reduced" in video or "left out" in video)


def test_interlaced_frames_are_counted(model: Predictor, tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme"}
    source = flash_and_beep(tmp_path / "in.mpg", codec="mpeg2video", options=options)
    assert "all frames are interlaced" in apply(model, source, tmp_path / "out.mp4").videos[0]


def test_frames_too_large_for_an_encoder_are_refused_before_the_model_runs(tmp_path: Path) -> None:
    calls = []

    class Large(Predictor):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            calls.append(arguments)
            raise AssertionError

    source = flash_and_beep(tmp_path / "in.mkv", codec="ffv1", height=2, width=4200)
    model = Large(load(write_onnx(tmp_path / "model.onnx", scale=4), device="cpu").model)
    (failure,) = apply(model, source, tmp_path / "out.mov").failures
    assert "frames of 16800×8 pixels are too large for .mov" in str(failure) and not calls
    assert not list(tmp_path.glob("*out.mov*"))


def test_videos_of_every_suffix_in_a_folder(model: Predictor, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    made = {
        "dvd.vob": ("mpeg2video", "vob"),
        "broadcast.ts": ("libx264", "mpegts"),
        "CAMERA.MTS": ("libx264", "mpegts"),
        "old.divx": ("mpeg4", "avi"),
        "stream.asf": ("wmv2", "asf"),
        "phone.3gp": ("mpeg4", "3gp"),
        "web.flv": ("flv", "flv"),
        "free.ogv": ("libvpx", "ogg"),
        "raw.m2v": ("mpeg2video", "mpeg2video"),
        "apple.m4v": ("libx264", "mp4"),
    }
    for name, (codec, container) in made.items():
        flash_and_beep(folder / name, codec=codec, container=container)
    (folder / "page.ts").write_text("const answer: number = 42")
    (folder / "gone.ts").symlink_to(folder / "missing")
    done = apply(model, folder, out)
    assert [failure.path.name for failure in done.failures] == ["gone.ts"] and done.written == len(made)
    written = {path.name for path in out.iterdir()}
    assert written == {name if name == "apple.m4v" else f"{name}.mkv" for name in made}
    for name in written:
        with av.open(str(out / name)) as file:
            assert sum(1 for _ in file.decode(video=0)) == FRAMES


def test_a_sound_file_with_a_cover_is_not_a_video(model: Predictor, cover: bytes, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as file:
        voice, picture = file.add_stream("aac", rate=48000), file.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 40, 30, "yuvj420p"
        picture.disposition = ATTACHED_PICTURE
        packet = av.Packet(cover)
        packet.stream, packet.pts, packet.dts = picture, 0, 0
        packet.time_base = picture.time_base or voice.time_base or 1
        samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        samples.sample_rate = 48000
        file.mux(voice.encode(samples))
        file.mux(packet)
        file.mux(voice.encode())
    (failure,) = apply(model, source, tmp_path / "out.mp4").failures
    assert "has no video stream" in str(failure)


def test_a_suffix_that_is_only_read_is_a_video_when_named(tmp_path: Path) -> None:
    assert {".vob", ".ts", ".m2ts", ".m2v", ".divx", ".asf", ".ogv", ".flv", ".3gp"} <= VIDEO_SUFFIXES
    source = flash_and_beep(tmp_path / "in.vob", codec="mpeg2video", container="vob")
    with pytest.raises(UserError, match=r"is a video and .* an image"):
        files_to_do(source, tmp_path / "out.png")
