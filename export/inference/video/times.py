"""Times of packets and frames: streams whose clock jumps, and containers that do not store when a frame is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from heapq import heappop, heappush
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

FREE_RUNNING = ("mpeg", "mpegts")
"""MPEG program and transport streams (DVDs, broadcasts), whose clock starts anywhere and may jump."""
AHEAD_S = Fraction(10)
"""A longer step ahead is a jump of the clock."""
MOST_REORDERED = 17
"""A step back by more frames is a jump of the clock; codecs reorder at most 16 frames."""
LONGEST_S = Fraction(1, 24)
"""Assumed duration of a frame if it is unknown."""
RAW = ("mpegvideo", "m4v", "h264", "hevc", "vc1")
"""Streams without a container, which have no times. FFmpeg derives some, with errors."""
REORDERED_CODECS = ("h264", "hevc", "vvc")
"""Codecs whose presentation times FFmpeg cannot derive in AVI, which counts packets instead of storing times."""
PACKED_B_FRAMES = re.compile(rb"\x00\x00\x01\xb2DivX\d+(?:b|Build)\d+p")
"""User data of MPEG-4 from DivX and Xvid with B-frames in the packets of other frames; empty packets follow."""


def origin_s(container: InputContainer) -> Fraction:
    """Return the time in seconds that becomes zero in the result. Only free-running containers have one."""
    if container.format.name not in FREE_RUNNING:
        return Fraction(0)
    return Fraction(container.start_time or 0, 1_000_000)


def continuous(container: InputContainer) -> Iterator[Packet[Any]]:
    """Yield all packets of a container; after a jump of its clock the times continue where they were.

    Streams whose times jump by the same amount stay in sync with one another.
    """
    shifts, ends = dict[int, Fraction](), dict[int, Fraction]()
    latest = Fraction(0)
    if container.format.name not in FREE_RUNNING:
        yield from container.demux()
        return
    for packet in container.demux():
        index, time = packet.stream.index, packet.pts if packet.pts is not None else packet.dts
        shift = shifts.get(index, latest)
        if time is not None and packet.stream.type in ("video", "audio"):
            time_s, duration_s = time * packet.time_base, (packet.duration or 0) * packet.time_base
            end_s, back_s = ends.get(index, time_s + shift), MOST_REORDERED * (duration_s or LONGEST_S)
            if not -back_s <= time_s + shift - end_s <= AHEAD_S:
                known = [other for other in shifts.values() if abs(time_s + other - end_s) <= back_s]
                shift = latest = known[0] if known else end_s - time_s
            shifts[index], ends[index] = shift, max(end_s, time_s + shift + duration_s)
        move(packet, shift)
        yield packet


def move(packet: Packet[Any], shift_s: Fraction) -> None:
    """Make the times of a packet later by a number of seconds."""
    shift = round(shift_s / packet.time_base)
    if packet.pts is not None:
        packet.pts += shift
    if packet.dts is not None:
        packet.dts += shift


class FrameTimes:
    """Times of the frames of a video stream, in its time base.

    In AVI, frames have the times of the packets in increasing order: the decoder returns frames in the order in which
    they are shown, and each packet contains one.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.is_raw = container.format.name in RAW
        self.in_avi, self.codec = container.format.name == "avi", stream.codec_context.codec.canonical_name
        self.is_sorted: bool | None = None
        self.waiting: list[int] = []

    def send(self, packet: Packet[Any]) -> None:
        """Note a packet that is decoded next."""
        if self.is_sorted is None:
            packed = self.codec == "mpeg4" and PACKED_B_FRAMES.search(bytes(packet)) is not None
            self.is_sorted = self.in_avi and (self.codec in REORDERED_CODECS or packed)
        time = packet.pts if packet.pts is not None else packet.dts
        if self.is_sorted and time is not None:
            heappush(self.waiting, time)

    def lose(self) -> None:
        """Note that a packet gave no frame."""
        if self.waiting:
            heappop(self.waiting)

    def of(self, frame: VideoFrame) -> int | None:
        """Return the time of the next frame; None if it follows the frame before without a gap."""
        if self.is_raw:
            return None
        if self.waiting:
            return heappop(self.waiting)
        return frame.pts if frame.pts is not None else frame.dts
