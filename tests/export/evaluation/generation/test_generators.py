"""Generators of noise → image: their samples are compared with real images as sets."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from handmade_onnx import write_generator
from numpy.typing import NDArray
from tiny import photo, tiny_task, write_pairs, write_run
from torch import Tensor, nn
from torch.nn import functional

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels, to_float
from gan_tasks.export.evaluation import evaluator
from gan_tasks.export.evaluation.evaluate import compare, evaluate
from gan_tasks.export.evaluation.galleries import draw_galleries
from gan_tasks.export.evaluation.generation.draws import classes_of
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.evaluation.report import report
from gan_tasks.export.evaluation.result import table_of_images, to_json
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.load import load_model
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.metrics.features import FeatureNetwork
from gan_tasks.networks.synthesis.frame import Mapping, SynthesisGenerator
from gan_tasks.spec import InputSpec, ModelSpec

LATENT, SIDE, CLASSES = 6, 24, 3
SAMPLES = 16
"""The number of held-out images, and so of the samples."""
INPUTS = (InputSpec("latent", "latent", LATENT, "none"), InputSpec("truncation", "weight", 1, "none", optional=True))
LABEL = InputSpec("label", "label", CLASSES, "none")


class Pooled(nn.Module):
    """Features of an image: its colours in 2×2 regions."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * functional.adaptive_avg_pool2d(images, 2).flatten(1)


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(pixels: Pixels) -> Tensor:
        return torch.from_numpy(to_float(pixels))

    monkeypatch.setattr(evaluator, "efficientnet_lite0", lambda *_: FeatureNetwork("pooled", Pooled(), prepare))
    monkeypatch.setattr(evaluator, "has_lite0", lambda: True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("photos"), train=8, test=SAMPLES, size=(SIDE, SIDE))


class Generator(Model):
    """A generator of photos like the real ones, chosen by the latent; of `kinds` different ones if it is given."""

    def __init__(self, name: str = "good", *, kinds: int = 0, brighter: float = 0.0, label: bool = False) -> None:
        self.title, self.kinds, self.brighter = name, kinds, brighter
        inputs = (INPUTS[0], LABEL, INPUTS[1]) if label else INPUTS
        self.spec = ModelSpec("noise-to-image", "generate", inputs, 3, output_size=(SIDE, SIDE))
        self.given: list[tuple[NDArray[np.float32], ...]] = []

    def version(self) -> str:
        return self.title

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False

    def run(self, *inputs: FloatImages) -> FloatImages:
        self.given += zip(*inputs, strict=True)
        seeds = [int(1e6 * abs(float(latent.sum()))) for latent in inputs[0]]
        seeds = [seed % self.kinds for seed in seeds] if self.kinds else seeds
        images = np.stack([to_float(photo(SIDE, SIDE, seed=1000 + seed)) for seed in seeds])
        return np.clip(images + np.float32(self.brighter), -1, 1)


def run_command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    assert isinstance(exited.value.code, int)
    return exited.value.code


def test_a_generator_is_compared_with_as_many_samples_as_real_images(photos: Path) -> None:
    model = Generator()
    found = evaluate(model, photos, quiet=True)
    assert found.is_of_generators and (found.images, found.real_images) == (SAMPLES, SAMPLES)
    assert found.samples == tuple(range(SAMPLES)) and found.names[:2] == ("seed0000", "seed0001")
    for seed, (latent, truncation) in enumerate(model.given):
        assert np.array_equal(latent, draw_latent(seed, LATENT)) and truncation.tolist() == [1]
    (subject,) = found.models
    sets = subject.set_metrics
    assert sets is not None and sets.kernel_distance.mean < 0.02 and sets.density is not None
    assert sets.coverage is not None and min(sets.density, sets.coverage) > 0.4
    assert 0.7 < sets.diversity < 1.4 and subject.pixel_diversity is not None and 0.7 < subject.pixel_diversity < 1.4
    assert subject.memorization is not None and len(subject.memorization.nearest) == SAMPLES
    assert subject.path_length is None and any("path length of good was not measured" in n for n in found.notes)
    assert found.inputs is None and sets.own_source_share is None and not found.metrics
    assert found.verdict.startswith("No difference from real images is shown")


