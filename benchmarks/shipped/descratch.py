"""The model that mends damaged photographs: PSNR in drawn damage, what it finds, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gan_tasks.datasets.degradations import damage
from gan_tasks.datasets.images import Pixels
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.evaluation.result import Figure
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.metrics.baselines import fill_telea
from shipped.data import Photo, Sources, counted_up
from shipped.metrics import psnr_in
from shipped.results import Column, Goal, Row, Table, at_least, gain, mean

WANTED_DB = 10.0
UNCHANGED_LEVELS = 1
"""Largest change, in levels of 255, of a pixel that counts as unchanged."""


def descratch(model: Predictor, sources: Sources) -> tuple[list[Table], list[Goal]]:
    """Measure the model on photographs with drawn damage, and on the same photographs without."""
    photos = sources.read_photos()
    damaged, goal = on_damaged(model, photos)
    found, finding = what_is_found(model, photos)
    return [damaged, found], [goal, finding]


def on_damaged(model: Predictor, photos: Sequence[Photo]) -> tuple[Table, Goal]:
    """Measure the PSNR over the damaged pixels, beside the damage itself and a fill that is told where it is."""
    named = {"all kinds": damage.KINDS} | {f"{kind.draw.__name__} alone": (kind,) for kind in damage.KINDS}
    measured = {name: on_kinds(model, photos, kinds, name) for name, kinds in named.items()}
    columns = (
        *(Column("Damaged pixels, %", 1), Column("Damaged, dB"), Column("Telea, told the damage, dB")),
        *(Column("Model, dB"), Column("Gain in dB", is_gain=True), Column("Precision"), Column("Recall")),
    )
    note = (
        f"{len(photos)} photographs; PSNR over the damaged pixels. Precision and recall are of the pixels that the "
        f"model changes by more than {damage.VISIBLE_LEVELS} levels of 255."
    )
    rows = tuple(Row(name, figures) for name, figures in measured.items())
    gained = measured["all kinds"].gain
    goal = at_least(f"At least {WANTED_DB:g} dB in the damage", gained, WANTED_DB, is_gain=True)
    return Table("Drawn damage", "Damage", columns, rows, note), goal


class OnDamage(NamedTuple):
    """Figures on photographs with damage of some kinds, in the order of the table's columns."""

    damaged_percent: Figure
    damaged: Figure
    telea: Figure
    model: Figure
    gain: Figure
    precision: Figure
    recall: Figure


def on_kinds(model: Predictor, photos: Sequence[Photo], kinds: Sequence[damage.Kind], name: str) -> OnDamage:
    values: dict[str, list[float]] = {"damaged": [], "Telea": [], "model": []}
    precisions, recalls, percents = [], [], []
    for index, photo in enumerate(counted_up(photos, f"Damaged photographs, {name}")):
        pixels, mask = damage.degrade(photo.pixels, np.random.default_rng(index), kinds)
        if not mask.any():  # a piece may lie outside, or have the colour of what it covers
            continue
        output = model(pixels)
        for method, image in (("damaged", pixels), ("Telea", fill_telea(pixels, mask)), ("model", output)):
            values[method].append(psnr_in(mask, image, photo.pixels))
        found = changed(output, pixels) > damage.VISIBLE_LEVELS
        precision, recall = precision_recall(found, mask)
        precisions.append(precision)
        recalls.append(recall)
        percents.append(100 * float(mask.mean()))
    return OnDamage(
        damaged_percent=mean(percents),
        damaged=mean(values["damaged"]),
        telea=mean(values["Telea"]),
        model=mean(values["model"]),
        gain=gain(values["model"], values["damaged"]),
        precision=mean(precisions),
        recall=mean(recalls),
    )


def what_is_found(model: Predictor, photos: Sequence[Photo]) -> tuple[Table, Goal]:
    """Measure what the model changes in photographs without damage."""
    shares, largest = [], []
    for photo in counted_up(photos, "Undamaged photographs"):
        change = changed(model(photo.pixels), photo.pixels)
        shares.append(100 * float((change > UNCHANGED_LEVELS).mean()))
        largest.append(float(change.max()))
    columns = (
        Column(f"Pixels changed by more than {UNCHANGED_LEVELS} of 255, %"),
        Column("Largest change, levels of 255", 1),
    )
    row = Row(f"{len(photos)} photographs", (mean(shares), mean(largest)))
    kept = sum(each <= UNCHANGED_LEVELS for each in largest)
    aim = f"Undamaged photographs change by at most {UNCHANGED_LEVELS} of 255"
    goal = Goal(
        aim, f"{kept} of {len(photos)}, {np.mean(shares):.2f} % of all pixels change by more", kept == len(photos)
    )
    return Table("Undamaged photographs", "Images", columns, (row,)), goal


def changed(output: Pixels, pixels: Pixels) -> Pixels:
    """Return the largest change of a channel of each pixel, H×W, in levels of 255."""
    difference: Pixels = np.abs(output.astype(int) - pixels).max(axis=2)
    return difference


def precision_recall(found: Mask, mask: Mask) -> tuple[float, float]:
    """Return which share of the found pixels is damaged, nan without any, and which of the damaged is found."""
    both = float((found & mask).sum())
    return both / float(found.sum()) if found.any() else float("nan"), both / float(mask.sum())
