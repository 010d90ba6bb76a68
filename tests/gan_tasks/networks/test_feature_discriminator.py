"""The discriminator on features of a pretrained network: only its heads are trained, with every loss and in bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from random_vgg import write_vgg16
from tiny import adversarial_stage, built, tiny_batch, tiny_task
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.perceptual import Perceptual
from gan_tasks.runs.checkpoint import list_checkpoints, load_checkpoint
from gan_tasks.tasks.base import Task
from gan_tasks.tasks.shared.pretrained_features import discriminator_of
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import resume, train
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer

ADVERSARIAL_LOSSES = {
    "vanilla": (),
    "hinge, feature matching": ("--adversarial", "hinge", "--feature-matching", "10", "--d-spectral"),
    "wgan-gp": ("--adversarial", "wasserstein", "--gradient-penalty", "10", "--d-norm", "none"),
    "relativistic, r1, r2": ("--adversarial", "relativistic", "--r1", "1", "--r2", "1", "--d-norm", "none"),
}


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vgg16(tmp_path_factory.mktemp("vgg") / "vgg16.safetensors")


def on_features(name: str, vgg: Path, *more: str) -> Task[Any, Any]:
    network = ("--perceptual-network", "vgg16", "--perceptual-weights", str(vgg))
    return tiny_task(name, "--discriminator", "features", *network, *more)


def steps(task: Task[Any, Any], pairs: Path, *, precision: Any = "fp32", count: int = 2) -> list[dict[str, Tensor]]:
    with start_runtime("cpu", precision) as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        return [trainer.step(tiny_batch(task, pairs), index=index) for index in range(count)]


@pytest.mark.parametrize("options", ADVERSARIAL_LOSSES.values(), ids=ADVERSARIAL_LOSSES.keys())
def test_only_the_heads_are_trained(options: tuple[str, ...], vgg: Path, pairs: Path) -> None:
    task = built(on_features("pix2pix", vgg, *options))
    pretrained = {key: tensor.clone() for key, tensor in task.auxiliary.state_dict().items()}
    before = {key: tensor.clone() for key, tensor in task.discriminators.state_dict().items()}
    assert not any(log["skipped"] for log in steps(task, pairs))
    assert all(torch.equal(tensor, task.auxiliary.state_dict()[key]) for key, tensor in pretrained.items())
    assert not any(p.requires_grad or p.grad is not None for p in task.auxiliary.parameters())
    changed = {key: not torch.equal(tensor, before[key]) for key, tensor in task.discriminators.state_dict().items()}
    assert all(changed[key] for key, p in task.discriminators.named_parameters() if p.ndim > 1)
    assert sum(p.numel() for p in task.discriminators.parameters()) < 100_000  # the VGG has 10 million


def test_both_discriminators_of_cyclegan_share_one_pretrained_network(vgg: Path, pairs: Path) -> None:
    task = built(on_features("cyclegan", vgg, "--perceptual", "1", "--d-augment", "translation"))
    assert list(task.auxiliary) == ["perceptual"] and list(task.discriminators) == ["a", "b"]
    assert not any(log["skipped"] for log in steps(task, pairs))


def test_training_works_in_bf16(vgg: Path, pairs: Path) -> None:
    task = built(on_features("pix2pix", vgg, "--r1", "1"))
    (log,) = steps(task, pairs, precision="bf16", count=1)
    assert not log["skipped"] and torch.isfinite(log["d/r1"])
    assert {p.dtype for p in task.discriminators.parameters()} == {torch.float32}


def test_logits_are_1x1_convolutions_of_the_features(vgg: Path) -> None:
    """The expected logits are computed here from the features of the source and the image, layer by layer."""
    task = built(on_features("pix2pix", vgg, "--d-norm", "none"))
    source, image = (torch.rand(2, 2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1).unbind()
    network = task.auxiliary["perceptual"]
    assert isinstance(network, Perceptual)
    scales = discriminator_of(task, "d")(source, image)
    assert [tuple(scale[-1].shape[-2:]) for scale in scales] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    weights = task.discriminators["d"].state_dict()
    for scale, layer in zip(scales, ("relu2_1", "relu3_1", "relu4_1", "relu5_1"), strict=True):
        x = torch.cat([network.features(source)[layer], network.features(image)[layer]], dim=1)
        for stage in range(3):
            weight, bias = (weights[f"heads.{layer}.stages.{stage}.0.{kind}"] for kind in ("weight", "bias"))
            x = torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x) + bias[:, None, None]
            x = torch.where(x > 0, x, 0.2 * x) if stage < 2 else x
        torch.testing.assert_close(scale[-1], x, rtol=1e-4, atol=1e-5)


def test_gradients_of_r1_reach_the_heads_through_the_pretrained_network(vgg: Path, pairs: Path) -> None:
    task = built(on_features("pix2pix", vgg, "--r1", "1", "--d-norm", "none"))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        x = tiny_batch(task, pairs)
        trainer.step(x, index=0)
        task.d_losses(x, {"fake": x.target.clone()})["r1"].backward()
    assert all(p.grad is not None and p.grad.any() for p in task.discriminators.parameters() if p.ndim > 1)


def test_small_images_are_refused_with_a_hint(vgg: Path, pairs: Path) -> None:
    task = built(on_features("pix2pix", vgg, "--crop-size", "31", "40"))
    with pytest.raises(UserError, match=r"31×40 px, and needs 32 .*--discriminator patch"):
        steps(task, pairs, count=1)


def test_training_resumes_exactly_and_saves_no_pretrained_weights(vgg: Path, pairs: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        device="cpu",
        precision="fp32",
        workers=0,
        max_steps=3,
        sample_every_steps=0,
        evaluate_every_steps=0,
        checkpoint_every_steps=2,
        quiet=True,
    )
    task = on_features("pix2pix", vgg, "--d-augment", "colour", "translation", "cutout", "--r1", "1")
    whole = train(task, data=pairs, out=tmp_path / "whole", config=config)
    (stopped := tmp_path / "stopped").mkdir()
    train(task, data=pairs, out=stopped, config=TrainConfig(**{**vars(config), "max_steps": 2}))
    resume(stopped, max_steps=3)
    expected, parts = (load_checkpoint(list_checkpoints(run / "checkpoints")[-1])[0] for run in (whole, stopped))
    for part, tensors in expected.items():
        assert not any("vgg" in key for key in tensors)
        assert all(torch.equal(parts[part][key], tensor) for key, tensor in tensors.items()), part