def test_a_collapsed_generator_is_named_so(photos: Path) -> None:
    found = evaluate(Generator(kinds=1), photos, options=EvaluationOptions(samples=12), quiet=True)
    (subject,) = found.models
    assert found.images == 12 and subject.set_metrics is not None and subject.set_metrics.diversity == 0
    assert subject.pixel_diversity == 0 and subject.set_metrics.recall == 0
    assert subject.set_metrics.coverage is not None and subject.set_metrics.coverage < 0.5
    assert found.verdict.endswith("0% as varied as real images: the generator has collapsed to a few images.")
    for two in (2, 3):
        with pytest.raises(UserError, match=f"--samples is {two}, and sets of images are compared from 4 on"):
            evaluate(Generator(), photos, options=EvaluationOptions(samples=two), quiet=True)


def test_without_a_feature_network_the_pixels_are_compared_alone(photos: Path) -> None:
    found = evaluate(Generator(kinds=1), photos, options=EvaluationOptions(features="none"), quiet=True)
    assert found.models[0].set_metrics is None and found.models[0].pixel_diversity == 0
    page = report(found, [])
    assert "Diversity of pixels" in page and "Kernel distance" not in page


def test_a_generator_is_not_measured_by_features_of_its_training(photos: Path) -> None:
    model = Generator()
    model.spec = replace(model.spec, trained_with=("efficientnet-lite0",))
    found = evaluate(model, photos, quiet=True)
    assert found.features == "" and found.models[0].set_metrics is None
    assert any("good was trained with features of efficientnet-lite0" in note for note in found.notes)
    with pytest.raises(UserError, match="--features efficientnet-lite0: good was trained"):
        evaluate(model, photos, options=EvaluationOptions(features="efficientnet-lite0"), quiet=True)


def test_samples_of_two_generators_are_not_paired(photos: Path) -> None:
    models = {"good": Generator(), "bright": Generator("bright", brighter=0.8)}
    found = compare(models, photos, quiet=True)
    (test,) = found.tests
    assert test.metric == "kernel_distance" and not test.paired and test.better == "good"
    assert found.verdict == "good is better by kernel distance."
    page = report(found, [])
    assert "not paired" in page and "swapped" not in page
    with pytest.raises(UserError, match="good generates images of noise, and the others do not"):
        compare({"good": Generator(), "other": Other()}, photos, quiet=True)
    with pytest.raises(UserError, match="--samples is for generators"):
        evaluate(Other(), photos, options=EvaluationOptions(samples=9), quiet=True)


class Other(Generator):
    """A model that needs an image, of a task without targets."""

    def __init__(self) -> None:
        super().__init__("other")
        self.spec = ModelSpec("noise-to-image", "translate", (InputSpec("image", "image", 3, "any"),), 3)


def test_the_page_shows_samples_and_real_images_and_nothing_that_means_nothing(photos: Path) -> None:
    model, task = Generator(), tiny_task("noise-to-image")
    found = evaluate(model, photos, task=task, quiet=True)
    galleries = draw_galleries(found, {"good": model}, photos, task)
    assert [each.heading for each in galleries] == ["Samples", "Real images", "Samples nearest to a training image"]
    columns = min(8, SAMPLES)
    for each in galleries[:2]:
        assert each.pixels.shape[1] == columns * (128 + 6) + 6 and each.pixels.shape[0] == 2 * (128 + 6) + 6
    page = report(found, galleries)
    for heading in ("Density", "Coverage", "Sets of images", "16 samples beside 16 real images (test)"):
        assert heading in page
    for nothing in ("Means over images", "Untranslated", "Own source", "Left out at each side", "PSNR"):
        assert nothing not in page
    headings, rows = table_of_images(found)
    assert headings == ["image", "nearest_training_image", "distance_to_it"] and rows[3][0] == "seed0003"
    content = json.loads(json.dumps(to_json(found)))
    assert content["set_metrics"]["coverage"] == found.models[0].set_metrics.coverage  # type: ignore[union-attr]


