"""Write a video: encode its parts one by one, then join them with the source's other streams.

There are no B-frames, which depend on later frames. So the time of a packet is that of its frame, and parts that were
encoded separately can be joined without changes. The files are a little larger without B-frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.images import MAX_PIXELS, Pixels, atomic, fit_channels
from gan_tasks.export.inference.video.containers import ANY_CODEC, CONTAINERS, file_url
from gan_tasks.export.inference.video.parts import PART_FORMAT, PART_FRAMES
from gan_tasks.export.inference.video.reader import EXACT, MATRICES, Video, opened, reason
from gan_tasks.export.inference.video.streams import TIMECODE, OtherStreams, add_streams, packets_beside, plan_streams
from gan_tasks.export.inference.video.times import move

XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The `uuid` box in which MP4 carries XMP (XMP specification, part 3)."""
DEEP_FORMAT = "yuv420p10le"
"""Pixel format of a result with more than 8 bits per channel."""
MOST_PIXELS_AHEAD, FEWEST_AHEAD = 40 * 4096 * 2304, 4
"""Pixels, and frames, that an encoder keeps to plan the bit rate: 40 frames of 4K, which is x264's default."""
MOST_CHAPTERS = 1000
"""Containers take long to write many."""
NOT_KEPT = ("major_brand", "minor_version", "compatible_brands", "encoder", TIMECODE)
"""Metadata keys of the container, not of the content; and the time code, see `TIMECODE`."""


@dataclass(frozen=True)
class Encoder:
    """An encoder: FFmpeg's name, the name of its codec, the containers that it is used for, and its options.

    lookahead: option that says how many frames are kept to plan the bit rate.
    longest_side: most pixels per row or column.
    hdr_option: option that takes static HDR metadata; empty for none.
    """

    codec: str
    title: str
    containers: tuple[str, ...]
    options: Mapping[str, str]
    lookahead: str
    longest_side: int
    hdr_option: str = ""

    def __str__(self) -> str:
        return f"{self.title} ({self.codec}, crf {self.options['crf']})"


ENCODERS = (
    Encoder(
        "libx264",
        "H.264",
        ("mp4", "mov", "matroska"),
        {"crf": "18", "preset": "medium", "bf": "0", "rc-lookahead": "40", "g": str(PART_FRAMES)},
        lookahead="rc-lookahead",
        longest_side=16384,
        hdr_option="x264-params",
    ),
    Encoder(
        "libvpx-vp9",
        "VP9",
        ("mp4", "matroska", "webm"),
        {
            "crf": "22",
            "b": "0",
            "deadline": "good",
            "cpu-used": "3",
            "row-mt": "1",
            "lag-in-frames": "25",
            "g": str(PART_FRAMES),
        },
        lookahead="lag-in-frames",
        longest_side=65535,
    ),
)
"""Encoders; the first that is for the container and that PyAV was built with is used."""


@dataclass(frozen=True)
class Plan:
    """How to write a video.

    height, width: size of a result. If it is odd, the last row or column is repeated, because 4:2:0 needs even sizes.
    pixel_format: FFmpeg's name of the pixel format.
    others: what is done with the sound, subtitles and other streams of the source.
    remarks: descriptions of what is left out.
    """

    encoder: Encoder
    container: str
    height: int
    width: int
    pixel_format: str
    others: OtherStreams
    remarks: tuple[str, ...]


def plan(video: Video, after: Path, scale: int) -> Plan:
    """Plan how to write a video. Raises UserError if the container or its codecs do not fit."""
    container = container_of(after)
    height, width = video.height * scale, video.width * scale
    if video.turn.transposed:
        height, width = width, height
    encoder = find_encoder(after, container, height, width)
    others = plan_streams(video, container)
    if container == "webm" and video.pixel_aspect != 1:
        raise UserError(
            f"{video.path}: its pixels are not square, which {after.suffix} does not support: "
            f"write {after.with_suffix(ANY_CODEC).name} instead"
        )
    remarks = (*video.remarks, *others.remarks)
    if video.hdr and encoder.hdr_option:
        encoder = replace(encoder, options={**encoder.options, encoder.hdr_option: video.hdr})
    elif video.hdr:
        remarks += (f"left out: HDR10 metadata, which {encoder.title} cannot carry here",)
    if height % 2 or width % 2:
        remarks += (
            f"{width}×{height} become {even(width)}×{even(height)} pixels, with the last row or column repeated",
        )
    pixel_format = DEEP_FORMAT if video.deep else "yuv420p"
    formats = av.Codec(encoder.codec, "w").video_formats or ()
    if pixel_format not in (each.name for each in formats):
        pixel_format = "yuv420p"
        remarks += (
            f"more than 8 bits per channel are reduced to 8, as PyAV was built without them for {encoder.title}",
        )
    return Plan(encoder, container, height, width, pixel_format, others, remarks)


