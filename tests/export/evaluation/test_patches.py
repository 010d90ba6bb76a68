"""Sets of patches: cutting, counting and comparing them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import photo, tiny_task, write_pairs, write_run

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, to_uint8, write
from gan_tasks.export.evaluation.evaluate import compare, evaluate
from gan_tasks.export.evaluation.evaluator import count_patches, patches
from gan_tasks.export.evaluation.galleries import draw_galleries
from gan_tasks.export.evaluation.model_tasks import open_model, task_of
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.evaluation.report import report
from gan_tasks.export.evaluation.result import to_json
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.metrics import distribution
from gan_tasks.metrics.features import efficientnet_lite0, features
from gan_tasks.spec import InputSpec, ModelSpec


class Resized(Model):
    """A model that upscales by nearest neighbour, then blurs by a mean over squares."""

    def __init__(self, scale: int, blur: int = 1) -> None:
        image = InputSpec("image", "image", 3, "any")
        self.spec = ModelSpec("super-resolution", "upscale", (image,), 3, scale=scale)
        self.title, self.blur = f"blur {blur}", blur

    def version(self) -> str:
        return self.title

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False

    def run(self, *inputs: FloatImages) -> FloatImages:
        (images,) = inputs
        large = images.repeat(self.spec.scale, 2).repeat(self.spec.scale, 3)
        around = np.pad(large, ((0, 0), (0, 0), (0, self.blur - 1), (0, self.blur - 1)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(around, (self.blur, self.blur), (2, 3))
        blurred: FloatImages = windows.mean((4, 5), dtype=np.float32)
        return blurred


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of 70 × 100 px and one of 20 × 60 px, all with grain."""
    root = tmp_path_factory.mktemp("photos")
    (root / "test").mkdir()
    for index, size in enumerate([(70, 100), (70, 100), (20, 60)]):
        grain = photo(size[0] // 2, size[1] // 2, seed=index) // 2
        grain += np.random.default_rng(index).integers(0, 128, grain.shape, dtype=np.uint8)
        write(root / "test" / f"{index}.png", Picture(grain.repeat(2, 0).repeat(2, 1)))
    return root


@given(height=st.integers(1, 50), width=st.integers(1, 50), side=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_patches_cover_the_image_once_from_the_upper_left(height: int, width: int, side: int) -> None:
    image = np.arange(2 * height * width, dtype=np.float32).reshape(2, height, width)
    found = patches(image, side)
    assert len(found) == count_patches((height, width), side)
    if min(height, width) < side:
        assert len(found) == 1 and found[0] is image
        return
    assert {part.shape for part in found} == {(2, side, side)}
    down, across = height // side, width // side
    expected = image[:, : down * side, : across * side]
    rows = [np.concatenate(found[row * across : (row + 1) * across], axis=2) for row in range(down)]
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), expected)


def test_with_a_side_of_0_the_whole_image_is_the_patch() -> None:
    image = np.zeros((3, 5, 7), np.float32)
    assert patches(image, 0)[0] is image and count_patches((5, 7), 0) == 1


def test_set_metrics_use_the_patches(photos: Path) -> None:
    options = EvaluationOptions(patch=32)
    model = Resized(2, blur=3)
    found = evaluate(model, photos, options=options, quiet=True)
    assert found.images == 3  # metrics of single images use whole images
    assert len(found.models[0].per_image["l1"]) == 3

    data, _ = task_of(model).open_data(photos, "test", augment=False, seed=0)
    samples = [data[(0, index)] for index in range(3)]
    network = efficientnet_lite0()

    def rows(images: list[FloatImages]) -> distribution.Features:
        parts = [
            image[:, top : top + 32, left : left + 32]
            for image in images[:2]
            for top in (0, 32)
            for left in (0, 32, 64)
        ]
        parts.append(images[2])
        return features(network, [to_uint8(part) for part in parts], count=13, quiet=True)

    real = rows([sample.high for sample in samples])
    generated = rows([model.run(sample.low[None])[0] for sample in samples])
    assert len(real) == 13
    expected = distribution.kernel_distance(real, generated)
    measured = found.models[0].set_metrics
    assert measured is not None
    assert measured.kernel_distance.mean == pytest.approx(expected.value, rel=1e-4)
    assert (measured.kernel_distance.low, measured.kernel_distance.high) == pytest.approx(
        (expected.low, expected.high), rel=1e-4
    )
    assert found.real_vs_real is not None and found.real_vs_real.high == pytest.approx(
        expected.real_vs_real.high, rel=1e-4
    )