def test_a_conditional_generator_gets_the_classes_of_the_real_images(photos: Path) -> None:
    """The task's data have labels, here: the index modulo the number of classes."""
    model, task = Generator(label=True), tiny_task("noise-to-image")
    wanted = task.inputs_and_target
    with pytest.raises(UserError, match="good has 3 classes, and the images have none"):
        evaluate(model, photos, task=task, quiet=True)
    labels = torch.eye(CLASSES)

    def with_label(batch: object) -> tuple[tuple[Tensor, ...], Tensor]:
        (latent,), target = wanted(batch)  # type: ignore[arg-type]
        return (latent, labels[int(1e4 * abs(float(target.mean()))) % CLASSES][None]), target

    task.inputs_and_target = with_label  # type: ignore[method-assign, assignment]
    data, _ = task.open_data(photos, "test", augment=False, seed=0)
    found = evaluate(model, photos, task=task, options=EvaluationOptions(samples=20), quiet=True)
    expected = classes_of({"good": model}, task, data, range(SAMPLES))
    assert found.images == 20 and expected is not None
    for seed, (_, label, _) in enumerate(model.given):
        assert np.array_equal(label, expected[seed % SAMPLES])


class TorchGenerator(TorchModel):
    """A model of synthesis: G(z) = tanh(A·z), or with a mapping network, G(z) = tanh(A·2z)."""

    def __init__(self, *, mapping: bool) -> None:
        torch.manual_seed(0)
        latent = Mapping(LATENT)
        if mapping:
            latent.average = torch.zeros(LATENT)
        generator = SynthesisGenerator(
            mapping=latent,
            base=nn.Sequential(nn.Linear(LATENT, 3 * 64), nn.Unflatten(1, (3, 8, 8))),
            stages=[],
            to_rgb=[Tanh()],
            rgb="last",
            output_size=(8, 8),
        )
        self.title = "synthesis"
        self.spec = ModelSpec("noise-to-image", "generate", INPUTS, 3, output_size=(8, 8))
        self.start(WithoutLabel(generator), "cpu", "eval")

    def version(self) -> str:
        return self.title


class WithoutLabel(nn.Module):
    """Takes the inputs in the order of the spec."""

    def __init__(self, generator: SynthesisGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latent: Tensor, truncation: Tensor) -> Tensor:
        image: Tensor = self.generator(latent, None, truncation)
        return image


class Tanh(nn.Module):
    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return x.tanh()


@pytest.mark.parametrize("mapping", [False, True])
def test_the_path_length_of_a_synthesis_generator(mapping: bool, photos: Path) -> None:
    found = evaluate(TorchGenerator(mapping=mapping), photos, options=EvaluationOptions(limit=8), quiet=True)
    length = found.models[0].path_length
    assert length is not None and length.space == ("w" if mapping else "z") and length.pairs == 8
    assert length.distance == "features of pooled" and 0 < length.value.low <= length.value.mean
    page = report(found, [])
    assert "Path length" in page and "perceptual path length by features of pooled" in page


def test_an_onnx_file_is_evaluated(photos: Path, tmp_path: Path) -> None:
    """It is drawn from with the same latents as any other model, in batches."""
    file = write_generator(tmp_path / "model.onnx", latent=LATENT, output_size=(SIDE, SIDE), task="noise-to-image")
    found = evaluate(load_model(file, device="cpu"), photos, quiet=True)
    assert found.images == SAMPLES and found.models[0].set_metrics is not None
    assert "The samples are only" in found.verdict


