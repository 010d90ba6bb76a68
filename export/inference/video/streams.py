"""The streams of a video beside the frames (sound, subtitles, covers, attachments): copied, converted or left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from gan_tasks.datasets.errors import counted
from gan_tasks.export.inference.video.reader import Video, opened
from gan_tasks.export.inference.video.sound import SoundConverter, SoundEncoding, first_sound, sound_encoding
from gan_tasks.export.inference.video.times import continuous

COVER_TYPES = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png")}
"""Suffix and MIME type of cover pictures in Matroska, by FFmpeg's name of their codec."""
TIMECODE = "timecode"
"""Metadata key for which FFmpeg adds a stream to MP4, which it cannot at the time bases that results have."""
MOST_SOUNDS = 32
"""Streams of sound; each is looked for in the whole file. Films have as many at most."""
KEPT_METADATA = ("language", "title")
"""Metadata of a stream that are kept."""


@dataclass(frozen=True)
class OtherStreams:
    """What is done with the streams beside the frames, by their index in the source.

    copied: FFmpeg's names of the codecs of sound and subtitles that are copied.
    converted: how sound is encoded again.
    covers: FFmpeg's names of the codecs of cover pictures that are kept.
    attachments: names of attached files that are kept, such as fonts of subtitles.
    remarks: descriptions of what is left out.
    """

    copied: Mapping[int, str]
    converted: Mapping[int, SoundEncoding]
    covers: Mapping[int, str]
    attachments: Mapping[int, str]
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        copied = [f"{', '.join(self.copied.values())} copied"] if self.copied else []
        return ", ".join((*copied, *map(str, self.converted.values()))) or "no sound"


def codecs_of(container: str) -> set[str]:
    """Return the codecs and encoders that a container supports, by FFmpeg's names."""
    with av.open(BytesIO(), "w", format=container) as empty:
        return empty.supported_codecs


def plan_streams(video: Video, container: str) -> OtherStreams:
    """Decide what is done with each stream of a video beside its frames."""
    supported, left_out, more_videos, sounds = codecs_of(container), list[str](), 0, 0
    copied, covers, attachments = dict[int, str](), dict[int, str](), dict[int, str]()
    converted = dict[int, SoundEncoding]()
    with opened(video.path) as source:
        first = first_packets(source)
        for stream in source.streams:
            codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
            if stream.index == video.stream:
                continue
            if stream.disposition & Disposition.attached_pic:
                if (container == "mp4" and codec in supported) or (container == "matroska" and codec in COVER_TYPES):
                    covers[stream.index] = codec
                else:
                    left_out.append(f"cover picture ({codec})")
            elif stream.type == "attachment" and container == "matroska":
                attachments[stream.index] = stream.metadata.get("filename", "attachment")
            elif stream.type == "subtitle" and codec in supported:
                copied[stream.index] = codec
            elif stream.type == "audio":
                sounds += 1
                if sounds > MOST_SOUNDS:
                    continue
                if codec in supported and can_copy(stream, first.get(stream.index), container):
                    copied[stream.index] = codec
                    continue
                sound = first_sound(video.path, stream.index)
                encoding = sound_encoding(sound, codec, container) if sound else None
                if encoding is not None:
                    converted[stream.index] = encoding
                else:
                    why = "cannot be encoded" if sound else "cannot be decoded"
                    left_out.append(f"sound ({codec}, which {why})")
            elif stream.type != "video":
                left_out.append(f"{stream.type} ({codec})")
            else:
                more_videos += 1
        left_out += [TIMECODE] * (TIMECODE in map(str.lower, source.metadata))
    remarks = list[str]()
    if sounds > MOST_SOUNDS:
        remarks.append(f"{counted(sounds - MOST_SOUNDS, 'more sound stream')} left out")
    if more_videos:
        remarks.append(f"{counted(more_videos, 'more video stream')} left out")
    if left_out:
        counts = Counter(left_out).items()
        remarks.append(
            f"left out: {', '.join(name if count == 1 else f'{count} × {name}' for name, count in counts)}"
        )
    return OtherStreams(copied, converted, covers, attachments, tuple(remarks))


