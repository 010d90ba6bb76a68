"""Comparison of models: a difference is reported if there is one, and only then."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from handmade_onnx import write_onnx
from numpy.typing import NDArray
from tiny import photo, tiny_task, write_pairs, write_run

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, read, to_float, write
from gan_tasks.export.evaluation.evaluate import compare, evaluate
from gan_tasks.export.evaluation.galleries import draw_galleries
from gan_tasks.export.evaluation.model_tasks import open_model, task_of
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.evaluation.report import report
from gan_tasks.export.evaluation.result import (
    SignificanceTest,
    Subject,
    table_of_images,
    to_json,
    write_csv,
    write_json,
)
from gan_tasks.export.evaluation.samples import run_models
from gan_tasks.export.evaluation.significance import best_of, pairwise_tests, verdict
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.metrics import reference, statistics
from gan_tasks.metrics.distribution import compare_kernel_distances, kernel_distance
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.training.validation import distinct

NO_FEATURES = EvaluationOptions(features="none")


def spec_of(task: str, channels: int) -> ModelSpec:
    return ModelSpec(task, "translate", (InputSpec("image", "image", channels, "any"),), channels)


class Handmade(Model):
    """A model that inverts its input and adds noise; the noise depends on the image only."""

    def __init__(self, noise: float, *, name: str = "pix2pix") -> None:
        self.spec, self.title, self.noise = spec_of(name, 3), f"noise {noise}", noise

    def version(self) -> str:
        return self.title

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False

    def run(self, *inputs: FloatImages) -> FloatImages:
        (images,) = inputs
        rng = np.random.default_rng(int(1e6 * abs(float(images.mean()))))
        noisy: FloatImages = (-images + self.noise * rng.standard_normal(images.shape)).astype(np.float32)
        return noisy


class Same(Handmade):
    """A model that returns its input."""

    def run(self, *inputs: FloatImages) -> FloatImages:
        return inputs[0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs to test on and four to fit the baselines to; A is the negative of B."""
    return write_pairs(tmp_path_factory.mktemp("photos"), train=4, test=12, size=(40, 40))


def test_a_much_better_model_is_reported_as_better(photos: Path) -> None:
    found = compare({"good": Handmade(0.02), "bad": Handmade(0.2)}, photos, options=NO_FEATURES, quiet=True)
    assert {test.metric for test in found.tests} == {"l1", "psnr", "ssim"}  # MS-SSIM and NIQE: too small
    for test in found.tests:
        assert test.better == "good" and test.p < 0.01 and test.images == 12
    assert found.verdict == "good is better by L1, PSNR and SSIM."


def test_a_model_shows_no_difference_from_itself(photos: Path, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "mean.onnx", minimum_size=4, size_multiple=4)
    models: dict[str, Model] = {name: OnnxModel(file, device="cpu") for name in ("one", "other")}
    found = compare(models, photos, quiet=True)
    assert found.features and "kernel_distance" in {test.metric for test in found.tests}
    assert all(test.better is None and test.p == 1 and test.difference == 0 for test in found.tests)
    assert found.verdict.startswith("No difference shown by L1")


def test_p_is_corrected_for_the_number_of_pairs() -> None:
    """Holm's steps written out: the smallest p × 3, the next × 2, the last × 1, each at least the one before."""
    rng = np.random.default_rng(13)
    base = rng.normal(0.2, 0.02, 9)
    values = {name: base + rng.normal(shift, 0.02, 9) for name, shift in (("a", 0), ("b", 0.012), ("c", 0.02))}
    subjects = [Subject(name, {"l1": list(map(float, numbers))}) for name, numbers in values.items()]
    pairs = list(combinations(subjects, 2))
    alone = [statistics.compare(values[first.name], values[second.name]).p for first, second in pairs]
    small, middle, large = sorted(alone)
    expected = {small: 3 * small, middle: max(3 * small, 2 * middle), large: max(3 * small, 2 * middle, large)}
    found = pairwise_tests(pairs)
    assert [test.p for test in found] == pytest.approx([min(1, expected[p]) for p in alone])
    significant = [test for test in found if test.better]
    assert len(significant) < sum(p < 0.05 for p in alone)  # without the correction there would be more


