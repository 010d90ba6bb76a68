"""A model straight from its training: a run folder, or one checkpoint of it, run with torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from gan_tasks.export.model import FloatImages, Model
from gan_tasks.run import load_trained
from gan_tasks.runtime import pick_device


class TrainedModel(Model):
    """See `Model`. `direction` is one of the task's, where it has several.

    `checkpoint` is where the weights are from; the title is the run's name, the checkpoint's and the direction.
    """

    def __init__(
        self, path: Path, *, device: str = "auto", mode: Literal["eval", "train"] = "eval", direction: str = ""
    ) -> None:
        self.task, self.checkpoint = load_trained(path, direction=direction)
        self.device = pick_device(device)
        self.task.generators.to(self.device).train(mode == "train")
        self.name = self.task.name
        run, step = self.checkpoint.resolve().parent.parent.name, self.checkpoint.name
        self.title = " ".join(filter(None, (run, step, direction)))
        self.in_channels, self.out_channels = self.task.channels()

    def run(self, images: FloatImages) -> FloatImages:
        with torch.inference_mode():
            result: FloatImages = self.task.infer(torch.from_numpy(images).to(self.device)).float().cpu().numpy()
        return result
