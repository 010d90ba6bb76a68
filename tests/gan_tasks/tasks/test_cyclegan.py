"""CycleGAN: its training step against an independent implementation, its image pool and its two directions."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import adversarial_stage, built, tiny_batch, tiny_task, write_run
from torch import Tensor, nn
from torch.nn import functional

import gan_tasks
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.unpaired import Unpaired, UnpairedConfig
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.networks.translation import resnet, unet
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.tasks.base import Stage, Step
from gan_tasks.tasks.cyclegan import CycleGAN
from gan_tasks.tasks.shared.image_pool import ImagePool
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer

STAGE = Stage("any", 10, OptimisationConfig(), ScheduleConfig())


def test_defaults_are_those_of_the_paper() -> None:
    config = CycleGAN().config
    assert (config.generator, config.norm, config.dropout, config.width) == ("resnet-9", "instance", False, 64)
    assert (config.cycle, config.identity, config.gan, config.pool_images) == (10.0, 5.0, 1.0, 50)
    assert (config.adversarial.adversarial, config.d_scales, config.d_layers, config.d_width) == ("lsgan", 1, 3, 64)
    assert (config.optimisation.lr, config.optimisation.betas, config.optimisation.batch_size) == (
        2e-4,
        (0.5, 0.999),
        1,
    )
    assert (config.schedule.epochs, config.schedule.decay_epochs) == (200, 100)
    (stage,) = CycleGAN().stages(400)
    assert stage.update_order == ("g", "d")


def test_steps_equal_an_independent_implementation_of_the_paper() -> None:
    """G before D, least squares with factor 1/2 for D, cycle 10, identity 5, one Adam for both: equal weights."""
    task = built(tiny_task("cyclegan", "--pool-images", "0"))
    for networks in task.networks():
        networks.double()
    g, d = copy.deepcopy(task.generators), copy.deepcopy(task.discriminators)
    rng = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 2, 3, 32, 32, dtype=torch.float64, generator=rng) * 2 - 1).unbind()
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        for index in range(3):
            trainer.step(Unpaired(a, b), index=index)

    def adam(networks: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(networks.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def squares(logits: Tensor, target: float) -> Tensor:
        return torch.nn.functional.mse_loss(logits, torch.full_like(logits, target))

    optimizer_g, optimizer_d = adam(g), adam(d)
    to_b, to_a = g["a-to-b"], g["b-to-a"]
    d_a, d_b = (lambda x, side=side: d[side](x)[0][-1] for side in ("a", "b"))
    l1 = torch.nn.functional.l1_loss
    for _ in range(3):
        fake_b, fake_a = to_b(a), to_a(b)
        loss = squares(d_b(fake_b), 1) + squares(d_a(fake_a), 1)
        loss = loss + 10 * l1(to_a(fake_b), a) + 10 * l1(to_b(fake_a), b)
        loss = loss + 5 * l1(to_b(b), b) + 5 * l1(to_a(a), a)
        optimizer_g.zero_grad()
        loss.backward()
        optimizer_g.step()
        optimizer_d.zero_grad()
        for discriminate, real, fake in ((d_a, a, fake_a.detach()), (d_b, b, fake_b.detach())):
            (0.5 * (squares(discriminate(real), 1) + squares(discriminate(fake), 0))).backward()
        optimizer_d.step()
    for own, other in ((task.generators, g), (task.discriminators, d)):
        for (name, mine), theirs in zip(own.named_parameters(), other.parameters(), strict=True):
            if mine.ndim > 1:  # biases before an instance norm change only by rounding errors
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6, msg=name)


@settings(deadline=None, max_examples=20)
@given(size=st.integers(1, 6), batch=st.integers(1, 4), steps=st.integers(1, 30))
def test_the_pool_returns_earlier_images_and_keeps_its_size(size: int, batch: int, steps: int) -> None:
    pool, images_so_far = ImagePool(size), set()
    for index in range(steps):
        images = torch.arange(batch).reshape(batch, 1, 1, 1) + 100.0 * index
        images_so_far |= set(images.flatten().tolist())
        returned = pool.exchange(images, Step(index, STAGE, torch.Generator().manual_seed(index)))
        assert returned.shape == images.shape
        assert set(returned.flatten().tolist()) <= images_so_far
        if (index + 1) * batch <= size:
            assert torch.equal(returned, images)
        assert len(pool.images) <= size


def test_a_full_pool_returns_older_images_half_of_the_time() -> None:
    pool, older = ImagePool(50), 0
    for index in range(1050):
        image = torch.full((1, 1, 1, 1), float(index))
        picked = pool.exchange(image, Step(index, STAGE, torch.Generator().manual_seed(index)))
        older += float(picked) != index
    assert 430 < older < 570


def test_images_pass_a_pool_of_size_0_or_with_other_image_sizes() -> None:
    image = torch.zeros(1, 1, 2, 2)
    step = Step(0, STAGE, torch.Generator().manual_seed(0))
    assert ImagePool(0).exchange(image, step) is image
    pool = ImagePool(1)
    pool.exchange(torch.zeros(1, 1, 3, 3), step)
    for index in range(10):
        picked = pool.exchange(image, Step(index, STAGE, torch.Generator().manual_seed(index)))
        assert picked.shape == image.shape


def test_a_run_has_both_directions(tmp_path: Path) -> None:
    task = tiny_task("cyclegan", "--a-channels", "1", "--b-channels", "3", "--identity", "0")
    run = write_run(tmp_path / "run", task)
    a_to_b, b_to_a = TrainedModel(run), TrainedModel(run, direction="b-to-a")
    assert (a_to_b.spec.in_channels, a_to_b.spec.out_channels) == (1, 3)
    assert (b_to_a.spec.in_channels, b_to_a.spec.out_channels) == (3, 1)
    gray = np.random.default_rng(0).uniform(-1, 1, (1, 1, 20, 20)).astype(np.float32)
    expected = task.generators["a-to-b"].eval()(torch.from_numpy(gray)).detach().numpy()
    np.testing.assert_allclose(a_to_b.run(gray), expected, atol=1e-4)
    assert b_to_a.run(np.concatenate([gray] * 3, axis=1)).shape == (1, 1, 20, 20)
    assert gan_tasks.load(run, direction="b-to-a").title.endswith("b-to-a")
    with pytest.raises(UserError, match="a-to-b or b-to-a"):
        gan_tasks.load(run, direction="sideways")


def test_a_task_with_one_direction_refuses_a_direction(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one direction only"):
        TrainedModel(write_run(tmp_path / "run", tiny_task("pix2pix")), direction="b-to-a")


def test_the_identity_loss_needs_equal_channels() -> None:
    with pytest.raises(UserError, match="--identity 0"):
        CycleGAN(data=UnpairedConfig(a_channels=1, b_channels=3)).build(for_training=True)


@pytest.mark.parametrize("network", ["resnet-6", "unet-128", "global"])
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_residual_generators_begin_as_the_identity(network: str, upsampling: str) -> None:
    task = built(tiny_task("cyclegan", "--residual", "--generator", network, "--upsampling", upsampling))
    x = torch.rand(2, 3, 70, 50) * 2 - 1
    with task.evaluating(task.generators):
        assert torch.equal(task.infer(x), x)


def test_a_downscaled_residual_keeps_details_and_equals_that_of_the_smaller_image() -> None:
    options = ("cyclegan", "--residual", "--generator", "resnet-6", "--norm", "none")
    plain, downscaled = (
        built(tiny_task(*options, *more)).generators["a-to-b"] for more in ((), ("--residual-downscale", "4"))
    )
    for parameter in plain.head.parameters():
        nn.init.normal_(parameter, 0, 0.02)
    downscaled.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 80, 64) - 0.5
    with torch.no_grad():
        means = functional.avg_pool2d(x, 4)
        residual = plain(means) - means
        assert residual.abs().max() > 1e-3
        torch.testing.assert_close(
            downscaled(x), x + functional.interpolate(residual, scale_factor=4.0, mode="bilinear")
        )
    assert downscaled(x[..., :70, :50]).shape == (1, 3, 70, 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"residual_downscale": 2}, "add --residual"), ({"residual_downscale": 0}, "from 1 to 64")],
)
def test_a_residual_downscale_needs_a_residual(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CycleGAN(**options)


def test_a_residual_needs_equal_channels() -> None:
    with pytest.raises(UserError, match="1 channels and the output 3"):
        built(tiny_task("cyclegan", "--residual", "--a-channels", "1", "--identity", "0"))


OPTIONS = {
    "u-net": ("--generator", "unet-128", "--crop-size", "128", "128"),
    "three scales": ("--d-scales", "3", "--d-layers", "1"),
    "resize-convolution": ("--upsampling", "resize"),
    "residual": ("--residual", "--upsampling", "resize"),
    "downscaled residual": ("--residual", "--residual-downscale", "2", "--norm", "none", "--upsampling", "resize"),
    "no adversarial loss": ("--gan", "0"),
    "wgan-gp": ("--adversarial", "wasserstein", "--gradient-penalty", "10"),
    "relativistic, r1, r2": ("--adversarial", "relativistic", "--r1", "1", "--r2", "1"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_option_trains(options: tuple[str, ...], pairs: Path) -> None:
    task = built(tiny_task("cyclegan", *options))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        logs = [trainer.step(tiny_batch(task, pairs), index=index) for index in range(2)]
    assert not any(log["skipped"] for log in logs)


@pytest.mark.parametrize("network", [resnet, unet], ids=["resnet", "unet"])
def test_resize_convolution_leaves_no_checkerboard(network: object) -> None:
    """With constant weights and a constant input, all inner output pixels are equal."""

    def unevenness(upsampling: str) -> float:
        options = {"downs": 5} if network is unet else {"blocks": 1}
        g = network(1, 1, width=2, norm="none", upsampling=upsampling, **options).eval()  # type: ignore[operator]
        for parameter in g.parameters():
            nn.init.constant_(parameter, 0.02 if parameter.ndim > 1 else 0.0)
        with torch.no_grad():
            inner = g(torch.ones(1, 1, 256, 256))[0, 0, 112:144, 112:144]
        phases = [inner[row::2, column::2].mean() for row, column in itertools.product((0, 1), (0, 1))]
        return float((max(phases) - min(phases)) / inner.mean())

    assert unevenness("resize") < 1e-5
    if network is resnet:  # a kernel of 3 at stride 2 covers some places four times and others once
        assert unevenness("transposed") > 0.1
