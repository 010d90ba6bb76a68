"""Inpainting networks as ONNX graphs: ONNX Runtime against torch, also at other sizes than the exported one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_task, write_run
from torch import nn

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.export.onnx.apart.run import run_session
from gan_tasks.export.onnx.export import Graph, export_onnx, to_file, to_onnx
from gan_tasks.export.onnx.file import parse_onnx
from gan_tasks.export.onnx.model import open_session
from gan_tasks.export.onnx.providers import Session
from gan_tasks.export.onnx.test_vectors import blocks, to_feeds
from gan_tasks.networks.inpainting.context_encoder import context_encoder
from gan_tasks.networks.inpainting.deepfill import deepfill_v2
from gan_tasks.networks.inpainting.inpainter import Inpainter, as_residual_of_smooth_fill
from gan_tasks.networks.sizes import sizes_of
from gan_tasks.spec import InputSpec, ModelSpec

TOLERANCE = 1e-4
INPUTS = (InputSpec("image", "image", 3, "any"), InputSpec("mask", "mask"))


def shortened(inpainter: Inpainter) -> Inpainter:
    """A DeepFill with one layer instead of several equal ones, because the exporter takes 0.5 s per layer."""
    coarse, refine = inpainter.coarse, inpainter.refine
    assert refine is not None
    coarse.downs = nn.ModuleList(nn.Sequential(down[0]) for down in coarse.downs)
    coarse.body = kept(coarse.body, DILATED)
    branches = refine.body[0]
    branches.dilated_branch = kept(branches.dilated_branch, *range(5), 5 + DILATED)
    branches.attention_encoder = kept(branches.attention_encoder, *range(4), 5)
    branches.attention_decoder = kept(branches.attention_decoder, 0)
    refine.body = kept(refine.body, 0, 1)
    return inpainter


DILATED = 4
"""Index of the most dilated layer in the coarse body."""


def kept(layers: Any, *indices: int) -> nn.Sequential:
    return nn.Sequential(*(layers[index] for index in indices))


NETWORKS: dict[str, Callable[[], Inpainter]] = {
    "v2": lambda: deepfill_v2(width=8),
    "v2-tensorflow": lambda: shortened(deepfill_v2(width=8, tensorflow=True)),
    "context-residual": lambda: as_residual_of_smooth_fill(context_encoder(width=4, bottleneck=8), 3),
    "context": lambda: context_encoder(width=4, bottleneck=8),
}


@cache
def exported(name: str) -> tuple[Graph, Session]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NETWORKS[name]().eval()
        if network.start is not None:
            nn.init.normal_(next(iter(network.coarse.head.parameters())), 0, 0.05)  # otherwise the residual is 0
    graph = Graph(network, ModelSpec("inpainting", "inpaint", INPUTS, 3, **sizes_of(network)._asdict()))
    proto = to_onnx(graph)
    assert not proto.graph.value_info, "with known shapes between layers, ONNX Runtime takes twice the memory"
    return graph, open_session(to_file(proto, Path("n.onnx")), device="cpu")


def draw(height: int, width: int) -> dict[str, FloatImages]:
    """Two images with masks: one mask has blocks everywhere, the other a single rectangle."""
    feeds = to_feeds(blocks(ModelSpec("inpainting", "inpaint", INPUTS, 3), height, width))
    mask = np.zeros_like(feeds["mask"])
    mask[..., height // 4 : height // 2, width // 4 : width // 2] = 1
    return {
        "image": np.concatenate([feeds["image"], feeds["image"][..., ::-1, :]]),
        "mask": np.concatenate([feeds["mask"], mask]),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "height", "width"),
    [
        ("v2", 8, 8),
        ("v2", 256, 256),
        ("v2", 392, 520),
        ("v2-tensorflow", 8, 8),
        ("v2-tensorflow", 256, 264),
        ("context-residual", 128, 160),
        ("context-residual", 256, 288),
        ("context-residual", 544, 672),
        ("context", 128, 160),
    ],
)
def test_onnx_runtime_equals_torch(name: str, height: int, width: int) -> None:
    graph, session = exported(name)
    feeds = draw(height, width)
    output = run_session(session, feeds)
    assert output.shape == (2, 3, height, width)
    assert np.abs(output - graph.run(feeds)).max() <= TOLERANCE
    single = run_session(session, {key: value[1:] for key, value in feeds.items()})
    assert np.abs(output[1:] - single).max() <= TOLERANCE


@pytest.mark.slow
def test_a_run_with_a_downscaled_residual_is_exported(tmp_path: Path) -> None:
    options = ("--network", "context-encoder", "--residual", "--residual-downscale", "4")
    model = TrainedModel(write_run(tmp_path / "run", tiny_task("inpainting", *options)), device="cpu")
    assert (model.spec.size_multiple, model.spec.minimum_size) == (128, 512)
    (inpainter,) = (part for part in model.network.modules() if isinstance(part, Inpainter))
    nn.init.normal_(next(iter(inpainter.coarse.head.parameters())), 0, 0.05)  # otherwise the residual is 0
    report = export_onnx(model, tmp_path / "model.onnx", model_name="quarter")
    assert report.verification.ok and report.max_error <= TOLERANCE
    feeds = draw(512, 640)
    output = run_session(open_session(parse_onnx(report.path.read_bytes(), "model.onnx"), device="cpu"), feeds)
    assert np.abs(output - Graph(model.network, model.spec).run(feeds)).max() <= TOLERANCE
