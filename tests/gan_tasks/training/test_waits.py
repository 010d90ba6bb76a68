"""In a training step the CPU waits for the GPU once, and the next batch is copied while a step is computed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ALL_TASKS, adversarial_stage, built, tiny_batch, tiny_task
from torch.utils._python_dispatch import TorchDispatchMode

from gan_tasks.datasets.images import ImageError
from gan_tasks.training.log import means_of
from gan_tasks.training.runtime import one_ahead, start_runtime
from gan_tasks.training.step import Trainer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

OPTIONS = (
    *((name,) for name in ALL_TASKS),
    ("pix2pix", "--clip-grad-norm", "0.01", "--ema-halflife-images", "10"),
    ("pix2pix", "--adversarial", "wasserstein", "--gradient-penalty", "10", "--d-steps", "2"),
    ("pix2pix", "--adversarial", "relativistic", "--r1", "1", "--r2", "1"),
    ("pix2pix", "--d-augment", "colour", "translation", "cutout"),
    ("cyclegan", "--d-augment", "colour", "flip", "geometry", "--d-augment-adaptive", "--d-pseudo-real"),
    ("inpainting", "--local-discriminator"),
    (
        *("synthesis", "--network", "stylegan2", "--style-width", "8", "--mapping-layers", "2"),
        *("--path-length", "2", "--path-length-interval", "1", "--style-mixing", "0.9"),
    ),
    ("synthesis", "--network", "pggan", "--growth", "0.5"),
    ("synthesis", "--network", "msg"),
    ("synthesis", "--energy", "began"),
    ("super-resolution", "--degradation", "real-esrgan", "--degrade-on", "device"),
)
"""Every task, and the options that compute more in a step."""
WAITS = {
    "aten::_local_scalar_dense",  # float(tensor), bool(tensor) and tensor.item()
    "aten::is_nonzero",
    "aten::nonzero",  # also indexing with a mask
    "aten::masked_select",
    "aten::_unique2",
}
"""Operations whose result the CPU needs before it can go on."""


class Waits(TorchDispatchMode):
    """Count the operations for which the CPU would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name().partition(".")[0] in WAITS:
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_a_step_waits_once(options: tuple[str, ...], pairs: Path) -> None:
    task = built(tiny_task(*options))
    batch = tiny_batch(task, pairs)
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        trainer.step(batch, index=0)
        with Waits() as waits:
            trainer.step(batch, index=1)
    assert len(waits.names) == 1, waits.names


@needs_gpu
@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_a_step_on_a_gpu_waits_once(options: tuple[str, ...], pairs: Path) -> None:
    """CUDA itself reports the waits here, those for copies from the CPU included."""
    task = built(tiny_task(*options))
    batch = tiny_batch(task, pairs)
    with start_runtime("cuda", "fp32") as runtime:
        batch = runtime.to_device(batch)
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        trainer.step(batch, index=0)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                trainer.step(batch, index=1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [f"{each.filename}:{each.lineno}" for each in caught if "synchronizing" in str(each.message)]
    assert len(waits) <= 1, waits


def test_the_next_batch_begins_before_one_is_given() -> None:
    begun: list[int] = []

    def begin(batch: int) -> int:
        begun.append(batch)
        return batch

    batches = one_ahead(iter(range(100)), begin)
    for expected in range(3):
        assert next(batches) == expected
        assert begun[-1] == expected + 1


def test_an_error_comes_when_its_batch_is_due() -> None:
    def failing() -> Iterator[int]:
        yield from (0, 1)
        raise ImageError("broken.png")

    batches = one_ahead(failing(), lambda batch: batch)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(ImageError, match=r"broken\.png"):
        next(batches)


def test_the_means_of_a_line_are_read_in_one_wait() -> None:
    meters = {"g/total": [torch.tensor(1.0), torch.tensor(2.0)], "d/total": [torch.tensor(5)]}
    with Waits() as waits:
        means = means_of(meters, torch.device("cpu"))
    assert means == {"g/total": 1.5, "d/total": 5.0}
    assert not waits.names


@needs_gpu
def test_batches_on_a_gpu_are_those_that_were_loaded(pairs: Path) -> None:
    task = built(tiny_task("pix2pix"))
    batch = tiny_batch(task, pairs)
    loaded = [type(batch)(*(image.pin_memory() * factor for image in batch)) for factor in range(5)]
    with start_runtime("cuda") as runtime:
        there = runtime.on_device(iter(loaded))
        for _, expected in zip(range(4), loaded, strict=False):
            for image, original in zip(next(there), expected, strict=True):
                assert image.is_cuda and torch.equal(image.cpu(), original)


@needs_gpu
def test_a_training_on_a_gpu_goes_on_from_its_checkpoint(pairs: Path) -> None:
    """Steps of a reloaded training are those of the uninterrupted one, but for the order of sums on a GPU."""
    task = built(tiny_task("pix2pix", "--ema-halflife-images", "5"))
    batch = tiny_batch(task, pairs)
    losses = []
    with start_runtime("cuda", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        trainer.step(batch, index=0)
        parts = {part: {name: t.cpu().clone() for name, t in each.items()} for part, each in trainer.parts().items()}
        for _ in range(2):
            losses.append(float(trainer.step(batch, index=1)["g/total"]))
            trainer.load_parts(parts)
        assert trainer.is_well()
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
