"""Samples that look wrong are named, and others are not."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from gan_tasks.datasets.checks.doubts import find_doubts
from gan_tasks.datasets.images import Picture, write
from gan_tasks.datasets.inpainting import MaskedConfig, open_masked
from gan_tasks.datasets.paired import PairedConfig, open_pairs


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def noise(seed: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def doubts_of_pairs(folder: Path, pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    for number, sides in enumerate(pairs):
        for name, pixels in zip("AB", sides, strict=True):
            (folder / name).mkdir(parents=True, exist_ok=True)
            write(folder / name / f"{number}.png", Picture(pixels))
    return "; ".join(find_doubts(open_pairs(folder, "train", PairedConfig(), 0, False)[0]))


def plain(value: int) -> np.ndarray:
    return np.full((40, 40, 3), value, np.uint8)


PAIRS = {
    "good": ([(noise(n), noise(n + 50)) for n in range(5)], ""),
    "one good pair": ([(noise(0), noise(1))], ""),
    "half of the pairs are equal": ([(noise(n), noise(n + n % 2)) for n in range(4)], ""),
    "equal": ([(noise(n), noise(n)) for n in range(5)], "source and target are the same picture in 5 of 5"),
    "one colour": ([(plain(n), noise(n)) for n in range(5)], "source: 5 of 5 sampled images are of one colour"),
    "one target": ([(noise(n), noise(99)) for n in range(5)], "target: all 5 sampled images are the same picture"),
    "tiny": ([(noise(n, 12), noise(n + 50, 12)) for n in range(5)], "smaller than 16 px"),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_doubts_of_pairs(kind: str, tmp_path: Path) -> None:
    pairs, expected = PAIRS[kind]
    doubts = doubts_of_pairs(tmp_path, pairs)
    assert (expected in doubts) if expected else not doubts


@pytest.mark.parametrize("masks", [True, False])
def test_masks_that_are_given_as_images(masks: bool, tmp_path: Path) -> None:
    for number in range(4):
        bright = noise(number)[..., :1] > 128
        write(tmp_path / f"{number}.png", Picture(bright.astype(np.uint8) * 255 if masks else noise(number)))
    doubts = find_doubts(open_masked(tmp_path, "train", MaskedConfig(), 0, False)[0])
    assert doubts == (["image: 4 of 4 sampled images are black and white only, as masks are"] if masks else [])


def test_latents_are_no_images() -> None:
    class Sample(NamedTuple):
        image: np.ndarray
        latent: np.ndarray

    class Data:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, key: tuple[int, int]) -> Sample:
            image = np.random.default_rng(key[1]).uniform(-1, 1, (3, 40, 40)).astype(np.float32)
            return Sample(image, np.zeros(8, np.float32))

    assert find_doubts(Data()) == []


def test_samples_from_the_whole_set_are_looked_at() -> None:
    class Sample(NamedTuple):
        image: np.ndarray

    indices = []

    class Recording:
        def __len__(self) -> int:
            return 47

        def __getitem__(self, key: tuple[int, int]) -> Sample:
            indices.append(key[1])
            return Sample(np.random.default_rng(key[1]).random((3, 40, 40), np.float32))

    assert find_doubts(Recording()) == []
    assert len(set(indices)) == 24 and max(indices) > 40
