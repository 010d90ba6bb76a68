"""Public generators of images from latents are exported, verified and run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import gan_tasks
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.networks.synthesis.dcgan import dcgan_of_widths
from gan_tasks.networks.synthesis.frame import Mapping, SynthesisGenerator
from gan_tasks.pretrained import load
from gan_tasks.pretrained.conversion import State, assemble
from gan_tasks.pretrained.synthesis import dcgan, pggan
from gan_tasks.pretrained.synthesis.usage import synthesis_usage
from tests.helpers.interop import TOLERANCE, interop_case, interop_names


class Truncated(Mapping):
    """A mapping with a mean style."""

    average: torch.Tensor

    def __init__(self, latent: int, classes: int) -> None:
        super().__init__(latent, classes)
        self.register_buffer("average", torch.linspace(-1, 1, self.style_length))


def tiny(classes: int, truncates: bool) -> SynthesisGenerator:
    torch.manual_seed(0)
    generator = dcgan_of_widths(3, (4,), classes=classes)
    if truncates:
        generator.mapping = Truncated(3, classes)
    return generator


def written(path: Path, state: State) -> Path:
    torch.save(dict(state), path)
    return path


def exported(path: Path) -> tuple[PretrainedModel, OnnxModel]:
    model, out = PretrainedModel(path, device="cpu"), path.with_suffix(".onnx")
    export_onnx(model, out, model_name=path.stem)
    return model, OnnxModel(out, device="cpu")


@pytest.mark.parametrize(
    ("classes", "truncates", "inputs"),
    [(2, True, ["latent", "label", "truncation"]), (0, True, ["latent", "truncation"])],
)
def test_label_and_truncation_are_inputs_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int, truncates: bool, inputs: list[str]
) -> None:
    made = tiny(classes, truncates).eval()
    architecture = replace(
        dcgan.GENERATOR,
        recognise=lambda state: True,
        build=lambda state: assemble(lambda: tiny(classes, truncates), {}, state),
        usage=lambda network: synthesis_usage(network, 4),
    )
    monkeypatch.setattr(load, "ARCHITECTURES", (architecture,))
    _, model = exported(written(tmp_path / "n.pth", made.state_dict()))
    assert [given.name for given in model.spec.inputs] == inputs
    latent, label = torch.randn(2, 3), torch.eye(2)[:, :classes] if classes else None
    truncation = torch.tensor([[0.3], [1.0]])
    with torch.inference_mode():
        expected = made(latent, label, truncation)
    given = {"latent": latent, "label": label, "truncation": truncation}
    image = model.run(*(given[name].numpy() for name in inputs))  # type: ignore[union-attr]
    assert np.allclose(image, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("architecture", [dcgan.GENERATOR, pggan.GENERATOR], ids=["dcgan", "pggan"])
def test_file_and_checkpoint_give_the_same_images(tmp_path: Path, architecture: load.Architecture) -> None:
    torch.manual_seed(0)
    path = written(tmp_path / "n.pth", architecture.example())
    model, _ = exported(path)
    latent = np.random.default_rng(0).standard_normal(5).astype(np.float32)
    pixels = gan_tasks.load(path)(latent)
    height, width = model.spec.output_size or (0, 0)
    assert pixels.shape == (height, width, 3) and pixels.dtype == np.uint8
    assert np.abs(gan_tasks.load(path.with_suffix(".onnx"))(latent).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("name", interop_names("dcgan_g", "pggan_g", "pggan_full"))
def test_exported_generators_equal_the_stored_outputs(tmp_path: Path, name: str) -> None:
    case = interop_case(name)
    out = tmp_path / "n.onnx"
    export_onnx(PretrainedModel(case.path, device="cpu"), out, model_name=name)
    image = OnnxModel(out, device="cpu").run(case.inputs[0].flatten(1).numpy())
    assert np.abs(image - case.outputs["output"].numpy()).max() <= TOLERANCE
