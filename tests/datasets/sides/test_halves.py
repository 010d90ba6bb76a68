"""Pairs side by side and single pictures are told apart, on made photographs: noise with the spectrum of photos."""

from pathlib import Path

import numpy as np
import pytest

from gan_tasks.datasets.images import Picture, write
from gan_tasks.datasets.sides.halves import count_single, examine

Pixels = np.ndarray


def photo(seed: int, height: int = 64, width: int = 64) -> Pixels:
    """Make an image whose amplitudes fall with the frequency, as those of photographs do."""
    return texture(seed, 2 * height, 2 * width)[:height, :width]


def texture(seed: int, height: int = 64, width: int = 64) -> Pixels:
    """Make a periodic image: its right edge continues in its left edge."""
    rng = np.random.default_rng(seed)
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequencies[0, 0] = 1
    spectrum = np.fft.fft2(rng.standard_normal((height, width, 3)), axes=(0, 1)) / frequencies[..., None]
    image = np.fft.ifft2(spectrum, axes=(0, 1)).real
    low, high = image.min(), image.max()
    return ((image - low) / (high - low) * 255).astype(np.uint8)


def gray(image: Pixels) -> Pixels:
    return np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)


def noisy(image: Pixels, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def edges(image: Pixels) -> Pixels:
    steps = np.abs(np.diff(gray(image).astype(int), axis=1, prepend=0))
    return np.where(steps > np.quantile(steps, 0.9), 0, 255).astype(np.uint8)


def on_white(image: Pixels) -> Pixels:
    return np.pad(image, ((8, 8), (8, 8), (0, 0)), constant_values=255)


PAIRS = {
    "denoising": lambda image, seed: (noisy(image, seed), image),
    "both noisy": lambda image, seed: (noisy(image, seed), noisy(image, seed + 99)),
    "gray to colour": lambda image, seed: (gray(image), image),
    "brighter": lambda image, seed: ((image * 0.9 + 20).astype(np.uint8), image),
    "the same": lambda image, seed: (image, image),
    "seamless textures": lambda image, seed: (noisy(texture(seed), seed), texture(seed)),
    "edges": lambda image, seed: (edges(image), image),
    "another picture": lambda image, seed: (photo(seed + 50), image),
    "objects on white": lambda image, seed: (on_white(edges(image)), on_white(image)),
    "plain colours": lambda image, seed: (np.full_like(image, 200), np.full_like(image, 200)),
    "noise": lambda image, seed: (noisy(image * 0 + 128, seed), noisy(image * 0 + 128, seed + 99)),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_pairs_are_not_taken_for_single_pictures(kind: str) -> None:
    findings = [examine(np.hstack(PAIRS[kind](photo(seed), seed))) for seed in range(8)]
    assert findings.count("single") <= 1


SINGLE = {
    "square": lambda seed: photo(seed),
    "panorama": lambda seed: photo(seed, 48, 96),
    "wide panorama": lambda seed: photo(seed, 32, 160),
    "portrait": lambda seed: photo(seed, 96, 64),
    "gray": lambda seed: photo(seed)[..., :1],
    "noisy": lambda seed: noisy(photo(seed, 64, 96), seed),
    "three pictures": lambda seed: np.hstack([photo(seed, 64, 96), photo(seed + 50), photo(seed + 90, 64, 96)]),
    "A above B": lambda seed: np.vstack([photo(seed), gray(photo(seed))]),
    "square of noise": lambda seed: noisy(np.full((64, 64, 3), 128), seed),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_single_pictures_are_found(kind: str) -> None:
    findings = [examine(SINGLE[kind](seed)) for seed in range(8)]
    assert findings.count("single") >= 6


def test_a_sample_of_the_files_is_read(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for number, path in enumerate(paths):
        write(path, Picture(photo(number, 16, 32) if number < 3 else np.hstack([photo(number, 16, 16)] * 2)))
    single, sampled = count_single(paths)
    assert sampled == 24
    assert single <= 4
    assert count_single(paths[:2])[1] == 2
