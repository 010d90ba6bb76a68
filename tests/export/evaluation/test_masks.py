"""Evaluation of inpainting: metrics in the masked region and by mask ratio, classical baselines, chosen masks."""

from __future__ import annotations

import csv
import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inpainting_task import EvaluatedInpainting, EvaluatedInpaintingConfig, OffBy, write_masks, write_photos
from numpy.typing import NDArray

from gan_tasks.apps.cli.commands.evaluate import show, write_all
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import read
from gan_tasks.datasets.inpainting import Masked, MaskedConfig, MaskedImages
from gan_tasks.datasets.loading.sampler import Key
from gan_tasks.datasets.masks.draw import MaskConfig
from gan_tasks.export.evaluation.evaluate import compare, evaluate
from gan_tasks.export.evaluation.galleries import draw_galleries
from gan_tasks.export.evaluation.mask_ratios import by_mask_ratio
from gan_tasks.export.evaluation.masks import with_masks
from gan_tasks.export.evaluation.options import EvaluationOptions, MaskOptions
from gan_tasks.export.evaluation.report import report
from gan_tasks.export.evaluation.result import Evaluation, SignificanceTest, Subject
from gan_tasks.export.evaluation.samples import run_models
from gan_tasks.export.evaluation.significance import verdict
from gan_tasks.metrics.baselines import fill_harmonic
from gan_tasks.tasks.pix2pix import Pix2Pix

