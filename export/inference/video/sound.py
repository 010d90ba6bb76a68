"""Sound that the container of a result cannot carry: encoded again, in sync with the frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from gan_tasks.export.inference.video.reader import opened

ENCODERS = {"mp4": "aac", "mov": "aac", "matroska": "aac", "webm": "libopus"}
"""FFmpeg's encoder of sound for each container."""
BITS_PER_S_AND_CHANNEL = 96_000
MOST_SILENCE_S = Fraction(3600)
"""Of all gaps of a stream that become silence; the times of a short file may jump by years."""
KEEP_IN_SYNC = {"async": "1", "min_hard_comp": "0.04"}
"""Options of FFmpeg's resampler: gaps of more than 0.04 s become silence, and overlaps are cut."""


@dataclass(frozen=True)
class SoundEncoding:
    """How to encode a sound stream again.

    before: FFmpeg's name of the source's codec.
    layout: FFmpeg's name of the channel layout, such as "stereo" or "5.1".
    """

    before: str
    encoder: str
    sample_rate_hz: int
    layout: str

    def __str__(self) -> str:
        return f"{self.before} converted to {av.Codec(self.encoder, 'w').canonical_name}"


def sound_encoding(frame: AudioFrame, before: str, container: str) -> SoundEncoding | None:
    """Return how to encode the sound of which this is the first frame; None if there is no encoder for it."""
    name = ENCODERS[container]
    if name not in av.codecs_available:
        return None
    rates = av.Codec(name, "w").audio_rates or [frame.sample_rate]
    # The lowest rate that loses nothing, or else the highest one.
    rate = min((each for each in rates if each >= frame.sample_rate), default=max(rates))
    standard = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(frame.layout.nb_channels, "stereo")
    for layout in dict.fromkeys((frame.layout.name, standard, "stereo")):
        encoding = SoundEncoding(before, name, rate, layout)
        try:
            encoder = av.CodecContext.create(name, "w")
            assert isinstance(encoder, AudioCodecContext)
            configure(encoder, encoding)
            encoder.open()
        except (av.FFmpegError, ValueError):
            continue
        return encoding
    return None


def configure(encoder: AudioCodecContext, encoding: SoundEncoding) -> None:
    encoder.layout = encoding.layout
    encoder.sample_rate = encoding.sample_rate_hz
    encoder.bit_rate = BITS_PER_S_AND_CHANNEL * encoder.channels
    formats = cast(Any, encoder.codec).audio_formats
    encoder.format = formats[-1]  # the most precise


def first_sound(path: Path, index: int) -> AudioFrame | None:
    """Return the first frame of a sound stream that can be decoded; None for none."""
    with opened(path) as source:
        stream = source.streams[index]
        if stream.codec_context is None:
            return None
        assert isinstance(stream, AudioStream)
        packets = source.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return None
                for frame in stream.decode(packet):
                    return frame
            except av.FFmpegError:
                pass


class SoundConverter:
    """Decodes the packets of a sound stream, and encodes them for a result.

    damaged: number of packets that could not be decoded. They become silence.
    silence_s: seconds that gaps may still be filled with. A longer gap stays one, with the right times after it.
    """

    def __init__(self, before: AudioStream, whole: OutputContainer, encoding: SoundEncoding) -> None:
        self.before, self.encoding, self.damaged = before, encoding, 0
        stream = whole.add_stream(encoding.encoder, rate=encoding.sample_rate_hz)
        assert isinstance(stream, AudioStream)
        self.after = stream
        configure(stream.codec_context, encoding)
        stream.codec_context.open()
        self.resampler: AudioResampler | None = None
        self.kind: tuple[str, str, int] | None = None
        self.silence_s, self.end_s = MOST_SILENCE_S, Fraction(0)

    def convert(self, packet: Packet[Any] | None) -> Iterator[Packet[AudioStream]]:
        """Yield the packets of the result that a packet of the source completes; None for the end of the source."""
        try:
            for frame in self.before.decode(packet):
                yield from self.encode(frame)
            if packet is None:
                yield from self.rest()
                yield from self.after.encode(None)
        except (av.FFmpegError, ValueError):
            self.damaged += 1

    def encode(self, frame: AudioFrame) -> Iterator[Packet[AudioStream]]:
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        is_long = self.gap_s(frame) > self.silence_s
        if not is_long:
            self.silence_s -= self.gap_s(frame)
        self.end_s = self.begin_s(frame) + Fraction(frame.samples, frame.sample_rate)
        if kind != self.kind or is_long:  # in broadcasts, stereo and surround sound alternate
            yield from self.rest()
            self.kind, context = kind, self.after.codec_context
            self.resampler = AudioResampler(
                format=context.format,
                layout=context.layout,
                rate=context.sample_rate,
                frame_size=context.frame_size,
                options=KEEP_IN_SYNC,
            )
        assert self.resampler is not None
        for resampled in self.resampler.resample(frame):
            yield from self.after.encode(resampled)

    def begin_s(self, frame: AudioFrame) -> Fraction:
        """Return the time of a frame; one without a time follows the frame before."""
        return self.end_s if frame.pts is None or not frame.time_base else frame.pts * frame.time_base

    def gap_s(self, frame: AudioFrame) -> Fraction:
        """Return the seconds between the frame before and this one."""
        return Fraction(0) if self.resampler is None else max(Fraction(0), self.begin_s(frame) - self.end_s)

    def rest(self) -> Iterator[Packet[AudioStream]]:
        """Yield the packets of what the resampler still holds."""
        if self.resampler is not None:
            for resampled in self.resampler.resample(None):
                yield from self.after.encode(resampled)
