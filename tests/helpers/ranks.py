"""A program for one of two ranks: train three steps of each case, and write the networks of rank 0.

python ranks.py DATA CASES.json FOLDER        (with torchrun's environment variables)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tiny import EXAMPLES, adversarial_stage, built, tiny_task
from torch import Tensor
from torch.utils.data import default_collate

from gan_tasks import tasks
from gan_tasks.datasets.loading.sampler import ImageStream
from gan_tasks.training.runtime import Runtime, start_runtime
from gan_tasks.training.step import Trainer


def take_steps(case: Sequence[str], data: Path, runtime: Runtime, *, batch_size: int) -> dict[str, Tensor]:
    """Return the weights of all networks and the adaptive state after three steps with `batch_size` images a rank.

    The networks are float64. In float32 a rounding difference of 1e-7 grows in five steps of CycleGAN to half of the
    total weight change.
    """
    name, *options = case
    task = built(tiny_task(name, *options, "--batch-size", str(batch_size)))
    for networks in task.networks():
        networks.double()
    stage = adversarial_stage(task)
    samples, _ = task.open_data(data, "train", augment=True, seed=0)
    stream = ImageStream(
        dataset_size=len(samples),
        batch_size=batch_size,
        seed=0,
        rank=runtime.rank,
        world_size=runtime.world_size,
    )
    trainer = Trainer(task, stage, runtime, seed=0)
    if "--d-augment-adaptive" in options:  # in the middle of the training, one step before the probability changes
        task.adaptive["d"] = torch.tensor([0.5, 0.0, 3.0])
    for index, keys in zip(range(3), stream, strict=False):
        batch = default_collate([samples[key] for key in keys])
        trainer.step(type(batch)(*(images.double() for images in batch)), index=index)
    weights = {
        f"{networks}/{name}": parameter.detach()
        for networks, modules in (("generators", task.generators), ("discriminators", task.discriminators))
        for name, parameter in modules.named_parameters()
    }
    return weights | {f"adaptive/{name}": state for name, state in task.adaptive.items()}


def main(data: Path, cases: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    tasks.TASKS = (*tasks.TASKS, *EXAMPLES)
    with start_runtime("cpu", "fp32") as runtime:
        for name, case in json.loads(cases.read_text()).items():
            weights = take_steps(case, data, runtime, batch_size=2)
            if runtime.is_main:
                torch.save(weights, folder / f"{name}.pth")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
