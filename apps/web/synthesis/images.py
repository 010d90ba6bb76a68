"""Images of a generator: what the buttons of its page run, in the thread of the service's jobs.

Imports no web framework, and torch only for a model that has a latent space.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gan_tasks.apps.web.job_queue import JobProgress, Result
from gan_tasks.apps.web.served_models import ServedModel
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, write
from gan_tasks.export.inference.predictor import Prediction, Source
from gan_tasks.export.inference.provenance import read_xmp
from gan_tasks.export.inference.synthesis.directions import Directions, Method, find_directions
from gan_tasks.export.inference.synthesis.edit import edit
from gan_tasks.export.inference.synthesis.generate import generate_points
from gan_tasks.export.inference.synthesis.inputs import latent_input
from gan_tasks.export.inference.synthesis.interpolate import slerp
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace, has_weights
from gan_tasks.export.inference.synthesis.mix import mix
from gan_tasks.export.inference.synthesis.points import Point, from_text, to_text
from gan_tasks.export.models.base import Model


@dataclass(frozen=True)
class Named:
    """A point, and what a person calls it, such as "Seed 7"."""

    point: Point
    title: str


@dataclass(frozen=True)
class Image:
    """A generated image. result: its pixels, and the file with the mark."""

    named: Named
    result: Result


def make_image(served: ServedModel, find: Callable[[], Named], folder: Path, suffix: str) -> Image:
    """Generate the image of a point, and write it with the point in its mark.

    find: returns the point. Raises the errors of `find` and of `generate_points`.
    """
    start = time.perf_counter()
    named = find()
    (generated,) = generate_points(served.model, [named.point])
    seconds = time.perf_counter() - start
    file = folder / f"{slug(named.title)}-{served.key}{suffix}"
    served.predictor.write(file, Prediction(generated.pixels), generated_from=to_text(named.point))
    return Image(named, Result(None, Picture(generated.pixels), file, seconds))


def make_grid(served: ServedModel, points: Sequence[Point], progress: JobProgress) -> list[Pixels]:
    """Generate the images of points; `progress` is told after each, and may stop it."""
    progress.part = "image"
    progress.on_tile(0, len(points))
    images = list[Pixels]()
    for generated in generate_points(served.model, points):
        images.append(generated.pixels)
        progress.on_tile(len(images), len(points))
    return images


def space_of(served: ServedModel) -> LatentSpace | None:
    """Return the latent space of a model; None for one whose weights are not there, such as an ONNX file."""
    return LatentSpace(served.model) if has_weights(served.model) else None


def moved(model: Model, base: Named, amounts: Sequence[float]) -> Named:
    """Add the amounts to the first values of a point's latent. Raises UserError for a point that has none."""
    if not any(amounts):
        return base
    if base.point.styles is not None:
        raise UserError(f"{base.title} is an image of styles, and has no latent that can be moved: choose a seed")
    latent = base.point.latent_of(latent_input(model).channels).copy()
    latent[: len(amounts)] += amounts
    return Named(replace(base.point, seed=None, latent=latent), f"{base.title}, moved")


@dataclass(frozen=True)
class Editor:
    """Moves points along directions of a latent space. found: what was found already, by method and class."""

    space: LatentSpace
    found: dict[tuple[Method, int | None], Directions] = field(default_factory=dict)

    def edited(self, base: Named, method: Method, amounts: Sequence[float], label: int | None) -> Named:
        """Move a point along the strongest directions, by amounts in standard deviations.

        label: number of the class that the directions are found for. Raises the errors of `find_directions`.
        """
        if not any(amounts):
            return base
        if (method, label) not in self.found:
            self.found[method, label] = find_directions(self.space, method, count=len(amounts), label=label)
        return Named(edit(self.space, base.point, self.found[method, label], amounts), f"{base.title}, edited")


def opened_point(path: Path, served: ServedModel) -> Named:
    """Read what a generated image was made from. Raises UserError for a file that does not say so."""
    mark = read_xmp(path)
    if mark is None or not mark.generated_from:
        raise UserError(
            "The file does not say what it was generated from: give a download of this page, as it came. Other "
            "programs and web sites often remove what a file says."
        )
    point = from_text(mark.generated_from)
    by = "" if mark.model == served.title else f" of {mark.model}"
    return Named(point, f"Opened image{by}" if point.seed is None else f"Seed {point.seed}{by}")


def point_between(served: ServedModel, start: Point, end: Point, position: float) -> Point:
    """Return the point at a position from 0 to 1 on the way between two seeds.

    It leads straight through the styles of a mapping network, and along the sphere of the latents without one.
    """
    if position in (0, 1):
        return end if position else start
    space = space_of(served)
    if space is not None and space.has_mapping:
        first, second = space.styles_of((start, end))
        return Point(styles=np.float32(1 - position) * first + np.float32(position) * second)
    length = latent_input(served.model).channels
    return replace(start, seed=None, latent=slerp(start.latent_of(length), end.latent_of(length), position))


def mixed_point(space: LatentSpace, coarse: Point, fine: Point, layers: int) -> Point:
    """Return the point with the styles of `coarse` in the first layers, and those of `fine` in the others."""
    first, second = space.styles_of((coarse, fine))
    return Point(styles=mix(first, second, range(layers)))


@dataclass(frozen=True)
class Found:
    """The latent that was found for a picture. target, closest: files of the picture and of what is nearest to it.

    psnr: how close they are, in dB. loss: what was minimised, in words.
    """

    image: Image
    target: Path
    closest: Path
    psnr: float
    loss: str


def find_latent(
    served: ServedModel,
    source: Source,
    name: str,
    folder: Path,
    suffix: str,
    progress: JobProgress,
    *,
    steps: int,
    label: int | None,
    decode: Callable[[Source], Picture],
) -> Found:
    """Find the latent of the image that is nearest to a picture; `progress` is told after each step, and may stop it.

    name: of the picture. Raises UserError for a picture that cannot be read, and for a model without a latent space.
    """
    from gan_tasks.export.inference.synthesis.inversion.invert import invert
    from gan_tasks.export.inference.synthesis.inversion.invert_options import InvertConfig

    def on_step(done: int, count: int, psnr: float) -> None:
        progress.remark = f"{psnr:.1f} dB so far"
        progress.on_tile(done, count)

    pixels = decode(source).pixels
    if pixels.dtype == np.float32:
        raise UserError(f"{name} is an image of floating-point values: give one of 8 or 16 bits")
    progress.part = "step"
    progress.on_tile(0, steps)
    found = invert(LatentSpace(served.model), pixels, InvertConfig(steps=steps), label=label, on_step=on_step)
    image = make_image(served, lambda: Named(found.point, f"{Path(name).stem[:40]}, found"), folder, suffix)
    target, closest = folder / "target.png", folder / "closest.png"
    write(target, Picture(found.target))
    write(closest, Picture(found.pixels))
    return Found(image, target, closest, found.psnr, found.loss)


def slug(title: str) -> str:
    """A title as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "image"
