"""Good and hostile videos, for `videos.py` and the tests. Each function writes one, and returns its path."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

SIDE, RATE, FRAMES, SAMPLE_RATE = 32, 25, 6, 48000
MANY = 900
"""Streams; FFmpeg takes no more than 1,000."""


# Good videos


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    sound: str = "",
    side: int = SIDE,
    times: Iterable[int] = range(FRAMES),
    sound_times: Iterable[int] = (0,),
    rate: int = RATE,
    container: str | None = None,
    prepare: Callable[[Any], None] = lambda file: None,
) -> None:
    """times: of the frames, in units of 1/rate s. sound_times: of blocks of 1024 samples, in samples."""
    with av.open(str(path), "w", format=container) as file:
        prepare(file)
        frames = file.add_stream(codec, rate=rate)
        assert isinstance(frames, VideoStream)
        frames.width = frames.height = side
        frames.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        voice = file.add_stream(sound, rate=SAMPLE_RATE) if sound else None
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((side, side, 3), 20 * number % 256, np.uint8))
            frame.pts, frame.time_base = time, Fraction(1, rate)
            file.mux(frames.encode(frame))
        file.mux(frames.encode(None))
        if isinstance(voice, AudioStream):
            for time in sound_times:
                samples = np.zeros((1, 1024), np.int16)
                block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, time, Fraction(1, SAMPLE_RATE)
                file.mux(voice.encode(block))
            file.mux(voice.encode(None))


SEEDS: dict[str, dict[str, str]] = {
    "h264.mp4": {"sound": "aac"},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "h264.mov": {"sound": "pcm_s16le"},
    "h264.mkv": {"sound": "flac"},
    "vp9.webm": {"codec": "libvpx-vp9", "sound": "libopus"},
    "mpeg4.avi": {"codec": "mpeg4", "sound": "mp2"},
    "mjpeg.avi": {"codec": "mjpeg"},
    "h264.ts": {"sound": "aac"},
    "mpeg2.mpg": {"codec": "mpeg2video", "sound": "mp2"},
    "flv1.flv": {"codec": "flv"},
    "wmv2.wmv": {"codec": "wmv2"},
    "mpeg2.mxf": {"codec": "mpeg2video"},
    "theora.ogv": {"codec": "libvpx", "container": "ogg"},
    "h264.nut": {},
    "h264.3gp": {},
    "raw.avi": {"codec": "rawvideo"},
}
"""Names and what is in them."""


def make_seeds(folder: Path) -> None:
    for name, options in SEEDS.items():
        write_video(folder / name, **options)  # type: ignore[arg-type]


# Hostile videos


def small(folder: Path, name: str = "small.mp4", **options: Any) -> bytes:
    write_video(folder / name, **options)
    return (folder / name).read_bytes()


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def video(folder: Path, name: str, **options: Any) -> Path:
    write_video(folder / name, **options)
    return folder / name


def playlist(folder: Path, name: str, text: str) -> Path:
    """`text` refers to secret.mp4 or secret.ts, which lie beside it."""
    for suffix in ("mp4", "ts"):
        write_video(folder / f"secret.{suffix}")
    return written(folder, name, text.format(folder=folder).encode())


HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{file}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="9"><BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period>'
    "</MPD>"
)
SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
PLAYLISTS: dict[str, Callable[[Path], Path]] = {
    "concat list in .mp4": lambda folder: playlist(folder, "a.mp4", "ffconcat version 1.0\nfile secret.mp4\n"),
    "concat list in .mkv, with a protocol": lambda folder: playlist(
        folder, "a.mkv", "ffconcat version 1.0\nfile 'file:{folder}/secret.mp4'\n"
    ),
    "HLS list in .mp4": lambda folder: playlist(folder, "a.mp4", HLS.replace("{file}", "secret.ts")),
    "HLS list in .ts": lambda folder: playlist(folder, "a.ts", HLS.replace("{file}", "secret.ts")),
    "HLS list of a URL": lambda folder: playlist(folder, "a.mp4", HLS.replace("{file}", "http://127.0.0.1:9/a.ts")),
    "DASH list": lambda folder: playlist(folder, "a.mp4", DASH),
    "SDP, which opens a port": lambda folder: playlist(folder, "a.mp4", SDP),
    "WebVTT text": lambda folder: playlist(folder, "a.mp4", "WEBVTT\n\n00:00.000 --> 00:09.000\nsecret.mp4\n"),
}
"""Files that are no videos: must be refused with exit code 2."""


def with_box_field(data: bytes, box: bytes, offset: int, values: bytes) -> bytes:
    """Overwrite bytes of every box of this type in an MP4; offset: from the type."""
    changed, at = bytearray(data), data.find(box)
    while at >= 0:
        changed[at + offset : at + offset + len(values)] = values
        at = data.find(box, at + 4)
    return bytes(changed)


def mp4_of_samples(folder: Path, count: int) -> Path:
    """The table of an MP4 says that all samples have one size, and how many there are."""
    data = with_box_field(small(folder, codec="mpeg4"), b"stsz", 8, struct.pack(">II", 1, count))
    data = with_box_field(data, b"stsc", 16, struct.pack(">I", count))
    return written(folder, "a.mp4", with_box_field(data, b"stts", 12, struct.pack(">II", count, 1)))


def avi_of_rate(folder: Path, scale: int, rate: int) -> Path:
    data = with_box_field(small(folder, "small.avi", codec="mpeg4"), b"vids", 20, struct.pack("<II", scale, rate))
    return written(folder, "a.avi", data)


def raw_avi_of_size(folder: Path, side: int) -> Path:
    data = small(folder, "small.avi", codec="rawvideo")
    at = data.index(b"strf") + 12
    return written(folder, "a.avi", data[:at] + struct.pack("<ii", side, side) + data[at + 8 :])


def jpeg_of_size(folder: Path, side: int) -> Path:
    """Every frame of an AVI says another size than its container."""
    data = bytearray(small(folder, "small.avi", codec="mjpeg"))
    at = data.find(b"\xff\xc0")
    while at >= 0:
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
        at = data.find(b"\xff\xc0", at + 1)
    return written(folder, "a.avi", bytes(data))


def growing(folder: Path) -> Path:
    """Each part of a transport stream has larger frames."""
    parts = [small(folder, f"{side}.ts", side=side) for side in (32, 64, 512, 1024)]
    return written(folder, "a.ts", b"".join(parts))


def with_streams(folder: Path, kind: str, count: int) -> Path:
    def add(file: Any) -> None:
        for number in range(count):
            if kind == "attachment":
                file.add_attachment(f"{number}.ttf", "font/ttf", b"font")
            elif kind == "sound":
                file.add_stream("pcm_s16le", rate=SAMPLE_RATE)
            else:
                stream = file.add_stream("rawvideo", rate=RATE)
                stream.width, stream.height, stream.pix_fmt = 8192, 8192, "yuv420p"

    return video(folder, "a.mkv", prepare=add)


def with_chapters(folder: Path, count: int) -> Path:
    def add(file: Any) -> None:
        chapter = {"time_base": Fraction(1, 1000), "metadata": {"title": "x"}}
        file.set_chapters([chapter | {"id": n, "start": n, "end": n + 1} for n in range(count)])

    return video(folder, "a.mkv", prepare=add)


def with_text(folder: Path, length: int) -> Path:
    def add(file: Any) -> None:
        file.metadata["comment"] = "x" * length

    return video(folder, "a.mkv", prepare=add)


def of_packets(folder: Path, name: str, times: Iterable[int], time_base: Fraction, sound: str = "") -> Path:
    """A file of the packets of good frames, at any times."""
    source = video(folder, "small.nut", sound=sound, times=range(8))
    with av.open(str(source)) as before, av.open(str(folder / name), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        stream.time_base = time_base
        for packet, time in zip(before.demux(video=0), times, strict=False):
            if packet.size:
                packet.stream, packet.time_base = stream, time_base
                packet.pts = packet.dts = time
                after.mux(packet)
    return folder / name


YEAR = 365 * 24 * 3600
HOSTILE: dict[str, Callable[[Path], Path]] = {
    "no bytes": lambda folder: written(folder, "a.mp4", b""),
    "zeros": lambda folder: written(folder, "a.mp4", bytes(10**6)),
    "MP4, a header alone": lambda folder: written(folder, "a.mp4", small(folder)[:40]),
    "MP4, no frames": lambda folder: written(
        folder, "a.mp4", with_box_field(small(folder), b"stsz", 12, struct.pack(">I", 0))
    ),
    "MP4, sizes of 65,535 in the header": lambda folder: written(
        folder, "a.mp4", with_box_field(small(folder), b"avc1", 28, b"\xff\xff\xff\xff")
    ),
    "MP4, time scale of 0": lambda folder: written(
        folder, "a.mp4", with_box_field(small(folder), b"mdhd", 16, struct.pack(">I", 0))
    ),
    "MP4, time scale of 2^32 - 1": lambda folder: written(
        folder, "a.mp4", with_box_field(small(folder), b"mdhd", 16, struct.pack(">I", 2**32 - 1))
    ),
    "MP4, frames of 2^31 units": lambda folder: written(
        folder, "a.mp4", with_box_field(small(folder), b"stts", 12, struct.pack(">II", 6, 2**31 - 1))
    ),
    "MP4, frames of 2^32 - 1 units": lambda folder: written(
        folder, "a.mp4", with_box_field(small(folder), b"stts", 12, struct.pack(">II", 6, 2**32 - 1))
    ),
    "MP4, chunks far behind the end": lambda folder: written(
        folder, "a.mp4", with_box_field(small(folder), b"stco", 12, struct.pack(">I", 2**32 - 1))
    ),
    "MP4, a box in itself, 10,000 deep": lambda folder: written(
        folder,
        "a.mp4",
        b"\0\0\0\x14ftypisom\0\0\2\0isom"
        + b"".join(struct.pack(">I4s", 8 * (10_000 - n), b"moov" if n % 2 == 0 else b"trak") for n in range(10_000)),
    ),
    "MP4, 150,000,000 samples": lambda folder: mp4_of_samples(folder, 150_000_000),
    "MP4, 2^32 - 1 samples": lambda folder: mp4_of_samples(folder, 2**32 - 1),
    "AVI, rate of 4 billion": lambda folder: avi_of_rate(folder, 1, 2**32 - 1),
    "AVI, one frame in 136 years": lambda folder: avi_of_rate(folder, 2**32 - 1, 1),
    "AVI, rate of 0": lambda folder: avi_of_rate(folder, 0, 0),
    "AVI, raw frames of 30,000 × 30,000": lambda folder: raw_avi_of_size(folder, 30_000),
    "AVI, raw frames of 16,000 × 16,000": lambda folder: raw_avi_of_size(folder, 16_000),
    "AVI, raw frames of 9,000 × 9,000": lambda folder: raw_avi_of_size(folder, 9_000),
    "AVI, JPEG of 65,500 × 65,500": lambda folder: jpeg_of_size(folder, 65_500),
    "AVI, JPEG of 16,000 × 16,000": lambda folder: jpeg_of_size(folder, 16_000),
    "AVI, JPEG of 9,000 × 9,000": lambda folder: jpeg_of_size(folder, 9_000),
    "TS, frames that grow": growing,
    "MKV, 900 attachments": lambda folder: with_streams(folder, "attachment", MANY),
    "MKV, 900 streams of sound": lambda folder: with_streams(folder, "sound", MANY),
    "MKV, 100 streams of large frames": lambda folder: with_streams(folder, "video", 100),
    "MKV, 100,000 chapters": lambda folder: with_chapters(folder, 100_000),
    "MKV, a comment of 50 MB": lambda folder: with_text(folder, 50_000_000),
    "MKV, sound alone": lambda folder: video(folder, "a.mkv", sound="flac", times=()),
    "MKV, ten years between frames": lambda folder: of_packets(
        folder, "a.mkv", (0, 1000, 10 * 1000 * YEAR), Fraction(1, 1000)
    ),
    "MKV, times before zero": lambda folder: of_packets(
        folder, "a.mkv", range(-10 * 1000 * YEAR, 10**13, 10**12), Fraction(1, 1000)
    ),
    "NUT, times of 2^61": lambda folder: of_packets(folder, "a.nut", (0, 1, 2**61, 2**61 + 1), Fraction(1, 90000)),
    "NUT, time base of 1 ns": lambda folder: of_packets(folder, "a.nut", range(0, 10**9, 10**8), Fraction(1, 10**9)),
    "NUT, time base of 2^31 s": lambda folder: of_packets(folder, "a.nut", range(8), Fraction(2**31 - 1)),
    "TS, times that jump": lambda folder: of_packets(
        folder, "a.ts", (0, 3600, 2**32, 2**32 + 3600, 2**33 - 9000), Fraction(1, 90000)
    ),
    "MKV, sound with a gap of ten years": lambda folder: video(
        folder, "a.mkv", sound="pcm_s16le", sound_times=(0, 1024, 10 * YEAR * SAMPLE_RATE)
    ),
    "MKV, sound with 50 gaps of ten hours": lambda folder: video(
        folder, "a.mkv", sound="pcm_s16le", sound_times=[n * 36_000 * SAMPLE_RATE for n in range(50)]
    ),
    "MKV, 20 frames of 8,000 × 8,000": lambda folder: video(
        folder, "a.mkv", codec="mpeg4", side=8000, times=range(20)
    ),
}
