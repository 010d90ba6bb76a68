"""Public generators of images from latents are exported, verified and run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import gan_tasks
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.networks.synthesis.dcgan import dcgan_of_widths
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.pretrained import load
from gan_tasks.pretrained.conversion import State, assemble
from gan_tasks.pretrained.synthesis import dcgan, pggan, stylegan2
from gan_tasks.pretrained.synthesis.usage import synthesis_usage
from tests.helpers.interop import TOLERANCE, interop_case, interop_names


def tiny(classes: int) -> SynthesisGenerator:
    """A generator with a mean style, for truncation."""
    torch.manual_seed(0)
    generator = dcgan_of_widths(3, (4,), classes=classes)
    generator.mapping.average = torch.linspace(-1, 1, 3 + classes)
    return generator


@pytest.fixture
def conditional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The file of `tiny`, of an architecture of its own; the parameter is the number of classes."""
    classes = request.param
    architecture = replace(
        dcgan.GENERATOR,
        recognise=lambda state: True,
        build=lambda state: assemble(lambda: tiny(classes), {}, state),
        usage=lambda network: synthesis_usage(network, 4),
    )
    monkeypatch.setattr(load, "ARCHITECTURES", (architecture,))
    return written(tmp_path / "n.pth", tiny(classes).state_dict())


def written(path: Path, state: State) -> Path:
    torch.save(dict(state), path)
    return path


def exported(path: Path) -> OnnxModel:
    export_onnx(PretrainedModel(path, device="cpu"), path.with_suffix(".onnx"), model_name=path.stem)
    return OnnxModel(path.with_suffix(".onnx"), device="cpu")


def expected(classes: int, latent: Tensor, label: Tensor | None, truncation: Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        image: Tensor = tiny(classes).eval()(latent, label, truncation)
    return image.numpy()


LATENT, LABEL, TRUNCATION = torch.randn(2, 3), torch.eye(2), torch.tensor([[0.3], [1.0]])


@pytest.mark.parametrize("conditional", [2], indirect=True)
def test_label_and_truncation_are_inputs_of_the_file(conditional: Path) -> None:
    model = exported(conditional)
    assert [given.name for given in model.spec.inputs] == ["latent", "label", "truncation"]
    assert [given.optional for given in model.spec.inputs] == [False, False, True]
    image = model.run(LATENT.numpy(), LABEL.numpy(), TRUNCATION.numpy())
    assert np.allclose(image, expected(2, LATENT, LABEL, TRUNCATION), atol=1e-5)


@pytest.mark.parametrize("conditional", [0], indirect=True)
def test_a_truncation_is_not_taken_for_a_label(conditional: Path) -> None:
    model = PretrainedModel(conditional, device="cpu")
    assert [given.name for given in model.spec.inputs] == ["latent", "truncation"]
    image = model.run(LATENT.numpy(), TRUNCATION.numpy())
    assert np.allclose(image, expected(0, LATENT, None, TRUNCATION), atol=1e-5)


def test_file_and_checkpoint_give_the_same_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = written(tmp_path / "n.pth", pggan.GENERATOR.example())
    exported(path)
    latent = np.random.default_rng(0).standard_normal(5).astype(np.float32)
    pixels = gan_tasks.load(path)(latent)
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
    assert np.abs(gan_tasks.load(path.with_suffix(".onnx"))(latent).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("name", interop_names("dcgan_g_gray", "pggan_full"))
def test_exported_generators_equal_the_stored_outputs(tmp_path: Path, name: str) -> None:
    case = interop_case(name)
    out = tmp_path / "n.onnx"
    export_onnx(PretrainedModel(case.path, device="cpu"), out, model_name=name)
    image = OnnxModel(out, device="cpu").run(case.inputs[0].flatten(1).numpy())
    assert np.abs(image - case.outputs["output"].numpy()).max() <= TOLERANCE


def test_an_exported_stylegan2_equals_the_checkpoint(tmp_path: Path) -> None:
    """With label, truncation and noise, at any batch size."""
    torch.manual_seed(0)
    state = {key: torch.randn_like(tensor) for key, tensor in stylegan2.GENERATOR.example().items()}
    state = {key: torch.ones(4, 4) if key.endswith("filter") else tensor for key, tensor in state.items()}
    state |= {"mapping.embed.weight": torch.randn(3, 2), "mapping.embed.bias": torch.randn(3)}
    state["mapping.fc0.weight"] = torch.randn(4, 5 + 3)
    path = written(tmp_path / "n.pth", state)
    network, model = load.load_network(path), exported(path)
    for count in (1, 3):
        latent, label, truncation = torch.randn(count, 5), torch.eye(2)[[1] * count], torch.rand(count, 1)
        image = model.run(latent.numpy(), label.numpy(), truncation.numpy())
        expected = network(latent, label, truncation).numpy()
        assert np.abs(image - expected).max() <= 1e-4 * np.abs(expected).max()
