"""Reading a video, frame by frame: its times, its colours, which way up it is, and where it is broken.

Only one frame is held at a time. Imports no torch.
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
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels

BT709, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 1, 5, 6, 7, 9
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
"""Players take untagged videos of more lines for BT.709, others for BT.601."""
EXACT = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
STATED_DURATION = ("mov", "matroska")
"""Containers that state the duration; that of others is an estimate."""
SHORTEST_CUT_S = 0.5
"""A file that ends so much before the duration it states was cut off."""


@dataclass(frozen=True)
class Colours:
    """What the numbers of a video mean, by ITU-T H.273: the matrix, the primaries, the transfer function.

    full_range: 0–255 for black to white instead of 16–235.
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
    """How frames are brought upright: transposed first, then mirrored left-right, then up-down."""

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False

    def __call__(self, pixels: Pixels) -> Pixels:
        """H×W×C → upright."""
        if self.transposed:
            pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(pixels[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1])


@dataclass(frozen=True)
class Video:
    """What has to be known of a video before its frames come.

    stream: the index of the one that is used.
    height, width: of a frame as it is stored; `turn` brings it upright.
    pixel_aspect: width to height of an upright pixel.
    start: the first frame's time, in units of `time_base`.
    frame_count: as the container states it, else its packets; a guess for a broken file.
    deep: more than 8 bits a channel.
    remarks: what is lost, for people.
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
    frame_count: int
    colours: Colours
    deep: bool
    remarks: tuple[str, ...]


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Raises UserError for a file that is no video, or whose beginning is broken."""
    try:
        # Names in files are in any encoding; none of them is worth failing for.
        container = av.open(str(path), metadata_errors="replace")
    except av.FFmpegError as error:
        raise UserError(
            f"{path}: cannot be read as a video ({reason(error)}): it is something else, or was cut off before its "
            "index was written"
        ) from error
    with container:
        yield container


def reason(error: av.FFmpegError) -> str:
    return str(error.strerror)


def best_video_stream(container: InputContainer, path: Path) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise UserError(f"{path}: holds no video stream")
    return stream


def probe(path: Path) -> Video:
    """Look at a video and its first frame. Raises UserError where there is none that can be read."""
    with opened(path) as container:
        stream = best_video_stream(container, path)
        covers = Disposition.attached_pic
        others = [
            other for other in container.streams.video if other is not stream and not other.disposition & covers
        ]
        frame = next(decoded(container, stream, Damage()), None)
        if frame is None:
            raise UserError(f"{path}: not one frame can be read")
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        time_base, frame_count, index = stream.time_base or 1 / rate, stream.frames, stream.index
    turn = turn_of(frame)
    bits = max(component.bits for component in frame.format.components)
    has_alpha = any(component.is_alpha for component in frame.format.components)
    remarks = [
        (bool(others), f"{len(others)} more video streams in it are left out"),
        (frame.interlaced_frame, "it is interlaced, and is treated as if it were not"),
        (has_alpha, "its transparency is left out"),
        (bits > 10, f"its {bits} bits a channel become 10"),
    ]
    return Video(
        path=path,
        stream=index,
        height=frame.height,
        width=frame.width,
        turn=turn,
        pixel_aspect=1 / aspect if turn.transposed else aspect,
        rate=rate,
        time_base=time_base,
        start=time_of(frame) or 0,
        frame_count=frame_count or count_packets(path, index),
        colours=colours_of(frame),
        deep=bits > 8,
        remarks=tuple(text for holds, text in remarks if holds),
    )


def time_of(frame: VideoFrame) -> int | None:
    """When it is shown; some containers, such as AVI, say only when it is decoded."""
    return frame.pts if frame.pts is not None else frame.dts


def count_packets(path: Path, stream: int) -> int:
    count = 0
    with opened(path) as container:
        try:
            for packet in container.demux(container.streams[stream]):
                count += packet.size > 0
        except av.FFmpegError:
            pass  # what is broken is reported when it is decoded
    return count


