"""pix2pix against its paper."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tiny import adversarial_stage, built, tiny_batch, tiny_task
from torch import nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.paired import Pair, PairedConfig
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator, translation_discriminator
from gan_tasks.networks.translation import resnet, unet
from gan_tasks.tasks.base import Step
from gan_tasks.tasks.cyclegan import CycleGAN
from gan_tasks.tasks.inpainting import Inpainting
from gan_tasks.tasks.pix2pix import Pix2Pix
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("generator", "parameters"),
    [
        (lambda: unet(3, 3), 54_413_955),
        (lambda: unet(3, 3, downs=7), 41_828_995),
        (lambda: resnet(3, 3, blocks=9), 11_378_179),
        (lambda: resnet(3, 3, blocks=6), 7_837_699),
        (lambda: resnet(3, 3, downs=4), 182_443_267),
    ],
    ids=["unet-256", "unet-128", "resnet-9", "resnet-6", "global"],
)
def test_networks_have_the_papers_numbers_of_weights(generator: object, parameters: int) -> None:
    with torch.device("meta"):
        assert count(generator()) == parameters  # type: ignore[operator]


def test_the_patch_discriminator_has_30_by_30_logits() -> None:
    outputs = PatchDiscriminator(6, width=2)(torch.zeros(1, 6, 256, 256))
    assert outputs[-1].shape == (1, 1, 30, 30)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_number_of_layers_determines_the_patch_size(layers: int) -> None:
    """The gradient of one logit is non-zero only for the pixels of its patch."""
    expected = {1: 16, 2: 34, 3: 70, 4: 142}[layers]
    d = PatchDiscriminator(1, width=2, layers=layers, norm="none").double()
    for parameter in d.parameters():
        nn.init.constant_(parameter, 0.1)
    image = torch.ones(1, 1, 320, 320, dtype=torch.float64, requires_grad=True)
    logits = d(image)[-1]
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert image.grad is not None
    rows = image.grad[0, 0].abs().sum(dim=1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == expected


def test_the_pixel_discriminator_has_a_receptive_field_of_one_pixel() -> None:
    d = translation_discriminator("pixel", (3,), width=4, layers=3, scales=1, norm="none", spectral=False)
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    d(image)[0][-1][0, 0, 2, 5].backward()
    assert image.grad is not None
    assert image.grad.abs().sum(dim=1).nonzero().tolist() == [[0, 2, 5]]


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_images_smaller_than_the_minimum_are_refused(layers: int) -> None:
    d = PatchDiscriminator(1, width=2, layers=layers, norm="none")
    assert d(torch.zeros(1, 1, d.minimum_size, d.minimum_size))[-1].shape[-2:] == (1, 1)
    with pytest.raises(UserError, match="larger images or crops"):
        d(torch.zeros(1, 1, d.minimum_size, d.minimum_size - 1))


def test_each_scale_halves_the_resolution() -> None:
    d = MultiScaleDiscriminator(lambda: PatchDiscriminator(3, width=2, layers=1), scales=3)
    sizes = [outputs[-1].shape[-1] for outputs in d(torch.zeros(1, 3, 64, 64))]
    assert sizes == [30, 14, 6]


def test_defaults_are_those_of_the_paper() -> None:
    config = Pix2Pix().config
    assert (config.generator, config.norm, config.dropout, config.l1) == ("unet-256", "batch", True, 100.0)
    assert (config.optimisation.lr, config.optimisation.betas, config.optimisation.batch_size) == (
        2e-4,
        (0.5, 0.999),
        1,
    )
    assert (config.schedule.epochs, config.schedule.decay_epochs, config.schedule.schedule) == (200, 100, "linear")
    framing = config.data.framing
    assert (framing.load_size, framing.crop_size, framing.flip) == (286, (256, 256), True)
    assert (config.adversarial.adversarial, config.d_scales, config.d_layers) == ("vanilla", 1, 3)
    (stage,) = Pix2Pix().stages(400)
    assert stage.update_order == ("d", "g")
    assert stage.images == 200 * 400


def test_steps_equal_an_independent_implementation_of_the_paper() -> None:
    """D before G, BCE with factor 1/2 for D, L1 × 100, Adam: equal weights after three steps."""
    from plain_steps import pix2pix_step

    torch.manual_seed(0)
    data = ("--generator", "unet-128", "--no-dropout", "--d-layers", "3")
    task = built(tiny_task("pix2pix", *data))
    for networks in task.networks():
        networks.double()  # Adam's first steps depend on the sign of a gradient, which rounding can change
    g, d = copy.deepcopy(task.generators["g"]), copy.deepcopy(task.discriminators["d"].scales[0])
    plain = pix2pix_step(g, d, torch.device("cpu"))
    batch = Pair(*(torch.rand(2, 2, 3, 128, 128, dtype=torch.float64) * 2 - 1))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        for index in range(3):
            trainer.step(batch, index=index)
            plain(batch)
    for own, other in ((task.generators["g"], g), (task.discriminators["d"].scales[0], d)):
        for mine, theirs in zip(own.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


OPTIONS = {
    "lsgan": ("--adversarial", "lsgan"),
    "hinge, spectral norm": ("--adversarial", "hinge", "--d-spectral"),
    "wgan, clipped": ("--adversarial", "wasserstein", "--clip-weights", "0.01"),
    "wgan-gp": ("--adversarial", "wasserstein", "--gradient-penalty", "10", "--norm", "instance"),
    "relativistic, r1, r2": ("--adversarial", "relativistic", "--r1", "1", "--r2", "1", "--norm", "none"),
    "pix2pixHD": ("--d-scales", "3", "--feature-matching", "10", "--norm", "instance", "--d-layers", "1"),
    "unconditional pixel": ("--discriminator", "pixel", "--no-d-conditional"),
    "adamw, own rate for d": ("--optimizer", "adamw", "--weight-decay", "0.01", "--lr-d", "1e-4"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_option_trains(options: tuple[str, ...], pairs: Path) -> None:
    task = built(tiny_task("pix2pix", *options))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        for index in range(2):
            log = trainer.step(tiny_batch(task, pairs), index=index)
    assert log["skipped"] == 0
    if "--clip-weights" in options:
        assert max(float(p.detach().abs().max()) for p in task.discriminators.parameters()) <= 0.01 + 1e-7


def test_lazy_r1_is_scaled_by_its_interval(pairs: Path) -> None:
    def r1_at(step: int, interval: int) -> float:
        options = ("--adversarial", "hinge", "--norm", "none", "--r1", "2", "--r-interval", str(interval))
        task = built(tiny_task("pix2pix", *options))
        task.step = Step(step, adversarial_stage(task), torch.Generator().manual_seed(0))
        x = tiny_batch(task, pairs)
        y = {name: image.detach() for name, image in task.generate(x).items()}
        return float(task.d_losses(x, y).get("r1", torch.tensor(0.0)).detach())

    assert r1_at(3, interval=4) == 0
    assert r1_at(4, interval=4) == pytest.approx(4 * r1_at(4, interval=1))


def test_without_the_adversarial_loss_there_is_no_discriminator(pairs: Path) -> None:
    task = built(tiny_task("pix2pix", "--gan", "0"))
    assert not task.discriminators
    with start_runtime("cpu", "fp32") as runtime:
        log = Trainer(task, adversarial_stage(task), runtime, seed=0).step(tiny_batch(task, pairs), index=0)
    assert {name for name in log if name.startswith("d/")} == set()


def test_d_steps_and_d_warmup_images_delay_the_generator(pairs: Path) -> None:
    task = built(tiny_task("pix2pix", "--d-steps", "3", "--d-warmup-images", "4"))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        updated = [
            "g/total" in trainer.step(tiny_batch(task, pairs), index=index, stage_images=2 * index)
            for index in range(7)
        ]
    assert updated == [False, False, False, True, False, False, True]


def test_a_model_can_translate_gray_to_rgba() -> None:
    data = PairedConfig(source_channels=1, target_channels=4)
    task = built(Pix2Pix(generator="resnet-6", width=4, d_width=4, data=data))
    assert task.infer(torch.zeros(1, 1, 16, 16)).shape == (1, 4, 16, 16)


def test_odd_and_rectangular_crops_train(pairs: Path) -> None:
    task = built(tiny_task("pix2pix", "--generator", "unet-128", "--crop-size", "37", "51"))
    batch = tiny_batch(task, pairs)
    assert batch.source.shape[-2:] == (37, 51)
    with start_runtime("cpu", "fp32") as runtime:
        log = Trainer(task, adversarial_stage(task), runtime, seed=0).step(batch, index=0)
    assert log["skipped"] == 0


def test_the_learning_rate_decays_as_in_the_paper() -> None:
    """The reference is torch's LambdaLR with the factor of the paper."""
    from gan_tasks.optim import lr_schedules as schedules

    config = Pix2Pix().config.schedule
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - max(0, done + 1 - 100) / 101)
    for epoch in range(1, 201):
        assert schedules.factor(config, epoch) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_the_default_adversarial_loss_equals_bce() -> None:
    from gan_tasks.losses.functional import AdversarialConfig, adversarial_d_loss

    real, fake = torch.randn(2, 1, 5, 5), torch.randn(2, 1, 5, 5)
    bce = functional.binary_cross_entropy_with_logits
    expected = 0.5 * (bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake)))
    torch.testing.assert_close(adversarial_d_loss(AdversarialConfig(), [[real]], [[fake]]), expected)


def test_unknown_channels_and_fields_are_named() -> None:
    for task in (Pix2Pix(), CycleGAN(), Inpainting()):
        with pytest.raises(UserError, match="channels of the images are not known yet"):
            task.build()
    with pytest.raises(TypeError, match=r"Pix2PixConfig has no field 'widht': did you mean width\?"):
        Pix2Pix(widht=3)
