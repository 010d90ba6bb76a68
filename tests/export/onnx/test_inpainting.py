"""The networks of inpainting as ONNX graphs: ONNX Runtime against torch, at sizes other than the exported one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_task, write_run
from torch import nn

from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.export.onnx.export import Graph, export_onnx, to_file, to_onnx
from gan_tasks.export.onnx.model import open_session, run_session
from gan_tasks.export.onnx.providers import Session
from gan_tasks.export.onnx.test_vectors import blocks, to_feeds
from gan_tasks.networks.inpainting import (
    Inpainter,
    as_residual_of_smooth_fill,
    context_encoder,
    deepfill_v1,
    deepfill_v2,
)

TOLERANCE = 1e-4
INPUTS = ("image", "mask")
NETWORKS: dict[str, Callable[[], Inpainter]] = {
    "v2": lambda: deepfill_v2(width=8),
    "v2-tensorflow": lambda: deepfill_v2(width=8, tensorflow=True),
    "v1": lambda: deepfill_v1(width=8),
    "context": lambda: context_encoder(width=4, bottleneck=8),
    "v2-change": lambda: as_residual_of_smooth_fill(deepfill_v2(width=8), 3),
    "v2-reduced": lambda: as_residual_of_smooth_fill(deepfill_v2(width=8), 3, reduce=4),
}


@cache
def exported(name: str) -> tuple[Graph, Session]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NETWORKS[name]().eval()
        for part in (network.coarse, network.refine) if network.start is not None else ():
            assert part is not None
            nn.init.normal_(next(iter(part.head.parameters())), 0, 0.05)  # else no change is made
    graph = Graph(network, INPUTS)
    proto = to_onnx(graph, 3, network.size_multiple, network.minimum_size)
    assert not proto.graph.value_info, "told the shapes between layers, ONNX Runtime holds twice the memory"
    return graph, open_session(to_file(proto, Path("n.onnx")), device="cpu")


def draw(height: int, width: int) -> dict[str, FloatImages]:
    """Two images and their masks, of which one has blocks all over and the other a single hole."""
    feeds = to_feeds(blocks(INPUTS, 3, height, width))
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
        ("v2", 512, 512),
        ("v2", 520, 680),
        ("v2-tensorflow", 8, 8),
        ("v2-tensorflow", 256, 264),
        ("v1", 64, 72),
        ("context", 128, 160),
        ("v2-change", 8, 8),
        ("v2-change", 256, 264),
        ("v2-change", 520, 680),
        ("v2-reduced", 256, 288),
    ],
)
def test_onnx_runtime_equals_torch(name: str, height: int, width: int) -> None:
    graph, session = exported(name)
    feeds = draw(height, width)
    made = run_session(session, feeds)
    assert made.shape == (2, 3, height, width)
    assert np.abs(made - graph.run(feeds)).max() <= TOLERANCE
    alone = run_session(session, {key: value[1:] for key, value in feeds.items()})
    assert np.abs(made[1:] - alone).max() <= TOLERANCE


@pytest.mark.slow
def test_a_run_that_works_at_half_the_size_is_exported(tmp_path: Path) -> None:
    model = TrainedModel(
        write_run(tmp_path / "run", tiny_task("inpainting", "--residual", "--residual-downscale", "2")), device="cpu"
    )
    assert (model.spec.size_multiple, model.spec.minimum_size) == (16, 16)
    report = export_onnx(model, tmp_path / "model.onnx", model_name="half")
    assert report.verification.ok and report.max_error <= TOLERANCE
