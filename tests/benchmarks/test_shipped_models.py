"""`benchmarks/shipped_models.py` measures models beside their baselines, and says which goals they reach."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shipped_models
import torch
from handmade_onnx import write_onnx
from shipped import colourise, data, descratch, fill, restore, translate, upscale
from shipped.data import Sources
from shipped.drawings import facade, shoe
from shipped.models import MODELS
from shipped.pictures import CREDITS, LARGEST_BYTES, SHOWN
from shipped.results import Column, Goal, Results, Row, Table, read_results
from shipped_models import publish, without_folders
from tiny import photo, tiny_task, write_pairs, write_run

from gan_tasks.datasets.degradations import damage
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, Pixels, fit_channels, read, to_float, write
from gan_tasks.datasets.sample_photos import read_photos
from gan_tasks.export.evaluation.evaluate import evaluate
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.evaluation.result import Evaluation, Figure
from gan_tasks.export.load import load
from gan_tasks.export.models.base import Model
from gan_tasks.metrics.baselines import fill_harmonic, upscale_bicubic
from gan_tasks.metrics.features import FeatureNetwork

ROOT = Path(__file__).parents[2]
PHOTOS, SIDE_PX = 6, 64


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(PHOTOS):
        grain = np.random.default_rng(seed).normal(0, 12, (SIDE_PX, SIDE_PX, 3))
        pixels = np.clip(photo(SIDE_PX, SIDE_PX, seed) + grain, 0, 255).astype(np.uint8)
        write(folder / f"{seed}.png", Picture(pixels))
    return folder


class Grain(torch.nn.Module):
    """Features without weights: how much neighbouring pixels differ, the median of each of 4×4 parts of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        parts = (images - images.roll(1, dims=3)).abs().mean(dim=1).unflatten(1, (4, -1)).unflatten(3, (4, -1))
        return 10 * parts.movedim(2, 3).flatten(3).median(dim=3).values.flatten(1)


@pytest.fixture(autouse=True)
def quick_features(monkeypatch: pytest.MonkeyPatch) -> None:
    network = FeatureNetwork("grain", Grain(), lambda pixels: torch.from_numpy(to_float(pixels)))
    monkeypatch.setattr(data, "feature_network", lambda: network)


class Stand:
    """Stands in for a loaded model."""

    title = "model"

    def __init__(self, run: Callable[..., Pixels], scale: int = 1) -> None:
        self.run = run
        self.spec = SimpleNamespace(scale=scale, trained_with=())

    def __call__(self, *inputs: Any) -> Pixels:
        return self.run(*inputs)


def real_in_turn(photos: Path, repeated: int = 1) -> Callable[..., Pixels]:
    """A function that knows what is asked: it returns the photographs in turn, each with a little noise."""
    known = [read(path).pixels for path in sorted(photos.iterdir()) for _ in range(repeated)]
    turn = itertools.cycle(known)

    def run(*inputs: Pixels) -> Pixels:
        pixels = next(turn)
        noise = np.random.default_rng(0).integers(-1, 2, pixels.shape)
        return np.clip(pixels + noise, 0, 255).astype(np.uint8)

    return run


def figures(table: Table) -> dict[str, list[float]]:
    """The means of a table by its rows, nan where there is none."""
    return {row.name: [np.nan if each is None else each.mean for each in row.figures] for row in table.rows}


def met(goals: list[Goal]) -> list[bool]:
    return [goal.is_met for goal in goals]


def test_a_model_that_enlarges_is_measured_beside_bicubic(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "Set5").mkdir()
    (tmp_path / "Set5" / "HR").symlink_to(photos)
    sources = Sources(photos=photos, sets=(tmp_path / "Set5",), images=2)
    (table,), goals = upscale.faithful(Stand(lambda small: upscale_bicubic(small, 4), 4), sources)  # type: ignore[arg-type]
    found = figures(table)
    assert list(found) == [f"Set5, {PHOTOS} images", "photographs, 2 images"]
    assert all(values[0] == values[1] and values[2] == 0 and values[3] == values[4] for values in found.values())
    assert met(goals) == [False]
    (table,), goals = upscale.faithful(Stand(real_in_turn(photos), 4), sources)  # type: ignore[arg-type]
    assert figures(table)[f"Set5, {PHOTOS} images"][1] > 45
    assert met(goals) == [True]