@pytest.mark.parametrize(("models", "images", "least"), [(2, 5, 6), (2, 1, 6), (3, 6, 7), (4, 7, 8)])
def test_too_few_images_are_said_to_be_too_few(models: int, images: int, least: int, tmp_path: Path) -> None:
    """However large a difference is: the smallest p of five images is 2/2⁵, times the number of pairs."""
    root = write_pairs(tmp_path, train=0, test=images, size=(24, 24))
    several: dict[str, Model] = {f"m{number}": Handmade(0.05 + 0.2 * number) for number in range(models)}
    found = compare(several, root, options=NO_FEATURES, quiet=True)
    assert {test.conclusion for test in found.tests} == {"too few images"}
    images_text = "1 image:" if images == 1 else f"{images} images:"
    assert f"No test can show a difference with {images_text} evaluate on {least} or more." in found.verdict
    assert "m0: L1 0.0" in found.verdict and "PSNR" in found.verdict and "no difference" not in found.verdict
    (root / "test").rename(root / "few")
    write_pairs(root, train=0, test=least, size=(24, 24))
    enough = compare(several, root, options=NO_FEATURES, quiet=True)
    assert enough.verdict == "m0 is better by L1, PSNR and SSIM."


def test_an_evaluation_on_too_few_images_shows_the_figures(tmp_path: Path) -> None:
    found = evaluate(Handmade(0.02), write_pairs(tmp_path, test=3), options=NO_FEATURES, quiet=True)
    assert found.verdict.startswith("By L1 worse than the best baseline: L1 0.00")
    assert "No test can show a difference with 3 images: evaluate on" in found.verdict


class Pink(Handmade):
    """The right output, which is the negative of the input, with a colour cast."""

    def run(self, *inputs: FloatImages) -> FloatImages:
        return -inputs[0] + np.array([0.3, -0.1, 0.2], np.float32)[:, None, None]


def test_a_colour_cast_of_the_outputs_is_noted(photos: Path) -> None:
    notes = {
        name: evaluate(model, photos, options=NO_FEATURES, quiet=True).notes
        for name, model in (("right", Handmade(0.02)), ("pink", Pink(0.0)))
    }
    assert not any("cast" in note for note in notes["right"])
    assert any("colour cast, too much red, too little green" in note for note in notes["pink"])


def test_images_without_a_value_are_left_out() -> None:
    first = Subject("a", {"psnr": [math.inf, 30.0, 31.0, math.nan], "ms_ssim": [math.nan] * 4})
    second = Subject("b", {"psnr": [20.0, 20.0, 21.0, 20.0], "ms_ssim": [math.nan] * 4})
    (test,) = pairwise_tests([(first, second)])
    assert test.images == 2 and test.difference == pytest.approx(10)


def test_the_best_of_several_is_better_than_each_other() -> None:
    def test(first: str, second: str, difference: float, p: float) -> SignificanceTest:
        return SignificanceTest("psnr", first, second, difference, 0, 0, p, 9)

    assert best_of([test("a", "b", 1, 0.01), test("a", "c", 1, 0.01), test("b", "c", 1, 0.9)]) == "a"
    assert best_of([test("a", "b", 1, 0.01), test("a", "c", 1, 0.2), test("b", "c", 1, 0.9)]) is None
    assert best_of([test("a", "b", -1, 0.01)]) == "b"


# Kernel distances: the permutation test and the distances.


def drawn(seed: int, count: int, shift: float) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(shift, 1, (count, 6)).astype(np.float32)


def test_the_nearer_set_is_found_and_the_difference_is_right() -> None:
    real, near, far = drawn(0, 40, 0), drawn(1, 40, 0.1), drawn(2, 40, 1.0)
    found = compare_kernel_distances(real, near, far)
    expected = kernel_distance(real, near).value - kernel_distance(real, far).value
    assert found.difference == pytest.approx(expected, rel=1e-9)
    assert found.low < found.difference < found.high < 0 and found.p < 0.01
    back = compare_kernel_distances(real, far, near)
    assert back.difference == pytest.approx(-expected) and back.p == pytest.approx(found.p, abs=0.01)


def test_equal_sets_have_no_difference() -> None:
    assert compare_kernel_distances(drawn(0, 20, 0), drawn(1, 20, 0), drawn(1, 20, 0)).p == 1


def test_p_is_uniform_for_sets_of_one_distribution() -> None:
    ps = [
        compare_kernel_distances(drawn(3 * s, 12, 0), drawn(3 * s + 1, 12, 0), drawn(3 * s + 2, 12, 0), samples=99).p
        for s in range(60)
    ]
    assert 0.3 < np.mean(ps) < 0.7 and np.mean(np.array(ps) < 0.05) < 0.2


# Metrics.


def test_metrics_with_crop_and_luma_equal_the_library_functions(photos: Path) -> None:
    options = EvaluationOptions(features="none", luma=True, crop=4, limit=3)
    model = Handmade(0.1)
    found = evaluate(model, photos, options=options, quiet=True)
    task = task_of(model)
    data, _ = task.open_data(photos, "test", augment=False, seed=0)
    import torch

    for index in range(3):
        pair = data[(0, index)]
        output = torch.from_numpy(model.run(pair.source[None]))
        expected = reference.full_reference(output, torch.from_numpy(pair.target)[None], border_px=4)
        for ours, theirs in (("l1", "l1_rgb"), ("psnr", "psnr_rgb"), ("ssim_y", "ssim_y"), ("psnr_y", "psnr_y")):
            assert found.models[0].per_image[ours][index] == pytest.approx(float(expected[theirs]), rel=1e-6)
    assert "4 px on each side" in found.notes[-1]