def first_packets(source: InputContainer) -> dict[int, Packet[Any]]:
    """Return the first packet of each sound stream that has one."""
    wanted = {stream.index for stream in source.streams.audio}
    found: dict[int, Packet[Any]] = {}
    packets = source.demux(source.streams.audio) if wanted else iter(())
    try:
        for packet in packets:
            if packet.size:
                found.setdefault(packet.stream.index, packet)
            if found.keys() == wanted:
                break
    except av.FFmpegError:
        pass  # damage is reported when the file is decoded
    return found


def can_copy(stream: Stream, packet: Packet[Any] | None, container: str) -> bool:
    """Whether a container takes a sound stream, tried with its first packet."""
    if packet is None:
        return False
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            sample = Packet(bytes(packet))
            sample.stream, sample.time_base = trial.add_stream_from_template(stream), packet.time_base
            sample.pts = sample.dts = 0
            sample.is_keyframe = True
            trial.mux(sample)
    except (av.FFmpegError, ValueError):
        return False
    return True


def cover_picture(path: Path, index: int) -> bytes:
    """Return the file of a cover picture; empty if it is missing."""
    with opened(path) as source:
        return next((bytes(packet) for packet in source.demux(source.streams[index]) if packet.size), b"")


@dataclass(frozen=True)
class AddedStreams:
    """The streams of a result, by the index of their source stream."""

    copies: Mapping[int, Stream]
    converters: Mapping[int, SoundConverter]


def add_streams(video: Video, source: InputContainer, whole: OutputContainer, plan: OtherStreams) -> AddedStreams:
    """Add the streams beside the frames to a result."""
    copies, converters = dict[int, Stream](), dict[int, SoundConverter]()
    for stream in source.streams:
        index, after = stream.index, None
        if index in plan.copied:
            after = copies[index] = whole.add_stream_from_template(stream)
        elif index in plan.converted:
            assert isinstance(stream, AudioStream)  # see `plan_streams`
            converters[index] = SoundConverter(stream, whole, plan.converted[index])
            after = converters[index].after
        elif index in plan.attachments:
            whole.add_stream_from_template(stream)
        elif index in plan.covers and whole.format.name == "matroska":
            suffix, mime_type = COVER_TYPES[plan.covers[index]]
            whole.add_attachment(f"cover.{suffix}", mime_type, cover_picture(video.path, index))
        elif index in plan.covers:
            after = copies[index] = whole.add_stream_from_template(stream, opaque=True)
        if after is not None:
            after.metadata.update({key: stream.metadata[key] for key in KEPT_METADATA if key in stream.metadata})
            after.disposition = stream.disposition
    return AddedStreams(copies, converters)


def packets_beside(source: InputContainer, added: AddedStreams) -> Iterator[Packet[Any]]:
    """Yield the packets of the added streams, up to damage in the source, with increasing decoding times."""
    ends = dict[int, int]()
    packets = continuous(source) if added.copies or added.converters else iter(())
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = None
        if packet is None:
            break
        index = packet.stream.index
        if not packet.size:
            continue
        if index in added.converters:
            yield from added.converters[index].convert(packet)
        elif index in added.copies and not packet.is_corrupt:
            packet.stream = added.copies[index]
            if packet.stream.type != "video":  # a cover picture has no time
                in_order(packet, ends.get(index))
                assert packet.dts is not None
                ends[index] = packet.dts + (packet.stream.type == "audio")
            yield packet
    for converter in added.converters.values():
        yield from converter.convert(None)


def in_order(packet: Packet[Any], earliest: int | None) -> None:
    """Give a packet a decoding time, not before `earliest`, and a presentation time, not before the former."""
    dts = packet.dts if packet.dts is not None else packet.pts
    known = [time for time in (dts, earliest) if time is not None]
    packet.dts = max(known, default=0)
    packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
