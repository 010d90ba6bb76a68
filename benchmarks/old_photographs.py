"""Measure what `gan-tasks restore` gains on photographs that this program makes old, so that the truth is known.

    python benchmarks/old_photographs.py PHOTOS --real OTHERS --out FOLDER [--descratch MODEL] [--scale 2]

Each photograph is reduced, made gray, faded, scratched, given noise and saved as JPEG, as far as a step is there for
it. After each step the result is compared with the photograph as it was, beside doing nothing: the old one,
enlarged by bicubic interpolation. The results together are compared with the photographs of OTHERS by the kernel
distance. FOLDER gets figures.json, table.md and grid.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from shipped import data
from shipped.data import LARGEST_REAL, features_of

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.folders import visible_files_below
from gan_tasks.datasets.images import IMAGE_SUFFIXES, Pixels, fit_channels, read, to_float
from gan_tasks.datasets.masks.draw import draw_damage
from gan_tasks.export.chains.chain import Chain
from gan_tasks.export.load import load_model
from gan_tasks.export.models.resizing import resized
from gan_tasks.export.photographs.steps import STEPS, PhotoScale, Step, choose_models
from gan_tasks.export.photographs.tones import tones_of
from gan_tasks.metrics.distribution import (
    KERNEL_LEAST_IMAGES,
    KernelComparison,
    KernelDistance,
    compare_kernel_distances,
    kernel_distance,
)
from gan_tasks.metrics.features import FeatureRows
from gan_tasks.metrics.reference import psnr, ssim
from gan_tasks.metrics.statistics import bootstrap_interval
from gan_tasks.progress import track
from gan_tasks.runs.image_grid import save_grid

NOTHING = "nothing"
"""The row of the photograph before the first step."""
GRID_ROWS = 6
FADING = (0.75, 1.0)
"""Contrast of a faded photograph, drawn uniformly."""
NOISE_LEVELS = (3.0, 12.0)
"""Standard deviation of the noise, of 255 levels."""
JPEG_QUALITY = (40, 81)
OPACITY = (0.6, 1.0)
"""Of scratches and stains, which are light or dark."""


@dataclass(frozen=True)
class Gain:
    """A mean over the photographs, and its difference from doing nothing, with 95 % bootstrap intervals."""

    value: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float

    @classmethod
    def of(cls, values: NDArray[np.float64], before: NDArray[np.float64]) -> Gain:
        gains = values - before
        return cls(float(values.mean()), *bootstrap_interval(values), float(gains.mean()), *bootstrap_interval(gains))


@dataclass(frozen=True)
class Row:
    """The figures after one step. kernel: None without other photographs. difference: from doing nothing."""

    name: str
    psnr_db: Gain
    psnr_luma_db: Gain
    ssim: Gain
    kernel: KernelDistance | None
    difference: KernelComparison | None


@dataclass(frozen=True)
class Measured:
    """rows: doing nothing, then each step. pictures: for the grid, the old photograph, each step and the truth."""

    rows: list[Row]
    pictures: list[list[Pixels]]


def aged(photo: Pixels, steps: Sequence[Step], scale: int, rng: np.random.Generator) -> Pixels:
    """Make an RGB photograph old. Its sides are multiples of the scale."""
    height, width = photo.shape[:2]
    old = resized(photo, (height // scale, width // scale), "bicubic") if "upscale" in steps else photo
    if "colourise" in steps:
        old = fit_channels(old, 1)
    values = old.astype(np.float64)
    if "restore" in steps:
        contrast = rng.uniform(*FADING)
        values = 255 * (1 - contrast) * rng.uniform(0.4, 0.8) + contrast * values
    if "descratch" in steps:
        opacity = draw_damage(rng, *values.shape[:2])[..., None] * rng.uniform(*OPACITY)
        values += opacity * (rng.choice((235.0, 30.0), p=(0.7, 0.3)) - values)
    if "restore" in steps:
        values += rng.normal(0, rng.uniform(*NOISE_LEVELS), values.shape)
    old = np.rint(values).clip(0, 255).astype(np.uint8)
    return as_jpeg(old, int(rng.integers(*JPEG_QUALITY))) if "restore" in steps else old


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    file = BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(file))
    return decoded.reshape(*pixels.shape)


def photographs(folder: Path, count: int, multiple: int) -> Iterator[Pixels]:
    """Yield photographs in colour, RGB, cropped to sides that are multiples of a number."""
    files, _ = visible_files_below(folder)
    for path in sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)[:count]:
        pixels = fit_channels(read(path).pixels, 3)
        height, width = (side // multiple * multiple for side in pixels.shape[:2])
        if pixels.dtype == np.uint8 and height and width and tones_of(pixels) == "colour":
            yield pixels[:height, :width]


def measure(
    chain: Chain, steps: Sequence[Step], photos: Sequence[Pixels], others: Sequence[Pixels], *, seed: int = 0
) -> Measured:
    """Measure each step of a chain.

    others: photographs that the results are compared with by the kernel distance, which is left out without any. Were
        they the photographs of the results, each result would resemble one of them more than chance allows.
    """
    names = [NOTHING, *(model.title for model in chain.steps)]
    figures = {metric: np.zeros((len(names), len(photos))) for metric in ("psnr", "psnr_luma", "ssim")}
    features = [FeatureRows(data.feature_network()) for _ in names] if others else []
    pictures: list[list[Pixels]] = []
    with track(len(photos), "Restoring", "photographs") as advance:
        for column, photo in enumerate(photos):
            old = aged(photo, steps, chain.spec.scale, np.random.default_rng((seed, column)))
            results = [old, *chain.run_steps(fit_channels(old, chain.spec.in_channels))]
            large = [resized(fit_channels(result, 3), photo.shape[:2], "bicubic") for result in results]
            for line, result in enumerate(large):
                for metric, value in compared(result, photo).items():
                    figures[metric][line, column] = value
            for rows, image in zip(features, large, strict=False):
                rows.add(image)
            if len(pictures) < GRID_ROWS:
                pictures.append([*results, photo])
            advance(1)
    real, made = features_of(others) if others else None, [each.taken() for each in features]
    measured: list[Row] = []
    for line, name in enumerate(names):
        gains = {metric: Gain.of(values[line], values[0]) for metric, values in figures.items()}
        kernel = difference = None
        if real is not None:
            kernel = kernel_distance(real, made[line])
            difference = compare_kernel_distances(real, made[line], made[0]) if line else None
        measured.append(Row(name, gains["psnr"], gains["psnr_luma"], gains["ssim"], kernel, difference))
    return Measured(measured, pictures)


def compared(result: Pixels, photo: Pixels) -> Mapping[str, float]:
    """The metrics of one photograph, of RGB, and of its luma alone."""
    pairs = {"": (result, photo), "_luma": (fit_channels(result, 1), fit_channels(photo, 1))}
    tensors = {name: [torch.from_numpy(to_float(each)[None]) for each in pair] for name, pair in pairs.items()}
    values = {f"psnr{name}": float(psnr(*pair)) for name, pair in tensors.items()}
    return values | {"ssim": float(ssim(*tensors[""]))}


def table(rows: Sequence[Row]) -> str:
    """Markdown, a row a step. The kernel distance is given in thousandths; its gain is what it decreases by."""
    lines = [
        "| After | PSNR, dB | gain | PSNR of luma, dB | gain | SSIM | gain | Kernel distance × 1000 | gain |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.name]
        for figure, digits in ((row.psnr_db, 2), (row.psnr_luma_db, 2), (row.ssim, 4)):
            gain = f"{figure.gain:+.{digits}f} ({figure.gain_low:+.{digits}f} to {figure.gain_high:+.{digits}f})"
            cells += [f"{figure.value:.{digits}f}", "" if row is rows[0] else gain]
        kernel, change = row.kernel, row.difference
        cells.append("" if kernel is None else f"{1e3 * kernel.value:.2f}")
        ends = "" if change is None else f"({-1e3 * change.high:+.2f} to {-1e3 * change.low:+.2f})"
        cells.append("" if change is None else f"{-1e3 * change.difference:+.2f} {ends}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of photographs in colour that no model was trained on")
    parser.add_argument("--real", type=Path, help="a folder of other photographs, for the kernel distance")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--steps", nargs="+", choices=STEPS, help="the steps; default: all whose model is there")
    parser.add_argument("--scale", type=int, choices=get_args(PhotoScale), help="of the step upscale; default: 2")
    parser.add_argument("--count", type=int, default=50, help="number of files")
    for step in STEPS:
        parser.add_argument(f"--{step}", type=Path, help=f"the model of the step {step}; default: that which ships")
    options = parser.parse_args(arguments)
    given: dict[Step, Path] = {step: path for step in STEPS if (path := getattr(options, step)) is not None}
    chosen = choose_models(options.steps, given, options.scale)
    chain = Chain([load_model(path) for path in chosen.paths.values()])
    photos = list(islice(photographs(options.photos, options.count, chain.spec.scale), options.count))
    others = list(photographs(options.real, LARGEST_REAL, 1)) if options.real else []
    for folder, images in ((options.photos, photos), (options.real, others)):
        if folder and len(images) < KERNEL_LEAST_IMAGES:
            raise UserError(f"{folder} has {len(images)} photographs in colour: give {KERNEL_LEAST_IMAGES} or more")
    measured = measure(chain, tuple(chosen.paths), photos, others)
    options.out.mkdir(parents=True, exist_ok=True)
    content = {
        "models": chain.version(),
        "photographs": len(photos),
        "other_photographs": len(others),
        "missing": chosen.missing,
        "rows": list(map(asdict, measured.rows)),
    }
    (options.out / "figures.json").write_text(json.dumps(content, indent=1))
    beside = f", kernel distance to {len(others)} photographs of {options.real.name}" if others else ""
    text = f"{len(photos)} photographs, {chain.title}{beside}\n\n{table(measured.rows)}"
    (options.out / "table.md").write_text(text)
    save_grid(options.out / "grid.png", measured.pictures, [row.name for row in measured.rows] + ["truth"])
    print(text)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
