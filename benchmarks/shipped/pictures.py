"""Before and after: each model on photographs that anybody may publish, and on drawings of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan_tasks.datasets.images import Picture, Pixels, fit_channels, write
from gan_tasks.datasets.images.resize import bicubic
from gan_tasks.datasets.masks.draw import MaskConfig, draw_mask
from gan_tasks.datasets.sample_photos import read_photos
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.metrics.baselines import fill_harmonic, non_local_means, upscale_bicubic
from gan_tasks.runs.image_grid import grid
from shipped import fill, restore
from shipped.data import Photo, Sources
from shipped.drawings import facade, shoe
from shipped.upscale import FAITHFUL

CREDITS: Mapping[str, str] = {
    "astronaut": "Eileen Collins (NASA, public domain)",
    "chelsea": "Chelsea (Stefan van der Walt, CC0)",
    "coffee": "a cup of coffee (Rachel Michetti, CC0)",
    "rocket": "the launch of a Falcon 9 (SpaceX, public domain)",
}
"""What the photographs show, and their licences as scikit-image's documentation of its data names them."""
PLACES: Mapping[str, tuple[int, int]] = {
    "astronaut": (0, 120),
    "chelsea": (30, 90),
    "coffee": (90, 150),
    "rocket": (120, 190),
}
"""Top and left of the region that is shown of each photograph, in px."""
DETAILS, DAMAGED, LANDSCAPES = ("chelsea", "astronaut", "coffee"), ("astronaut", "chelsea", "rocket"), ("rocket",)
SIDE_PX = 256
DETAIL_PX = 160
"""Side of the regions where single pixels matter."""
LARGEST_BYTES = 150_000

Rows = Iterator[Sequence[Pixels]]


def regions(side_px: int, names: Sequence[str]) -> list[Pixels]:
    """Return a region of each photograph. Raises UserError if scikit-image is not installed."""
    photos = read_photos()
    starts = [(photos[name], *PLACES[name], (SIDE_PX - side_px) // 2) for name in names]
    return [photo[top + inset :, left + inset :][:side_px, :side_px] for photo, top, left, inset in starts]


def enlarged(model: Predictor, sources: Sources) -> Rows:
    scale = model.spec.scale
    for photo in regions(DETAIL_PX, DETAILS):
        small = bicubic(photo, (DETAIL_PX // scale, DETAIL_PX // scale))
        yield upscale_bicubic(small, scale), model(small), photo


def enlarged_crisply(model: Predictor, sources: Sources) -> Rows:
    assert sources.open_model is not None
    other = sources.open_model(FAITHFUL)
    scale = model.spec.scale
    for photo in regions(DETAIL_PX, DETAILS):
        small = bicubic(photo, (DETAIL_PX // scale, DETAIL_PX // scale))
        yield upscale_bicubic(small, scale), other(small), model(small), photo


def restored(model: Predictor, sources: Sources) -> Rows:
    shown = ("JPEG quality 10", "noise σ 25", "blur σ 0.8 px, noise σ 12, JPEG 50")
    for name, photo in zip(shown, regions(DETAIL_PX, DETAILS), strict=True):
        pixels = restore.DEGRADATIONS[name](photo, np.random.default_rng(0))
        _, h = restore.best_non_local_means([Photo(name, photo)], [pixels])
        yield pixels, non_local_means(pixels, h), model(pixels), photo


def coloured(model: Predictor, sources: Sources) -> Rows:
    for photo in regions(SIDE_PX, tuple(CREDITS)):
        gray = fit_channels(photo, 1)
        yield gray, model(gray), photo


def filled(model: Predictor, sources: Sources) -> Rows:
    config = MaskConfig(min_mask_ratio=fill.AIMED[0], max_mask_ratio=fill.AIMED[1])
    for seed, photo in enumerate(regions(SIDE_PX, DETAILS)):
        mask = draw_mask(np.random.default_rng(seed), SIDE_PX, SIDE_PX, config)
        masked = np.where(mask[..., None], np.uint8(255), photo)
        yield masked, fill_harmonic(masked, mask), model(masked, mask), photo


def mended(model: Predictor, sources: Sources) -> Rows:
    from gan_tasks.datasets.degradations import damage

    for seed, photo in enumerate(regions(SIDE_PX, DAMAGED)):
        pixels, _ = damage.degrade(photo, np.random.default_rng(seed))
        yield pixels, model(pixels), photo


def facades(model: Predictor, sources: Sources) -> Rows:
    for seed in range(3):
        labels = facade(np.random.default_rng(seed))
        yield labels, model(labels)


def shoes(model: Predictor, sources: Sources) -> Rows:
    for seed in range(3):
        edges = shoe(np.random.default_rng(seed))
        yield edges, model(edges)


def landscapes(model: Predictor, sources: Sources) -> Rows:
    for photo in regions(SIDE_PX, LANDSCAPES):
        yield photo, model(photo)


@dataclass(frozen=True)
class Shown:
    """How a model is shown. rows: makes the rows of its picture. titles: of the columns."""

    rows: Callable[[Predictor, Sources], Rows]
    photos: tuple[str, ...]
    titles: tuple[str, ...]

    @property
    def credit(self) -> str:
        """Where the inputs come from, as a sentence."""
        credits = [CREDITS[name] for name in self.photos]
        return f"Photographs of scikit-image: {', '.join(credits)}." if credits else "A program drew the inputs."


SHOWN: Mapping[str, Shown] = {
    "upscale-x2": Shown(enlarged, DETAILS, ("bicubic", "{name}", "original")),
    "upscale-x4": Shown(enlarged, DETAILS, ("bicubic", "{name}", "original")),
    "upscale-x4-crisp": Shown(enlarged_crisply, DETAILS, ("bicubic", FAITHFUL, "{name}", "original")),
    "restore-x1": Shown(restored, DETAILS, ("degraded", "non-local means", "{name}", "original")),
    "colourise": Shown(coloured, tuple(CREDITS), ("gray", "{name}", "original")),
    "fill": Shown(filled, DETAILS, ("masked", "harmonic fill", "{name}", "original")),
    "descratch": Shown(mended, DAMAGED, ("damaged", "{name}", "original")),
    "labels2facade": Shown(facades, (), ("drawn labels", "{name}")),
    "edges2shoe": Shown(shoes, (), ("drawn edges", "{name}")),
    "summer2winter": Shown(landscapes, LANDSCAPES, ("photograph", "{name}")),
    "winter2summer": Shown(landscapes, LANDSCAPES, ("photograph", "{name}")),
}
"""How each model is shown, by its name."""


def write_picture(path: Path, name: str, model: Predictor, sources: Sources) -> None:
    """Write the picture of a model as JPEG, with the best quality up to 95 that LARGEST_BYTES allow."""
    shown = SHOWN[name]
    pixels = grid(list(shown.rows(model, sources)), [title.format(name=name) for title in shown.titles])
    for quality in range(95, 0, -5):
        write(path, Picture(pixels), quality=quality)
        if path.stat().st_size <= LARGEST_BYTES:
            return
