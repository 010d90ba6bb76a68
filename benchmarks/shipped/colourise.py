"""The model that colours gray photographs, beside the gray ones: sets of images, chroma, and the luma it keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.export.evaluation.result import Figure
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.metrics.colour import mean_chroma
from shipped.data import Features, Sources, counted_up, features_note, features_of
from shipped.metrics import distance, nearer
from shipped.results import Column, Goal, Row, Table, mean

LARGEST_SHARE = 0.5
"""Largest kernel distance, as a share of that of the gray photographs."""
LEAST_CHROMA = 0.6
"""Smallest mean chroma, as a share of that of the real photographs."""
BINS = 16
"""Bins of a* and of b* in a histogram of colours."""
LARGEST_CHROMA = 80.0
"""Largest a* or b* of the bins; what is beyond it is in the outermost ones."""
COLUMNS = (
    Column("Kernel distance ×10³", 1),
    Column("of colour histograms ×10³", 0),
    Column("Mean chroma (CbCr)", 3),
    Column("Mean chroma, share of real in %", 0),
)


def colourise(model: Predictor, sources: Sources) -> tuple[list[Table], list[Goal]]:
    """Measure how near the coloured photographs are to the real ones as sets, and how saturated they are."""
    photos = sources.read_photos()
    others = [photo.pixels for photo in sources.read_real()]
    sets: dict[str, list[Pixels]] = {"real": others, "photographs": [], "gray": [], "model": []}
    luma_changes = []
    for photo in counted_up(photos, "Photographs"):
        gray = fit_channels(photo.pixels, 1)
        output = model(gray)
        change = np.abs(fit_channels(output, 1).astype(int) - gray)
        luma_changes.append(float(change.max()))
        for name, pixels in (("photographs", photo.pixels), ("gray", fit_channels(gray, 3)), ("model", output)):
            sets[name].append(pixels)
    features = {name: features_of(counted_up(images, f"Features, {name}")) for name, images in sets.items()}
    histograms = {name: np.stack([histogram(image) for image in images]) for name, images in sets.items()}
    chroma = {name: mean([mean_chroma(image) for image in images]) for name, images in sets.items()}

    def row(name: str) -> Row:
        distances = (distance(each["real"], each[name]) for each in (features, histograms))
        return Row(name, (*distances, chroma[name], share_of(chroma[name], chroma["photographs"])))

    note = (
        f"{len(photos)} photographs, beside {len(others)} {sources.real_is}. {features_note(model)} Histograms are "
        f"of a* and b* of CIELAB in {BINS}×{BINS} bins, compared by the same kernel, without a network. "
        "Chroma is the magnitude of (Cb, Cr), from 0 for gray to 0.53 for pure green."
    )
    rows = (row("gray"), row("model"), row("photographs"))
    table = Table("Coloured photographs", "Images", COLUMNS, rows, note)
    share = chroma["model"].mean / chroma["photographs"].mean
    aims = (
        f"Kernel distance at most {100 * LARGEST_SHARE:.0f} % of that of the gray photographs",
        f"Kernel distance of colour histograms at most {100 * LARGEST_SHARE:.0f} % of theirs",
        f"Mean chroma at least {100 * LEAST_CHROMA:.0f} % of that of the real photographs",
    )
    goals = [
        nearer(features["real"], features["model"], features["gray"]).goal(aims[0], LARGEST_SHARE),
        nearer(histograms["real"], histograms["model"], histograms["gray"]).goal(aims[1], LARGEST_SHARE),
        Goal(aims[2], f"{100 * share:.0f} %", share >= LEAST_CHROMA),
        Goal("Luma comes back exactly, up to rounding", luma_text(luma_changes), max(luma_changes) <= 1),
    ]
    return [table], goals


def luma_text(changes: list[float]) -> str:
    return f"largest difference {max(changes):.0f} of 255, {np.mean(changes):.2f} on average over the images"


def share_of(figure: Figure, real: Figure) -> Figure:
    """Return a figure in percent of the mean of another."""
    return Figure(*(100 * value / real.mean for value in (figure.mean, figure.low, figure.high)))


def chromaticity(pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a* and b* of H×W×3 of uint8."""
    import cv2

    lab = np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)
    return lab[..., 1], lab[..., 2]


def histogram(pixels: Pixels) -> Features:
    """Return the root of the shares of a* and b* in bins, scaled so that the kernel compares them like features.

    The product of two such rows over their length is then the Bhattacharyya coefficient, from 0 to 1.
    """
    a, b = (np.clip(each, -LARGEST_CHROMA, LARGEST_CHROMA).ravel() for each in chromaticity(pixels))
    limits = [(-LARGEST_CHROMA, LARGEST_CHROMA)] * 2
    counts, _, _ = np.histogram2d(a, b, BINS, limits)
    return np.sqrt(counts.ravel() / a.size * counts.size).astype(np.float32)
