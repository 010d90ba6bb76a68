"""Write a video of images that no video was the source of."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from gan_tasks.datasets.images import Pixels, atomic, fit_channels
from gan_tasks.export.inference.video.writer import append_xmp, container_of, even, find_encoder, writing

BT709 = 1
"""FFmpeg's number of the colours of ITU-R BT.709: its matrix, primaries and transfer function."""


def write_frames(path: Path, images: Iterable[Pixels], size: tuple[int, int], *, rate: int, xmp: bytes) -> int:
    """Encode images H×W×C uint8 of one (height, width) to a video; return their number. Never leaves a part of one.

    rate: frames per second.
    xmp: the packet that marks the video as made by a model.

    Raises UserError for a container or a size that cannot be written, and OSError, such as for a full disk.
    """
    height, width = size
    container = container_of(path)
    encoder = find_encoder(path, container, height, width)
    count = 0
    with atomic.replaced(path) as temporary:
        with writing(temporary, container) as output:
            output.metadata["xmp"] = xmp.decode()
            stream = output.add_stream(encoder.codec, rate=rate, options=dict(encoder.options))
            context = stream.codec_context
            assert isinstance(context, VideoCodecContext)
            context.width, context.height, context.pix_fmt = even(width), even(height), "yuv420p"
            context.time_base = Fraction(1, rate)
            context.color_range = ColorRange.MPEG
            context.colorspace = context.color_primaries = context.color_trc = BT709
            for image in images:
                output.mux(context.encode(encoded_frame(image, count, rate)))
                count += 1
            output.mux(context.encode(None))
        if container == "mp4":
            append_xmp(temporary, xmp)
    return count


def encoded_frame(image: Pixels, number: int, rate: int) -> VideoFrame:
    """Convert an image to a frame of a video; odd sizes get their last row or column twice."""
    rgb = fit_channels(image, 3)
    rgb = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )
    frame.pts, frame.time_base = number, Fraction(1, rate)
    return frame
