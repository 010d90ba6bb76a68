"""What is logged with the sample grids and of held-out images.

A colour cast is diagnosed in any kind of task, and right colours are not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import built, tiny_task, write_pairs

from gan_tasks.datasets.images import read
from gan_tasks.datasets.paired import Pair
from gan_tasks.runs.reports.diagnosis import diagnose
from gan_tasks.training.data import open_data
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.stopping.signals import StopSignals
from gan_tasks.training.validation import MOST_GRIDS_BY_TIME, Samples, evaluate_images, thin_samples

PINK = torch.tensor([0.35, -0.1, 0.25])[:, None, None]
"""What is added to outputs in [-1, 1]: 45, -13 and 32 levels of 255."""


def logged(task: Any, images: Path, out: Path, cast: torch.Tensor) -> dict[str, float]:
    """Return what is logged of a model that is right but for a cast."""
    task, data = open_data(task, images, 0, quiet=True)
    task = built(task)
    wanted = task.inputs_and_target

    def noted(batch: Any) -> Any:
        inputs, target = wanted(batch)
        task.target = target
        return inputs, target

    task.inputs_and_target = noted
    task.infer = lambda *_: task.target + cast
    with start_runtime("cpu", "fp32") as runtime:
        return Samples(task, data.shown).save(out / "step-00000001.png", task.generators, runtime, StopSignals())


def findings(values: dict[str, float]) -> dict[str, str]:
    """Return the findings about colours by level, of a finished run that logged these values."""
    started = {"step": 0, "images": 0, "time": 0.0, "event": "started", "total_images": 40}
    lines = [{"step": step, "images": 10 * step, "time": 0.0, **values} for step in range(5)]
    return {found.level: found.sentence for found in diagnose([started, *lines]) if "outputs" in found.sentence}


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan", "cut", "super-resolution", "inpainting"])
def test_a_pink_model_is_diagnosed_and_a_right_one_is_not(name: str, pairs: Path, tmp_path: Path) -> None:
    pink = findings(logged(tiny_task(name), pairs, tmp_path, PINK))
    assert "colour cast, too much red" in pink["warning"] and "little green" in pink["warning"]
    assert findings(logged(tiny_task(name), pairs, tmp_path, torch.zeros(3, 1, 1))) == {}


def test_the_colours_of_the_untrained_network_are_no_finding(pairs: Path, tmp_path: Path) -> None:
    values = logged(tiny_task("pix2pix"), pairs, tmp_path, PINK)
    started = {"step": 0, "images": 0, "time": 0.0, "event": "started", "total_images": 4000}
    untrained = {"step": 0, "images": 0, "time": 0.0, **values}
    assert not [found for found in diagnose([started, untrained], is_running=True) if "cast" in found.sentence]
    early = [started, untrained, {**untrained, "step": 9, "images": 90}]
    (found,) = [found for found in diagnose(early, is_running=True) if "cast" in found.sentence]
    assert found.level == "note" and "Soon after the start" in found.sentence


def test_an_output_equal_to_its_target_leaves_the_mean_psnr_finite() -> None:
    """Otherwise no later evaluation would be better, and `best` would stay where it is."""
    task = built(tiny_task("pix2pix"))
    task.infer = lambda source: source  # type: ignore[method-assign]
    gray = np.zeros((3, 16, 16), np.float32)
    data = {(0, 0): Pair(gray, gray), (0, 1): Pair(gray, gray + np.float32(0.2))}  # inf and 20 dB
    with start_runtime("cpu", "fp32") as runtime:
        found = evaluate_images(task, task.generators, data, limit=0, runtime=runtime, signals=StopSignals())  # type: ignore[arg-type]
    assert found is not None and found["psnr"] == pytest.approx((100 + 20) / 2, abs=1e-3)


def test_grids_by_time_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Those at the step intervals, the first and the newest are kept."""
    for step in range(0, 3000, 7):
        (tmp_path / f"step-{step:08d}.png").touch()
        thin_samples(tmp_path, 70)
    left = sorted(int(path.stem[5:]) for path in tmp_path.iterdir())
    by_time = [step for step in left if step % 70]
    assert set(range(0, 3000, 70)) <= set(left) and max(left) == 2996
    assert MOST_GRIDS_BY_TIME // 2 <= len(by_time) < MOST_GRIDS_BY_TIME and min(by_time) < 300


def test_what_a_killed_process_left_of_a_grid_is_deleted(tmp_path: Path) -> None:
    kept, left = tmp_path / "step-00000000.png", tmp_path / ".step-00000004.png.4c009a3f.tmp"
    for path in (kept, left):
        path.write_bytes(b"")
    thin_samples(tmp_path, 0)
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("collapsed", [True, False])
def test_the_samples_of_a_generator_are_shown_and_their_diversity_is_logged(collapsed: bool, tmp_path: Path) -> None:
    """Outputs of noise, or the same image for every latent, beside photos."""
    images = write_pairs(tmp_path / "data", train=2, test=10)
    task, data = open_data(tiny_task("noise-to-image"), images, 0, quiet=True)
    task = built(task)
    same = torch.rand(1, 3, 32, 32)
    task.infer = lambda *_: same if collapsed else torch.rand(1, 3, 32, 32) * 4 - 2
    with start_runtime("cpu", "fp32") as runtime:
        path = tmp_path / "step-00000001.png"
        values = Samples(task, data.shown).save(path, task.generators, runtime, StopSignals())
    assert values is not None and "outputs/diversity" not in values
    assert values["samples/diversity"] == 0 if collapsed else values["samples/diversity"] > 0.5
    assert read(path).pixels.shape[0] == 28 + 4 * 134  # a title, and rows of four of the samples