@pytest.mark.parametrize("is_crisp", [True, False])
def test_the_crisp_model_has_patches_nearer_to_real_ones(photos: Path, is_crisp: bool) -> None:
    smooth = Stand(lambda small: upscale_bicubic(small, 4), 4)
    crisp = Stand(real_in_turn(photos), 4) if is_crisp else smooth
    sources = Sources(photos=photos, real=photos, open_model=lambda name: smooth)  # type: ignore[arg-type, return-value]
    (table,), goals = upscale.crisp(crisp, sources)  # type: ignore[arg-type]
    found = figures(table)
    assert met(goals) == [is_crisp]
    assert (found["model"][0] < found[upscale.FAITHFUL][0] / 2) is is_crisp
    assert found["bicubic"] == found[upscale.FAITHFUL]


def test_a_model_that_restores_is_measured_beside_the_better_of_input_and_filter(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: restore.DEGRADATIONS[name] for name in ("JPEG quality 60", "noise σ 25")}
    monkeypatch.setattr(restore, "DEGRADATIONS", few)
    (degraded, clean), goals = restore.restore(Stand(lambda pixels: pixels), Sources(photos=photos))  # type: ignore[arg-type]
    of_input, of_filter, of_model, gained = next(
        values for name, values in figures(degraded).items() if name.startswith("noise")
    )
    assert of_input == of_model < of_filter and gained == pytest.approx(of_model - of_filter, abs=1e-4)
    assert met(goals) == [False, True]
    assert figures(clean)["no degradation"][0] == np.inf
    assert figures(clean)["JPEG quality 95"][2:] == [0, 0]
    _, goals = restore.restore(Stand(real_in_turn(photos)), Sources(photos=photos))  # type: ignore[arg-type]
    assert met(goals) == [True, True]


@pytest.mark.parametrize("knows", [True, False])
def test_a_model_that_fills_is_measured_beside_classical_fills(photos: Path, tmp_path: Path, knows: bool) -> None:
    mask = np.zeros((SIDE_PX, SIDE_PX, 1), np.uint8)
    mask[10:40, 10:50] = 255
    write(tmp_path / "mask.png", Picture(mask))
    answer = real_in_turn(photos, len(fill.BANDS))
    runs = 0

    def run(pixels: Pixels, region: Any) -> Pixels:
        nonlocal runs
        runs += 1
        assert (pixels[region] == 255).all()  # it does not see what it has to fill
        is_drawn = runs <= PHOTOS * len(fill.BANDS)
        return np.where(region[..., None], answer(), pixels) if knows and is_drawn else fill_harmonic(pixels, region)

    (by_ratio, distances), goals = fill.fill(Stand(run), Sources(photos=photos, real=photos, masks=tmp_path))  # type: ignore[arg-type]
    found = figures(by_ratio)
    assert list(found)[-2:] == ["20 to 40 %, 6 photographs", "mask files, 20 to 40 %, 6 photographs"]
    aimed, parts = (sum(np.array(list(found.values()))[rows]) for rows in (slice(4, 5), slice(1, 3)))
    np.testing.assert_allclose(aimed, parts / 2, atol=1e-4)
    assert distances.note.startswith("6 results, one of each photograph")
    assert all((values[-1] > 10) is knows for name, values in found.items() if "files" not in name)
    assert met(goals)[:2] == [knows, knows]
    assert (figures(distances)["model"][0] < figures(distances)["harmonic fill"][0]) is knows


@pytest.mark.parametrize("knows", [True, False])
def test_a_model_that_colours_is_measured_beside_the_gray_photographs(photos: Path, knows: bool) -> None:
    known = itertools.cycle([read(path).pixels for path in sorted(photos.iterdir())])
    run = (lambda gray: next(known)) if knows else (lambda gray: fit_channels(gray, 3))
    sources = Sources(photos=photos, real=photos, real_is="photographs of its training data")
    (table,), goals = colourise.colourise(Stand(run), sources)  # type: ignore[arg-type]
    assert table.note.startswith(f"{PHOTOS} photographs, beside {PHOTOS} photographs of its training data. ")
    found = figures(table)
    assert found["gray"][2] == pytest.approx(0, abs=0.1)
    assert found["model"][3] == pytest.approx(100 if knows else 0, abs=0.1)
    assert (found["model"][1] < found["gray"][1]) is knows
    assert met(goals)[1:] == [knows, knows, True]


