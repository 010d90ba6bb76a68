"""Test that loading does not change samples, and that worker processes end with the program, not before."""

import copy
import os
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_tasks.datasets.augmentations import FramingConfig
from gan_tasks.datasets.images import Picture, write
from gan_tasks.datasets.loading.loader import load_batches
from gan_tasks.datasets.loading.sampler import ImageStream
from gan_tasks.datasets.paired import Pair, PairedConfig, PairedImages, open_pairs
from gan_tasks.training.runtime import start_runtime

CONFIG = PairedConfig(framing=FramingConfig(load_size=30, crop_size=(16, 16)), photometric=0.5, denoise=3.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PairedImages:
    root = tmp_path_factory.mktemp("pairs")
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 40, 3), dtype=np.uint8)
        write(root / f"{number}.png", Picture(pixels))
    return open_pairs(root, "train", CONFIG, 0, True)[0]


def batches(dataset: PairedImages, workers: int, start_method: str | None = None) -> list[Pair]:
    loader = load_batches(dataset, ImageStream(7, 3, seed=5), workers=workers, start_method=start_method)
    return list(islice(loader, 6))


def test_batches_are_pairs_of_tensors(dataset: PairedImages) -> None:
    batch = batches(dataset, 0)[0]
    assert isinstance(batch, Pair)
    assert batch.source.shape == batch.target.shape == (3, 3, 16, 16)
    assert batch.source.dtype == torch.float32


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_bytes_stay_bytes_until_they_are_on_the_device(dataset: PairedImages, workers: int) -> None:
    batch, keys = batches(dataset, workers)[0], next(iter(ImageStream(7, 3, seed=5)))
    assert batch.target.dtype == torch.uint8
    with start_runtime("cpu", "fp32") as runtime:
        moved = runtime.to_device(batch)
    for number, key in enumerate(keys):
        for side, expected in zip(moved, dataset[key], strict=True):
            np.testing.assert_array_equal(side[number], expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_of_8_and_16_bits_has_the_values_of_both(workers: int, tmp_path: Path) -> None:
    for number, dtype in enumerate((np.uint8, np.uint16, np.uint8)):
        largest = np.iinfo(dtype).max
        pixels = np.random.default_rng(number).integers(0, largest, (20, 40, 3), dtype=dtype, endpoint=True)
        write(tmp_path / f"{number}.png", Picture(pixels))
    data = open_pairs(tmp_path, "train", PairedConfig(framing=CONFIG.framing), 0, True)[0]
    stream = ImageStream(3, 3, seed=5)
    batch, keys = next(load_batches(data, stream, workers=workers)), next(iter(stream))
    with start_runtime("cpu", "fp32") as runtime:
        moved = runtime.to_device(batch)
    for number, key in enumerate(keys):
        for side, expected in zip(moved, data[key], strict=True):
            np.testing.assert_allclose(side[number], expected, atol=1e-6)


def test_a_derived_data_set_that_changes_its_samples_is_asked_for_them(dataset: PairedImages) -> None:
    class Black(PairedImages):
        def __getitem__(self, key: tuple[int, int]) -> Pair:
            return Pair(*(np.zeros_like(image) for image in super().__getitem__(key)))

    derived = copy.copy(dataset)
    derived.__class__ = Black
    assert not batches(derived, 0)[0].source.any()


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize(("workers", "start_method"), [(1, "fork"), (4, "fork"), (1, "spawn")])
def test_batches_do_not_depend_on_the_number_of_workers(
    dataset: PairedImages, workers: int, start_method: str
) -> None:
    for expected, loaded in zip(batches(dataset, 0), batches(dataset, workers, start_method), strict=True):
        assert torch.equal(expected.source, loaded.source)
        assert torch.equal(expected.target, loaded.target)


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_generators_are_not_used(dataset: PairedImages, workers: int) -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    batches(dataset, workers, "fork" if workers else None)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


PROGRAM = """
import os, signal, sys
import numpy as np
from gan_tasks.datasets.loading.loader import load_batches
from gan_tasks.datasets.loading.sampler import ImageStream

class Numbers:
    def __len__(self): return 100
    def __getitem__(self, key): return (np.float32(key[1]), os.getpid())

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: print("got", signal.Signals(number).name, flush=True))
    loader = load_batches(Numbers(), ImageStream(100, 2, 0), workers=2, start_method="fork")
    batches = iter(loader)
    print("workers", *{int(next(batches)[1][0]) for _ in range(6)}, flush=True)
    sys.stdin.readline()
    for _ in range(50): next(batches)
    print("continued", flush=True)
"""


def test_workers_ignore_signals_and_end_with_the_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()[1:]]
        assert len(workers) == 2
        for name in ("SIGTERM", "SIGHUP"):
            os.killpg(process.pid, signal.Signals[name])
            assert process.stdout.readline() == f"got {name}\n"
        output, _ = process.communicate("\n", timeout=20)
        assert output == "continued\n"
        assert process.returncode == 0
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
