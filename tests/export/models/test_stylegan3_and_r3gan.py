"""Exported StyleGAN3 and R3GAN give the images of their checkpoints, for any number of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.networks.synthesis.r3gan import Level, r3gan_generator
from gan_tasks.pretrained.conversion import State, rename_modules
from gan_tasks.pretrained.load import load_network
from gan_tasks.pretrained.synthesis import r3gan, stylegan3


def conditional_r3gan() -> State:
    levels = (Level(4, 2, 1), Level(2, 1, 1))
    generator = r3gan_generator(3, levels, classes=2, embedding=4)
    for block in generator.stages:
        torch.nn.init.normal_(block.blocks[0].reduce.weight)
    return rename_modules(generator.state_dict(), r3gan.generator_names(levels))


def trained_stylegan3() -> State:
    """With a mean style, a moved input and magnitudes, as after training."""
    state = dict(stylegan3.generator_example())
    state["mapping.w_avg"] = torch.randn(4)
    state["synthesis.input.transform"] = torch.tensor([[0.8, -0.6, 0.2], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    return state | {key: tensor * 1.3 for key, tensor in state.items() if key.endswith("magnitude_ema")}


@pytest.mark.parametrize(
    ("state", "others", "tolerance"),
    [
        (conditional_r3gan, {"label": torch.eye(2)[[0, 1, 0]]}, 1e-5),
        (trained_stylegan3, {"truncation": torch.tensor([[0.3], [0.7], [1.0]])}, 1e-4),
    ],
    ids=["r3gan", "stylegan3"],
)
def test_exported_generators(
    tmp_path: Path, state: Callable[[], State], others: dict[str, Tensor], tolerance: float
) -> None:
    torch.manual_seed(0)
    torch.save(state(), tmp_path / "n.pth")
    export_onnx(PretrainedModel(tmp_path / "n.pth", device="cpu"), tmp_path / "n.onnx", model_name="n")
    graph = onnx.load(tmp_path / "n.onnx").graph
    assert {node.domain for node in graph.node} == {""}, "operators of ONNX alone"
    network = load_network(tmp_path / "n.pth")
    latent = torch.randn(3, network.latent)
    expected = network(latent, **others)
    assert expected.std() > 0.02
    model = OnnxModel(tmp_path / "n.onnx", device="cpu")
    assert [given.name for given in model.spec.inputs] == ["latent", *others]
    made = model.run(latent.numpy(), *(each.numpy() for each in others.values()))
    np.testing.assert_allclose(made, expected.numpy(), rtol=0, atol=tolerance)
