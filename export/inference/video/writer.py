"""Writing a video: parts that are encoded one by one, and the whole, joined from them and the source's sound.

No frame depends on one behind it (no B-frames): a packet's time is its frame's, whatever the times are, and parts
that were encoded at different times follow one another as they are. Files become a little larger for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels, atomic, fit_channels
from gan_tasks.export.inference.video.containers import ANY_CODEC, CONTAINERS
from gan_tasks.export.inference.video.parts import PART_FORMAT, PART_FRAMES
from gan_tasks.export.inference.video.reader import EXACT, MATRICES, Video, opened, reason

XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The `uuid` box in which MP4 carries XMP (XMP specification, part 3)."""
NOT_OF_THE_CONTENT = ("major_brand", "minor_version", "compatible_brands", "encoder")
"""Metadata of a file that are the container's own."""


@dataclass(frozen=True)
class Encoder:
    """FFmpeg's name of it, that of what it writes, the containers that it is for, and its options."""

    codec: str
    title: str
    containers: tuple[str, ...]
    options: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.title} ({self.codec}, crf {self.options['crf']})"


ENCODERS = (
    Encoder(
        "libx264",
        "H.264",
        ("mp4", "mov", "matroska"),
        {"crf": "18", "preset": "medium", "bf": "0", "g": str(PART_FRAMES)},
    ),
    Encoder(
        "libvpx-vp9",
        "VP9",
        ("mp4", "matroska", "webm"),
        {"crf": "22", "b": "0", "deadline": "good", "cpu-used": "3", "row-mt": "1", "g": str(PART_FRAMES)},
    ),
)
"""The first that PyAV was built with, and that is for the container, is used."""


@dataclass(frozen=True)
class Plan:
    """How a video is written.

    height, width: of a result; an odd one has its last row or column twice in the video, for 4:2:0 wants even ones.
    pixel_format: FFmpeg's name of it.
    copied: the source's streams of sound and subtitles that go along as they are; by their index, the codec.
    remarks: what is left out, for people.
    """

    encoder: Encoder
    container: str
    height: int
    width: int
    pixel_format: str
    copied: Mapping[int, str]
    remarks: tuple[str, ...]


def plan(video: Video, after: Path, scale: int) -> Plan:
    """Raises UserError, before the work, where the container or its codecs do not fit."""
    container = container_of(after)
    height, width = video.height * scale, video.width * scale
    if video.turn.transposed:
        height, width = width, height
    encoder = find_encoder(after, container)
    copied, remarks = copied_streams(video, after, container)
    if container == "webm" and video.pixel_aspect != 1:
        raise UserError(
            f"{video.path}: its pixels are not square, and a {after.suffix} cannot say so: "
            f"write {after.with_suffix(ANY_CODEC).name} instead"
        )
    if height % 2 or width % 2:
        remarks += (f"{width}×{height} become {even(width)}×{even(height)} pixels, the last row or column twice",)
    pixel_format = "yuv420p10le" if video.deep else "yuv420p"
    return Plan(encoder, container, height, width, pixel_format, copied, (*video.remarks, *remarks))


def container_of(after: Path) -> str:
    if after.suffix.lower() not in CONTAINERS:
        raise UserError(
            f"{after}: a video cannot be written as {after.suffix or 'a file without a suffix'}: "
            f"use {', '.join(CONTAINERS)}"
        )
    return CONTAINERS[after.suffix.lower()]


def find_encoder(after: Path, container: str) -> Encoder:
    fitting = [encoder for encoder in ENCODERS if container in encoder.containers]
    for encoder in fitting:
        if encoder.codec in av.codecs_available:
            return encoder
    raise UserError(
        f"{after}: PyAV was built without {' and '.join(encoder.codec for encoder in fitting)}, which write "
        f"{after.suffix}: use another of {', '.join(CONTAINERS)}, or install PyAV's wheel from PyPI"
    )


def codecs_of(container: str) -> set[str]:
    """What a container can hold, by FFmpeg's names of codecs and encoders."""
    with av.open(BytesIO(), "w", format=container) as empty:
        return empty.supported_codecs


def copied_streams(video: Video, after: Path, container: str) -> tuple[dict[int, str], tuple[str, ...]]:
    """The source's streams that go along as they are, and what is left out. Raises UserError for lost sound."""
    supported, copied, left_out = codecs_of(container), dict[int, str](), list[str]()
    with opened(video.path) as source:
        for stream in source.streams:
            codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
            if stream.type in ("audio", "subtitle") and codec in supported:
                copied[stream.index] = codec
            elif stream.type == "audio":
                other = after.with_suffix(ANY_CODEC)
                remedy = f"write {other.name} instead" if other != after else "make it aac first"
                raise UserError(f"{video.path}: its sound is {codec}, which {after.suffix} cannot hold: {remedy}")
            elif stream.type != "video":
                left_out.append(f"{stream.type} ({codec})")
    return copied, ((f"left out: {', '.join(left_out)}",) if left_out else ())


