"""Models that enlarge, beside bicubic interpolation: PSNR and SSIM on Y, and how near patches are to real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels
from gan_tasks.datasets.images.resize import bicubic
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.metrics.baselines import upscale_bicubic
from shipped.data import Photo, Sources, counted_up, features_note, features_of, read_photos
from shipped.metrics import chance, distance, nearer, psnr_ssim_y
from shipped.results import Column, Goal, Row, Table, at_least, gain, mean

FAITHFUL = "upscale-x4"
"""The model that the crisp one is compared with."""
CRISP_SHARE = 0.6
"""Largest kernel distance of the crisp model, as a share of the faithful one's."""
PATCH_PX = 64
REAL_PHOTOS = 100
"""Photographs whose patches are the real ones."""
WANTED_DB = {4: 31.6}
"""PSNR on Y of Set5 that is aimed at, by scale."""
COLUMNS = (
    Column("Bicubic, PSNR in dB"),
    Column("Model, PSNR in dB"),
    Column("Gain in dB", is_gain=True),
    Column("Bicubic, SSIM", 4),
    Column("Model, SSIM", 4),
)


@dataclass
class Values:
    """PSNR and SSIM on Y of each image."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)

    def add(self, image: Pixels, target: Pixels, border_px: int) -> None:
        of_psnr, of_ssim = psnr_ssim_y(image, target, border_px)
        self.psnr.append(of_psnr)
        self.ssim.append(of_ssim)


def faithful(model: Predictor, sources: Sources) -> tuple[list[Table], list[Goal]]:
    """Measure PSNR and SSIM on Y, with the scale as border, on benchmark sets and photographs."""
    scale = model.spec.scale
    rows, goals = [], []
    for name, images in sets_of(sources):
        bicubic_values, values = Values(), Values()
        for photo, small in counted_up(list(with_small(images, scale)), name):
            bicubic_values.add(upscale_bicubic(small, scale), photo.pixels, scale)
            values.add(model(small), photo.pixels, scale)
        gained = gain(values.psnr, bicubic_values.psnr)
        means = [mean(each) for each in (bicubic_values.psnr, values.psnr, bicubic_values.ssim, values.ssim)]
        rows.append(Row(f"{name}, {len(images)} images", (*means[:2], gained, *means[2:])))
        if name == "Set5" and scale in WANTED_DB:
            wanted = WANTED_DB[scale]
            goals.append(at_least(f"Set5 ×{scale} on Y: at least {wanted} dB", means[1], wanted))
    if not rows:
        raise UserError("this model is measured on --sets and --photos: give at least one folder")
    note = f"On Y (BT.601), {scale} px left out at the border. Images were reduced by MATLAB's bicubic interpolation."
    return [Table(f"Enlarged {scale} times", "Images", COLUMNS, tuple(rows), note)], goals


def crisp(model: Predictor, sources: Sources) -> tuple[list[Table], list[Goal]]:
    """Measure how near patches are to real ones, beside the faithful model, and what that costs in PSNR."""
    if sources.open_model is None:
        raise UserError(f"this model is compared with {FAITHFUL}, which is missing")
    scale, other = model.spec.scale, sources.open_model(FAITHFUL)
    photos = sources.read_photos()
    methods = ("bicubic", FAITHFUL, model.title)
    patches: dict[str, list[Pixels]] = {name: [] for name in methods}
    others = sources.read_real()[:REAL_PHOTOS]
    patches["real"] = [patch for photo in others for patch in patches_of(photo.pixels)]
    values = {name: Values() for name in methods}
    for photo, small in counted_up(list(with_small(photos, scale)), "Photographs"):
        outputs = (upscale_bicubic(small, scale), other(small), model(small))
        for name, output in zip(methods, outputs, strict=True):
            patches[name] += patches_of(output)
            values[name].add(output, photo.pixels, scale)
    features = {name: features_of(counted_up(each, f"Patches, {name}")) for name, each in patches.items()}
    real = features["real"]
    columns = (Column("Kernel distance ×10³", 1), Column("PSNR on Y in dB"), Column("SSIM on Y", 4))
    rows = [
        Row(name, (distance(real, features[name]), mean(values[name].psnr), mean(values[name].ssim)))
        for name in methods
    ]
    rows.append(Row("real patches, two halves", (chance(real), None, None)))
    note = (
        f"Patches of {PATCH_PX} px of {len(photos)} photographs, beside {len(real)} of {len(others)} "
        f"{sources.real_is}. Patches of one photograph count as independent. {features_note(model, other)}"
    )
    found = nearer(real, features[model.title], features[FAITHFUL])
    goal = found.goal(f"Kernel distance at most {100 * CRISP_SHARE:.0f} % of that of {FAITHFUL}", CRISP_SHARE)
    return [Table("Patches beside real ones", "Method", columns, tuple(rows), note)], [goal]


def sets_of(sources: Sources) -> Iterator[tuple[str, list[Photo]]]:
    """Yield the benchmark sets by their names, and the photographs."""
    for folder in sources.sets:
        large = folder / "HR"
        yield folder.name, read_photos(large if large.is_dir() else folder)
    if sources.photos is not None:
        yield "photographs", sources.read_photos()


def with_small(photos: Sequence[Photo], scale: int) -> Iterator[tuple[Photo, Pixels]]:
    """Yield each photograph, cropped to a multiple of the scale, and the reduced one."""
    for photo in photos:
        height, width = (side // scale for side in photo.pixels.shape[:2])
        pixels = photo.pixels[: height * scale, : width * scale]
        yield Photo(photo.name, pixels), bicubic(pixels, (height, width))


def patches_of(pixels: Pixels) -> list[Pixels]:
    """Divide an image into patches, and return every second one."""
    height, width = pixels.shape[:2]
    patches = [
        pixels[top : top + PATCH_PX, left : left + PATCH_PX]
        for top in range(0, height - PATCH_PX + 1, PATCH_PX)
        for left in range(0, width - PATCH_PX + 1, PATCH_PX)
    ]
    return patches[::2]
