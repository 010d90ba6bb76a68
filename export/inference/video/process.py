"""Run a model on a video, frame by frame and with constant memory. An interrupted run can be continued.

Finished parts are in a hidden folder beside the result until it is complete. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain, count, islice
from pathlib import Path

import av
from av.video.frame import VideoFrame

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.images import Pixels
from gan_tasks.export.inference.pipeline import pipelined
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.provenance import PROGRAM
from gan_tasks.export.inference.resume import broken
from gan_tasks.export.inference.video.parts import PART_FRAMES, finished_parts, open_parts, part_path, remove_parts
from gan_tasks.export.inference.video.reader import Damage, Video, probe, read_frames, to_pixels
from gan_tasks.export.inference.video.writer import Plan, join, plan, to_frame, write_part
from gan_tasks.export.models.base import ModelRunError
from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.progress import Advance, track


@dataclass(frozen=True)
class VideoDone:
    """A written video.

    in_tiles: whether the frames were run in tiles, because memory is limited.
    summary: description of the written streams, and of those left out.
    damage: description of damage in the source, of which the result lacks the unreadable part; empty for none.
    """

    in_tiles: bool
    summary: str
    damage: str


def apply_to_video(
    predictor: Predictor,
    before: Path,
    after: Path,
    *,
    model_version: str,
    overwrite: bool = False,
    quiet: bool = False,
) -> VideoDone:
    """Run a model on the video `before`, and write `after` in the container of its suffix. The file appears complete.

    Frames are turned upright, keep their times and colours, and are scaled by the model's scale. Sound and subtitles
    are copied; sound that the container cannot carry is converted. Parts of an interrupted run are used, except with
    `overwrite`.

    Raises UserError if the video cannot be read, or cannot be written in this container.
    """
    video = probe(before)
    how = plan(video, after, predictor.spec.scale)
    source = sha256_of(before)
    recipe = {
        "program": __version__,
        "av": av.__version__,
        "model": model_version,
        "source": source,
        "encoder": asdict(how.encoder),
        "size": [how.height, how.width],
    }
    after.parent.mkdir(parents=True, exist_ok=True)
    folder = open_parts(after, json.dumps(recipe, sort_keys=True), overwrite=overwrite)
    damage = Damage()
    begun = len(finished_parts(folder)) * PART_FRAMES
    what = f"Applying to {before.name}"
    comment = f"Made by the model {predictor.title} with {PROGRAM} {__version__}"
    try:
        with track(max(video.frame_count, begun), what, "frames", done=begun, quiet=quiet) as advance:
            frames = make_parts(predictor, video, how, folder, damage, advance)
        made_of = broken(source) if str(damage) else source
        mark = predictor.mark(version=model_version, source=made_of)
        remarks = join(finished_parts(folder), after, video, how, end_s=frames.end_s, xmp=mark, comment=comment)
    except ModelRunError:
        raise  # another run may have more time or memory, and continues
    except UserError:
        remove_parts(after)  # another run would fail in the same way
        raise
    remove_parts(after)
    return VideoDone(
        in_tiles=predictor.model.runs_in_tiles(*upright_size(video)),
        summary=summary(frames, how, remarks),
        damage=str(damage),
    )


@dataclass
class FramesRead:
    """What was read: number of frames, number of interlaced ones, and the end of the last one in seconds."""

    count: int = 0
    interlaced: int = 0
    end_s: Fraction = Fraction(0)


def make_parts(
    predictor: Predictor, video: Video, how: Plan, folder: Path, damage: Damage, advance: Advance
) -> FramesRead:
    """Write the missing parts; return what was read."""
    begun = len(finished_parts(folder))
    done = FramesRead()

    def noted(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        for frame in frames:
            assert frame.pts is not None  # see `read_frames`
            done.end_s = (frame.pts + frame.duration) * video.time_base
            done.count, done.interlaced = done.count + 1, done.interlaced + frame.interlaced_frame
            yield frame

    frames = noted(read_frames(video, damage))
    for _ in islice(frames, begun * PART_FRAMES):  # decoding again is exact, and fast compared with the model
        pass

    def read(frame: VideoFrame) -> tuple[VideoFrame, Pixels]:
        return frame, to_pixels(frame, video)

    def run(item: tuple[VideoFrame, Pixels]) -> tuple[VideoFrame, Pixels]:
        return item[0], predictor(item[1])

    def convert(item: tuple[VideoFrame, Pixels]) -> VideoFrame:
        return to_frame(item[1], item[0], video, how)

    with closing(raised(pipelined(frames, read, run, convert))) as results:
        for number in count(begun):
            first = next(results, None)
            if first is None:
                break
            rest = advancing(chain([first], islice(results, PART_FRAMES - 1)), advance)
            if write_part(part_path(folder, number), rest, video, how) < PART_FRAMES:
                break
    return done


def raised(results: Iterable[VideoFrame | Exception]) -> Generator[VideoFrame]:
    """Yield the frames; raise the first error."""
    for result in results:
        if isinstance(result, Exception):
            raise result
        yield result


def advancing(frames: Iterable[VideoFrame], advance: Advance) -> Iterator[VideoFrame]:
    """Yield the frames, and advance the progress after each."""
    for frame in frames:
        yield frame
        advance(1)


def upright_size(video: Video) -> tuple[int, int]:
    """Return (height, width) of upright frames."""
    return (video.width, video.height) if video.turn.transposed else (video.height, video.width)


def summary(frames: FramesRead, how: Plan, remarks: tuple[str, ...]) -> str:
    size = f"{how.width}×{how.height} pixels"
    what = f"{counted(frames.count, 'frame')} of {size}, {how.encoder} in {how.pixel_format}, {how.others}"
    if frames.interlaced:
        share = "all" if frames.interlaced == frames.count else f"{frames.interlaced} of its"
        remarks = (f"{share} frames are interlaced, but are treated as progressive: deinterlace it first", *remarks)
    return "; ".join((what, *how.remarks, *remarks))
