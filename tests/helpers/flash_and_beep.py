"""Small videos whose sound beeps when the picture flashes, to measure whether both are in sync."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

HEIGHT, WIDTH, RATE, FRAMES = 48, 64, 25, 20
FLASH_S = 0.4
SAMPLE_RATE = 48000
BEEP_S = 0.08


def flash_and_beep(
    path: Path,
    *,
    codec: str = "libx264",
    sound: str = "",
    container: str | None = None,
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    layout: str = "mono",
    sample_rate: int = SAMPLE_RATE,
    sound_start_s: float = 0,
    tracks: int = 1,
    times: Sequence[int] | None = None,
    height: int = HEIGHT,
    width: int = WIDTH,
    prepare: Callable[[Any, Any], None] = lambda file, stream: None,
) -> Path:
    """Write a video of which one frame is white, and whose sound beeps at its time.

    Args:
        times: times of the frames in units of 1/25 s, instead of an even rate.
        prepare: is called with the file and its video stream before the first frame.
    """
    with av.open(str(path), "w", format=container) as file:
        video: Any = file.add_stream(codec, rate=RATE, options=options or {})
        video.height, video.width, video.pix_fmt = height, width, pixel_format
        prepare(file, video)
        voices: list[Any] = []
        for _ in range(tracks if sound else 0):
            voices.append(file.add_stream(sound, rate=sample_rate, layout=layout, bit_rate=64000))
            if sound == "libopencore_amrnb":
                voices[-1].bit_rate = 12200
        for number in range(FRAMES):
            pixels = np.full((height, width, 3), 235 if number == FLASH_S * RATE else 20, np.uint8)
            pixels[:, : 1 + number % width] //= 2  # no two frames are equal
            frame = av.VideoFrame.from_ndarray(pixels).reformat(format=pixel_format)
            frame.time_base, frame.pts = Fraction(1, RATE), times[number] if times else number
            file.mux(video.encode(frame))
        file.mux(video.encode())
        begin, end = (round(at_s * sample_rate) for at_s in (sound_start_s, FRAMES / RATE))
        seconds = np.arange(end) / sample_rate
        wave = np.sin(2 * np.pi * 880 * seconds) / 2 * ((seconds >= FLASH_S) & (seconds < FLASH_S + BEEP_S))
        for voice in voices:
            context = voice.codec_context
            resampler = av.AudioResampler(context.format, context.layout, sample_rate, context.frame_size or None)
            samples = av.AudioFrame.from_ndarray(wave[None, begin:].astype(np.float32), "flt", "mono")
            samples.sample_rate, samples.pts, samples.time_base = sample_rate, begin, Fraction(1, sample_rate)
            for resampled in (*resampler.resample(samples), *resampler.resample(None)):
                file.mux(voice.encode(resampled))
            file.mux(voice.encode())
    return path


@dataclass(frozen=True)
class Measured:
    """Times in seconds: of all frames, of the flashes and of the beeps."""

    frames: list[float]
    flashes: list[float]
    beeps: list[float]

    @property
    def gaps_s(self) -> list[float]:
        return [round(after - before, 3) for before, after in zip(self.frames, self.frames[1:], strict=False)]


def measure(path: Path, *, track: int = 0) -> Measured:
    """Decode a video and measure it."""
    frames, flashes, beeps = list[float](), list[float](), list[float]()
    latest_s = -2 * BEEP_S
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            assert frame.time is not None
            frames.append(frame.time)
            if frame.reformat(format="gray8").to_ndarray().mean() > 90:
                flashes.append(frame.time)
    to_float = av.AudioResampler("fltp")
    with av.open(str(path)) as file:
        for sound in file.decode(audio=track) if len(file.streams.audio) > track else ():
            for part in to_float.resample(sound):
                for at in np.flatnonzero(np.abs(part.to_ndarray()).max(0) > 0.1):
                    time_s = sound.time + at / sound.sample_rate
                    if time_s - latest_s > BEEP_S:
                        beeps.append(time_s)
                    latest_s = time_s
    return Measured(frames, flashes, beeps)