def turn_of(frame: VideoFrame) -> Turn:
    """From the display matrix (ISO/IEC 14496-12): x' = a·x + c·y, y' = b·x + d·y; to the nearest quarter turn."""
    side_data = cast(SideDataContainer, frame.side_data)  # PyAV's types name only one kind of it
    if SideDataType.DISPLAYMATRIX not in side_data:
        return Turn()
    a, b, _, c, d = np.frombuffer(bytes(side_data[SideDataType.DISPLAYMATRIX]), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return Turn(transposed=True, left_right=c < 0, up_down=b < 0)
    return Turn(left_right=a < 0, up_down=d < 0)


def colours_of(frame: VideoFrame) -> Colours:
    """As the frame is tagged; what it leaves open as update_order take it."""
    guessed = BT709 if frame.height > STANDARD_DEFINITION_HEIGHT else SMPTE170M
    matrix = frame.colorspace if frame.colorspace in MATRICES else guessed
    full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return Colours(matrix, frame.color_primaries, frame.color_trc, full_range and not frame.format.is_rgb)


@dataclass
class Damage:
    """What was found broken on the way, for people; empty for a whole file."""

    text: str = ""
    packets: int = 0

    def __str__(self) -> str:
        pieces = f"{self.packets} pieces cannot be decoded" if self.packets else ""
        return "; ".join(filter(None, (pieces, self.text)))


def read_frames(video: Video, damage: Damage) -> Iterator[VideoFrame]:
    """All frames that can be read, as they are stored, with times that rise; what is broken is told to `damage`.

    Raises UserError where the size of frames changes.
    """
    with opened(video.path) as container:
        stream = container.streams[video.stream]
        assert isinstance(stream, VideoStream)  # `probe` found it there
        last = None
        for frame in decoded(container, stream, damage):
            if (frame.height, frame.width) != (video.height, video.width):
                raise UserError(
                    f"{video.path}: its frames change from {video.width}×{video.height} to "
                    f"{frame.width}×{frame.height} pixels: cut it there and give the pieces one by one"
                )
            pts = time_of(frame)
            step = max(1, round(1 / (video.rate * video.time_base)))
            if pts is None:
                pts = video.start if last is None else last + step
            # Encoders and containers refuse two frames of one time.
            frame.pts = last = pts if last is None else max(pts, last + 1)
            frame.time_base = video.time_base
            frame.duration = frame.duration or step
            yield frame


def decoded(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[VideoFrame]:
    """What the decoder makes of a stream; goes on behind pieces that it cannot decode."""
    stream.thread_type = "AUTO"
    end_s = Fraction(0)
    packets = container.demux()
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
            yield from frames_of(stream, cast("Packet[VideoStream]", packet), damage)
    yield from frames_of(stream, None, damage)
    stated_s = (container.duration or 0) / av.time_base
    if container.format.name.startswith(STATED_DURATION) and not damage.text and end_s + SHORTEST_CUT_S <= stated_s:
        damage.text = f"the file ends after {float(end_s):.2f} s of {stated_s:.2f} s"


def frames_of(stream: VideoStream, packet: Packet[VideoStream] | None, damage: Damage) -> list[VideoFrame]:
    """Of one packet; None asks for those that the decoder has kept back."""
    try:
        return stream.decode(packet)
    except av.FFmpegError:
        damage.packets += 1
        return []


def to_pixels(frame: VideoFrame, video: Video) -> Pixels:
    """An upright H×W×3 of uint8, or of uint16 for a deep video."""
    rgb = frame.reformat(
        format="rgb48le" if video.deep else "rgb24",
        src_colorspace=MATRICES[video.colours.matrix],
        src_color_range=video.colours.range,
        dst_color_range=ColorRange.JPEG,
        interpolation=EXACT,
        threads=1,
    )
    return video.turn(rgb.to_ndarray())
