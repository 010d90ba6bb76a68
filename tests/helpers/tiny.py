"""Small tasks and small data for tests."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from random_vgg import shared_vgg16

from gan_tasks.datasets.images import Picture, write
from gan_tasks.spec import InputSpec
from gan_tasks.tasks import TASKS, TaskEntry, find_task
from gan_tasks.tasks.base import Stage, Task

EXAMPLES = (
    TaskEntry("crisp", "translate pairs with crisp edges", "crisp_edges:Crisp"),
    TaskEntry("noise-to-image", "generate images from noise", "noise_to_image:NoiseToImage"),
    TaskEntry("restyle", "give an image the style of another", "restyle:Restyle"),
)
"""The one line of each task in examples/."""
ALL_TASKS = tuple(dict.fromkeys(entry.name for entry in (*TASKS, *EXAMPLES)))


FRAMING = ("--load-size", "0", "--crop-size", "32", "32", "--epochs", "2", "--decay-epochs", "1")
TINY: dict[str, tuple[str, ...]] = {
    "pix2pix": ("--generator", "resnet-6", "--width", "4", "--d-width", "4", "--d-layers", "2", *FRAMING),
    "cyclegan": (
        *("--generator", "resnet-6", "--width", "4", "--d-width", "4", "--d-layers", "2", "--pool-images", "2"),
        *FRAMING,
    ),
    "cut": (
        *("--generator", "resnet-6", "--width", "4", "--d-width", "4", "--d-layers", "2", "--nce-width", "8"),
        *FRAMING,
    ),
    "super-resolution": (
        *("--blocks", "1", "--width", "4", "--d-width", "4", "--scale", "2", "--crop-size", "32", "--epochs", "1"),
        *("--adversarial-epochs", "1", "--batch-size", "1", "--perceptual", "0"),
        *("--l1", "1", "--gan", "1e-4"),
    ),
    "restoration": (
        *(
            "--width",
            "4",
            "--blocks",
            "1",
            "1",
            "1",
            "--crop-size",
            "32",
            "--epochs",
            "2",
            "--lr",
            "2e-4",
            "--batch-size",
            "1",
        ),
    ),
    "inpainting": (*("--width", "4", "--d-width", "4", "--batch-size", "1"), *FRAMING, "--crop-size", "72", "72"),
    "colourisation": (
        *("--no-pretrained", "--width", "2", "--discriminator", "patch", "--d-width", "4", "--batch-size", "2"),
        *("--adversarial-epochs", "1", "--epochs", "1", "--decay-epochs", "1", "--load-size", "0"),
        *("--crop-size", "32", "32"),
    ),
    "stylization": (
        *("--encoder", "vgg16", "--encoder-weights", str(shared_vgg16()), "--width", "2", "--batch-size", "1"),
        *FRAMING,
    ),
    "synthesis": (*("--width", "8", "--latent", "6", "--batch-size", "2"), *FRAMING, "--crop-size", "16", "16"),
    "crisp": ("--width", "4", "--batch-size", "1", *FRAMING, "--crop-size", "48", "48"),
    "noise-to-image": (*("--width", "4", "--latent", "6", "--batch-size", "2"), *FRAMING),
    "restyle": (*("--width", "4", "--batch-size", "1"), *FRAMING),
}
"""The command line's options that make a task small."""
QUICK: dict[str, tuple[str, ...]] = {"inpainting": ("--network", "context-encoder", "--batch-size", "2")}
"""Options of tasks whose networks take the exporter long; the networks have tests of their own."""
NETWORKS = (
    "super-resolution --network span",
    "super-resolution --network realplksr",
    "restoration --preset damage",
)
"""Networks of tasks that have several, besides the tasks' own defaults, by the options that choose them."""

CHANNELS: dict[str, tuple[str, ...]] = {
    "pix2pix": ("--source-channels", "3", "--target-channels", "3"),
    "cyclegan": ("--a-channels", "3", "--b-channels", "3"),
    "cut": ("--a-channels", "3", "--b-channels", "3"),
    "super-resolution": (),
    "restoration": (),
    "inpainting": ("--image-channels", "3"),
    "colourisation": (),
    "stylization": (),
    "synthesis": (),
    "crisp": ("--source-channels", "3", "--target-channels", "3"),
    "noise-to-image": (),
    "restyle": ("--a-channels", "3", "--b-channels", "3"),
}
"""What opening data would find out."""