NO_FEATURES = EvaluationOptions(features="none")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), train=2, test=6)


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks of 10, 30 and 70 % of the image."""
    return write_masks(tmp_path_factory.mktemp("masks"), 4, 12, 28)


def from_folder(masks: Path) -> EvaluatedInpainting:
    task = with_masks(EvaluatedInpainting(), MaskOptions(masks=masks))
    assert isinstance(task, EvaluatedInpainting)
    return task


@pytest.fixture(scope="module")
def found(photos: Path, masks: Path) -> Evaluation:
    return evaluate(OffBy(0.25), photos, task=from_folder(masks), options=NO_FEATURES, quiet=True)


# Metrics.


def test_masked_metrics_count_masked_pixels_only_and_unmasked_ones_are_put_back(found: Evaluation) -> None:
    values = found.models[0].per_image
    in_mask = 20 * math.log10(2 / 0.25)
    assert values["psnr_masked"] == pytest.approx([in_mask] * 6, abs=1e-3)
    assert values["l1_masked"] == pytest.approx([0.125] * 6, rel=1e-4)
    assert set(found.mask_ratios) == {0.1, 0.3, 0.7}
    assert values["l1"] == pytest.approx([0.125 * share for share in found.mask_ratios], rel=1e-4)
    expected = [in_mask - 10 * math.log10(share) for share in found.mask_ratios]
    assert values["psnr"] == pytest.approx(expected, abs=1e-3)


def test_classical_baselines_get_the_same_metrics(found: Evaluation, photos: Path) -> None:
    """The expected metrics of the harmonic fill are computed from the files with numpy."""
    assert [subject.name for subject in found.baselines] == ["harmonic fill", "Telea"]
    values = found.baselines[0].per_image
    for index, (name, share) in enumerate(zip(found.names, found.mask_ratios, strict=True)):
        pixels = read(photos / "test" / f"{name}.png").pixels
        mask = np.zeros((40, 40), np.bool_)
        mask[: round(40 * share)] = True
        error = (fill_harmonic(pixels, mask).astype(float) - pixels)[mask] / 255
        assert values["l1_masked"][index] == pytest.approx(np.abs(error).mean(), abs=1e-5)
        assert values["psnr_masked"][index] == pytest.approx(-10 * np.log10(np.square(error).mean()), abs=1e-3)
    compared = {(test.metric, test.second) for test in found.tests}
    assert {("psnr_masked", "harmonic fill"), ("l1_masked", "Telea")} <= compared


def test_cropped_pixels_do_not_count_as_masked(photos: Path, masks: Path) -> None:
    options = EvaluationOptions(features="none", crop=5)
    found = evaluate(OffBy(0.25), photos, task=from_folder(masks), options=options, quiet=True)
    has_value = [not math.isnan(value) for value in found.models[0].per_image["l1_masked"]]
    assert has_value == [share > 0.1 for share in found.mask_ratios]  # the crop removes a mask of 4 rows at the top


def test_outputs_keep_the_unmasked_pixels_to_the_bit(photos: Path, masks: Path) -> None:
    task = from_folder(masks)
    data, _ = task.open_data(photos, "test", augment=False, seed=0)
    sample = run_models({"m": OffBy(0.25)}, task, data, 0)
    assert sample.mask is not None and sample.mask.any() and not sample.mask.all()
    output = sample.outputs["m"]
    np.testing.assert_array_equal(output[:, ~sample.mask], sample.inputs[0][:, ~sample.mask])
    np.testing.assert_allclose(abs(output - sample.target)[:, sample.mask], 0.25, atol=1e-6)


class TaskWithEmptyMask(EvaluatedInpainting):
    """A task whose first image has an empty mask."""

    def open_data(self, *args: Any, **options: Any) -> tuple[MaskedImages, Any]:
        data, in_folder = super().open_data(*args, **options)
        return EmptyFirstMask(data.images, data.masks, data.config, 0, False), in_folder


class EmptyFirstMask(MaskedImages):
    def __getitem__(self, key: Key) -> Masked[NDArray[np.float32]]:
        sample = super().__getitem__(key)
        return sample._replace(mask=0 * sample.mask) if key[1] == 0 else sample


def test_an_image_with_an_empty_mask_is_left_out_without_a_warning(photos: Path, masks: Path, tmp_path: Path) -> None:
    task = TaskWithEmptyMask(from_folder(masks).config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(OffBy(0.25), photos, task=task, options=NO_FEATURES, quiet=True)
        write_all(tmp_path, "e", found, {found.models[0].name: OffBy(0.25)}, photos, task)
    assert found.mask_ratios[0] == 0 and math.isnan(found.models[0].per_image["psnr_masked"][0])
    assert found.models[0].metrics["psnr_masked"].mean == pytest.approx(20 * math.log10(8), abs=1e-3)
    assert sum(group.images for group in found.mask_ratio_groups) == 5
    assert {test.images for test in found.tests if test.metric == "l1_masked"} == {5}
    assert json.loads((tmp_path / "e.json").read_text())["per_image"]["l1_masked"][0] == "nan"


# Sets of images.


def test_classical_baselines_are_compared_as_sets(photos: Path, masks: Path) -> None:
    found = evaluate(OffBy(0.02), photos, task=from_folder(masks), quiet=True)
    (model,) = found.models
    assert found.features and model.set_metrics and found.inputs
    sets = [subject.set_metrics for subject in found.baselines]
    assert all(one and model.set_metrics.kernel_distance.mean < one.kernel_distance.mean for one in sets)
    assert found.inputs.kernel_distance.mean > model.set_metrics.kernel_distance.mean  # masked pixels are gray
    tests = [test for test in found.tests if test.metric == "kernel_distance"]
    assert [(test.first, test.second) for test in tests] == [
        (model.name, name) for name in ("harmonic fill", "Telea")
    ]
    assert all(test.difference < 0 for test in tests)
    assert all(subject.memorization is None for subject in found.baselines) and model.memorization is not None
    assert ("kernel distance" in found.verdict) == all(test.better == model.name for test in tests)


def test_the_verdict_names_the_kernel_distance_only_if_all_baselines_are_worse(found: Evaluation) -> None:
    name = found.models[0].name
    beaten = [SignificanceTest("kernel_distance", name, second, -1, -2, -0.5, 0.01, 6) for second in ("a", "b")]
    assert "By kernel distance significantly nearer" in verdict(replace(found, tests=(*found.tests, *beaten)))
    for p, difference in ((0.3, -1.0), (0.01, 1.0)):
        other = replace(beaten[1], p=p, difference=difference)
        assert "kernel" not in verdict(replace(found, tests=(*found.tests, beaten[0], other)))


# By mask ratio.


def test_groups_include_their_upper_border() -> None:
    shares = [0.0, 0.001, 0.1, np.nextafter(0.1, 1), 0.3, 0.6, 0.61, 1.0]
    values = [math.nan, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0]
    groups = by_mask_ratio(shares, [Subject("a", {"psnr_masked": values}), Subject("b", {"l1_masked": values})])
    found = [(group.over, group.up_to, group.images, group.figures["a"]["psnr_masked"].mean) for group in groups]
    assert found == [
        (0.0, 0.1, 2, 2.0),
        (0.1, 0.2, 1, 5.0),
        (0.2, 0.3, 1, 7.0),
        (0.5, 0.6, 1, 9.0),
        (0.6, 1.0, 2, 12.0),
    ]
    assert [group.heading for group in groups][::4] == ["0% to 10%", "over 60%"]
    assert all(group.figures["b"].keys() == {"l1_masked"} for group in groups)
    assert by_mask_ratio([0.0], [Subject("a", {"psnr_masked": [math.nan]})]) == ()


def test_a_metric_without_a_value_in_a_group_is_left_out() -> None:
    (low, high) = by_mask_ratio([0.05, 0.15], [Subject("a", {"ssim": [math.nan, 0.5], "l1_masked": [0.1, 0.2]})])
    assert low.figures["a"].keys() == {"l1_masked"} and high.figures["a"].keys() == {"l1_masked", "ssim"}


def test_files_contain_masked_metrics_and_mask_ratios(photos: Path, masks: Path, tmp_path: Path, capsys: Any) -> None:
    task = from_folder(masks)
    models = {"good": OffBy(0.1), "bad": OffBy(0.4)}
    found = compare(models, photos, task=task, options=NO_FEATURES, quiet=True)
    write_all(tmp_path, "c", found, dict(models), photos, task)
    with (tmp_path / "c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mask_ratio"]) for row in rows] == list(found.mask_ratios)
    assert [float(row["good: psnr_masked"]) for row in rows] == found.models[0].per_image["psnr_masked"]

    content = json.loads((tmp_path / "c.json").read_text())
    groups = {group["over"]: group for group in content["mask_ratio_groups"]}
    assert sum(group["images"] for group in groups.values()) == 6
    for group in groups.values():
        assert list(group["figures"]) == ["good", "bad", "harmonic fill", "Telea"]
        assert group["figures"]["good"]["psnr_masked"]["mean"] == pytest.approx(20 * math.log10(20), abs=1e-3)
        assert group["figures"]["Telea"].keys() == {"psnr_masked", "l1_masked", "psnr", "ssim"}
    assert str(masks) in content["mask_source"] and content["conventions"]["psnr_masked"]

    page = (tmp_path / "c.html").read_text()
    assert "By mask ratio" in page and "over 60%" in page and "Best images of good, by L1 in the mask" in page
    show(found, as_json=False, out=None, name="comparison")
    printed = " ".join(capsys.readouterr().out.split())
    assert "share of an image that is masked" in printed and "from 3 files in" in printed


def test_only_tasks_with_masks_have_a_table_by_mask_ratio(found: Evaluation) -> None:
    plain = replace(found, mask_source="", mask_ratios=(), mask_ratio_groups=())
    assert "By mask ratio" not in report(plain, []) and "By mask ratio" in report(found, [])


# The choice of masks.


def mask_ratios_of(task: EvaluatedInpainting, photos: Path) -> list[float]:
    data, _ = task.open_data(photos, "test", augment=False, seed=0)
    return [float(data[(0, index)].mask.mean()) for index in range(len(data))]


def test_masks_of_a_folder_replace_those_of_the_training(photos: Path, masks: Path) -> None:
    trained = EvaluatedInpainting(
        EvaluatedInpaintingConfig(MaskedConfig(image_channels=3, drawn_masks=MaskConfig(("box",), 0.2, 0.25)))
    )
    drawn = mask_ratios_of(trained, photos)
    assert all(0.19 < share < 0.26 for share in drawn)
    assert with_masks(trained, MaskOptions()) is trained
    read_from = with_masks(trained, MaskOptions(masks=masks))
    assert set(mask_ratios_of(read_from, photos)) <= {np.float32(share) for share in (0.1, 0.3, 0.7)}  # type: ignore[arg-type]
    assert read_from.config.data.drawn_masks.mask_kinds == ("box",) and trained.config.data.masks is None
    bounded = with_masks(trained, MaskOptions(masks=masks, min_mask_ratio=0.2, max_mask_ratio=0.4))
    assert mask_ratios_of(bounded, photos) == pytest.approx([0.3] * 6)  # type: ignore[arg-type]
    larger = with_masks(trained, MaskOptions(min_mask_ratio=0.5, max_mask_ratio=0.6))
    assert all(0.49 < share < 0.61 for share in mask_ratios_of(larger, photos))  # type: ignore[arg-type]


def test_masks_of_other_kinds_than_in_the_training_can_be_drawn(photos: Path, masks: Path) -> None:
    trained = EvaluatedInpainting(
        EvaluatedInpaintingConfig(
            MaskedConfig(image_channels=3, drawn_masks=MaskConfig(("box",), 0.2, 0.25), masks=masks)
        )
    )
    framed = with_masks(trained, MaskOptions(mask_kinds=("border",)))
    data, _ = framed.open_data(photos, "test", augment=False, seed=0)
    mask = data[(0, 0)].mask[0] > 0
    assert mask[0].all() and mask[:, 0].all() and not mask.all()
    drawn = mask_ratios_of(framed, photos)  # type: ignore[arg-type]
    assert len(set(drawn)) > 2 and not all(0.19 < share < 0.26 for share in drawn)
    bounded = with_masks(trained, MaskOptions(mask_kinds=("border",), min_mask_ratio=0.5, max_mask_ratio=0.6))
    assert all(0.49 < share < 0.61 for share in mask_ratios_of(bounded, photos))  # type: ignore[arg-type]


def test_mask_files_of_the_test_split_suffice(photos: Path, tmp_path: Path) -> None:
    """The training images are read too, but need no masks."""
    write_masks(tmp_path / "test", 20)
    found = evaluate(OffBy(0.25), photos, task=from_folder(tmp_path), quiet=True)
    assert set(found.mask_ratios) == {0.5} and found.models[0].memorization is not None
    assert draw_galleries(found, {found.models[0].name: OffBy(0.25)}, photos, from_folder(tmp_path))


def test_mask_options_that_do_not_fit_are_refused(photos: Path, masks: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pix2pix has no masks.*--masks"):
        with_masks(Pix2Pix(), MaskOptions(masks=masks))
    with pytest.raises(UserError, match="at most max_mask_ratio"):
        with_masks(EvaluatedInpainting(), MaskOptions(min_mask_ratio=0.5, max_mask_ratio=0.4))
    with pytest.raises(UserError, match="one of the two"):
        MaskOptions(masks=masks, mask_kinds=("box",))
    task = with_masks(EvaluatedInpainting(), MaskOptions(masks=tmp_path / "none"))
    with pytest.raises(UserError, match="not a folder"):
        evaluate(OffBy(0.1), photos, task=task, options=NO_FEATURES, quiet=True)