def test_a_run_is_evaluated_from_the_command_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", tiny_task("noise-to-image"))
    inputs = (InputSpec("latent", "latent", 6, "none"),)
    assert gan_tasks.load(run).spec.inputs == inputs
    assert run_command("evaluate", run, "--data", photos, "--samples", "9") == 0
    said = capsys.readouterr().out
    assert "9 samples beside 16 real images" in said and "PSNR" not in said
    card = (run / "model-card.md").read_text()
    assert (run / "evaluation.html").is_file() and "9 samples beside 16 real images of the test split" in card
    assert "By the same features: precision" in card and "coverage" in card
    assert "untranslated" not in card and "Other sizes" not in card
    assert run_command("evaluate", run, "--data", photos, "--samples", "2") == 2
    assert "--samples is 2" in capsys.readouterr().err


def test_the_equivariance_of_generators_that_torch_runs(photos: Path, tmp_path: Path) -> None:
    options = EvaluationOptions(features="none", equivariance=True, limit=4)
    tiny = ("--width", "4", "--style-width", "4", "--mapping-layers", "1", "--crop-size", "32", "32")
    models: dict[str, Model] = {"file": Generator()}
    for network in ("stylegan2", "stylegan3-t"):
        run = write_run(tmp_path / network, tiny_task("synthesis", "--network", network, *tiny))
        models[network] = load_model(run, device="cpu")
    found = compare(models, photos, task=tiny_task("noise-to-image"), options=options, quiet=True)
    measured = {subject.name: set(subject.equivariance or {}) for subject in found.models}
    assert measured == {
        "file": set(),
        "stylegan2": {"eq_t", "eq_t_frac"},
        "stylegan3-t": {"eq_t", "eq_t_frac", "eq_r"},
    }
    assert any("The equivariance of file was not measured" in note for note in found.notes)
    page = report(found, [])
    assert "EQ-R" in page and "EQ-T frac" in page
    small = evaluate(TorchGenerator(mapping=False), photos, options=replace(options, features=None), quiet=True)
    assert small.models[0].equivariance is not None and "eq_t" in small.models[0].equivariance


def test_a_conditional_run_of_synthesis_is_evaluated(photos: Path, tmp_path: Path) -> None:
    """Its paths are between styles, and it gets the classes of the real images, here twice as many of B."""
    data = tmp_path / "data"
    for number in range(12):
        folder = data / "test" / ("b" if number % 3 else "a")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "test" / f"{number:03d}.png", folder)
    options = ("--network", "stylegan2", "--style-width", "8", "--mapping-layers", "1")
    task = tiny_task("synthesis", *options, "--classes", "--class-names", "a", "b")
    model = load_model(write_run(tmp_path / "run", task), device="cpu")
    found = evaluate(model, data, quiet=True)
    length = found.models[0].path_length
    assert length is not None and length.space == "w" and length.pairs == found.images == 12
    data_of_test, _ = task.open_data(data, "test", augment=False, seed=0)
    labels = classes_of({"run": model}, task, data_of_test, range(12))
    assert labels is not None and np.sum(labels, axis=0).tolist() == [4, 8]
    with pytest.raises(UserError, match=r"run .* has 2 classes, and the images have none"):
        evaluate(model, photos, task=tiny_task("noise-to-image"), quiet=True)
    options_of_sets = EvaluationOptions(path_length=False, limit=6)
    compare({"good": Generator(), "run": model}, data, options=options_of_sets, quiet=True)
    with pytest.raises(UserError, match="good has 3 classes, and the images have 2"):
        compare({"run": model, "good": Generator(label=True)}, data, options=options_of_sets, quiet=True)
    without = evaluate(model, data, options=EvaluationOptions(path_length=False, limit=6), quiet=True)
    assert without.models[0].path_length is None and not any("path length" in note for note in without.notes)
