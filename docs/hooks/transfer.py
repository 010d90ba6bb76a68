"""What `--init-from` copies between the networks of the tasks: the table is computed by the code that copies."""

from __future__ import annotations

import torch
from text import table
from torch import nn

from gan_tasks.apps.cli.commands.train import parse_train
from gan_tasks.tasks import find_task
from gan_tasks.training.init_from import match

CHANNELS = {
    "pix2pix": "--source-channels 3 --target-channels 3",
    "cyclegan": "--a-channels 3 --b-channels 3",
    "cut": "--a-channels 3 --b-channels 3",
    "super-resolution": "",
    "inpainting": "--image-channels 3",
}
NETWORKS = (
    "pix2pix",
    "pix2pix --generator resnet-9",
    "pix2pix --generator resnet-9 --norm instance",
    "pix2pix --generator resnet-6",
    "pix2pix --generator global",
    "cyclegan",
    "cyclegan --generator resnet-6",
    "cut",
    "cut --generator resnet-6",
    "super-resolution",
    "super-resolution --network srvgg",
    "super-resolution --network msr-resnet",
    "super-resolution --preset srgan",
    "super-resolution --network span",
    "super-resolution --network realplksr",
    "inpainting",
    "inpainting --preset deepfill-v1",
    "inpainting --preset context-encoder",
    "inpainting --preset lama",
    "inpainting --preset small",
)


def transfers() -> list[str]:
    """For each network the others that it takes something from, and how many of its tensors those are."""
    networks = {name: generator(name) for name in NETWORKS}
    rows = []
    for name, own in networks.items():
        found = []
        for other, source in networks.items():
            copied = len(match(own, source.state_dict())[0]) / len(own.state_dict())
            if other != name and copied:
                found.append((copied, other))
        text = ", ".join(f"`{other}` {max(copied, 0.01):.0%}" for copied, other in sorted(found, reverse=True))
        rows.append((f"`{name}`", text or "nothing"))
    return table(("New training", "Takes tensors from"), rows)


def generator(options: str) -> nn.Module:
    """The first generator of a task, without memory for its weights."""
    name, *rest = options.split()
    task_class = find_task(name).load()
    task = task_class(parse_train(task_class, ["--data", ".", "--out", ".", *CHANNELS[name].split(), *rest]).task)
    with torch.device("meta"):
        task.build(for_training=False)
    found: nn.Module = next(iter(task.generators.values()))
    return found
