"""The model that fills masked regions, beside the classical methods: PSNR in the mask, and the kernel distance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gan_tasks.datasets.images import Pixels, read
from gan_tasks.datasets.masks.draw import Mask, MaskConfig, draw_mask
from gan_tasks.datasets.masks.files import resize_mask, to_mask
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.metrics.baselines import fill_harmonic, fill_navier_stokes, fill_telea
from shipped.data import Photo, Sources, counted_up, features_note, features_of, files_of
from shipped.metrics import chance, distance, nearer, psnr_in
from shipped.results import Column, Goal, Row, Table, at_least, gain, mean

CLASSICAL: Mapping[str, Callable[[Pixels, Mask], Pixels]] = {
    "harmonic fill": fill_harmonic,
    "Telea": fill_telea,
    "Navier-Stokes": fill_navier_stokes,
}
HARMONIC = "harmonic fill"
BANDS = ((0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5))
"""Mask ratios, from and to, of the free-form masks: one of each band is drawn for every photograph."""
AIMED = (0.2, 0.4)
"""Mask ratios of the goals."""
WANTED_DB = 1.0


@dataclass(frozen=True)
class Filled:
    """A photograph with a mask: where the mask comes from, its ratio, and the result of each method."""

    source: str
    ratio: float
    photo: Photo
    outputs: Mapping[str, Pixels]
    psnr: Mapping[str, float]
    """In dB, over the masked pixels."""


def fill(model: Predictor, sources: Sources) -> tuple[list[Table], list[Goal]]:
    """Measure the PSNR in the mask by mask ratio, and the kernel distance at the mask ratios of the goals."""
    photos = sources.read_photos()
    tasks = [*drawn_masks(photos), *masks_of_files(photos, sources)]
    methods = {**CLASSICAL, "model": lambda pixels, mask: model(pixels, mask)}
    found = [filled(methods, *task) for task in counted_up(tasks, "Masks")]
    bands = [(ratios_text(low, high), within(found, low, high, "drawn")) for low, high in (*BANDS, AIMED)]
    bands.append((f"mask files, {ratios_text(*AIMED)}", within(found, *AIMED, "file")))
    rows = [row(name, means_by_photo(members)) for name, members in bands if members]
    columns = (*(Column(f"{name}, dB") for name in methods), Column("Gain over the harmonic fill", is_gain=True))
    note = (
        "PSNR over the masked pixels, averaged first over the masks of each photograph. Masks are free-form, drawn "
        "with fixed seeds."
    )
    by_ratio = Table("Masked regions", "Mask ratio", columns, tuple(rows), note)

    aimed = within(found, *AIMED, "drawn")
    means = means_by_photo(aimed)
    gained = gain(means["model"], means[HARMONIC])
    aim = f"At least {WANTED_DB:g} dB over the harmonic fill at mask ratios of {ratios_text(*AIMED)}"
    goals = [at_least(aim, gained, WANTED_DB, is_gain=True)]
    distances, nearer_goals = by_distance(model, sources, one_by_photo(aimed))
    return [by_ratio, distances], [*goals, *nearer_goals]


def by_distance(model: Predictor, sources: Sources, aimed: Sequence[Filled]) -> tuple[Table, list[Goal]]:
    """Compare results at the mask ratios of the goals, one of each photograph, with other photographs, as sets."""
    others = [photo.pixels for photo in sources.read_real()]
    real = features_of(counted_up(others, "Features, real"))
    methods = (*CLASSICAL, "model")
    features = {
        name: features_of(counted_up([each.outputs[name] for each in aimed], f"Features, {name}")) for name in methods
    }
    rows = [Row(name, (distance(real, features[name]),)) for name in methods]
    rows.append(Row("photographs, two halves", (chance(real),)))
    note = (
        f"{len(aimed)} results, one of each photograph, at mask ratios of {ratios_text(*AIMED)}, beside "
        f"{len(others)} {sources.real_is}. {features_note(model)}"
    )
    table = Table("Whole images beside real ones", "Method", (Column("Kernel distance ×10³", 1),), tuple(rows), note)
    goals = [
        nearer(real, features["model"], features[name]).goal(f"Nearer to real photographs than {name}")
        for name in CLASSICAL
    ]
    return table, goals


def drawn_masks(photos: Sequence[Photo]) -> Iterator[tuple[str, Photo, Mask]]:
    """Yield each photograph with a mask of each band."""
    for index, photo in enumerate(photos):
        height, width = photo.pixels.shape[:2]
        for band, (low, high) in enumerate(BANDS):
            rng = np.random.default_rng((index, band))
            config = MaskConfig(min_mask_ratio=low, max_mask_ratio=high)
            yield "drawn", photo, draw_mask(rng, height, width, config)


def masks_of_files(photos: Sequence[Photo], sources: Sources) -> Iterator[tuple[str, Photo, Mask]]:
    """Yield each photograph with the next mask file, fitted to its size; none without --masks."""
    if sources.masks is None:
        return
    masks = [to_mask(read(path).pixels) for path in files_of(sources.masks)]
    for index, photo in enumerate(photos):
        yield "file", photo, resize_mask(masks[index % len(masks)], *photo.pixels.shape[:2])


def filled(methods: Mapping[str, Callable[[Pixels, Mask], Pixels]], source: str, photo: Photo, mask: Mask) -> Filled:
    """Fill a masked photograph by each method. The masked pixels are white before."""
    masked = np.where(mask[..., None], np.uint8(255), photo.pixels)
    outputs = {name: method(masked, mask) for name, method in methods.items()}
    psnr = {name: psnr_in(mask, output, photo.pixels) for name, output in outputs.items()}
    return Filled(source, float(mask.mean()), photo, outputs, psnr)


def ratios_text(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def within(found: Sequence[Filled], low: float, high: float, source: str) -> list[Filled]:
    return [each for each in found if each.source == source and low <= each.ratio <= high]


def by_photo(members: Sequence[Filled]) -> list[list[Filled]]:
    """Group the results by their photographs: they are not independent of each other."""
    groups: dict[str, list[Filled]] = {}
    for each in members:
        groups.setdefault(each.photo.name, []).append(each)
    return list(groups.values())


def means_by_photo(members: Sequence[Filled]) -> dict[str, list[float]]:
    """Return the mean PSNR of each photograph, by the method."""
    groups = by_photo(members)
    return {
        method: [float(np.mean([each.psnr[method] for each in group])) for group in groups]
        for method in members[0].psnr
    }


def one_by_photo(members: Sequence[Filled]) -> list[Filled]:
    """Return one result of each photograph: in turn the first, the second and so on, so that all ratios are there."""
    return [group[index % len(group)] for index, group in enumerate(by_photo(members))]


def row(name: str, values: Mapping[str, Sequence[float]]) -> Row:
    gained = gain(values["model"], values[HARMONIC])
    return Row(f"{name}, {len(values['model'])} photographs", (*map(mean, values.values()), gained))
