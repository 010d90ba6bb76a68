"""Inpainting: weights of the losses, discriminator inputs, and that masked pixels do not influence the output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import adversarial_stage, built, some_inputs, tiny_batch, tiny_task, write_run

import gan_tasks
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.inpainting import Masked
from gan_tasks.losses.functional import weighted_difference
from gan_tasks.tasks.base import Step
from gan_tasks.tasks.inpainting import (
    CONTEXT_ENCODER,
    DEEPFILL_V1,
    LAMA,
    Inpainting,
    InpaintingConfig,
    around_mask,
    check_bottleneck,
    compose,
)
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer


def batch(task: Inpainting, pairs: Path) -> Masked[torch.Tensor]:
    x: Masked[torch.Tensor] = tiny_batch(task, pairs)
    return x


@pytest.fixture
def task() -> Inpainting:
    made = built(tiny_task("inpainting"))
    assert isinstance(made, Inpainting)
    made.step = Step(0, adversarial_stage(made), torch.Generator().manual_seed(0))
    return made


def test_presets_are_those_of_the_papers() -> None:
    v2 = InpaintingConfig()
    assert (v2.network, v2.width, v2.optimisation.batch_size) == ("deepfill-v2", 48, 16)
    assert v2.optimisation.lr == 1e-4 and v2.optimisation.betas == (0.5, 0.999)
    assert v2.adversarial.adversarial == "hinge" and v2.reconstruction == v2.gan == 1
    assert v2.schedule.schedule == "constant"
    assert DEEPFILL_V1.local_discriminator and DEEPFILL_V1.adversarial.gradient_penalty == 10
    context = CONTEXT_ENCODER
    assert (context.reconstruction, context.gan, context.boundary_weight) == (0.999, 1e-3, 10)
    assert (context.optimisation.lr, context.optimisation.lr_d, context.optimisation.batch_size) == (2e-3, 2e-4, 64)
    assert context.reconstruction_loss == "l2"
    assert (LAMA.network, LAMA.width, LAMA.blocks, LAMA.global_ratio) == ("lama", 128, 9, 0.75)
    assert (LAMA.reconstruction, LAMA.mask_weight, LAMA.gan, LAMA.perceptual.perceptual) == (5, 0, 10, 0)
    assert (LAMA.optimisation.lr, LAMA.optimisation.lr_d) == (1e-3, 1e-4)


def test_masked_pixels_do_not_influence_the_output(task: Inpainting, pairs: Path) -> None:
    x = batch(task, pairs)
    other = x._replace(image=torch.where(x.mask > 0, -x.image, x.image))
    with task.evaluating(task.generators):
        first, second = (task.infer(*task.model_inputs(each)) for each in (x, other))
    mask = (x.mask > 0).expand_as(first)
    assert torch.equal(first[mask], second[mask])
    assert torch.equal(first[~mask], x.image[~mask]), "known pixels stay unchanged"


def test_each_sample_of_a_batch_has_its_own_mask(task: Inpainting, pairs: Path) -> None:
    x = batch(task, pairs)
    assert not torch.equal(x.mask[0], x.mask[1])
    with task.evaluating(task.generators):
        together = task.infer(*task.model_inputs(x))
        alone = torch.cat([task.infer(*(each[i : i + 1] for each in task.model_inputs(x))) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_the_difference_is_weighted_by_mask_and_boundary(task: Inpainting) -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 6:26, 8:28] = 1
    task.config = replace(task.config, mask_weight=3.0, boundary_weight=5.0)
    weights = task.pixel_weights(mask)
    assert weights[0, 0, 5, 5] == 1 and weights[0, 0, 15, 18] == 3 and weights[0, 0, 6, 8] == 15
    assert int((weights == 15).sum()) == 20 * 20 - 12 * 12
    made, target = torch.full((1, 3, 32, 32), 0.5), torch.zeros(1, 3, 32, 32)
    target[:, :, 15, 18] = 1  # an error of 0.5 everywhere
    for kind, expected in (("l1", 0.5), ("l2", 0.25)):
        assert float(weighted_difference(kind, made, target, weights)) == pytest.approx(expected)  # type: ignore[arg-type]
    made[:, :, 15, 18] = 2  # and here an error of 1, with weight 3
    total = float(weights.sum())
    assert float(weighted_difference("l1", made, target, weights)) == pytest.approx(0.5 + 0.5 * 3 / total)


def test_the_psnr_loss_is_the_negative_psnr_of_each_sample() -> None:
    target, weights = torch.zeros(2, 3, 4, 4), torch.ones(2, 1, 4, 4)
    made = torch.stack([torch.full((3, 4, 4), 0.2), torch.full((3, 4, 4), 0.8)])  # 20 and 7.96 dB, peak to peak 2
    loss = weighted_difference("psnr", made, target, weights)
    assert float(loss) == pytest.approx(-(20 + 7.96) / 2, abs=0.1)
    assert float(weighted_difference("psnr", target, target, weights)) == pytest.approx(-36.02, abs=0.01)


def test_a_residual_downscale_needs_a_residual() -> None:
    with pytest.raises(UserError, match="add --residual"):
        InpaintingConfig(residual_downscale=4)


def test_the_width_of_deepfill_is_a_multiple_of_four() -> None:
    with pytest.raises(UserError, match="width is 6: expected a multiple of 4"):
        InpaintingConfig(network="deepfill-v1", width=6)
    assert InpaintingConfig(network="context-encoder", width=6).width == 6


def test_a_batch_of_one_small_crop_is_refused_for_the_bottleneck() -> None:
    check_bottleneck(torch.zeros(2, 3, 128, 96), 1)
    check_bottleneck(torch.zeros(1, 3, 128, 160), 1)
    with pytest.raises(UserError, match=r"crops of up to 256 pixels.*--batch-size 2"):
        check_bottleneck(torch.zeros(1, 3, 256, 200), 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 7}, "expected an even number"),
        ({"width": 2, "global_ratio": 0.2}, "expected two or more of 8 channels"),
    ],
)
def test_lama_needs_local_and_global_channels(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        InpaintingConfig(network="lama", **options)
    assert InpaintingConfig(network="lama", width=2, global_ratio=0.25).width == 2


TINY_LAMA = ("--preset", "lama", "--width", "4", "--d-width", "4", "--blocks", "1", "--batch-size", "2")


@pytest.mark.parametrize(
    "more",
    [(), ("--residual",), ("--residual", "--residual-downscale", "2"), ("--sketch",), ("--local-discriminator",)],
)
def test_lama_trains_with_the_options_of_the_other_networks(pairs: Path, more: tuple[str, ...]) -> None:
    task = built(tiny_task("inpainting", *TINY_LAMA, *more))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        before = [parameter.clone() for parameter in task.generators.parameters()]
        log = trainer.step(tiny_batch(task, pairs), index=0)
    assert not log["skipped"] and {"d/whole_r1", "g/whole_feature_matching", "g/refined"} <= log.keys()
    assert "g/coarse" not in log
    moved = [not torch.equal(old, new) for old, new in zip(before, task.generators.parameters(), strict=True)]
    assert any(moved) if more[:1] == ("--residual",) else all(moved)
    with task.evaluating(task.generators):
        for size in ((1, 1), (33, 47)):
            output = task.infer(*some_inputs(task, 2, size))
            assert output.shape == (2, 3, *size) and output.isfinite().all() and output.abs().max() <= 1


def test_feature_matching_compares_the_features_of_the_discriminator(pairs: Path) -> None:
    task = built(tiny_task("inpainting", "--feature-matching", "5"))
    assert isinstance(task, Inpainting)
    x = batch(task, pairs)
    task.step = Step(0, adversarial_stage(task), torch.Generator().manual_seed(0))
    y = task.generate(x)
    different, same = (task.g_losses(x, y | {"fake": fake}) for fake in (y["fake"], x.image))
    # Spectral normalisation changes the discriminator a little with each call.
    assert same["whole_feature_matching"] < different["whole_feature_matching"] / 10


def test_losses_are_finite_with_an_empty_mask(task: Inpainting, pairs: Path) -> None:
    x = batch(task, pairs)
    x = x._replace(mask=torch.zeros_like(x.mask))
    y = task.generate(x)
    assert torch.equal(y["fake"], x.image)
    losses = task.g_losses(x, y) | task.d_losses(x, {name: image.detach() for name, image in y.items()})
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_the_local_discriminator_input_is_around_the_centre_of_each_mask() -> None:
    image = torch.arange(2 * 20 * 16, dtype=torch.float32).view(2, 1, 20, 16)
    mask = torch.zeros(2, 1, 20, 16)
    mask[0, 0, 8:12, 6:10] = 1
    mask[1, 0, 0:2, 15] = 1
    view = around_mask(image, mask)
    assert torch.equal(view[0], image[0, :, 4:14, 3:11]) and torch.equal(view[1], image[1, :, 0:10, 8:16])
    assert around_mask(image, torch.zeros_like(mask)).shape == (2, 1, 10, 8)


def test_compose_takes_masked_pixels_from_the_output() -> None:
    x = Masked(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.0, 1.0]]]]), torch.zeros(1, 1, 1, 2))
    assert compose(torch.ones(1, 1, 1, 2), x).flatten().tolist() == [0, 1]


def test_the_loss_falls_on_one_batch(pairs: Path) -> None:
    """Over a few steps on one batch the difference in the masked region falls, without a discriminator."""
    task = built(tiny_task("inpainting", "--gan", "0", "--mask-weight", "10", "--width", "8"))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        x = tiny_batch(task, pairs)
        logs = [trainer.step(x, index=index, lr_factor=20) for index in range(25)]
    assert float(logs[-1]["g/refined"]) < 0.7 * float(logs[0]["g/refined"])


def test_a_model_trained_with_sketches_has_a_sketch_input(tmp_path: Path) -> None:
    model = gan_tasks.load(write_run(tmp_path / "run", tiny_task("inpainting", "--sketch")))
    assert [given.name for given in model.spec.inputs] == ["image", "mask", "sketch"]
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (40, 40, 3), np.uint8)
    mask, line = np.zeros((40, 40, 1), np.uint8), np.zeros((40, 40, 1), np.uint8)
    mask[8:30, 8:30], line[18:20, 8:30] = 255, 255
    plain, guided = model(image, mask), model(image, mask, line)
    assert not np.array_equal(plain, guided)
    assert np.array_equal(guided[mask[..., 0] == 0], image[mask[..., 0] == 0])
