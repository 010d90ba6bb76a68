"""The model that restores photographs, beside the input as it is and OpenCV's non-local means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image

from gan_tasks.datasets.images import Pixels
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.metrics.baselines import non_local_means
from shipped.data import Photo, Sources, counted_up
from shipped.metrics import psnr_of
from shipped.results import Column, Goal, Row, Table, gain, mean

WANTED_DB, ALLOWED_LOSS_DB = 1.5, 0.1
FILTER_H = (2.0, 4.0, 7.0, 11.0, 16.0, 22.0, 30.0, 40.0)
"""Parameters h of the non-local means, of which the best is taken for each degradation."""
TRIED_PHOTOS = 4
"""Photographs on which h is chosen."""

Degradation = Callable[[Pixels, np.random.Generator], Pixels]


def jpeg(pixels: Pixels, rng: np.random.Generator, *, quality: int) -> Pixels:
    """Encode as JPEG with chroma of half the resolution, as most programs do, and decode."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def noise(pixels: Pixels, rng: np.random.Generator, *, sigma: float) -> Pixels:
    """Add Gaussian noise of this standard deviation, in levels of 255."""
    return np.clip(np.rint(pixels + rng.normal(0, sigma, pixels.shape)), 0, 255).astype(np.uint8)


def blur(pixels: Pixels, rng: np.random.Generator, *, sigma: float) -> Pixels:
    """Blur by a Gaussian of this standard deviation in px."""
    import cv2

    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def mixed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return jpeg(noise(blur(pixels, rng, sigma=0.8), rng, sigma=12), rng, quality=50)


def clean(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return pixels


DEGRADATIONS: Mapping[str, Degradation] = {
    **{f"JPEG quality {quality}": partial(jpeg, quality=quality) for quality in (10, 25, 60)},
    **{f"noise σ {sigma}": partial(noise, sigma=sigma) for sigma in (10, 25, 40)},
    **{f"blur σ {sigma} px": partial(blur, sigma=sigma) for sigma in (1.0, 1.5)},
    "blur σ 0.8 px, noise σ 12, JPEG 50": mixed,
}
NEARLY_CLEAN: Mapping[str, Degradation] = {"JPEG quality 95": partial(jpeg, quality=95), "no degradation": clean}
COLUMNS = (
    Column("Input, PSNR in dB"),
    Column("Non-local means"),
    Column("Model"),
    Column("Gain over the better in dB", is_gain=True),
)


def restore(model: Predictor, sources: Sources) -> tuple[list[Table], list[Goal]]:
    """Measure the PSNR on RGB for each degradation, and what is lost on photographs without one."""
    photos = sources.read_photos()
    rows = []
    for name, degrade in DEGRADATIONS.items():
        degraded = degraded_by(degrade, photos)
        smoothed, h = best_non_local_means(photos, degraded)
        inputs, outputs = [], []
        for photo, pixels in counted_up(list(zip(photos, degraded, strict=True)), name):
            inputs.append(psnr_of(pixels, photo.pixels))
            outputs.append(psnr_of(model(pixels), photo.pixels))
        better = max((inputs, smoothed), key=lambda values: float(np.mean(values)))
        found = (mean(inputs), mean(smoothed), mean(outputs), gain(outputs, better))
        rows.append(Row(f"{name} (h {h:g})", found))
    worst = min(rows, key=lambda row: row.figures[-1].mean if row.figures[-1] else 0.0)
    least = worst.figures[-1]
    assert least is not None
    note = (
        f"{len(photos)} photographs, on RGB. Non-local means has the parameter h that is best on {TRIED_PHOTOS} of "
        f"them, of {len(FILTER_H)} values."
    )
    restored = Table("Degraded photographs", "Degradation", COLUMNS, tuple(rows), note)
    aim = f"At least {WANTED_DB} dB over the better of both for each degradation"
    met = sum(row.figures[-1] is not None and row.figures[-1].mean >= WANTED_DB for row in rows)
    found_text = f"{met} of {len(rows)}; least for {worst.name}, {COLUMNS[-1].text(least)} dB"
    kept, goal = on_clean_photos(model, photos)
    return [restored, kept], [Goal(aim, found_text, met == len(rows)), goal]


def on_clean_photos(model: Predictor, photos: Sequence[Photo]) -> tuple[Table, Goal]:
    """Measure what the model changes in photographs that need no restoration.

    The loss is the PSNR of the input − that of the output. Where the input is the photograph itself, its PSNR is
    infinite, and that of the output says how far it is from the input.
    """
    rows, losses = [], []
    for name, degrade in NEARLY_CLEAN.items():
        inputs, outputs, changes = [], [], []
        for photo, pixels in counted_up(list(zip(photos, degraded_by(degrade, photos), strict=True)), name):
            output = model(pixels)
            inputs.append(psnr_of(pixels, photo.pixels))
            outputs.append(psnr_of(output, photo.pixels))
            changes.append(float(np.abs(output.astype(int) - pixels).mean()))
        of_changed = [i - o for i, o in zip(inputs, outputs, strict=True) if np.isfinite(i)]
        loss = gain(inputs, outputs) if of_changed else None
        losses += of_changed
        rows.append(Row(name, (mean(inputs), mean(outputs), loss, mean(changes))))
    columns = (
        *(Column("Input, PSNR in dB"), Column("Model, PSNR in dB"), Column("Loss in dB", is_gain=True)),
        Column("Mean change in levels of 255"),
    )
    found = "no photograph was changed by the compression"
    if losses:
        found = f"{np.mean(losses):+.2f} dB on average, {max(losses):+.2f} dB at worst"
    aim = f"Loses at most {ALLOWED_LOSS_DB} dB on a photograph that is nearly clean (JPEG quality 95)"
    goal = Goal(aim, found.replace("-", "−"), bool(losses) and max(losses) <= ALLOWED_LOSS_DB)
    return Table("Clean photographs", "Degradation", columns, tuple(rows)), goal


def degraded_by(degrade: Degradation, photos: Sequence[Photo]) -> list[Pixels]:
    """Degrade each photograph, with random numbers of its place in the list."""
    return [degrade(photo.pixels, np.random.default_rng(index)) for index, photo in enumerate(photos)]


def best_non_local_means(photos: Sequence[Photo], degraded: Sequence[Pixels]) -> tuple[list[float], float]:
    """Return the PSNR of OpenCV's non-local means of each image, and its parameter h, chosen on a few of them."""

    def values(h: float, count: int) -> list[float]:
        pairs = zip(photos[:count], degraded[:count], strict=True)
        return [psnr_of(non_local_means(pixels, h), photo.pixels) for photo, pixels in pairs]

    best, best_psnr = FILTER_H[0], -np.inf
    for h in FILTER_H:
        tried = float(np.mean(values(h, TRIED_PHOTOS)))
        if tried < best_psnr:  # beyond the best h it only falls
            break
        best, best_psnr = h, tried
    return values(best, len(photos)), best