def test_larger_images_get_ms_ssim_and_niqe(tmp_path: Path) -> None:
    data = write_pairs(tmp_path, train=0, test=1, size=(192, 176))
    found = evaluate(Handmade(0.1), data, options=NO_FEATURES, quiet=True)
    assert set(found.models[0].per_image) == {"l1", "psnr", "ssim", "ms_ssim", "niqe_own_fit"}
    assert set(found.real) == {"niqe_own_fit"}
    assert [subject.name for subject in found.baselines] == ["source itself"]  # the others need training images


def test_sets_have_a_real_vs_real_baseline_and_untranslated_inputs(photos: Path) -> None:
    found = evaluate(Handmade(0.0), photos, quiet=True)  # its outputs equal the targets
    (model,) = found.models
    assert found.features == "efficientnet-lite0" and found.real_vs_real and found.inputs and model.set_metrics
    assert model.set_metrics.kernel_distance.mean < found.inputs.kernel_distance.mean
    assert model.set_metrics.precision == model.set_metrics.recall == 1
    assert model.set_metrics.diversity == pytest.approx(1, abs=1e-3)
    assert model.set_metrics.frechet_distance is None  # 12 images
    assert max(map(abs, model.colour_drift)) < 0.01


def test_memorization_of_training_images_is_detected(tmp_path: Path) -> None:
    data = write_pairs(tmp_path, train=5, test=5, size=(40, 40))
    for index in range(5):  # training sources under other names
        pixels = read(data / "train" / "A" / f"{index:03d}.png").pixels
        write(data / "test" / "A" / f"{index:03d}.png", Picture(pixels))
    found = evaluate(Handmade(0.0), data, quiet=True)
    memorized = found.models[0].memorization
    assert memorized is not None and memorized.searched == 5
    assert memorized.nearest == tuple(found.names) and memorized.ratio < 0.05
    assert "look at the pairs below" in report(found, [])


def test_unpaired_images_count_once_and_have_a_source(tmp_path: Path) -> None:
    """In training the images of the smaller side repeat; in an evaluation each image counts once."""
    for side, count, first in (("A", 4, 0), ("B", 6, 50)):
        (tmp_path / "test" / side).mkdir(parents=True)
        for index in range(count):
            write(tmp_path / "test" / side / f"{index}.png", Picture(photo(40, 40, seed=first + index)))

    model = Same(0, name="cyclegan")
    found = evaluate(model, tmp_path, quiet=True)
    assert found.images == 4 and not found.baselines
    assert found.models[0].set_metrics and found.models[0].set_metrics.own_source_share == 1
    assert found.models[0].set_metrics.kernel_distance == found.inputs.kernel_distance  # type: ignore[union-attr]
    assert "to_real" in found.models[0].per_image and "l1" not in found.models[0].per_image
    assert "untranslated" in found.verdict
    other = evaluate(model, tmp_path, task=task_of(model, direction="b-to-a"), quiet=True)
    assert other.images == 6
    data, _ = task_of(model).open_data(tmp_path, "test", augment=False, seed=0)
    assert len(distinct(task_of(model), data, 0).targets) == 6


# Models that cannot be compared.


def test_models_of_two_directions_are_compared_only_in_a_given_direction(photos: Path, tmp_path: Path) -> None:
    models: dict[str, Model] = {}
    for name, direction in (("there", "a-to-b"), ("back", "b-to-a")):
        options = json.dumps({"data": {"direction": direction}})
        path = write_onnx(tmp_path / f"{name}.onnx", task_options=options, minimum_size=4)
        models[name] = OnnxModel(path, device="cpu")
    with pytest.raises(UserError, match=r"there has the direction a-to-b and back has b-to-a.*--direction"):
        compare(models, photos, options=NO_FEATURES, quiet=True)
    task = task_of(models["there"], direction="a-to-b")
    assert compare(models, photos, task=task, options=NO_FEATURES, quiet=True).images == 12