@pytest.mark.parametrize("knows", [True, False])
def test_a_model_that_mends_is_measured_in_the_damage_and_beside_it(photos: Path, knows: bool) -> None:
    run = real_in_turn(photos) if knows else (lambda pixels: pixels // 2)
    (damaged, undamaged), goals = descratch.descratch(Stand(run), Sources(photos=photos))  # type: ignore[arg-type]
    assert met(goals) == [knows, knows]
    (*_, precision, recall) = figures(damaged)["all kinds"]
    assert figures(damaged).keys() == {"all kinds", *(f"{kind.draw.__name__} alone" for kind in damage.KINDS)}
    assert recall > 0.9 and (precision > 0.9) is knows
    assert (figures(undamaged)[f"{PHOTOS} photographs"] == [0, 1]) is knows


def test_a_model_that_translates_pairs_is_measured_beside_its_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translate, "evaluate", lambda model, root, options: evaluate_plainly(model, root))
    write_pairs(tmp_path / "data", test=4)
    run = load(write_run(tmp_path / "run", tiny_task("pix2pix")), device="cpu")
    (table,), _ = translate.with_pairs(run, Sources(data=tmp_path / "data"))
    found = figures(table)
    assert {"source itself", "mean image", "affine map of the colours"} < found.keys()
    assert found["affine map of the colours"][0] < found["source itself"][0]


def evaluate_plainly(model: Model, root: Path) -> Evaluation:
    return evaluate(model, root, options=EvaluationOptions(features="none"), quiet=True)


def test_results_are_written_and_read_again(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "runs" / "upscale-x2", tiny_task("super-resolution"))
    arguments = ["--photos", str(photos), "--images", "2", "--out", str(tmp_path / "out")]
    shipped_models.main([f"upscale-x2={run}", *arguments])
    results = read_results(tmp_path / "out" / "upscale-x2.json")
    text = (tmp_path / "out" / "upscale-x2.md").read_text()
    assert results.markdown() == text.rstrip("\n") and text in capsys.readouterr().out
    assert "photographs, 2 images" in text
    assert str(tmp_path) not in results.command and f"upscale-x2 --photos {photos.name} --images 2" in results.command

    shipped_models.main(["upscale-x2", "--models", str(run.parent), *arguments])
    assert read_results(tmp_path / "out" / "upscale-x2.json").tables == results.tables


TEXTS = """[upscale-x2]
summary = "photographs, twice as large"
training_data = "drawn images"
test_data = "7 other drawings"
licence = "CC0"
training_time = "1 s"
training_command = "gan-tasks train super-resolution --init-from runs/before"
limits = ["It has learned nothing."]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What is published into: a card, the texts of a model, the index of the documents and their navigation."""
    (tmp_path / "models" / "gan_tasks_models").mkdir(parents=True)
    (tmp_path / "docs" / "models").mkdir(parents=True)
    (tmp_path / "models" / "models.toml").write_text(TEXTS)
    card = tmp_path / "models" / "gan_tasks_models" / "upscale-x2.md"
    card.write_text("# Model card\n\n<!-- figures -->\nold\n<!-- /figures -->\n\n## Known limits\n")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copy(ROOT / "docs" / "models" / "index.md", tmp_path / "docs" / "models")
    return tmp_path


