"""Measure how many images a core reads and augments in a second, beside a plain implementation of the same samples.

    python benchmarks/data.py [--seconds 25] [--photographs 6]

The plain form reads as the loader of pytorch-CycleGAN-and-pix2pix does: PIL opens the file, converts it to RGB and
resizes it by bicubic interpolation, then it is cropped, mirrored, and made a normalised tensor. Of the rows with one
image, the plain form makes the crop alone: no degradation and no mask; low-resolution images are PIL's bicubic ones.

Both forms run in one process with one thread and take turns, so that a change in the machine's speed affects both.
Counted is the time of the processor, of which other processes take nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gan_tasks.datasets.augmentations import Framing, FramingConfig
from gan_tasks.datasets.images import Pixels, read
from gan_tasks.datasets.inpainting import MaskedConfig, open_masked
from gan_tasks.datasets.loading.loader import KeyedDataset
from gan_tasks.datasets.paired import PairedConfig, open_pairs
from gan_tasks.datasets.super_resolution import SuperResolutionDataConfig, open_super_resolution
from gan_tasks.datasets.unpaired import UnpairedConfig, open_unpaired

HEIGHT, WIDTH, QUALITY = 800, 1200, 90
LOAD, CROP, SR_CROP, SCALE = 286, 256, 128, 4
SLOPE = 1.4
"""Amplitudes fall with the frequency to this power: a JPEG is as large as one of a detailed photograph."""

Sample = Callable[[int], object]


@dataclass(frozen=True)
class Row:
    """One line of the table: how both forms make the sample of a number, and from how many images it is."""

    own: Sample
    plain: Sample
    images: int


def photograph(seed: int) -> Image.Image:
    """Return noise with the spectrum of photographs; its channels are similar."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    frequency[0, 0] = 1
    noise = rng.standard_normal((4, *frequency.shape, 2)) @ (1, 1j)
    gray, *colours = np.fft.irfft2(noise / frequency**SLOPE, (HEIGHT, WIDTH))
    rgb = np.stack([gray + 0.35 * colour for colour in colours], axis=2)
    return Image.fromarray(np.clip(120 + 55 * rgb / rgb.std(), 0, 255).astype(np.uint8))


