"""CUT: its training step against an independent implementation, and its options."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import adversarial_stage, built, tiny_batch, tiny_task, write_run
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.unpaired import Unpaired, UnpairedConfig
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.runs.checkpoint import CheckpointError, list_checkpoints, load_checkpoint
from gan_tasks.tasks.base import Stage, Step
from gan_tasks.tasks.cut import CUT, draw_positions
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer

STAGE = Stage("any", 10, OptimisationConfig(), ScheduleConfig())


def test_defaults_are_those_of_the_paper() -> None:
    config = CUT().config
    assert (config.generator, config.width, config.norm, config.dropout) == ("resnet-9", 64, "instance", False)
    assert (config.anti_alias, config.upsampling) == (True, "bilinear")
    assert (config.gan, config.nce, config.nce_identity, config.identity) == (1.0, 1.0, True, 0.0)
    assert (config.nce_layers, config.nce_patches, config.nce_width) == ((0, 4, 8, 12, 16), 256, 256)
    assert (config.nce_temperature, config.flip_equivariance, config.adversarial.adversarial) == (
        0.07,
        False,
        "lsgan",
    )
    assert (config.optimisation.lr, config.optimisation.betas) == (2e-4, (0.5, 0.999))
    assert (config.schedule.epochs, config.schedule.decay_epochs) == (400, 200)
    fast = CUT.presets["fastcut"]
    assert (fast.nce, fast.nce_identity, fast.flip_equivariance) == (10.0, False, True)
    assert (fast.schedule.epochs, fast.schedule.decay_epochs) == (200, 50)
    (stage,) = CUT().stages(400)
    assert stage.update_order == ("d", "g") and stage.images == 400 * 400


def images(count: int, size: int = 32, seed: int = 1) -> Unpaired[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(2, count, 3, size, size, dtype=torch.float64, generator=generator)
    return Unpaired(*(drawn * 2 - 1).unbind())


def in_float64(*options: str) -> CUT:
    task = built(tiny_task("cut", *options))
    assert isinstance(task, CUT)
    for networks in task.networks():
        networks.double()
    return task


ALL_PATCHES = ("--nce-patches", "100000")
"""With all of them, the order in which they are drawn makes no difference."""


@pytest.mark.parametrize("fast", [False, True])
def test_steps_equal_an_independent_implementation_of_the_paper(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """D before G, least squares, the contrastive loss over layers 0, 4, 8, 12 and 16, one Adam for G and the MLPs."""
    options = ("--nce", "10", "--no-nce-identity", "--flip-equivariance") if fast else ()
    task = in_float64(*ALL_PATCHES, *options)
    g, d, mlps = (copy.deepcopy(each) for each in (task.generators["g"], task.discriminators["d"], task.heads))
    a, b = images(2)
    flips = torch.tensor([True, False])
    if fast:  # the draw of the flips alone is not of the positions' shape
        drawn = Step.random
        monkeypatch.setattr(
            Step,
            "random",
            lambda self, n, *shape, **more: (
                (~flips).double().view(2, 1, 1, 1) if shape == (1, 1, 1) else drawn(self, n, *shape, **more)
            ),
        )
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        for index in range(2):
            trainer.step(Unpaired(a, b), index=index)

    layers = [*g.stem, *g.downs[0], *g.downs[1], *g.body]

    def features(x: Tensor) -> list[Tensor]:
        found = []
        for number, layer in enumerate(layers[:17]):
            x = layer(x)
            if number % 4 == 0:
                found.append(x.clone())
        return found

    def flipped(x: Tensor) -> Tensor:
        return torch.stack([image.flip(-1) if fast and flip else image for image, flip in zip(x, flips, strict=True)])

    def contrast(source: Tensor, output: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for mlp, own, key in zip(mlps["patches"].mlps, features(output), features(source), strict=True):
            for query_map, key_map in zip(flipped(own), key, strict=True):
                query, found = (mlp(each.flatten(1).T) for each in (query_map, key_map))
                query, found = (each / (each.norm(dim=1, keepdim=True) + 1e-7) for each in (query, found))
                logits = query @ found.detach().T / 0.07
                total = total + functional.cross_entropy(logits, torch.arange(len(logits))) / 2
        return total / 5

    def squares(logits: Tensor, target: float) -> Tensor:
        return functional.mse_loss(logits, torch.full_like(logits, target))

    adam_d = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = torch.optim.Adam([*g.parameters(), *mlps.parameters()], lr=2e-4, betas=(0.5, 0.999))
    for _ in range(2):
        fake = g(flipped(a))
        adam_d.zero_grad()
        (0.5 * (squares(d(fake.detach())[0][-1], 0) + squares(d(b)[0][-1], 1))).backward()
        adam_d.step()
        adam_g.zero_grad()
        loss = squares(d(fake)[0][-1], 1)
        loss = loss + (10 * contrast(a, fake) if fast else 0.5 * (contrast(a, fake) + contrast(b, g(b))))
        loss.backward()
        adam_g.step()
    for own, other in ((task.generators["g"], g), (task.discriminators["d"], d), (task.heads, mlps)):
        for (name, mine), theirs in zip(own.named_parameters(), other.parameters(), strict=True):
            if mine.ndim > 1:  # biases before an instance norm change only by rounding errors
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6, msg=name)


def test_positions_are_different_ones_of_each_image_and_those_of_the_step() -> None:
    def drawn(index: int, count: int, **more: Any) -> Tensor:
        step = Step(index, STAGE, torch.Generator().manual_seed(index), **more)
        return draw_positions(step, torch.zeros(count, 5, 6, 7), 30)

    positions = drawn(0, 4)
    assert positions.shape == (4, 30) and positions.min() >= 0 and positions.max() < 42
    assert all(len(set(row.tolist())) == 30 for row in positions)
    assert not torch.equal(positions[0], positions[1]) and not torch.equal(positions, drawn(1, 4))
    parts = [drawn(0, 2, rank=rank, world_size=2) for rank in (0, 1)]
    assert torch.equal(torch.cat(parts), positions)
    assert draw_positions(Step(0, STAGE, torch.Generator()), torch.zeros(1, 5, 2, 3), 30).shape == (1, 6)


def test_the_heads_are_trained_saved_and_needed_to_resume(pairs: Path, tmp_path: Path) -> None:
    task = built(tiny_task("cut"))
    before = {key: tensor.clone() for key, tensor in task.heads.state_dict().items()}
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        trainer.step(tiny_batch(task, pairs), index=0)
        parts = trainer.parts()
        assert all(not torch.equal(before[key], tensor) for key, tensor in parts["heads"].items() if tensor.ndim > 1)
        other = Trainer(built(tiny_task("cut")), adversarial_stage(task), runtime, seed=0)
        other.load_parts(parts)
        assert all(torch.equal(tensor, other.parts()["heads"][key]) for key, tensor in parts["heads"].items())
        del parts["heads"]
        with pytest.raises(CheckpointError, match="lacks heads"):
            other.load_parts(parts)
    run = write_run(tmp_path / "run", tiny_task("cut"))
    stored, _ = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    assert "heads" in stored and not any(key.startswith("patches") for key in stored["generators"])


def test_the_contrastive_loss_needs_equal_channels_and_an_adversarial_loss_alone_does_not() -> None:
    data = UnpairedConfig(a_channels=1, b_channels=3)
    with pytest.raises(UserError, match="A has 1 channels and B 3"):
        CUT(data=data).build(for_training=True)
    task = CUT(data=data, nce=0.0, width=4, d_width=4)
    task.build(for_training=True)
    assert not task.heads and (task.spec().in_channels, task.spec().out_channels) == (1, 3)


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(UserError, match="nothing would be learned"):
        CUT(gan=0.0, nce=0.0)
    with pytest.raises(UserError, match="names no layer"):
        CUT(nce_layers=())
    with pytest.raises(UserError, match="layer 40, and the encoder of this generator has layers 0 to 20"):
        CUT(nce_layers=(0, 40), width=2, data=UnpairedConfig(a_channels=3, b_channels=3)).build()


def test_b_to_a_translates_the_other_way(pairs: Path, tmp_path: Path) -> None:
    x = images(1)
    task = in_float64("--direction", "b-to-a")
    assert task.inputs_and_target(x) == ((x.b,), x.a)
    assert torch.equal(task.generate(x)["fake"], task.generators["g"](torch.cat([x.b, x.a]))[:1])
    assert list(task.shown_images(x, x.a)) == ["B", "B to A", "A"]
    model = TrainedModel(write_run(tmp_path / "run", tiny_task("cut", "--direction", "b-to-a")))
    assert model.spec.directions == ()
    with pytest.raises(UserError, match="one direction only"):
        TrainedModel(tmp_path / "run", direction="a-to-b")


OPTIONS = {
    "no anti-aliasing": ("--no-anti-alias", "--upsampling", "transposed", "--nce-layers", "0", "3", "15"),
    "global": ("--generator", "global"),
    "residual": ("--residual", "--norm", "none", "--residual-downscale", "2", "--crop-size", "48", "48"),
    "contrastive alone": ("--gan", "0"),
    "adversarial alone": ("--nce", "0"),
    "across the batch": ("--nce-across-batch", "--nce-patches", "1", "--identity", "1"),
    "sizes of their own": ("--crop-size", "0", "0", "--batch-size", "1", "--flip-equivariance"),
    "batch norm": ("--norm", "batch", "--dropout"),
    "wgan-gp": ("--adversarial", "wasserstein", "--gradient-penalty", "10"),
    "relativistic, r1, r2": ("--adversarial", "relativistic", "--r1", "1", "--r2", "1"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_option_trains(options: tuple[str, ...], pairs: Path) -> None:
    task = built(tiny_task("cut", *options))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        logs = [trainer.step(tiny_batch(task, pairs), index=index) for index in range(2)]
    assert not any(log["skipped"] for log in logs)
    assert all(torch.isfinite(value).all() for log in logs for value in log.values())


def test_images_of_two_sizes_are_translated_apart() -> None:
    task = in_float64()
    x = Unpaired(images(1).a, images(1, 40).b)
    y = task.generate(x)
    assert y["fake"].shape == x.a.shape and y["identity"].shape == x.b.shape
    assert torch.isfinite(sum(task.g_losses(x, y).values(), torch.zeros(())))


def test_an_output_equal_to_its_source_has_a_smaller_contrastive_loss() -> None:
    task = in_float64()
    source, other = images(1)
    same, different = (task.contrast(source, output, None) for output in (source, other))
    assert same < different
    flip = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    assert task.contrast(source, source.flip(3), flip) < different


@pytest.mark.parametrize("width", [32, 33, 35])
def test_mirrored_patches_are_those_of_the_source_at_any_width(width: int) -> None:
    """Layer 0 only pads, so that its features are exactly mirrored with the image. All positions are compared."""
    task = in_float64("--nce-layers", "0", "--nce-patches", "100000")
    source = images(1, 36).a[..., :width]
    flip = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    upright, mirrored = task.contrast(source, source, None), task.contrast(source, source.flip(3), flip)
    torch.testing.assert_close(mirrored, upright)


def test_the_heads_are_compiled_with_the_other_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda network: compiled.append(network))
    task = built(tiny_task("cut"))
    with start_runtime("cpu", "fp32", compile=True) as runtime:
        Trainer(task, adversarial_stage(task), runtime, seed=0)
    for networks in (task.generators, task.discriminators, task.heads):
        assert all(network in compiled for network in networks.values())