def tiny_task(name: str, *more: str) -> Task[Any, Any]:
    """The task with its tiny options (and `more`), channel counts filled in, not yet built.

    name: of the task; options may follow it.
    """
    from gan_tasks.apps.cli.commands.train import parse_train

    name, *chosen = name.split()
    task_class = find_task(name).load()
    options = (*TINY[name], *CHANNELS[name], *chosen, *more)
    return task_class(parse_train(task_class, ["--data", ".", "--out", ".", *options]).task)


def built(task: Task[Any, Any]) -> Task[Any, Any]:
    torch.manual_seed(0)
    task.build(for_training=True)
    return task


def adversarial_stage(task: Task[Any, Any], dataset_size: int = 6) -> Stage:
    """The first stage in which generators and discriminators learn; the first of all where there is no such."""
    stages = task.stages(dataset_size)
    return next((stage for stage in stages if len(stage.update_order) == 2), stages[0])


def tiny_batch(task: Task[Any, Any], folder: Path, size: int = 2) -> Any:
    """A batch of the task's own data set, as the loader would make it."""
    from torch.utils.data import default_collate

    data, _ = task.open_data(folder, "train", augment=True, seed=0)
    return default_collate([data[(0, index)] for index in range(size)])


def some_inputs(task: Task[Any, Any], count: int, size: tuple[int, int]) -> list[torch.Tensor]:
    """Random inputs of a built task for `infer`; half of the pixels of masks are masked."""
    return [some_input(given, count, size) for given in task.spec().inputs]


def some_input(given: InputSpec, count: int, size: tuple[int, int]) -> torch.Tensor:
    if given.kind == "latent":
        return torch.randn(count, given.channels)
    if given.kind == "label":
        return torch.eye(given.channels)[torch.randint(given.channels, (count,))]
    if given.kind == "weight":
        return torch.rand(count, given.channels)
    if given.kind == "mask":
        return (torch.rand(count, given.channels, *size) < 0.5).float()
    height, width = size if given.name == "image" else (size[0] + 8, size[1] + 4)
    return torch.rand(count, given.channels, height, width) * 2 - 1


def photo(height: int, width: int, seed: int, channels: int = 3) -> NDArray[np.uint8]:
    """A smooth picture with a few shapes, different for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [
        128 + 100 * np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6)) for _ in range(channels)
    ]
    pixels = np.stack(waves, axis=2)
    top, left = rng.integers(height // 2), rng.integers(width // 2)
    pixels[top : top + height // 3, left : left + width // 3] = rng.integers(0, 255, channels)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_pairs(root: Path, *, train: int = 6, test: int = 2, val: int = 0, size: tuple[int, int] = (40, 36)) -> Path:
    """A folder of pairs, B being a photo and A its negative; beside A and B the photos once more."""
    for split, count, first in (("train", train, 0), ("test", test, 100), ("val", val, 200)):
        for index in range(count):
            b = photo(*size, seed=first + index)
            for side, pixels in (("A", 255 - b), ("B", b)):
                (root / split / side).mkdir(parents=True, exist_ok=True)
                write(root / split / side / f"{index:03d}.png", Picture(pixels))
            write(root / split / f"{index:03d}.png", Picture(b))
    return root


def write_run(path: Path, task: Task[Any, Any]) -> Path:
    """A run folder with one checkpoint of an untrained task."""
    from gan_tasks.runs.checkpoint import save_checkpoint
    from gan_tasks.runs.folder import create_run
    from gan_tasks.training.config import TrainConfig
    from gan_tasks.training.loop import Position
    from gan_tasks.training.runtime import start_runtime
    from gan_tasks.training.step import Trainer

    run = create_run(path, built(task), TrainConfig(), path, "test")
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        save_checkpoint(run.checkpoints, 0, trainer.parts(), {"position": asdict(Position())})
    return path
