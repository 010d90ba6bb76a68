"""Trainings on files: the time lost waiting for data, and a short training with its figures."""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from train_step import peak_bytes

from gan_tasks.datasets.augmentations import FramingConfig
from gan_tasks.datasets.loading.loader import load_batches
from gan_tasks.datasets.loading.sampler import ImageStream
from gan_tasks.datasets.paired import PairedConfig
from gan_tasks.export.onnx.providers import core_count
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.tasks.pix2pix import Pix2Pix
from gan_tasks.training.step import Trainer
from gpu.options import Options, Row, attempt
from gpu.steps import computing, forget, synchronise

PHOTO_PX = (800, 1200)
PHOTOS = 48
LEFT_FOR_EVALUATION_S = 25
TINY_STEPS = 4


def write_pairs(folder: Path, count: int, size: tuple[int, int], splits: tuple[str, ...] = ("train",)) -> None:
    """Write JPEG pairs, the source being the negative of the target."""
    rng = np.random.default_rng(0)
    for split, index in itertools.product(splits, range(count)):
        coarse = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
        target = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))
        for side, pixels in (("A", 255 - target), ("B", target)):
            (folder / split / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / split / side / f"{index:03d}.jpg", quality=90)


def pix2pix(options: Options, batch: int) -> Pix2Pix:
    """Return pix2pix with the networks of the paper, or with very small ones."""
    optimisation = OptimisationConfig(batch_size=batch)
    if not options.tiny:
        return Pix2Pix(optimisation=optimisation)
    data = PairedConfig(framing=FramingConfig(load_size=0, crop_size=(32, 32)))
    return Pix2Pix(generator="resnet-6", width=4, d_width=4, d_layers=2, data=data, optimisation=optimisation)


def waiting(options: Options) -> Iterator[Row]:
    """A training on photographs of 1200 × 800 px, which workers read, against the same steps on a ready batch."""
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder), 4 if options.tiny else PHOTOS, (48, 64) if options.tiny else PHOTO_PX)
        for batch in (2,) if options.tiny else (16, 1):
            row: Row = {"batch": float(batch), "workers": 1.0 if options.tiny else float(max(1, core_count() - 1))}
            yield attempt(row, partial(rates, options, Path(folder), batch, int(row["workers"] or 0)))


def rates(options: Options, folder: Path, batch: int, workers: int) -> Row:
    """Return the images in a second of steps alone, of reading alone, and of both together."""
    with computing(options, "fp32" if options.tiny else "bf16") as runtime:
        forget(runtime.device)
        task = pix2pix(options, batch)
        data, _ = task.open_data(folder, "train", augment=True, seed=0)
        task = task.resolved(data)
        task.build(for_training=True)
        trainer = Trainer(task, task.stages(1)[0], runtime, seed=0)
        taken = itertools.count()
        seconds = 0.2 if options.tiny else 3.0
        loaded = load_batches(
            data,
            ImageStream(dataset_size=len(data), batch_size=batch, seed=0),
            workers=workers,
            pin_memory=runtime.device.type == "cuda",
        )

        def images_per_s(batches: Iterator[Any], *, train: bool) -> float:
            count, start = 0, time.perf_counter()
            while not count or time.perf_counter() - start < seconds:
                x = next(batches)
                if train:
                    trainer.step(x, index=next(taken))
                count += batch
            synchronise(runtime.device)
            return count / (time.perf_counter() - start)

        with closing(loaded):
            batches = runtime.on_device(loaded)
            ready = next(batches)
            for _ in range(1 if options.tiny else 5):
                trainer.step(ready, index=next(taken))
            read = images_per_s(batches, train=False)
            step = images_per_s(itertools.repeat(ready), train=True)
            both = images_per_s(batches, train=True)
    return {"read_per_s": read, "step_per_s": step, "both_per_s": both, "lost": 1 - both / step}


def training(options: Options) -> Iterator[Row]:
    """A training of pix2pix for as long as the part may take, and the evaluation of its model."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(options.facades or folder)
        if not options.facades:
            size = (40, 36) if options.tiny else (256, 256)
            write_pairs(data, 4 if options.tiny else 100, size, ("train", "test"))
        row: Row = {"data": "facades" if options.facades else "drawn pairs"}
        yield attempt(row, partial(trained, options, data, Path(folder) / "run"))


def trained(options: Options, data: Path, run: Path) -> Row:
    import gan_tasks
    from gan_tasks.export.evaluation.evaluate import evaluate
    from gan_tasks.export.evaluation.options import EvaluationOptions
    from gan_tasks.export.load import load_model
    from gan_tasks.training.config import TrainConfig
    from gan_tasks.training.loop import Interrupted

    config = TrainConfig(
        device=options.device,
        workers=0 if options.tiny else min(8, core_count()),
        hold_out=0,
        max_steps=TINY_STEPS if options.tiny else 0,
        log_every_steps=2 if options.tiny else 50,
        report_every_s=0,
        quiet=True,
    )
    left_s = options.end_s - time.monotonic()
    end = threading.Timer(max(left_s - LEFT_FOR_EVALUATION_S, left_s / 2), os.kill, (os.getpid(), signal.SIGTERM))
    end.start()
    try:
        gan_tasks.train(pix2pix(options, 1), data=data, out=run, config=config)
    except Interrupted:
        pass  # the signal above: the training has saved its state
    finally:
        end.cancel()
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    rates = [line["speed/images_per_second"] for line in lines if "speed/images_per_second" in line]
    splits = [split for split in ("test", "val", "train") if (data / split).is_dir()]
    model = load_model(run, device=options.device)
    chosen = EvaluationOptions(split=splits[0], limit=2 if options.tiny else 50, features="none")  # type: ignore[arg-type]
    subject = evaluate(model, data, options=chosen, quiet=True).models[0]
    figures: Row = {name: figure.mean for name, figure in subject.metrics.items()}
    return {
        "steps": float(max(line.get("step", 0) for line in lines)),
        "images_per_s": statistics.median(rates),
        "peak_mib": peak_bytes(torch.device(options.device)) / 2**20,
        "split": splits[0],
        **figures,
    }
