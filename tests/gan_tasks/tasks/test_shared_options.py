"""Whatever a shared option promises holds in every task that lists it: each is switched on and has an effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from random_vgg import write_vgg16
from tiny import ALL_TASKS, adversarial_stage, tiny_batch, tiny_task
from torch import Tensor

from gan_tasks.losses import adaptive
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.losses.perceptual import PerceptualConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.tasks.base import Stage, Task
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer

pytestmark = pytest.mark.slow

STEPS = 2
LARGEST_WEIGHT = 0.003
ADAPTIVE = {"adversarial": "wasserstein", "d_adaptive_images": 1, "d_adaptive_target": -1.0}
"""After a step with a single logit of a real image above those of generated ones, the probability is 1."""

# Of each shared config: a name for the case → options of the plain training and those that are changed in it.
ADVERSARIAL: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adversarial": ({"adversarial": "vanilla"}, {"adversarial": "lsgan"}),
    "lsgan_targets": ({"adversarial": "lsgan"}, {"lsgan_targets": (-1.0, 1.0, 0.0)}),
    "margin_weight": ({"adversarial": "loss-sensitive"}, {"margin_weight": 0.5}),
    "gradient_penalty": ({}, {"gradient_penalty": 10.0}),
    "drift": ({}, {"drift": 1.0}),
    "clip_weights": ({}, {"clip_weights": LARGEST_WEIGHT}),
    "r1": ({}, {"r1": 1.0}),
    "r2": ({}, {"r2": 1.0}),
    "r_interval": ({"r1": 1.0}, {"r_interval": 2}),
    "d_augment": ({}, {"d_augment": ("colour", "translation", "cutout", "flip", "geometry")}),
    "d_augment_adaptive": (ADAPTIVE | {"d_augment": ("colour",)}, {"d_augment_adaptive": True}),
    "d_pseudo_real": (ADAPTIVE, {"d_pseudo_real": True}),
    "d_adaptive_target": (ADAPTIVE | {"d_pseudo_real": True}, {"d_adaptive_target": 1.0}),
    "d_adaptive_images": (ADAPTIVE | {"d_pseudo_real": True}, {"d_adaptive_images": 1_000_000}),
}
OPTIMISATION: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "optimizer": ({"weight_decay": 0.5}, {"optimizer": "adamw"}),
    "weight_decay": ({"optimizer": "adamw"}, {"weight_decay": 0.5}),
    "lr": ({}, {"lr": 0.01}),
    "lr_d": ({}, {"lr_d": 0.01}),
    "betas": ({}, {"betas": (0.1, 0.7)}),
    "clip_grad_norm": ({}, {"clip_grad_norm": 1e-9}),
    "ema_halflife_images": ({"ema_halflife_images": 0.0}, {"ema_halflife_images": 1.0}),
}
LOOP_OPTIONS = {"batch_size"}
"""What the loop reads, not the step; the loop's own tests have it."""


@pytest.fixture(autouse=True)
def quick_adaptation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the probability of adaptive augmentation change after every step, so that the second step shows it."""
    monkeypatch.setattr(adaptive, "ADJUSTED_EVERY_STEPS", 1)


def config_of(task: Task[Any, Any], kind: type[Any]) -> tuple[str, Any] | None:
    """The field of the task's config that holds this shared config, and its value."""
    values = ((field.name, getattr(task.config, field.name)) for field in dataclasses.fields(task.config))
    return next(((name, value) for name, value in values if isinstance(value, kind)), None)


def with_options(task: Task[Any, Any], kind: type[Any], options: Mapping[str, Any]) -> Task[Any, Any]:
    found = config_of(task, kind)
    assert found is not None
    name, value = found
    return type(task)(dataclasses.replace(task.config, **{name: dataclasses.replace(value, **options)}))


def trained(task: Task[Any, Any], stage: Stage, pairs: Path) -> Trainer:
    """After a few steps of a stage."""
    torch.manual_seed(0)
    task.build(for_training=True)
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, stage, runtime, seed=0)
        batch = tiny_batch(task, pairs)
        for index in range(STEPS):
            assert not trainer.step(batch, index=index)["skipped"]
    return trainer