def test_a_run_of_two_directions_is_evaluated_in_each_direction(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data", train=0, test=2)
    run = write_run(tmp_path / "run", tiny_task("cyclegan"))
    for direction, side in (("a-to-b", "A"), ("b-to-a", "B")):
        model = open_model(run, device="cpu", mode="eval", direction=direction)
        task = task_of(model, direction=direction)
        assert model.title.endswith(direction)
        sample = run_models({"m": model}, task, task.open_data(data, "test", augment=False, seed=0)[0], 0)
        np.testing.assert_array_equal(sample.inputs[0], to_float(read(data / "test" / side / "000.png").pixels))
        assert model.task_options and task_of(model).config.direction == direction
    with pytest.raises(UserError, match="has the direction b-to-a"):
        task_of(model, direction="a-to-b")


def test_models_with_other_channels_are_not_compared(photos: Path) -> None:
    gray = Handmade(0)
    gray.spec = replace(gray.spec, out_channels=1)
    with pytest.raises(UserError, match="channels"):
        compare({"rgb": Handmade(0), "gray": gray}, photos, quiet=True)


@pytest.mark.parametrize("options", [{"limit": -1}, {"crop": -2}, {"features_weights": Path("w")}])
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        EvaluationOptions(**options)  # type: ignore[arg-type]


def test_luma_needs_gray_or_rgb(photos: Path) -> None:
    odd = Handmade(0)
    odd.spec = spec_of("pix2pix", 2)
    with pytest.raises(UserError, match="--luma"):
        evaluate(odd, photos, options=EvaluationOptions(luma=True, features="none"), quiet=True)


# Files.


def test_files_contain_every_image_and_value(photos: Path, tmp_path: Path) -> None:
    model = Handmade(0.1)
    found = evaluate(model, photos, options=NO_FEATURES, quiet=True)
    write_csv(tmp_path / "e.csv", found)
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == list(found.names)
    assert [float(row["l1"]) for row in rows] == found.models[0].per_image["l1"]
    write_json(tmp_path / "e.json", found)
    content = json.loads((tmp_path / "e.json").read_text())
    assert content["per_image"]["l1"] == found.models[0].per_image["l1"]
    assert content["model"]["l1"]["mean"] == pytest.approx(np.mean(content["per_image"]["l1"]))
    assert content["conventions"]["ssim"].startswith("Gaussian window of 11 px")
    assert set(content["baselines"]) == {"source itself", "mean image", "affine map of the colours"}


def test_a_perfect_output_is_written_too(tmp_path: Path) -> None:
    data = write_pairs(tmp_path, train=0, test=2, size=(40, 40))
    for index in range(2):
        write(data / "test" / "A" / f"00{index}.png", read(data / "test" / "B" / f"00{index}.png"))
    found = evaluate(Same(0), data, options=NO_FEATURES, quiet=True)
    assert found.models[0].metrics["psnr"].mean == math.inf
    assert json.loads(json.dumps(to_json(found), allow_nan=False))["model"]["psnr"]["mean"] == "inf"
    assert "inf" in report(found, [])


def test_names_are_escaped_in_csv_and_html(photos: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    found = evaluate(Handmade(0.1), photos, options=EvaluationOptions(features="none", limit=1), quiet=True)
    hostile = replace(found, names=("=1+1<script>alert(1)</script>",))
    write_csv(tmp_path / "e.csv", hostile)
    assert "\n'=1+1" in (tmp_path / "e.csv").read_text().replace("\r", "")
    assert "<script" not in report(hostile, [])


def test_the_page_shows_best_and_worst_images_of_each_model(photos: Path) -> None:
    models: dict[str, Model] = {"good": Handmade(0.02), "bad": Handmade(0.2)}
    found = compare(models, photos, options=NO_FEATURES, quiet=True)
    galleries = draw_galleries(found, models, photos, task_of(models["good"]))
    assert [gallery.heading for gallery in galleries] == [
        f"{word} images of {name}, by L1" for name in models for word in ("Best", "Worst")
    ]
    values = found.models[0].per_image["l1"]
    order = sorted(range(12), key=lambda i: values[i])
    assert f"From top to bottom: {found.names[order[0]]} ({values[order[0]]:.4f})" in galleries[0].caption
    assert found.names[order[-1]] in galleries[1].caption.split(",")[0]
    page = report(found, galleries)
    assert page.count("<img") == 4 and page.count("<strong>good</strong> better") == 3
    assert verdict(found) in page
    assert page.count("<h1>") == 1 and page.count("<th") - page.count("<thead") == page.count("<th scope=")
    assert page.count('alt="') == 4 and 'src="http' not in page and "<script" not in page and "<link" not in page


def test_dropout_in_mode_train_depends_on_the_image_only(photos: Path, tmp_path: Path) -> None:
    import gan_tasks

    run = write_run(tmp_path / "run", tiny_task("pix2pix", "--dropout"))
    model = gan_tasks.load(run, device="cpu", mode="train").model
    first, second = (evaluate(model, photos, options=NO_FEATURES, quiet=True) for _ in range(2))
    assert first.models[0].per_image == second.models[0].per_image and first.mode == "train"
    assert table_of_images(first)[0] == ["image", "l1", "psnr", "ssim"]