def to_frame(pixels: Pixels, before: VideoFrame, video: Video, plan: Plan) -> VideoFrame:
    """A result, H×W×C of uint8 or uint16, ready to be encoded: 4:2:0 in the source's colours, 8 or 10 bits.

    Its time is that of the frame that it was made of, counted from the first one: parts hold no times before zero.
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
    """Raises UserError for what the container refuses; OSError, such as for a full disk, as it is."""
    try:
        with av.open(str(path), "w", format=container, options=options) as output:
            yield output
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise UserError(f"{path.parent}: the video cannot be written as {container}: {reason(error)}") from error


def write_part(path: Path, frames: Iterable[VideoFrame], video: Video, plan: Plan) -> int:
    """Encode frames, at least one; gives how many. The file is there once it is whole."""
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
) -> None:
    """One file of the parts and of what is copied from the source, by their times; nothing is encoded again.

    Where the first frame is before zero, which update_order would not show, everything comes so much later.

    Args:
        end_s: when the last frame ends.
        xmp: the packet that marks the file as made by a model.
        comment: the same for people, added to the comment that the source has.
    """
    # Beginnings are stored in units of the movie, which are milliseconds by default.
    options = {"movie_timescale": str(video.time_base.denominator)} if plan.container in ("mp4", "mov") else {}
    with (
        atomic.replaced(path) as temporary,
        opened(video.path) as source,
        opened(parts[0]) as first,
    ):
        with writing(temporary, plan.container, options) as whole:
            whole.metadata.update(metadata_of(source, xmp, comment))
            picture = whole.add_stream_from_template(first.streams.video[0], opaque=True)
            picture.time_base = video.time_base
            picture.codec_context.sample_aspect_ratio = video.pixel_aspect
            copies = {index: copy_of(source.streams[index], whole) for index in plan.copied}
            if chapters := source.chapters():
                whole.set_chapters(chapters)
            start_s = video.start * video.time_base
            delay_s = max(-start_s, Fraction(0))
            ours = delayed(packets_of(parts, picture, end_s - start_s), start_s + delay_s)
            theirs = delayed(copied_packets(source, copies), delay_s)
            for packet in merge(ours, theirs, key=decoded_at):
                whole.mux(packet)
        if plan.container == "mp4":
            append_xmp(temporary, xmp)


def metadata_of(source: InputContainer, xmp: bytes, comment: str) -> dict[str, str]:
    own = {key.lower(): value for key, value in source.metadata.items()}
    kept = {key: value for key, value in own.items() if key not in NOT_OF_THE_CONTENT}
    return kept | {"xmp": xmp.decode(), "comment": "\n".join(filter(None, (own.get("comment"), comment)))}


def copy_of(stream: Stream, whole: OutputContainer) -> Stream:
    copy = whole.add_stream_from_template(stream)
    copy.metadata.update({key: stream.metadata[key] for key in ("language", "title") if key in stream.metadata})
    copy.disposition = stream.disposition
    return copy


def packets_of(parts: Sequence[Path], picture: VideoStream, end_s: Fraction) -> Iterator[Packet[Any]]:
    """Of the picture, from zero on; the last frame ends at `end_s`."""
    for number, path in enumerate(parts):
        with opened(path) as part:
            last = None
            for packet in part.demux(part.streams.video[0]):
                if packet.size:
                    packet.stream = picture
                    if last is not None:
                        yield last
                    last = packet
            assert last is not None  # no part is without a frame
            if number == len(parts) - 1:
                # What follows a frame tells how long it is shown; nothing follows the last one.
                last.duration = round(end_s / last.time_base) - (last.pts or 0)
            yield last


def copied_packets(source: InputContainer, copies: Mapping[int, Stream]) -> Iterator[Packet[Any]]:
    """Up to where the source is broken, if it is."""
    packets = source.demux([source.streams[index] for index in copies]) if copies else iter(())
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        if packet.size and not packet.is_corrupt:
            packet.stream = copies[packet.stream.index]
            yield packet


def delayed(packets: Iterable[Packet[Any]], delay_s: Fraction) -> Iterator[Packet[Any]]:
    for packet in packets:
        shift = round(delay_s / packet.time_base)
        if packet.pts is not None:
            packet.pts += shift
        if packet.dts is not None:
            packet.dts += shift
        yield packet


def decoded_at(packet: Packet[Any]) -> Fraction:
    time = packet.dts if packet.dts is not None else packet.pts
    return (time or 0) * packet.time_base


def append_xmp(path: Path, xmp: bytes) -> None:
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(XMP_BOX) + len(xmp), b"uuid") + XMP_BOX + xmp)
