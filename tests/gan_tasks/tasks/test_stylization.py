"""Stylization: what it is trained with, and that it learns."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_vgg import shared_vgg16
from tiny import built, photo, tiny_batch, tiny_task, write_run
from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.unpaired import Unpaired
from gan_tasks.export.load import load
from gan_tasks.networks.stylization import LEVELS, Stylizer, statistics
from gan_tasks.optim.lr_schedules import factor
from gan_tasks.tasks.stylization import Stylization, StylizationConfig
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer


@pytest.fixture
def task() -> Stylization:
    task = built(tiny_task("stylization"))
    assert isinstance(task, Stylization)
    return task


def test_the_defaults_are_the_published_recipe() -> None:
    config = StylizationConfig()
    assert (config.encoder, config.content, config.style) == ("vgg19", 1, 10)
    assert (config.optimisation.lr, config.optimisation.betas, config.optimisation.batch_size) == (
        1e-4,
        (0.9, 0.999),
        8,
    )
    framing = config.data.framing
    assert (framing.load_size, framing.crop_size, framing.keep_aspect, framing.flip) == (512, (256, 256), True, False)
    factors = [factor(config.schedule, epoch) for epoch in (1, 9, 17, 99)]
    assert factors == pytest.approx([1, 1 / 5, 1 / 9, 1 / 9])  # 1 / (1 + 5e-5 · t) of 160,000 steps


def test_the_decoder_gets_the_photograph_s_features_with_the_statistics_of_the_style(
    task: Stylization, pairs: Path
) -> None:
    x = tiny_batch(task, pairs)
    y = task.generate(x)
    made, wanted = statistics(y["features"]), statistics(task.network.encode(x.b)[LEVELS[-1]])
    torch.testing.assert_close(made.mean, wanted.mean, rtol=1e-3, atol=1e-3)
    # Features that are 0 everywhere have no deviation to scale.
    alive = statistics(task.network.encode(x.a)[LEVELS[-1]]).deviation > 0.05
    torch.testing.assert_close(made.deviation[alive], wanted.deviation[alive], rtol=1e-2, atol=1e-2)
    assert y["output"].shape == x.a.shape and not y["features"].requires_grad


def test_losses_are_0_for_an_image_with_the_features_of_both(task: Stylization, pairs: Path) -> None:
    """A photograph that is its own style keeps its features, so that the photograph itself has no loss."""
    image = tiny_batch(task, pairs).a
    y = task.generate(Unpaired(image, image))
    losses = task.g_losses(Unpaired(image, image), {**y, "output": image})
    assert all(float(loss) < 1e-6 for loss in losses.values())
    assert sum(float(loss.detach()) for loss in task.g_losses(Unpaired(image, image), y).values()) > 0.01


def test_the_loss_falls_and_only_the_decoder_changes(task: Stylization, pairs: Path) -> None:
    encoder = {name: tensor.clone() for name, tensor in task.network.frame.downs.state_dict().items()}
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, task.stages(6)[0], runtime, seed=0)
        batch = tiny_batch(task, pairs)
        losses = [float(trainer.step(batch, index=index, lr_factor=30)["g/total"]) for index in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    after = task.network.frame.downs.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in encoder.items())


def test_a_run_opens_without_the_file_of_the_encoder(tmp_path: Path) -> None:
    weights = shutil.copy(shared_vgg16(), tmp_path / "vgg16.safetensors")
    run = write_run(tmp_path / "run", tiny_task("stylization", "--encoder-weights", str(weights)))
    image, style = photo(20, 30, seed=1), photo(33, 17, seed=2)
    made = load(run, device="cpu")(image, style)
    Path(weights).unlink()
    assert np.array_equal(load(run, device="cpu")(image, style), made)


def test_a_style_strength_of_0_decodes_the_photograph_s_own_features(task: Stylization) -> None:
    image, style = torch.rand(1, 3, 24, 40) * 2 - 1, torch.rand(1, 3, 33, 18) * 2 - 1
    network = task.generators["g"]
    assert isinstance(network, Stylizer)
    with torch.no_grad():
        none, own = network(image, style, torch.zeros(1, 1)), network(image, image, torch.ones(1, 1))
        full = network(image, style, torch.ones(1, 1))
    torch.testing.assert_close(none, own, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(full, own, atol=1e-2)


def test_other_channels_are_refused() -> None:
    with pytest.raises(UserError, match="the encoder takes RGB, and the data have 4 channels"):
        tiny_task("stylization", "--a-channels", "4").build()


def test_an_option_of_discriminators_is_refused() -> None:
    with pytest.raises(UserError, match="stylization has no discriminator: leave out --lr-d"):
        tiny_task("stylization", "--lr-d", "1e-4")


def test_compiling_reaches_all_that_a_training_runs(
    task: Stylization, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth: list[str] = []
    outside: list[nn.Module] = []

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*inputs: Any) -> Any:
            depth.append("")
            outputs = function(*inputs)
            depth.pop()
            return outputs

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    with start_runtime("cpu", "fp32", compile=True) as runtime:
        trainer = Trainer(task, task.stages(6)[0], runtime, seed=0)
    layers = [part for part in task.network.modules() if isinstance(part, nn.Conv2d)]
    for layer in layers:
        layer.register_forward_pre_hook(lambda layer, _: None if depth else outside.append(layer))
    trainer.step(tiny_batch(task, pairs), index=0)
    assert not outside
