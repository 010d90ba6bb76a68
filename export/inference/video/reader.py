"""Read a video frame by frame, with times, colours, orientation and damage.

Only one frame is in memory at a time. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.images import MAX_PIXELS, Pixels
from gan_tasks.export.inference.video.containers import DEMUXERS, file_url
from gan_tasks.export.inference.video.side_data import lost_side_data, side_data_of, static_hdr
from gan_tasks.export.inference.video.times import FrameTimes, continuous, origin_s

BT709, UNSPECIFIED, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 1, 2, 5, 6, 7, 9
"""Matrices between YUV and RGB, by their numbers in ITU-T H.273."""
MATRICES = {
    BT709: Colorspace.ITU709,
    4: Colorspace.FCC,
    BT470BG: Colorspace.ITU601,
    SMPTE170M: Colorspace.ITU601,
    SMPTE240M: Colorspace.SMPTE240M,
    BT2020: Colorspace.BT2020,
}
STANDARD_DEFINITION_HEIGHT = 576
"""Video players assume BT.709 for untagged videos with more lines than this, and BT.601 for others."""
EXACT = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
MOST_BITS = 10
"""Most bits per channel of a result."""
ALPHA_MODE = "alpha_mode"
"""Metadata key of streams in WebM and Matroska whose alpha is stored beside the frames. The decoder ignores it."""
HIGHEST_RATE = 1000
"""Frames per second; FFmpeg's estimate for short videos may be far too high."""
STATED_DURATION = ("mov", "matroska")
"""Containers with an exact duration; that of others is an estimate."""
SHORTEST_CUT_S = 0.5
"""A file that ends this much earlier than its duration was cut off."""


@dataclass(frozen=True)
class Colours:
    """Colour space of a video, with the numbers of ITU-T H.273: matrix, primaries and transfer function.

    full_range: whether black to white is 0–255 instead of 16–235.
    """

    matrix: int
    primaries: int
    transfer: int
    full_range: bool

    @property
    def range(self) -> ColorRange:
        return ColorRange.JPEG if self.full_range else ColorRange.MPEG


@dataclass(frozen=True)
class Turn:
    """How to turn frames upright: transpose first, then mirror left-right, then up-down."""

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False

    def __call__(self, pixels: Pixels) -> Pixels:
        """Turn H×W×C pixels upright."""
        if self.transposed:
            pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(pixels[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1])


@dataclass(frozen=True)
class Video:
    """Properties of a video.

    stream: index of the video stream that is used.
    height, width: size of a stored frame, before `turn`.
    pixel_aspect: width over height of an upright pixel.
    start: time of the first frame, in units of `time_base`.
    origin_s: time in seconds that becomes zero in the result.
    frame_count: number of frames in the container's header, or else the number of packets; not exact for a damaged
        file.
    deep: whether there are more than 8 bits per channel.
    hdr: static HDR metadata as parameters of x264; empty for none.
    remarks: descriptions of what will be lost.
    """

    path: Path
    stream: int
    height: int
    width: int
    turn: Turn
    pixel_aspect: Fraction
    rate: Fraction
    time_base: Fraction
    start: int
    origin_s: Fraction
    frame_count: int
    colours: Colours
    deep: bool
    hdr: str
    remarks: tuple[str, ...]


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a video, and no other file. Raises UserError if it is not a video, or its header is damaged."""
    options = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
    try:
        # Text in files may have any encoding; a wrong one must not be an error.
        container = av.open(file_url(path), options=options, metadata_errors="replace")
    except av.ArgumentError as error:  # not on the list
        raise UserError(
            f"{path}: is not a video in a known format; playlists, which name other files, are not opened"
        ) from error
    except av.FFmpegError as error:
        raise UserError(
            f"{path}: cannot be read as a video ({reason(error)}): it is another kind of file, or was cut off before "
            "its index was written"
        ) from error
    with container:
        yield container


def reason(error: av.FFmpegError) -> str:
    return str(error.strerror)


def best_video_stream(container: InputContainer, path: Path) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        raise UserError(f"{path}: has no video stream")
    return stream


def probe(path: Path) -> Video:
    """Read the properties of a video and its first frame. Raises UserError for none, or a large one."""
    with opened(path) as container:
        stream = best_video_stream(container, path)
        if stream.width * stream.height > MAX_PIXELS:
            raise UserError(
                f"{path}: frames of {stream.width} × {stream.height} px are over the limit of {MAX_PIXELS:,} px: "
                "make it smaller"
            )
        frame = next(decoded(container, stream, Damage()), None)
        if frame is None:
            raise UserError(f"{path}: no frame can be read")
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
        rates = (stream.average_rate, stream.guessed_rate, Fraction(25))
        rate = next(each for each in rates if each and each <= HIGHEST_RATE)
        time_base, frame_count, index = stream.time_base or 1 / rate, stream.frames, stream.index
        origin, has_alpha = origin_s(container), stream.metadata.get(ALPHA_MODE) == "1"
    turn = turn_of(frame)
    return Video(
        path=path,
        stream=index,
        height=frame.height,
        width=frame.width,
        turn=turn,
        pixel_aspect=1 / aspect if turn.transposed else aspect,
        rate=rate,
        time_base=time_base,
        start=frame.pts or 0,
        origin_s=origin,
        frame_count=frame_count or count_packets(path, index),
        colours=colours_of(frame),
        deep=bits_of(frame) > 8,
        hdr=static_hdr(frame),
        remarks=losses(frame, has_alpha=has_alpha),
    )


def bits_of(frame: VideoFrame) -> int:
    return max(component.bits for component in frame.format.components)


def losses(frame: VideoFrame, *, has_alpha: bool) -> tuple[str, ...]:
    """Return descriptions of what the result lacks of a frame. `has_alpha`: of a stream that is stored beside it."""
    has_alpha |= any(component.is_alpha for component in frame.format.components)
    bits, matrix = bits_of(frame), frame.colorspace
    rows, columns = (frame.format.chroma_height(frame.height), frame.format.chroma_width(frame.width))
    has_full_chroma = frame.format.is_rgb or (rows, columns) != (-(-frame.height // 2), -(-frame.width // 2))
    is_gray = len(frame.format.components) - has_alpha == 1
    remarks = [
        (has_alpha, "its transparency is left out"),
        (bits > MOST_BITS, f"its {bits} bits per channel are reduced to {MOST_BITS}"),
        (has_full_chroma and not is_gray, f"its colour resolution ({frame.format.name}) is reduced to 4:2:0"),
        (
            matrix not in (*MATRICES, UNSPECIFIED) and not frame.format.is_rgb,
            f"its colour matrix {matrix} (ITU-T H.273) is read as that of common videos, colours may differ",
        ),
    ]
    lost = (f"left out: {name}" for name in lost_side_data(frame))
    return (*(text for holds, text in remarks if holds), *lost)


def count_packets(path: Path, stream: int) -> int:
    count = 0
    with opened(path) as container:
        try:
            for packet in container.demux(container.streams[stream]):
                count += packet.size > 0
        except av.FFmpegError:
            pass  # damage is reported when the file is decoded
    return count


def turn_of(frame: VideoFrame) -> Turn:
    """Read the display matrix (ISO/IEC 14496-12): x' = a·x + c·y, y' = b·x + d·y, rounded to quarter turns."""
    side_data = side_data_of(frame)
    if SideDataType.DISPLAYMATRIX not in side_data:
        return Turn()
    a, b, _, c, d = np.frombuffer(bytes(side_data[SideDataType.DISPLAYMATRIX]), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return Turn(transposed=True, left_right=c < 0, up_down=b < 0)
    return Turn(left_right=a < 0, up_down=d < 0)


def colours_of(frame: VideoFrame) -> Colours:
    """Return the colour space of a frame's tags; missing tags as video players assume them."""
    guessed = BT709 if frame.height > STANDARD_DEFINITION_HEIGHT else SMPTE170M
    matrix = frame.colorspace if frame.colorspace in MATRICES else guessed
    full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return Colours(matrix, frame.color_primaries, frame.color_trc, full_range and not frame.format.is_rgb)


