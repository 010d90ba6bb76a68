"""Walk through a latent space, from point to point. Imports torch only for a walk through W."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels
from gan_tasks.export.inference.apply import check_writable
from gan_tasks.export.inference.synthesis.generate import generate_points
from gan_tasks.export.inference.synthesis.generated_files import MarkedFiles, image_shape, is_image_name, seeds_text
from gan_tasks.export.inference.synthesis.grid import check_size, tiled
from gan_tasks.export.inference.synthesis.inputs import batch_size, check_generates, latent_input
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace, has_weights
from gan_tasks.export.inference.synthesis.points import Point, Vector
from gan_tasks.export.inference.video.containers import is_video, require_av
from gan_tasks.export.models.base import Model
from gan_tasks.progress import Advance, track

Space = Literal["auto", "w", "z"]


def walk(count: int, frames: int, *, loop: bool) -> list[tuple[int, int, float]]:
    """Return for each image of a walk the points that it lies between, and how far it is from the first of them.

    Args:
        count: number of points, 2 or more.
        frames: images from one point to the next, the second of them left out.
        loop: whether the walk goes back from the last point to the first. Otherwise it ends with the last point.
    """
    ends = [(first, (first + 1) % count) for first in range(count if loop else count - 1)]
    steps = [(first, second, step / frames) for first, second in ends for step in range(frames)]
    return steps if loop else [*steps, (count - 1, count - 1, 0.0)]


def interpolate(
    model: Model, points: Sequence[Point], frames: int = 24, *, loop: bool = False, space: Space = "auto"
) -> Iterator[Pixels]:
    """Generate the images of a walk from each point to the next.

    Args:
        points: two or more.
        frames: images from one point to the next, 1 or more; see `walk`.
        space: w: straight through the styles. z: along the sphere of the latents (Shoemake 1985,
            https://doi.org/10.1145/325165.325242), which works with an ONNX file. auto: w if the model has a mapping
            network and its weights are there.

    Raises UserError for fewer points, and for points that are not in the space.
    """
    check_generates(model)
    if len(points) < 2:
        raise UserError(f"a walk needs two seeds or more, got {len(points)}: give such as 1,5,9")
    steps = walk(len(points), frames, loop=loop)
    if space == "auto":
        space = "w" if has_mapping(model) or any(point.styles is not None for point in points) else "z"
    return through_styles(model, points, steps) if space == "w" else through_latents(model, points, steps)


def walk_to_files(
    model: Model,
    points: Sequence[Point],
    out: Path,
    *,
    frames: int = 24,
    loop: bool = False,
    space: Space = "auto",
    fps: int = 24,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Write the images of `interpolate`, with marks and progress; return their number.

    Args:
        out: a video; an image file, in which all stand in a row; or a folder, for 0000.png and so on.
        fps: images of a video per second.

    Raises UserError for the points as `interpolate` does, and for files of other programs in the place of results.
    """
    if is_video(out):
        require_av()
    images = interpolate(model, points, frames, loop=loop, space=space)
    count, shape = len(walk(len(points), frames, loop=loop)), image_shape(model)
    files, text = MarkedFiles(model, overwrite), seeds_text(points)
    to_file = is_video(out) or is_image_name(out)
    names = [out] if to_file else [out / f"{number:04d}.png" for number in range(count)]
    check_writable(out.parent if to_file else out)
    for name in names:
        files.check(name)
    if to_file and not is_video(out):
        check_size(count, count, shape)
    with track(count, "Generating", "images", quiet=quiet) as advance:
        shown = counting(images, advance)
        if is_video(out):
            from gan_tasks.export.inference.video.frames import write_frames

            out.parent.mkdir(parents=True, exist_ok=True)
            write_frames(out, shown, shape[:2], rate=fps, xmp=files.mark(text))
        elif to_file:
            files.write(out, tiled(shown, count, count=count, shape=shape), text)
        else:
            for name, pixels in zip(names, shown, strict=True):
                files.write(name, pixels, text)
    return count


def counting(images: Iterable[Pixels], advance: Advance) -> Iterator[Pixels]:
    """Yield images, and report each as done."""
    for image in images:
        yield image
        advance(1)


def has_mapping(model: Model) -> bool:
    """Return whether a model has a mapping network, and weights with which styles can be computed."""
    return has_weights(model) and LatentSpace(model).has_mapping


def through_styles(
    model: Model, points: Sequence[Point], steps: Sequence[tuple[int, int, float]]
) -> Iterator[Pixels]:
    """Generate the images of a walk straight through the styles."""
    space = LatentSpace(model)
    styles, size = space.styles_of(points), batch_size(model)
    for start in range(0, len(steps), size):
        batch = steps[start : start + size]
        yield from space.images(np.stack([(1 - t) * styles[i] + t * styles[j] for i, j, t in batch]))


def through_latents(
    model: Model, points: Sequence[Point], steps: Sequence[tuple[int, int, float]]
) -> Iterator[Pixels]:
    """Generate the images of a walk along the sphere of the latents."""
    if any(point.styles is not None for point in points):
        raise UserError("styles of a file lie in W: walk through W, or give seeds or latents")
    if len({(point.label, point.truncation) for point in points}) > 1:
        raise UserError(
            "a walk through z has one class and one truncation, and the points have several: walk through W"
        )
    length = latent_input(model).channels
    latents = [point.latent_of(length) for point in points]
    label, truncation = points[0].label, points[0].truncation
    made = generate_points(
        model,
        (Point(latent=slerp(latents[i], latents[j], t), label=label, truncation=truncation) for i, j, t in steps),
    )
    return (each.pixels for each in made)


def slerp(first: Vector, second: Vector, t: float) -> Vector:
    """Return the vector at `t` from 0 to 1 on the arc between two; lengths change linearly."""
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    if not all(lengths):
        return np.float32(1 - t) * first + np.float32(t) * second
    one, other = first / lengths[0], second / lengths[1]
    angle = np.arccos(np.clip(one @ other, -1, 1))
    if np.sin(angle) < 1e-4:  # the same direction, or opposite ones, which no single arc joins
        return (np.float32(1 - t) * first + np.float32(t) * second).astype(np.float32)
    direction = (np.sin((1 - t) * angle) * one + np.sin(t * angle) * other) / np.sin(angle)
    vector: Vector = (direction * ((1 - t) * lengths[0] + t * lengths[1])).astype(np.float32)
    return vector
