"""Write the first training samples as image files, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

from gan_tasks.datasets.images import Picture, to_uint8, write
from gan_tasks.datasets.loading.sampler import ImageStream
from gan_tasks.tasks.base import Task
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.data import open_data
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import start_step

SAMPLES = 16


def preview(task: Task[Any, Any], *, data: Path, out: Path, config: TrainConfig) -> list[Path]:
    """Write the first SAMPLES samples that `train` uses with this config, after augmentation and preparation.

    Each image of a sample becomes a file with 8 bits per channel. Its name consists of the sample's number and the
    image's name in the task's batch, such as 000-source.png and 000-target.png. Of images with more than four
    channels the first three are written. Latents and labels are not written. Returns the paths.

    Raises UserError as `train` does for its data.
    """
    with start_runtime(config.device, config.precision) as runtime:
        quiet = config.quiet or not runtime.is_main
        task, data_sets = open_data(task, data, config.seed, hold_out=config.hold_out, quiet=quiet)
        stage = task.stages(len(data_sets.train))[0]
        batches = iter(
            ImageStream(
                dataset_size=len(data_sets.train),
                batch_size=stage.optimisation.batch_size,
                seed=config.seed,
                rank=runtime.rank,
                world_size=runtime.world_size,
            )
        )
        samples: list[dict[str, Tensor]] = []
        step = 0
        while len(samples) < SAMPLES:
            start_step(task, stage, runtime, seed=config.seed, index=step)
            x = task.prepared(runtime.to_device(default_collate([data_sets.train[key] for key in next(batches)])))
            samples += [dict(zip(x._fields, images, strict=True)) for images in zip(*x, strict=True)]
            step += 1
        return write_samples(samples[:SAMPLES], out) if runtime.is_main else []


def write_samples(samples: list[dict[str, Tensor]], out: Path) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, sample in enumerate(samples):
        for name, image in sample.items():
            if image.ndim < 3:
                continue  # a latent or a label
            paths.append(out / f"{number:03d}-{name}.png")
            shown = image if len(image) <= 4 else image[:3]
            write(paths[-1], Picture(to_uint8(shown.float().cpu().numpy())))
    return paths