def test_figures_are_published_in_the_card_and_on_a_page(tree: Path) -> None:
    model = load(write_run(tree / "run", tiny_task("super-resolution")), device="cpu")
    table = Table("Enlarged", "Images", (Column("PSNR"),), (Row("Set5", (Figure(30, 29, 31),)),))
    results = Results("upscale-x2", "sha256:0", "python …", (table,), (Goal("At least 29 dB", "30 dB", True),))
    for _ in range(2):  # the second time replaces what is there
        publish(results, model, Sources(), tree)
    card = (tree / "models" / "gan_tasks_models" / "upscale-x2.md").read_text()
    page = (tree / "docs" / "models" / "upscale-x2.md").read_text()
    for text in (card, page):
        assert text.count("| Set5 | 30.00 (29.00 to 31.00) |") == 1 and "- At least 29 dB: met, 30 dB." in text
        assert text.index("Measured on 7 other drawings.") < text.index("| Set5")
    assert "old" not in card and "## Known limits" in card
    assert "- It has learned nothing." in page
    assert "Data: drawn images. Licence: CC0. Time: 1 s." in page
    assert "```bash\ngan-tasks train super-resolution --init-from runs/before\n```" in page
    picture = tree / "docs" / "models" / "upscale-x2.jpg"
    assert "(upscale-x2.jpg)" in page and 0 < picture.stat().st_size <= LARGEST_BYTES
    index = (tree / "docs" / "models" / "index.md").read_text()
    assert index.count("| [upscale-x2](upscale-x2.md) | Photographs, twice as large. |") == 1
    assert (tree / "mkdocs.yml").read_text().count("      - upscale-x2: models/upscale-x2.md\n") == 1


def test_only_figures_of_the_file_that_ships_are_published(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, other = tree / "models" / "gan_tasks_models" / "upscale-x2.onnx", tree / "other.onnx"
    write_onnx(other, task="super-resolution", scale=2, model_name="other")
    monkeypatch.setattr(shipped_models, "ROOT", tree)
    monkeypatch.setattr(shipped_models, "measured", lambda *_: pytest.fail("measured before it was refused"))
    arguments = [f"upscale-x2={other}", "--publish", "--out", str(tree / "out")]
    with pytest.raises(UserError, match="is missing: add it"):
        shipped_models.main(arguments)
    write_onnx(shipped, task="super-resolution", scale=2, model_name="shipped")
    with pytest.raises(UserError, match=r"other\.onnx is not the model of .*--models models/gan_tasks_models"):
        shipped_models.main(arguments)
    shutil.copy(shipped, other)
    with pytest.raises(UserError, match="--publish with --images"):
        shipped_models.main([*arguments, "--images", "2"])
    with pytest.raises(pytest.fail.Exception, match="measured before"):
        shipped_models.main(arguments)


def test_the_command_for_publication_has_no_folders() -> None:
    words = ["fill=runs/fill", "--photos=my/own/test", "--images=5", "--out", "my/own/out"]
    assert list(map(without_folders, words)) == ["fill", "--photos=test", "--images=5", "--out", "out"]


def test_images_that_leave_nothing_to_measure_end_in_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "plain.png", Picture(np.full((32, 32, 3), 128, np.uint8)))
    sources, idle = Sources(photos=tmp_path), Stand(lambda pixels: pixels)
    _, goal = restore.on_clean_photos(idle, sources.read_photos())  # type: ignore[arg-type]
    assert not goal.is_met and goal.found == "no photograph was changed by the compression"
    monkeypatch.setattr(damage, "degrade", lambda pixels, rng, kinds: (pixels, np.zeros((32, 32), bool)))
    table, goal = descratch.on_damaged(idle, sources.read_photos())  # type: ignore[arg-type]
    assert not goal.is_met and "| all kinds | – | – |" in table.markdown()


def test_every_model_has_a_picture_without_photographs_that_name_no_licence() -> None:
    assert SHOWN.keys() == MODELS.keys()
    assert CREDITS.keys() == read_photos().keys() - {"motorcycle_left"}
    assert all(
        drawn.shape == (256, 256, 3) for drawn in (facade(np.random.default_rng(0)), shoe(np.random.default_rng(0)))
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["upscale-x5"], "did you mean upscale-x[24]"),
        (["restore-x1={run}", "fill", "restore-x1"], "restore-x1 is given twice"),
        (["restore-x1={run}"], "--photos"),
        (["restore-x1={run}", "--photos", "{run}"], "has no images"),
        (["labels2facade={run}"], "--data"),
    ],
)
def test_what_is_missing_is_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tiny_task("super-resolution"))
    words = [word.format(run=run) for word in arguments]
    with pytest.raises(UserError, match=message):
        shipped_models.main([*words, "--out", str(tmp_path / "out")])