def container_of(after: Path) -> str:
    if after.suffix.lower() not in CONTAINERS:
        raise UserError(
            f"{after}: a video cannot be written as {after.suffix or 'a file without a suffix'}: "
            f"use {', '.join(CONTAINERS)}"
        )
    return CONTAINERS[after.suffix.lower()]


def find_encoder(after: Path, container: str, height: int, width: int) -> Encoder:
    """Return the first encoder for a container and a size. Raises UserError if there is none."""
    fitting = [encoder for encoder in ENCODERS if container in encoder.containers]
    present = [encoder for encoder in fitting if encoder.codec in av.codecs_available]
    for encoder in present:
        if max(height, width) <= encoder.longest_side and height * width <= MAX_PIXELS:
            options = {**encoder.options}
            options[encoder.lookahead] = str(min(int(options[encoder.lookahead]), lookahead_frames(height, width)))
            return replace(encoder, options=options)
    if present and height * width > MAX_PIXELS:
        raise UserError(
            f"{after}: frames of {width}×{height} pixels are over the limit of {MAX_PIXELS:,} pixels: "
            "use a model with a smaller scale, or reduce the video first"
        )
    if present:
        longest = max(encoder.longest_side for encoder in present)
        raise UserError(
            f"{after}: frames of {width}×{height} pixels are too large for {after.suffix}, whose longest side is "
            f"{longest}: use a model with a smaller scale, or reduce the video first"
        )
    raise UserError(
        f"{after}: PyAV was built without {' and '.join(encoder.codec for encoder in fitting)}, which write "
        f"{after.suffix}: use another of {', '.join(CONTAINERS)}, or install PyAV's wheel from PyPI"
    )