@dataclass
class Damage:
    """Damage found while reading a file; its text is empty for an intact file."""

    text: str = ""
    packets: int = 0

    def __str__(self) -> str:
        packets = f"{counted(self.packets, 'packet')} cannot be decoded" if self.packets else ""
        return "; ".join(filter(None, (packets, self.text)))


def read_frames(video: Video, damage: Damage) -> Iterator[VideoFrame]:
    """Yield all readable frames as they are stored, with strictly increasing times; record damage in `damage`.

    Raises UserError if the size of frames changes.
    """
    with opened(video.path) as container:
        stream = container.streams[video.stream]
        assert isinstance(stream, VideoStream)  # see `probe`
        last, step = None, max(1, round(1 / (video.rate * video.time_base)))
        for frame in decoded(container, stream, damage):
            if (frame.height, frame.width) != (video.height, video.width):
                raise UserError(
                    f"{video.path}: its frames change from {video.width}×{video.height} to "
                    f"{frame.width}×{frame.height} pixels: cut it there and give the parts one by one"
                )
            pts = frame.pts
            if pts is None:
                pts = video.start if last is None else last + step
            # Encoders and containers refuse two frames with the same time.
            frame.pts = last = pts if last is None else max(pts, last + 1)
            frame.time_base = video.time_base
            frame.duration = step = frame.duration or step
            yield frame


def decoded(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[VideoFrame]:
    """Yield the decoded frames of a stream with their times; skip packets that cannot be decoded."""
    stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(2 * MAX_PIXELS)}  # sizes that the header does not say
    end_s = Fraction(0)
    packets, times = continuous(container), FrameTimes(container, stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            damage.text = f"reading ends after {float(end_s):.2f} s: {reason(error)}"
            packet = None
        if packet is None:
            break
        if packet.pts is not None and packet.time_base:
            end_s = max(end_s, (packet.pts + (packet.duration or 0)) * packet.time_base)
        if packet.stream is stream and packet.size:
            damage.packets += packet.is_corrupt
            yield from frames_of(stream, cast("Packet[VideoStream]", packet), times, damage)
    yield from frames_of(stream, None, times, damage)
    stated_s = (container.duration or 0) / av.time_base
    if container.format.name.startswith(STATED_DURATION) and not damage.text and end_s + SHORTEST_CUT_S <= stated_s:
        damage.text = f"the file ends after {float(end_s):.2f} s of {stated_s:.2f} s"


def frames_of(
    stream: VideoStream, packet: Packet[VideoStream] | None, times: FrameTimes, damage: Damage
) -> Iterator[VideoFrame]:
    """Decode one packet; None flushes the decoder."""
    if packet is not None:
        times.send(packet)
    try:
        frames = stream.decode(packet)
    except av.FFmpegError:
        damage.packets += 1
        times.lose()
        return
    for frame in frames:
        frame.pts = times.of(frame)
        yield frame


def to_pixels(frame: VideoFrame, video: Video) -> Pixels:
    """Convert a frame to upright H×W×3 pixels of uint8, or of uint16 for a deep video."""
    rgb = frame.reformat(
        format="rgb48le" if video.deep else "rgb24",
        src_colorspace=MATRICES[video.colours.matrix],
        src_color_range=video.colours.range,
        dst_color_range=ColorRange.JPEG,
        interpolation=EXACT,
        threads=1,
    )
    return video.turn(rgb.to_ndarray())
