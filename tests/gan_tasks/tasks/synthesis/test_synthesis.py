"""The task synthesis: what it trains on, what a step changes, and what a model gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import adversarial_stage, built, tiny_batch, tiny_task, write_run
from torch import Tensor

import gan_tasks
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.predictor import read_vector
from gan_tasks.networks.synthesis.stylegan3 import Magnitude
from gan_tasks.runs.checkpoint import list_checkpoints, load_checkpoint
from gan_tasks.runs.model_card import write_model_card
from gan_tasks.spec import InputSpec
from gan_tasks.tasks.base import Step
from gan_tasks.tasks.synthesis.config import PRESETS, SynthesisConfig
from gan_tasks.tasks.synthesis.task import Synthesis, burn_in
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import resume, train
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer
from gan_tasks.training.validation import arrays

SMALL = ("--style-width", "8", "--mapping-layers", "2", "--crop-size", "16", "16")
STYLEGAN2 = ("--preset", "stylegan2", *SMALL)
CONFIG = TrainConfig(
    device="cpu",
    precision="fp32",
    workers=0,
    sample_every_steps=0,
    evaluate_every_steps=0,
    checkpoint_every_steps=0,
    report_every_s=0,
    keep_checkpoints=9,
    quiet=True,
)


def tiny(*options: str) -> Synthesis:
    task = tiny_task("synthesis", *options)
    assert isinstance(task, Synthesis)
    return task


def tiny_built(*options: str) -> Synthesis:
    task = built(tiny(*options))
    assert isinstance(task, Synthesis)
    return task


def stepped(task: Synthesis, folder: Path, steps: int = 2, first: int = 0) -> dict[str, Tensor]:
    """Take some steps, and return the losses and diagnostics of the last."""
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        for index in range(first, first + steps):
            log = trainer.step(tiny_batch(task, folder), index=index)
            assert not log["skipped"]
    return log


def all_weights(task: Synthesis) -> Tensor:
    networks = (task.generators, task.discriminators)
    return torch.cat([weight.detach().flatten() for each in networks for weight in each.parameters()])


# Presets and options.


def test_the_default_is_the_preset_small_and_presets_hold_what_their_papers_have() -> None:
    assert Synthesis.default_preset == "small" and Synthesis().config == SynthesisConfig()
    wgan, style, r3gan = (PRESETS[name] for name in ("wgan-gp", "stylegan2", "r3gan"))
    assert (wgan.d_steps, wgan.adversarial.gradient_penalty, wgan.optimisation.betas) == (5, 10, (0, 0.9))
    assert (style.adversarial.r_interval, style.regularisation.path_length, style.style_mixing) == (16, 2, 0.9)
    assert style.mapping_layers == 8 and PRESETS["stylegan3"].mapping_layers == 2
    assert r3gan.auto_gamma == ("r1", "r2") and r3gan.adversarial.is_relativistic
    assert PRESETS["pggan"].optimisation.ema_halflife_images == pytest.approx(
        11_085, rel=1e-3
    )  # 0.999 in steps of 16


@pytest.mark.parametrize(
    "options",
    [
        ("--energy", "ebgan"),
        ("--energy", "began"),
        ("--attention", "8"),
        ("--d-width", "4"),
        ("--no-flip",),
        ("--auto-gamma", "r1"),
        ("--network", "stylegan2"),
        ("--network", "stylegan2", "--d-group", "1"),
        ("--network", "stylegan2", "--style-mixing", "1"),
        ("--network", "stylegan2", "--path-length", "2"),
        ("--network", "stylegan2", "--path-length", "2", "--path-length-interval", "1"),
        ("--d-norm", "batch"),
        ("--d-norm", "layer"),
        ("--energy", "ebgan", "--pulling-away", "0"),
        ("--energy", "ebgan", "--energy-margin", "0.001"),
    ],
)
def test_each_option_has_an_effect(options: tuple[str, ...], pairs: Path) -> None:
    """Compared with the same training without the last of the options."""
    last = max(index for index, option in enumerate(options) if option.startswith("--"))
    weights = []
    for chosen in (options, options[:last]):
        task = tiny_built(*SMALL, *chosen)
        stepped(task, pairs, steps=3)
        weights.append(all_weights(task))
    assert weights[0].shape != weights[1].shape or not torch.equal(*weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--growth", "0.5"), "dcgan does not grow: give --network pggan"),
        (("--path-length", "2"), "path_length is 2.0, and dcgan has no styles"),
        (("--style-mixing", "0.9", "--network", "pggan"), "style_mixing is 0.9, and pggan has no styles"),
        (("--discriminator", "projected", "--classes"), "does not work with --classes"),
        (("--crop-size", "0", "0"), "the size of the generated images"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: tuple[str, ...], message: str) -> None:
    with pytest.raises((UserError, SystemExit), match=message):
        tiny(*options)


def test_sizes_and_attention_that_a_network_does_not_have_are_refused() -> None:
    with pytest.raises(UserError, match=r"images of 20×16 pixels cannot be generated.*such as 16 16"):
        tiny("--crop-size", "20", "16").build()
    with pytest.raises(UserError, match="attention names features of 9 pixels: give some of 8 16"):
        tiny(*SMALL, "--network", "stylegan2", "--attention", "9").build()


# γ.


@pytest.mark.parametrize(
    ("options", "gamma"),
    [
        (("--network", "r3gan"), 2.0),
        (("--network", "stylegan2", "--adversarial", "non-saturating"), 0.0002 * 64**2 / 4),
        (("--network", "stylegan2", "--adversarial", "non-saturating", "--r1", "7"), 7.0),
    ],
)
def test_gamma_is_chosen_from_the_sizes_unless_it_is_given(options: tuple[str, ...], gamma: float) -> None:
    task = tiny("--crop-size", "64", "64", "--batch-size", "4", "--auto-gamma", "r1", *options)
    assert task.objective.r1 == pytest.approx(gamma) and task.objective.r2 == 0
    task.step = Step(0, task.stages(6)[0], torch.Generator(), world_size=2)
    is_by_batch = "r3gan" not in options and "--r1" not in options
    assert task.objective.r1 == pytest.approx(gamma / 2 if is_by_batch else gamma)


def test_gamma_falls_over_the_burn_in() -> None:
    assert [burn_in(images, 100) for images in (0, 50, 100, 200)] == pytest.approx([1, 0.55, 0.1, 0.1])
    task = tiny("--gamma-burn-in-images", "100", "--r1", "1", "--r2", "4")
    task.step = Step(25, task.stages(6)[0], torch.Generator())  # of two images each
    assert (task.objective.r1, task.objective.r2) == pytest.approx((0.55, 2.2))


# Styles, noise and classes.


def test_styles_are_mixed_in_training_and_their_mean_is_tracked(pairs: Path) -> None:
    task = tiny_built(*STYLEGAN2, "--style-mixing", "1")
    x = tiny_batch(task, pairs)
    styles = task.drawn_styles(x)
    assert not torch.equal(styles[:, 0], styles[:, -1]) and torch.equal(
        styles[:, 0], task.generator.styles(x.latent)[:, 0]
    )
    average = task.generator.mapping.average
    assert average is not None
    torch.testing.assert_close(average, 0.002 * styles[:, 0].detach().mean(0))
    never = tiny_built(*STYLEGAN2, "--style-mixing", "0").drawn_styles(x)
    assert torch.equal(never[:, :1].expand_as(never), never)


def test_truncation_draws_images_towards_the_mean_style(pairs: Path) -> None:
    task = tiny_built(*STYLEGAN2)
    stepped(task, pairs)
    latents = torch.randn(2, 6)
    with task.evaluating(task.generators):
        whole, half, none = (task.infer(latents, torch.full((2, 1), amount)) for amount in (1.0, 0.5, 0.0))
    assert torch.equal(none[:1], none[1:]) and not torch.equal(whole, half)
    assert task.spec().inputs[-1] == InputSpec("truncation", "weight", 1, "none", optional=True)


def test_noise_is_drawn_in_training_and_constant_afterwards(pairs: Path) -> None:
    task = tiny_built(*STYLEGAN2)
    for name, weight in task.generators.named_parameters():
        if "noise_strength" in name:
            torch.nn.init.ones_(weight)
    x = tiny_batch(task, pairs)
    drawn = [task.generate(x)["fake"] for _ in range(2)]
    assert not torch.equal(*drawn)
    inputs, _ = task.inputs_and_target(x)
    assert torch.equal(task.infer(*inputs), task.infer(*inputs))


@pytest.mark.parametrize("network", ["stylegan3-t", "stylegan3-r"])
def test_stylegan3_divides_by_the_magnitudes_of_its_training(network: str, pairs: Path) -> None:
    task = tiny_built("--preset", "stylegan3", "--network", network, *SMALL)
    layers = [layer for layer in task.generator.modules() if isinstance(layer, Magnitude)]
    assert len(layers) == 15
    stepped(task, pairs, steps=1)
    for layer in layers:
        assert layer.latest is not None
        assert float(layer.mean_square) == pytest.approx(0.999 + 0.001 * float(layer.latest), abs=1e-6)
    assert any(abs(float(layer.mean_square) - 1) > 1e-5 for layer in layers)


@pytest.mark.parametrize("network", ["dcgan", "pggan", "msg", "stylegan2", "stylegan3-t", "r3gan"])
def test_classes_are_those_of_sub_folders(network: str, pairs: Path) -> None:
    task = tiny("--network", network, "--classes", *SMALL)
    data, _ = task.open_data(pairs, "train", augment=True, seed=0)
    task = task.resolved(data)
    built(task)
    label = task.spec().find("label")
    assert label is not None and label.names == ("A", "B") and label.channels == 2
    stepped(task, pairs)
    latent = torch.randn(1, 6)
    others = [torch.ones(1, 1)] if task.config.has_styles else []
    with task.evaluating(task.generators):
        a, b = (task.infer(latent, torch.eye(2)[[number]], *others) for number in range(2))
    assert not torch.equal(a, b)
    x = tiny_batch(task, pairs)
    other = replace_label(x)
    assert not torch.equal(task.discriminate(x)(task.real(x))[0][-1], task.discriminate(other)(task.real(x))[0][-1])


def replace_label(x: Any) -> Any:
    return x._replace(label=x.label.flip(1))


def test_a_model_of_classes_says_their_names(pairs: Path, tmp_path: Path) -> None:
    task = tiny("--classes", *SMALL)
    with pytest.raises(UserError, match="names of the classes are not known yet"):
        task.build()
    data, _ = task.open_data(pairs, "train", augment=True, seed=0)
    run = write_run(tmp_path / "run", task.resolved(data))
    model = gan_tasks.load(run)
    label = model.spec.find("label")
    assert label is not None and label.names == ("A", "B")
    assert "- Classes: A, B" in write_model_card(run).read_text()
    assert read_vector(label, b"B").tolist() == read_vector(label, b"1").tolist() == [0, 1]
    with pytest.raises(UserError, match=r"expected a class from 0 to 1, its name \(A, B\), or a list of 2 numbers"):
        read_vector(label, b"C")
    again = Synthesis.for_model(model.spec)
    assert again.config.data.class_names == ("A", "B") and again.config.latent == 6
    test, _ = again.open_data(pairs, "test", augment=False, seed=0)
    image, latent, of_class = test[(0, 0)]
    assert image.shape == (3, 16, 16) and latent.shape == (6,) and of_class.tolist() == [1, 0]
    without_names = replace(model.spec, inputs=tuple(replace(each, names=()) for each in model.spec.inputs))
    nameless = Synthesis.for_model(without_names)  # as of a public checkpoint: the classes are those of the folder
    test, _ = nameless.open_data(pairs, "test", augment=False, seed=0)
    assert arrays(nameless, test, 0)[0][1].tolist() == [1, 0]


def test_a_sample_grid_shows_several_images_of_fixed_latents(pairs: Path) -> None:
    task = tiny_built(*SMALL)
    stepped(task, pairs)
    x = tiny_batch(task, pairs)
    with task.evaluating(task.generators):
        shown, again = (task.shown_images(x, task.infer(x.latent)) for _ in range(2))
    assert list(shown) == ["generated", "2", "3", "4", "5", "6", "real"]
    assert len({image.numpy().tobytes() for image in shown.values()}) == 7
    assert all(torch.equal(shown[name], again[name]) for name in shown)


# Progressive growing.


def grown(task: Synthesis, number: int, share: float, folder: Path) -> tuple[Tensor, Tensor]:
    """Generated and real images in a stage of a growing training, of which this share is over."""
    stage = task.stages(6)[number]
    task.step = Step(0, stage, torch.Generator().manual_seed(0), stage_images=round(share * stage.images))
    x = tiny_batch(task, folder)
    return task.generate(x)["fake"].detach(), task.real(x)


def is_of_blocks(images: Tensor, size: int) -> bool:
    return torch.equal(images, images[..., ::size, ::size].repeat_interleave(size, 2).repeat_interleave(size, 3))


PGGAN = ("--network", "pggan", "--growth", "0.8", "--crop-size", "16", "16", "--epochs", "40")


def test_the_networks_grow_stage_by_stage(pairs: Path) -> None:
    task = tiny_built(*PGGAN)
    stages = task.stages(6)
    assert [stage.name for stage in stages] == ["4x4", "8x8-fade-in", "8x8", "16x16-fade-in", "16x16"]
    assert sum(stage.images for stage in stages) == 240 and stages[-1].images == 48
    assert [stage.continues for stage in stages] == [False, True, True, True, True]
    for images in grown(task, 0, 0, pairs):
        assert is_of_blocks(images, 4)
    for images in grown(task, 2, 0, pairs):
        assert is_of_blocks(images, 2) and not is_of_blocks(images, 4)
    for images in grown(task, 4, 0, pairs):
        assert not is_of_blocks(images, 2)
    assert torch.equal(grown(task, 4, 0, pairs)[1], tiny_batch(task, pairs).image)
    # In a fade-in, a little of the new level is mixed with the old one at first, and all of it at the end.
    differences = []
    for share in (0.0, 0.5, 1.0):
        fake, real = grown(task, 3, share, pairs)
        differences.append([float((images - blocks(images)).abs().mean()) for images in (fake, real)])
    assert (np.diff(np.array(differences), axis=0) > 0).all()


def blocks(images: Tensor) -> Tensor:
    small = torch.nn.functional.avg_pool2d(images, 2)
    return small.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_growing_training_is_resumed_bit_for_bit_and_each_checkpoint_has_its_level(
    pairs: Path, tmp_path: Path
) -> None:
    task = tiny(*PGGAN, "--epochs", "4", "--ema-halflife-images", "8")  # stages of 5, 5, 5, 5 and 4 images
    whole = train(task, data=pairs, out=tmp_path / "whole", config=CONFIG)
    stopped = train(task, data=pairs, out=tmp_path / "stopped", config=replace(CONFIG, max_steps=2))
    for steps in (4, 7, 0):  # in the first fade-in, in the stage after it, and over two more changes to the end
        resume(stopped, max_steps=steps)
    expected, parts = (load_checkpoint(list_checkpoints(run / "checkpoints")[-1])[0] for run in (whole, stopped))
    assert parts.keys() == expected.keys() and "average" in parts
    for part, tensors in expected.items():
        assert all(torch.equal(parts[part][key], tensor) for key, tensor in tensors.items()), part
    latent = np.linspace(-1, 1, 6, dtype=np.float32)
    steps = [int(path.name.removeprefix("step-")) for path in list_checkpoints(whole / "checkpoints")]
    assert len(steps) >= 5, "a stage change is a checkpoint"
    images = [gan_tasks.load(path)(latent) for path in list_checkpoints(whole / "checkpoints")]
    sizes = [next(size for size in (4, 2, 1) if pixels_are_of_blocks(image, size)) for image in images]
    assert sizes[0] == 4 and sizes[-1] == 1 and 2 in sizes and sizes == sorted(sizes, reverse=True)


def pixels_are_of_blocks(pixels: Any, size: int) -> bool:
    return is_of_blocks(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None], size)


@pytest.mark.parametrize(
    "options",
    [
        (*STYLEGAN2, "--path-length-interval", "2", "--r-interval", "3", "--ema-halflife-images", "3"),
        ("--energy", "began", "--balance-rate", "0.5", "--diversity-ratio", "1", *SMALL),
    ],
    ids=["stylegan2", "began"],
)
def test_state_of_the_objective_is_resumed_bit_for_bit(options: tuple[str, ...], pairs: Path, tmp_path: Path) -> None:
    task = tiny(*options)
    whole = train(task, data=pairs, out=tmp_path / "whole", config=replace(CONFIG, max_steps=5))
    stopped = train(task, data=pairs, out=tmp_path / "stopped", config=replace(CONFIG, max_steps=3))
    resume(stopped, max_steps=5)
    expected, parts = (load_checkpoint(list_checkpoints(run / "checkpoints")[-1])[0] for run in (whole, stopped))
    assert expected["task"], "the mean path length or the control variable"
    for part, tensors in expected.items():
        assert all(torch.equal(parts[part][key], tensor) for key, tensor in tensors.items()), part


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_resumed_bit_for_bit_and_makes_images(preset: str, pairs: Path, tmp_path: Path) -> None:
    options = ("--preset", preset, "--width", "8", "--latent", "6", *SMALL, "--batch-size", "2")
    task = tiny(*options, "--epochs", "2")
    whole = train(task, data=pairs, out=tmp_path / "whole", config=replace(CONFIG, max_steps=6))
    stopped = train(task, data=pairs, out=tmp_path / "stopped", config=replace(CONFIG, max_steps=3))
    resume(stopped, max_steps=6)
    expected, parts = (load_checkpoint(list_checkpoints(run / "checkpoints")[-1])[0] for run in (whole, stopped))
    assert parts.keys() == expected.keys()
    for part, tensors in expected.items():
        assert all(torch.equal(parts[part][key], tensor) for key, tensor in tensors.items()), part
    latents = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    first, second = (gan_tasks.load(whole)(latent) for latent in latents)
    assert first.shape == (16, 16, 3) and (first != second).any()