def write_photographs(folder: Path, count: int) -> None:
    """Write pairs in two files and in one, and the first of each pair alone."""
    for name in ("files/train/A", "files/train/B", "aligned/train", "single/train"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        a, b = photograph(2 * number), photograph(2 * number + 1)
        both = Image.new("RGB", (2 * WIDTH, HEIGHT))
        both.paste(a, (0, 0))
        both.paste(b, (WIDTH, 0))
        places = {"files/train/A": a, "files/train/B": b, "single/train": a, "aligned/train": both}
        for place, image in places.items():
            image.save(folder / place / f"{number}.jpg", quality=QUALITY)


# The plain form


def opened(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def plain_crop(image: Image.Image, left: int, top: int, side: int, mirrored: bool) -> Image.Image:
    image = image.crop((left, top, left + side, top + side))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image


def plain_tensor(image: Image.Image) -> Tensor:
    """torchvision's ToTensor and Normalize with means and deviations of 0.5."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
    return tensor.sub_(0.5).div_(0.5)


def plain_images(rng: np.random.Generator, *images: Image.Image) -> list[Tensor]:
    """Resize, crop and mirror all images alike."""
    left, top = (int(rng.integers(LOAD - CROP + 1)) for _ in range(2))
    mirrored = rng.random() < 0.5
    resized = [image.resize((LOAD, LOAD), Image.Resampling.BICUBIC) for image in images]
    return [plain_tensor(plain_crop(image, left, top, CROP, mirrored)) for image in resized]


def plain_part(rng: np.random.Generator, path: Path, side: int) -> Image.Image:
    image = opened(path)
    left, top = (int(rng.integers(length - side + 1)) for length in image.size)
    return plain_crop(image, left, top, side, rng.random() < 0.5)


def plain_super_resolution(rng: np.random.Generator, path: Path) -> tuple[Tensor, Tensor]:
    high = plain_part(rng, path, SR_CROP)
    low = high.resize((SR_CROP // SCALE, SR_CROP // SCALE), Image.Resampling.BICUBIC)
    return plain_tensor(low), plain_tensor(high)


# The table


def rows(folder: Path, count: int) -> dict[str, Row]:
    rng = np.random.default_rng(0)

    def file(place: str, number: int) -> Path:
        return folder / place / f"{number % count}.jpg"

    def aligned(number: int) -> object:
        both = opened(file("aligned/train", number))
        halves = both.crop((0, 0, WIDTH, HEIGHT)), both.crop((WIDTH, 0, 2 * WIDTH, HEIGHT))
        return plain_images(rng, *halves)

    def two_files(number: int) -> list[Image.Image]:
        return [opened(file(f"files/train/{side}", number)) for side in "AB"]

    def samples(dataset: KeyedDataset) -> Sample:
        return lambda number: dataset[number // count, number % count]

    def super_resolution(**options: Any) -> Sample:
        config = SuperResolutionDataConfig(scale=SCALE, crop_size=SR_CROP, **options)
        return samples(open_super_resolution(folder / "single", "train", config, 0, True)[0])

    pairs = open_pairs(folder / "files", "train", PairedConfig(), 0, True)[0]
    halves = open_pairs(folder / "aligned", "train", PairedConfig(layout="aligned"), 0, True)[0]
    unpaired = open_unpaired(folder / "files", "train", UnpairedConfig(), 0, True)[0]
    masked = open_masked(folder / "single", "train", MaskedConfig(), 0, True)[0]
    of_high: Sample = lambda number: plain_super_resolution(rng, file("single/train", number))  # noqa: E731
    return {
        "pairs of two files": Row(samples(pairs), lambda number: plain_images(rng, *two_files(number)), 2),
        "pairs side by side": Row(samples(halves), aligned, 2),
        "unpaired": Row(
            samples(unpaired), lambda number: [plain_images(rng, image) for image in two_files(number)], 2
        ),
        "super-resolution, bicubic": Row(super_resolution(), of_high, 1),
        "super-resolution, Real-ESRGAN": Row(
            super_resolution(degradation="real-esrgan", degrade_on="workers"), of_high, 1
        ),
        "inpainting, drawn masks": Row(
            samples(masked), lambda number: plain_tensor(plain_part(rng, file("single/train", number), CROP)), 1
        ),
    }


def seconds(sample: Sample, numbers: range) -> float:
    """Return the processor seconds of some samples."""
    start = time.process_time()
    for number in numbers:
        sample(number)
    return time.process_time() - start


def measured(row: Row, count: int, duration_s: float) -> str:
    """Return the cells of a row: images per second and core of both forms, and the ratio with its quartiles."""
    plain: list[float] = []
    own: list[float] = []
    for form in (row.plain, row.own):
        seconds(form, range(count))
    start, end = count, time.monotonic() + duration_s
    while time.monotonic() < end or len(own) < 5:
        numbers = range(start, start + count)
        for taken, form in ((plain, row.plain), (own, row.own)):
            taken.append(seconds(form, numbers))
        start += count
    low, middle, high = statistics.quantiles([a / b for a, b in zip(plain, own, strict=True)], n=4)
    rates = [row.images * count / statistics.median(taken) for taken in (plain, own)]
    return f"{rates[0]:,.0f} | {rates[1]:,.0f} | {middle:.2f}× ({low:.2f}–{high:.2f})"


def differences(folder: Path) -> str:
    """Compare photographs resized for the crop: decoded at half size, at full size, and by the plain form."""
    config = FramingConfig(load_size=LOAD, crop_size=(0, 0), flip=False)
    framing, rng = Framing(config), np.random.default_rng(0)

    def framed(pixels: Pixels) -> NDArray[np.int16]:
        return framing(rng, pixels)[0].astype(np.int16)

    reduced, plain = [], []
    for path in sorted((folder / "single/train").iterdir()):
        full = framed(read(path).pixels)
        pil = np.asarray(opened(path).resize((LOAD, LOAD), Image.Resampling.BICUBIC))
        reduced.append(np.abs(framed(read(path, reduction=framing.reduction).pixels) - full))
        plain.append(np.abs(full - pil))
    return (
        f"Grey levels between full and reduced decoding: {np.mean(reduced):.2f} on average, {np.max(reduced)} at "
        f"most; between full decoding and the plain form: {np.mean(plain):.2f} and {np.max(plain)}."
    )


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {torch.backends.cpu.get_cpu_capability()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=25, help="duration of the measurement of each row")
    parser.add_argument("--photographs", type=int, default=6, help="number of pairs of photographs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = name
        folder = Path(name) / "photographs"
        write_photographs(folder, options.photographs)
        size = statistics.mean(path.stat().st_size for path in (folder / "single/train").iterdir())
        print(f"{processor()}; JPEGs of {WIDTH} × {HEIGHT} px, quality {QUALITY}, {size / 1000:.0f} kB\n")
        print("| Samples | Plain, images/s/core | gan-tasks, images/s/core | Ratio |\n|---|---|---|---|", flush=True)
        for title, row in rows(folder, options.photographs).items():
            print(f"| {title} | {measured(row, options.photographs, options.seconds)} |", flush=True)
        print(f"\n{differences(folder)}")


if __name__ == "__main__":
    main()
