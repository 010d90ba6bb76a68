"""Adaptive augmentation (ADA) and pseudo-real images (APA): the rule written out, its effect, and its state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import adversarial_stage, built, tiny_batch, tiny_task
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.adaptive import initial_state, is_state, updated_state
from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.diff_augment import Augmentation
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.runs.checkpoint import CheckpointError, list_checkpoints, load_checkpoint
from gan_tasks.tasks.base import Step
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import resume, train
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer

ALL: tuple[Augmentation, ...] = ("colour", "translation", "cutout", "flip", "geometry")
CONFIG = AdversarialConfig(adversarial="hinge", d_augment=ALL, d_augment_adaptive=True)


class Recorder:
    """A discriminator whose logits are the means over the channels; it records its inputs."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []

    def __call__(self, *images: Tensor) -> list[list[Tensor]]:
        self.inputs.append(images[-1].detach())
        return [[torch.cat(images, dim=1).mean(dim=1, keepdim=True)]]


def step_with(probability: float, *, index: int = 0) -> Step:
    stage = adversarial_stage(tiny_task("pix2pix"))
    state = torch.tensor([probability, 0.0, 0.0])
    return Step(index, stage, torch.Generator().manual_seed(index), adaptive={"d": state})


def some_images(count: int = 400, *, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_probability_follows_the_sign_statistic_as_published() -> None:
    """Every four steps it rises or falls by their images over 500,000, as their mean is above or below the target."""
    statistics = np.random.default_rng(0).uniform(-0.4, 1, 203)
    target, images, full = 0.3, 32, 2000
    expected, probability = [], 0.0
    for step, _ in enumerate(statistics, start=1):
        if step % 4 == 0:
            probability += np.sign(statistics[step - 4 : step].mean() - target) * 4 * images / full
            probability = min(max(probability, 0.0), 1.0)
        expected.append(probability)
    state, found = initial_state(torch.device("cpu")), []
    for statistic in statistics:
        value = torch.tensor(statistic, dtype=torch.float32)
        state = updated_state(state, value, target=target, step_images=images, full_images=full)
        found.append(float(state[0]))
        assert is_state("d", state)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert 0 in expected[4:] and max(expected) > 0.1


def test_the_default_takes_500_000_images_to_full_strength() -> None:
    state, config = initial_state(torch.device("cpu")), AdversarialConfig()
    for _ in range(8):
        state = updated_state(
            state,
            torch.tensor(0.61),
            target=config.d_adaptive_target,
            step_images=1000,
            full_images=config.d_adaptive_images,
        )
    assert float(state[0]) == pytest.approx(8 * 1000 / 500_000)


def test_the_statistic_is_the_mean_sign_of_the_logits_of_real_images() -> None:
    step, real = step_with(0.0), some_images() + 0.3
    _, log = d_objective(step, CONFIG, Recorder(), real, some_images(seed=1))
    expected = real.mean(dim=1).sign().mean()
    torch.testing.assert_close(log["d/sign_statistic"], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(step.adaptive["d"], torch.stack([torch.tensor(0.0), expected, torch.tensor(1.0)]))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_each_augmentation_is_applied_with_the_probability(probability: float) -> None:
    """Each kind alone; a flip and a move may leave an image as it was, a colour never does."""
    image, shares = some_images(), {}
    for kind in ("colour", "cutout", "geometry"):
        config, recorder = replace(CONFIG, d_augment=(kind,)), Recorder()
        d_objective(step_with(probability), config, recorder, image, image)
        for seen in recorder.inputs:
            changed = (seen != image).flatten(1).any(dim=1)
            shares[kind] = float(changed.float().mean())
            assert shares[kind] == pytest.approx(probability, abs=0.1 if probability == 0.3 else 0.0)


def test_generator_and_discriminator_have_the_same_probability() -> None:
    image, recorder = some_images(20), Recorder()
    g_objective(step_with(0.0), CONFIG, recorder, image, image)
    assert torch.equal(recorder.inputs[-1], image)
    g_objective(step_with(1.0), CONFIG, recorder, image, image)
    assert not any(torch.equal(a, b) for a, b in zip(recorder.inputs[-1], image, strict=True))
    g_objective(step_with(1.0), CONFIG, recorder, image, image, name="other")  # one that has not begun
    assert torch.equal(recorder.inputs[-1], image)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_real_images_are_replaced_by_generated_ones_with_the_probability(probability: float) -> None:
    config = AdversarialConfig(adversarial="hinge", d_pseudo_real=True)
    real, fake, recorder = some_images(seed=1), some_images(seed=2), Recorder()
    d_objective(step_with(probability), config, recorder, real, fake)
    seen_fake, seen_real = recorder.inputs
    assert torch.equal(seen_fake, fake)
    replaced = [torch.equal(a, b) for a, b in zip(seen_real, fake, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(seen_real, real, strict=True)]
    assert all(a != b for a, b in zip(replaced, kept, strict=True))
    assert np.mean(replaced) == pytest.approx(probability, abs=0.1 if probability == 0.3 else 0.0)


def test_images_of_two_shapes_cannot_be_exchanged() -> None:
    config = AdversarialConfig(d_pseudo_real=True)
    with pytest.raises(UserError, match=r"--d-pseudo-real .*\(3, 8, 4\) instead of \(3, 8, 8\)"):
        d_objective(step_with(0.5), config, Recorder(), some_images(2), some_images(2)[..., :4])


@pytest.mark.parametrize("adversarial", ["loss-sensitive", "relativistic", "relativistic-average"])
def test_losses_of_pairs_would_compare_a_pseudo_real_image_with_itself(adversarial: Any) -> None:
    with pytest.raises(UserError, match=f"--d-pseudo-real .*{adversarial}.*--d-augment-adaptive"):
        AdversarialConfig(adversarial=adversarial, d_pseudo_real=True)


def test_without_augmentations_there_is_nothing_to_adapt() -> None:
    with pytest.raises(UserError, match="--d-augment-adaptive adapts how often --d-augment"):
        AdversarialConfig(d_augment_adaptive=True)


ADAPTIVE = (
    *("--d-augment", *ALL, "--d-augment-adaptive", "--d-pseudo-real"),
    *("--d-adaptive-images", "8", "--d-adaptive-target", "-0.9", "--adversarial", "hinge"),
)


def test_a_resumed_training_goes_on_with_the_same_probability(pairs: Path, tmp_path: Path) -> None:
    """Stopped at step 6, two steps after a change of the probability: the sum since then is saved, too."""
    config = TrainConfig(
        device="cpu",
        precision="fp32",
        workers=0,
        max_steps=8,
        log_every_steps=1,
        sample_every_steps=0,
        evaluate_every_steps=0,
        checkpoint_every_steps=6,
        quiet=True,
    )
    whole = train(tiny_task("cyclegan", *ADAPTIVE), data=pairs, out=tmp_path / "whole", config=config)
    stopped = train(
        tiny_task("cyclegan", *ADAPTIVE), data=pairs, out=tmp_path / "run", config=replace(config, max_steps=6)
    )
    half, _ = load_checkpoint(list_checkpoints(stopped / "checkpoints")[-1])
    states = {name: half["task"][f"adaptive/{name}"].tolist() for name in ("a", "b")}
    assert all(state[0] == 0.5 and state[2] == 2 for state in states.values()), states
    resume(stopped, max_steps=8)
    expected, found = (load_checkpoint(list_checkpoints(run / "checkpoints")[-1])[0] for run in (whole, stopped))
    for part, tensors in expected.items():
        assert tensors.keys() == found[part].keys()
        assert all(torch.equal(found[part][key], tensor) for key, tensor in tensors.items()), part
    assert float(expected["task"]["adaptive/a"][0]) == 1
    lines = [json.loads(line) for line in (whole / "journal.jsonl").read_text().splitlines()]
    logged = [line["d/a_augment_probability"] for line in lines if "d/a_augment_probability" in line]
    assert logged == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5]
    assert "Adaptive augmentation" in (whole / "report.html").read_text()
    assert all(-1 <= line["d/b_sign_statistic"] <= 1 for line in lines if "d/b_sign_statistic" in line)


def test_a_skipped_step_does_not_change_the_state(pairs: Path) -> None:
    task = built(tiny_task("pix2pix", *ADAPTIVE))
    batch = tiny_batch(task, pairs)
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        trainer.step(batch, index=0)
        before = task.adaptive["d"].clone()
        assert trainer.step(batch._replace(target=batch.target * torch.nan), index=1)["skipped"]
        assert torch.equal(task.adaptive["d"], before)
        assert not trainer.step(batch, index=2)["skipped"]
        assert float(task.adaptive["d"][2]) == float(before[2]) + 1


@pytest.mark.parametrize("state", [[2.0, 0.0, 0.0], [0.5, torch.nan, 1.0], [0.5, 3.0, 2.0], [0.5]])
def test_an_impossible_state_is_refused(state: list[float], pairs: Path) -> None:
    task = built(tiny_task("pix2pix", *ADAPTIVE))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        parts = trainer.parts()
        parts["task"] = {"adaptive/d": torch.tensor(state)}
        with pytest.raises(CheckpointError, match="adaptive state d of the objective is impossible"):
            trainer.load_parts(parts)