def weights(name: str, kind: type[Any], options: dict[str, Any], pairs: Path) -> list[Tensor]:
    """Of all networks and the average, after a few steps of each stage on its own."""
    found: list[Tensor] = []
    for number in range(len(tiny_task(name).stages(6))):
        task = with_options(tiny_task(name), kind, options)
        trainer = trained(task, task.stages(6)[number], pairs)
        networks = (task.generators, task.discriminators, trainer.best_generators)
        found += [weight.detach() for network in networks for weight in network.parameters()]
    return found


def has_effect(name: str, kind: type[Any], plain: dict[str, Any], changed: dict[str, Any], pairs: Path) -> bool:
    before, after = (weights(name, kind, options, pairs) for options in (plain, plain | changed))
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def skip_without_discriminator(name: str) -> None:
    if config_of(tiny_task(name), AdversarialConfig) is None:
        pytest.skip(f"{name} has no discriminator, and no options of an adversarial objective")


@pytest.mark.parametrize("option", ADVERSARIAL)
@pytest.mark.parametrize("name", ALL_TASKS)
def test_options_of_the_adversarial_objective_have_an_effect(name: str, option: str, pairs: Path) -> None:
    skip_without_discriminator(name)
    assert has_effect(name, AdversarialConfig, *ADVERSARIAL[option], pairs)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_generator_sees_each_discriminator_with_its_own_probability(name: str, pairs: Path) -> None:
    skip_without_discriminator(name)
    options = {"d_augment": ("colour",), "d_augment_adaptive": True}
    task = with_options(tiny_task(name), AdversarialConfig, options)
    torch.manual_seed(0)
    task.build(for_training=True)
    x = tiny_batch(task, pairs)
    y = task.generate(x)
    task.step = replace(task.step, stage=adversarial_stage(task))
    task.d_losses(x, {key: image.detach() for key, image in y.items()})
    assert len(task.adaptive) == len(task.discriminators)
    task.discriminators.eval()  # spectral norm takes no more steps

    def adversarial(probability: float) -> list[Tensor]:
        task.adaptive.update({key: torch.tensor([probability, 0.0, 0.0]) for key in task.adaptive})
        task.step = replace(task.step, generator=torch.Generator().manual_seed(0))
        return [loss for key, loss in task.g_losses(x, y).items() if key.endswith("adversarial")]

    never, again, always = adversarial(0.0), adversarial(0.0), adversarial(1.0)
    assert len(never) == len(task.discriminators)
    assert all(torch.equal(a, b) for a, b in zip(never, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(never, always, strict=True))


@pytest.mark.parametrize("option", OPTIMISATION)
@pytest.mark.parametrize("name", ALL_TASKS)
def test_options_of_the_optimizer_have_an_effect(name: str, option: str, pairs: Path) -> None:
    if option == "lr_d":
        skip_without_discriminator(name)
    assert has_effect(name, OptimisationConfig, *OPTIMISATION[option], pairs)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_discriminator_s_weights_are_clipped_and_no_others(name: str, pairs: Path) -> None:
    skip_without_discriminator(name)
    task = with_options(tiny_task(name), AdversarialConfig, {"clip_weights": LARGEST_WEIGHT})
    trained(task, adversarial_stage(task), pairs)
    assert all(weight.abs().max() <= LARGEST_WEIGHT for weight in task.discriminators.parameters())
    assert any(weight.abs().max() > LARGEST_WEIGHT for weight in task.generators.parameters())


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_perceptual_loss_has_an_effect(name: str, pairs: Path, tmp_path: Path) -> None:
    if config_of(tiny_task(name), PerceptualConfig) is None:
        pytest.skip(f"{name} does not list the options of the perceptual loss")
    weights_file = write_vgg16(tmp_path / "vgg.safetensors")
    options = {"perceptual_network": "vgg16", "perceptual_weights": weights_file, "perceptual": 0.0}
    options |= {"perceptual_layers": "pix2pixhd"}
    assert has_effect(name, PerceptualConfig, options, {"perceptual": 1.0}, pairs)


def test_no_shared_option_is_forgotten() -> None:
    for kind, cases in ((AdversarialConfig, ADVERSARIAL), (OptimisationConfig, OPTIMISATION)):
        names = {field.name for field in dataclasses.fields(kind)}
        assert names - LOOP_OPTIONS == cases.keys()