def lookahead_frames(height: int, width: int) -> int:
    """Return how many frames of this size an encoder may keep, so that large ones do not fill the memory."""
    return max(FEWEST_AHEAD, MOST_PIXELS_AHEAD // (height * width))


def to_frame(pixels: Pixels, before: VideoFrame, video: Video, plan: Plan) -> VideoFrame:
    """Convert a result, H×W×C of uint8 or uint16, to a frame to encode: 4:2:0 in the source's colours, 8 or 10 bits.

    Its time is that of its source frame, relative to the first one, because parts have no times before zero.
    """
    height, width = pixels.shape[:2]
    rgb = fit_channels(pixels, 3)
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = VideoFrame.from_ndarray(rgb, format="rgb48le" if video.deep else "rgb24").reformat(
        format=plan.pixel_format,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=MATRICES[video.colours.matrix],
        dst_color_range=video.colours.range,
        interpolation=EXACT,
        threads=1,
    )
    assert before.pts is not None  # `read_frames` sees to it
    frame.pts, frame.time_base, frame.duration = before.pts - video.start, video.time_base, before.duration
    return frame


def even(length: int) -> int:
    return length + length % 2


@contextmanager
def writing(path: Path, container: str, options: dict[str, str] | None = None) -> Iterator[OutputContainer]:
    """Open a file for writing. Raises UserError for errors of the container, and OSError, such as for a full disk."""
    try:
        with av.open(file_url(path), "w", format=container, options=options) as output:
            yield output
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise UserError(f"{path.parent}: the video cannot be written as {container}: {reason(error)}") from error


def write_part(path: Path, frames: Iterable[VideoFrame], video: Video, plan: Plan) -> int:
    """Encode at least one frame to a part; return the number of frames. An incomplete file is never left."""
    count = 0
    with atomic.replaced(path) as temporary, writing(temporary, PART_FORMAT) as part:
        stream = part.add_stream(plan.encoder.codec, rate=video.rate, options=dict(plan.encoder.options))
        context = stream.codec_context
        assert isinstance(context, VideoCodecContext)
        context.width, context.height = even(plan.width), even(plan.height)
        context.pix_fmt = plan.pixel_format
        context.time_base = video.time_base
        context.sample_aspect_ratio = video.pixel_aspect
        context.color_range = video.colours.range
        context.colorspace = video.colours.matrix
        context.color_primaries, context.color_trc = video.colours.primaries, video.colours.transfer
        for frame in frames:
            part.mux(context.encode(frame))
            count += 1
        part.mux(context.encode(None))
    return count


def join(
    parts: Sequence[Path], path: Path, video: Video, plan: Plan, *, end_s: Fraction, xmp: bytes, comment: str
) -> tuple[str, ...]:
    """Join the parts and the other streams of the source to one file, by their times; return remarks on losses.

    Frames are not encoded again. If the first frame is before time zero, where video players do not show it, all
    streams are delayed by that time.

    Args:
        end_s: end of the last frame in seconds.
        xmp: XMP packet that marks the file as made by a model.
        comment: text that is added to the comment of the source.
    """
    # Start times are stored in units of the movie's time scale, which is milliseconds by default.
    options = {"movie_timescale": str(video.time_base.denominator)} if plan.container in ("mp4", "mov") else {}
    with (
        atomic.replaced(path) as temporary,
        opened(video.path) as source,
        opened(parts[0]) as first,
    ):
        with writing(temporary, plan.container, options) as whole:
            whole.metadata.update(metadata_of(source, xmp, comment))
            frames = whole.add_stream_from_template(first.streams.video[0], opaque=True)
            frames.time_base = video.time_base
            frames.codec_context.sample_aspect_ratio = video.pixel_aspect
            added = add_streams(video, source, whole, plan.others)
            if chapters := source.chapters():
                whole.set_chapters(chapters[:MOST_CHAPTERS])
            start_s = video.start * video.time_base
            delay_s = max(-start_s, -video.origin_s)
            ours = delayed(packets_of(parts, frames, end_s - start_s), start_s + delay_s)
            theirs = delayed(packets_beside(source, added), delay_s)
            damaged = 0
            for packet in merge(ours, theirs, key=decoded_at):
                try:
                    whole.mux(packet)
                except av.FFmpegError as error:
                    if isinstance(error, OSError) or packet.stream is frames:
                        raise
                    damaged += 1
        if plan.container == "mp4":
            append_xmp(temporary, xmp)
    damaged += sum(converter.damaged for converter in added.converters.values())
    verb = "is" if damaged == 1 else "are"
    remarks = [
        (damaged, f"{counted(damaged, 'packet')} of sound and subtitles {verb} damaged and left out"),
        (len(chapters) > MOST_CHAPTERS, f"chapters after the first {MOST_CHAPTERS:,} are left out"),
    ]
    return tuple(text for holds, text in remarks if holds)


def metadata_of(source: InputContainer, xmp: bytes, comment: str) -> dict[str, str]:
    own = {key.lower(): value for key, value in source.metadata.items()}
    kept = {key: value for key, value in own.items() if key not in NOT_KEPT}
    return kept | {"xmp": xmp.decode(), "comment": "\n".join(filter(None, (own.get("comment"), comment)))}


def packets_of(parts: Sequence[Path], stream: VideoStream, end_s: Fraction) -> Iterator[Packet[Any]]:
    """Yield the packets of the parts for a stream, from time zero on; the last frame ends at `end_s`."""
    for number, path in enumerate(parts):
        with opened(path) as part:
            last = None
            for packet in part.demux(part.streams.video[0]):
                if packet.size:
                    packet.stream = stream
                    if last is not None:
                        yield last
                    last = packet
            assert last is not None  # every part has a frame
            if number == len(parts) - 1:
                # The next frame determines how long a frame is shown; the last one needs a duration.
                last.duration = round(end_s / last.time_base) - (last.pts or 0)
            yield last


def delayed(packets: Iterable[Packet[Any]], delay_s: Fraction) -> Iterator[Packet[Any]]:
    """Yield the packets with later times."""
    for packet in packets:
        move(packet, delay_s)
        yield packet


def decoded_at(packet: Packet[Any]) -> Fraction:
    """Return the decoding time of a packet in seconds."""
    time = packet.dts if packet.dts is not None else packet.pts
    return (time or 0) * packet.time_base


def append_xmp(path: Path, xmp: bytes) -> None:
    """Append an XMP packet to an MP4 file."""
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(XMP_BOX) + len(xmp), b"uuid") + XMP_BOX + xmp)
