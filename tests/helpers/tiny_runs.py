"""Run folders and ONNX files of tiny models with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan_tasks.datasets.paired import PairedConfig
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.export.onnx.export import ExportReport, export_onnx
from gan_tasks.runs.checkpoint import save_checkpoint
from gan_tasks.runs.folder import create_run
from gan_tasks.tasks.pix2pix import Pix2Pix, Pix2PixConfig
from gan_tasks.training.config import TrainConfig

KINDS: dict[str, dict[str, Any]] = {
    "unet-128": {"generator": "unet-128", "norm": "batch"},
    "unet-128 in float16": {"generator": "unet-128", "norm": "instance"},
    "resnet-6": {"generator": "resnet-6", "norm": "instance", "channels": (1, 3)},
    "global": {"generator": "global", "norm": "batch"},
    "resnet-6 with a downscaled residual": {
        "generator": "resnet-6",
        "norm": "none",
        "residual": True,
        "residual_downscale": 2,
    },
}


@dataclass(frozen=True)
class Exported:
    model: TrainedModel
    path: Path
    report: ExportReport


def export_tiny(folder: Path, kind: str) -> Exported:
    """Write a run of one of the KINDS, and its ONNX file in a separate folder."""
    model = TrainedModel(make_run(folder / "run", **KINDS[kind]), device="cpu")
    out = folder / "onnx" / "model.onnx"
    half = "float16" in kind
    report = export_onnx(model, out, half=half, model_name=kind, licence="CC0", training_data="noise")
    return Exported(model, out, report)


def make_run(
    folder: Path,
    *,
    generator: Any,
    norm: Any,
    channels: tuple[int, int] = (3, 3),
    width: int = 4,
    residual: bool = False,
    residual_downscale: int = 1,
) -> Path:
    """Write a run folder with one checkpoint. Its weights are large enough for every layer to affect the output."""
    data = PairedConfig(source_channels=channels[0], target_channels=channels[1])
    config = Pix2PixConfig(
        generator=generator,
        norm=norm,
        width=width,
        residual=residual,
        residual_downscale=residual_downscale,
        data=data,
    )
    task = Pix2Pix(config)
    task.build(for_training=False)
    torch.manual_seed(0)
    for module in task.generators.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    run = create_run(folder, task, TrainConfig(), folder, "none")
    save_checkpoint(run.checkpoints, 1, {"generators": task.generators.state_dict()}, {})
    return run.path