def test_patches_are_compared_if_there_are_too_few_images(photos: Path) -> None:
    whole = evaluate(Resized(2), photos, quiet=True)
    assert not whole.features and any("Sets of images are compared from" in note for note in whole.notes)
    patched = evaluate(Resized(2), photos, options=EvaluationOptions(patch=32), quiet=True)
    assert patched.features and any("patches of 32 px a side" in note for note in patched.notes)
    few = evaluate(Resized(2), photos, options=EvaluationOptions(patch=70), quiet=True)
    assert not few.features and any(
        "Sets of patches are compared from 4 patches on; here are 3" in note for note in few.notes
    )


def test_the_sharper_of_two_models_is_nearer_to_the_real_images(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models: dict[str, Model] = {"sharp": Resized(2), "blurred": Resized(2, blur=9)}
    found = compare(models, photos, options=EvaluationOptions(patch=24), quiet=True)
    (test,) = [test for test in found.tests if test.metric == "kernel_distance"]
    assert test.better == "sharp" and test.images == 2 * 2 * 4 + 1
    assert found.inputs is None and "untranslated" not in str(report(found, [])).lower()
    runs = [write_run(tmp_path / name, tiny_task("super-resolution")) for name in "ab"]
    with pytest.raises(SystemExit) as exited:
        main(["compare", *map(str, runs), "--data", str(photos), "--patch", "32", "--out", str(tmp_path / "out")])
    assert exited.value.code == 0
    printed = capsys.readouterr().out
    assert "Kernel distance" in printed and "patches of 32 px" in " ".join(printed.split())
    assert "patches of 32 px" in (tmp_path / "out" / "comparison.html").read_text()


def test_unpaired_inputs_are_cut_too_and_own_sources_are_not_searched(tmp_path: Path) -> None:
    for side, count, first in (("A", 3, 0), ("B", 4, 50)):
        for split in ("train", "test"):
            (tmp_path / split / side).mkdir(parents=True)
            for index in range(count):
                write(tmp_path / split / side / f"{index}.png", Picture(photo(64, 64, seed=first + index)))
    run = write_run(tmp_path / "run", tiny_task("cyclegan"))
    model = open_model(run, device="cpu", mode="eval", direction=None)
    found = evaluate(model, tmp_path, options=EvaluationOptions(patch=32), quiet=True)
    (subject,) = found.models
    assert found.images == 3 and found.inputs is not None and subject.set_metrics is not None
    assert subject.set_metrics.own_source_share is None and subject.memorization is None
    assert "to_real" not in subject.per_image
    task = task_of(model)
    assert report(found, draw_galleries(found, {subject.name: model}, tmp_path, task))
    assert to_json(found)["memorization"] is None


def test_training_images_are_not_searched_with_patches(tmp_path: Path) -> None:
    data = write_pairs(tmp_path, train=5, test=5, size=(64, 64))
    model = gan_tasks.load(write_run(tmp_path / "run", tiny_task("pix2pix"))).model
    assert evaluate(model, data, quiet=True).models[0].memorization is not None
    found = evaluate(model, data, options=EvaluationOptions(patch=32), quiet=True)
    assert found.models[0].memorization is None and found.models[0].set_metrics is not None
    assert found.inputs is not None  # of the targets' size


def test_metrics_of_patches_do_not_replace_those_in_the_run_folder(photos: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tiny_task("super-resolution"))
    for options, written in ((("--patch", "32"), False), ((), True)):
        with pytest.raises(SystemExit) as exited:
            main(["evaluate", str(run), "--data", str(photos), *options])
        assert exited.value.code == 0 and (run / "evaluation.json").exists() == written


def test_a_negative_side_is_refused() -> None:
    with pytest.raises(UserError, match="patch is -1"):
        EvaluationOptions(patch=-1)
