"""What holds for every task, run over all of them and over the examples."""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import ALL_TASKS, NETWORKS, adversarial_stage, built, some_inputs, tiny_batch, tiny_task, write_run
from torch import Tensor, nn

import gan_tasks
from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.functional import AdversarialConfig, adversarial_g_loss
from gan_tasks.losses.perceptual import Perceptual
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.runs.checkpoint import list_checkpoints, load_checkpoint
from gan_tasks.runs.folder import from_json, to_json
from gan_tasks.spec import InputSpec, spec_from_json, spec_to_json
from gan_tasks.tasks import find_task
from gan_tasks.tasks.base import Step, Task
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.loop import resume, train
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer

pytestmark = pytest.mark.slow

LAMA = ("--preset", "lama", "--width", "4", "--d-width", "4", "--blocks", "1", "--batch-size", "2")
"""Tiny options of inpainting whose network and losses are not the default ones."""

every_task = pytest.mark.parametrize("name", ALL_TASKS)
every_network = pytest.mark.parametrize("name", [*ALL_TASKS, *NETWORKS])
each_device = pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))],
)


@pytest.fixture
def task(name: str) -> Task[Any, Any]:
    return built(tiny_task(name))


def fill_zero_weights(task: Task[Any, Any]) -> None:
    """Draw the weights that begin at zero, as the last ones of a residual block: no gradient passes them."""
    for networks in (task.generators, task.discriminators):
        for weight in networks.parameters():
            if weight.ndim > 1 and not weight.any():
                torch.nn.init.normal_(weight, std=0.02)


def stand_at_first_step(task: Task[Any, Any]) -> None:
    task.step = Step(0, adversarial_stage(task), torch.Generator().manual_seed(0))


@every_task
def test_config_is_frozen_typed_explained_and_survives_json(name: str) -> None:
    config_class = find_task(name).load().Config
    config = config_class()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.data = None
    for options in filter(dataclasses.is_dataclass, config_class.__mro__):
        (tree,) = ast.parse(inspect.getsource(options)).body
        assert isinstance(tree, ast.ClassDef) and ast.get_docstring(tree)
        for statement, following in zip(tree.body, [*tree.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.value, ast.Constant):
                assert isinstance(following, ast.Expr), f"{ast.unparse(statement)} has no explanation below it"
    assert from_json(config_class, to_json(config)) == config


@every_network
def test_every_generator_is_the_shared_backbone(task: Task[Any, Any]) -> None:
    assert task.generators
    for generator in task.generators.values():
        assert is_on_the_backbone(generator)


def is_on_the_backbone(generator: nn.Module) -> bool:
    """Whether all weights lie in frames of one class, that of images or of noise, and each frame has its parts."""
    frames = [part for part in generator.modules() if isinstance(part, Generator | SynthesisGenerator)]
    inside = {id(p) for frame in frames for p in frame.parameters()}
    are_frames = all(type(frame) in (Generator, SynthesisGenerator) and is_filled(frame) for frame in frames)
    return bool(frames) and are_frames and all(id(p) in inside for p in generator.parameters())


def is_filled(frame: Generator | SynthesisGenerator) -> bool:
    """Whether the head and what is before it both have weights: a whole network in one place is no frame."""
    if isinstance(frame, Generator):
        head, before = frame.head, (frame.stem, frame.downs, frame.body, frame.ups)
    else:
        head, before = frame.to_rgb, (frame.base, frame.stages)
    return any(True for _ in head.parameters()) and any(True for part in before for _ in part.parameters())


def test_a_generator_beside_the_backbone_is_noticed() -> None:
    def conv() -> nn.Module:
        return nn.Conv2d(3, 3, 1)

    def frame(**parts: Any) -> Generator:
        empty: dict[str, Any] = {"stem": nn.Identity(), "downs": [], "body": nn.Identity(), "ups": []}
        return Generator(**{**empty, "head": nn.Identity(), **parts})

    class Another(Generator):
        pass

    assert is_on_the_backbone(frame(stem=conv(), head=conv()))
    assert not is_on_the_backbone(nn.Sequential(conv(), conv())), "no frame at all"
    assert not is_on_the_backbone(nn.Sequential(frame(stem=conv(), head=conv()), conv())), "weights beside it"
    assert not is_on_the_backbone(frame(body=nn.Sequential(conv(), conv()))), "all in one place"
    assert not is_on_the_backbone(Another(stem=conv(), downs=[], body=conv(), ups=[], head=conv())), "another frame"


@every_task
def test_its_spec_survives_json_and_is_that_of_its_run(name: str, tmp_path: Path) -> None:
    task = built(tiny_task(name))
    assert spec_from_json(json.loads(json.dumps(spec_to_json(task.spec())))) == task.spec()
    run = write_run(tmp_path / "run", tiny_task(name))
    stored = spec_from_json(json.loads((run / "config.json").read_text())["spec"])
    assert stored == gan_tasks.load(run).spec == task.spec()


@every_network
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 1), (2, 70)])
def test_any_size_comes_back_in_its_own(task: Task[Any, Any], size: tuple[int, int]) -> None:
    with task.evaluating(task.generators):
        output = task.infer(*some_inputs(task, 2, size))
    assert output.shape == (2, *task.spec().output_shape(*size))
    assert torch.isfinite(output).all() and output.abs().max() <= 1


@every_task
def test_d_losses_reach_every_discriminator_weight_and_no_generator(task: Task[Any, Any], pairs: Path) -> None:
    stand_at_first_step(task)
    fill_zero_weights(task)
    x = tiny_batch(task, pairs)
    y = {name: image.detach() for name, image in task.generate(x).items()}
    losses = task.d_losses(x, y)
    if not task.discriminators:
        assert not losses and "d" not in adversarial_stage(task).update_order
        return
    check_losses(losses)
    torch.stack(list(losses.values())).sum().backward()
    # The two halves of a loss may cancel in a bias; in no weight.
    assert all(p.grad is not None and (p.ndim == 1 or p.grad.any()) for p in task.discriminators.parameters())
    assert all(p.grad is None for p in task.generators.parameters())


@every_network
def test_g_losses_reach_every_generator_weight(task: Task[Any, Any], pairs: Path) -> None:
    stand_at_first_step(task)
    x = tiny_batch(task, pairs)
    task.discriminators.requires_grad_(False)
    losses = task.g_losses(x, task.generate(x))
    check_losses(losses)
    torch.stack(list(losses.values())).sum().backward()
    # Weights without `requires_grad`, such as those of a pretrained encoder, are not trained.
    assert all((p.grad is not None) == p.requires_grad for p in task.generators.parameters())
    assert sum(float(p.grad.abs().sum()) for p in task.generators.parameters() if p.grad is not None) > 0


def check_losses(losses: dict[str, Tensor]) -> None:
    assert losses
    for name, loss in losses.items():
        assert loss.ndim == 0 and torch.isfinite(loss), name


@every_task
def test_two_scales_and_the_perceptual_loss_each_teach_the_generator(task: Task[Any, Any]) -> None:
    out_channels = task.spec().out_channels
    source = some_inputs(task, 1, (32, 32))
    d = MultiScaleDiscriminator(lambda: PatchDiscriminator(out_channels, width=4, layers=1), scales=2)
    weights = vgg_weights()
    perceptual = Perceptual("vgg16", weights, {"relu1_1": 0.5, "relu2_1": 0.5})

    def gradient(loss: Tensor) -> float:
        # Of a task that goes both ways, only one way is in use.
        weights = [weight for weight in task.generators.parameters() if weight.requires_grad]
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        return sum(float(g.abs().sum()) for g in gradients if g is not None)

    fake = task.infer(*source)
    for scale in (0, 1):
        assert gradient(adversarial_g_loss(AdversarialConfig(), [d(fake)[scale]])) > 0
        fake = task.infer(*source)
    assert gradient(perceptual(fake, torch.zeros_like(fake))) > 0


def vgg_weights() -> dict[str, Tensor]:
    """Random weights under VGG16's names, for its first two blocks."""
    generator = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128)}
    weights: dict[str, Tensor] = {}
    for number, (outputs, inputs) in shapes.items():
        weights[f"features.{number}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * 0.1
        weights[f"features.{number}.bias"] = torch.zeros(outputs)
    return weights


@every_task
def test_its_state_survives_a_round_trip(task: Task[Any, Any], name: str) -> None:
    state = task.state()
    other = built(tiny_task(name))
    other.load_state(state)
    assert other.state().keys() == state.keys()
    assert all(torch.equal(other.state()[key], value) for key, value in state.items())


@every_network
def test_a_step_updates_all_networks_and_reports_it(task: Task[Any, Any], pairs: Path) -> None:
    with start_runtime("cpu", "fp32") as runtime:
        fill_zero_weights(task)
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        trained = [p for p in (*task.generators.parameters(), *task.discriminators.parameters()) if p.requires_grad]
        before = [p.clone() for p in trained]
        log = trainer.step(tiny_batch(task, pairs), index=0)
    # A bias in front of instance norm has no effect, and so nothing moves it.
    moved = [not torch.equal(old, new) for old, new in zip(before, trained, strict=True) if new.ndim > 1]
    assert all(moved)
    roles = ("d", "g") if task.discriminators else ("g",)
    assert {"skipped", *(f"{role}/total" for role in roles), *(f"grad/{role}" for role in roles)} <= log.keys()
    assert all(torch.isfinite(value).all() for value in log.values())


@every_network
@each_device
def test_it_learns_in_bf16_too(task: Task[Any, Any], pairs: Path, device: str) -> None:
    """Weights stay float32; over a few steps on one batch the generator's loss falls, if not in every step.

    From noise there is no loss that has to fall.
    """
    with start_runtime(device, "bf16") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        batch = tiny_batch(task, pairs)
        logs = [trainer.step(batch, index=index, lr_factor=10) for index in range(8)]
    assert not any(log["skipped"] for log in logs)
    losses = [float(log["g/total"]) for log in logs]
    assert sum(losses[-3:]) / 3 < losses[0] or task.spec().image is None
    assert {p.dtype for p in task.generators.parameters()} == {torch.float32}


@every_task
def test_compiling_changes_no_name_in_a_checkpoint(task: Task[Any, Any]) -> None:
    names = list(task.generators.state_dict())
    with start_runtime("cpu", "fp32", compile=True) as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
    assert list(trainer.parts()["generators"]) == names


@every_network
def test_recomputed_features_train_the_same_weights(task: Task[Any, Any], pairs: Path) -> None:
    check_recomputed(task, pairs)


def test_recomputed_features_of_a_network_with_batch_norm_and_a_bottleneck(pairs: Path) -> None:
    options = ("--network", "context-encoder", "--crop-size", "128", "128", "--width", "4")
    check_recomputed(built(tiny_task("inpainting", *options)), pairs)


def test_recomputed_features_of_fourier_convolutions(pairs: Path) -> None:
    task = built(tiny_task("inpainting", *LAMA))
    assert is_on_the_backbone(task.generators["g"])
    check_recomputed(task, pairs)


def check_recomputed(task: Task[Any, Any], pairs: Path) -> None:
    batch, states = tiny_batch(task, pairs), []
    for recompute in (False, True):
        own = copy.deepcopy(task)
        with start_runtime("cpu", "fp32", recompute=recompute) as runtime:
            trainer = Trainer(own, adversarial_stage(own), runtime, seed=0)
            for index in range(2):
                trainer.step(batch, index=index)
        states.append({key: value for part in trainer.parts().values() for key, value in part.items()})
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@every_network
@each_device
def test_a_batch_of_nan_leaves_weights_and_statistics_alone(task: Task[Any, Any], pairs: Path, device: str) -> None:
    with start_runtime(device, "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        batch = tiny_batch(task, pairs)
        trainer.step(batch, index=0)
        before = {key: value.clone() for part in trainer.parts().values() for key, value in part.items()}
        log = trainer.step(type(batch)(*(image * torch.nan for image in batch)), index=1)
        after = {key: value for part in trainer.parts().values() for key, value in part.items()}
    assert log["skipped"] == 1
    assert all(torch.equal(before[key], after[key]) for key in before)


@every_task
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((21, 34, 3), np.uint8),
        ((21, 34, 1), np.uint8),
        ((9, 8, 4), np.uint8),
        ((9, 8, 2), np.uint8),
        ((5, 6, 3), np.uint16),
    ],
)
def test_loaded_by_path_and_called_with_an_array(
    name: str, shape: tuple[int, ...], dtype: type, tmp_path: Path
) -> None:
    model = gan_tasks.load(write_run(tmp_path / "run", tiny_task(name)))
    spec, rng = model.spec, np.random.default_rng(0)
    image = rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    inputs = {given.name: some_array(given, image) for given in spec.inputs}
    output = model(*inputs.values())
    assert np.array_equal(output, model(**inputs))
    height, width = shape[:2]
    assert output.shape[:2] == spec.output_shape(height, width)[1:]
    if spec.image is None:
        assert output.dtype == np.uint8 and output.shape[2] == spec.out_channels
        return
    assert output.dtype == dtype
    has_alpha = shape[2] in (2, 4)
    # Known pixels stay as they are in inpainting; any other image comes in the model's channels.
    assert output.shape[2] == (shape[2] if spec.use == "inpaint" else spec.out_channels + has_alpha)
    if has_alpha and spec.scale == 1:
        assert np.array_equal(output[..., -1], image[..., -1])


def some_array(given: InputSpec, image: NDArray[Any]) -> NDArray[Any]:
    """An input for a call: the image, and what goes with it."""
    height, width = image.shape[:2]
    if given.kind == "latent":
        return np.linspace(-1, 1, given.channels, dtype=np.float32)
    if given.kind == "weight":
        return np.full(given.channels, 0.5)
    if given.kind == "mask":
        mask = np.zeros((height, width, 1), np.uint8)
        mask[2:4, 1:5] = 255
        return mask
    return image if given.name == "image" else np.full((height + 3, width + 9, 3), 90, np.uint8)


@every_task
def test_resumed_in_mid_epoch_it_is_the_run_never_stopped(name: str, pairs: Path, tmp_path: Path) -> None:
    check_resumed(tiny_task(name, "--ema-halflife-images", "3", "--batch-size", "1"), pairs, tmp_path)


def test_resumed_lama_is_the_run_never_stopped(pairs: Path, tmp_path: Path) -> None:
    check_resumed(tiny_task("inpainting", *LAMA), pairs, tmp_path)


def check_resumed(task: Task[Any, Any], pairs: Path, tmp_path: Path) -> None:
    """Check networks, average, optimisers and the task's own state, bit for bit."""
    config = TrainConfig(
        device="cpu",
        precision="fp32",
        workers=0,
        max_steps=5,
        sample_every_steps=0,
        evaluate_every_steps=0,
        checkpoint_every_steps=0,
        quiet=True,
    )
    whole = train(task, data=pairs, out=tmp_path / "whole", config=config)
    stopped = train(task, data=pairs, out=tmp_path / "stopped", config=dataclasses.replace(config, max_steps=3))
    resume(stopped, max_steps=5)
    expected, parts = (load_checkpoint(list_checkpoints(run / "checkpoints")[-1])[0] for run in (whole, stopped))
    assert parts.keys() == expected.keys()
    for part, tensors in expected.items():
        assert parts[part].keys() == tensors.keys()
        assert all(torch.equal(parts[part][key], tensor) for key, tensor in tensors.items()), part


@every_task
def test_a_task_works_without_the_training_loop(name: str, pairs: Path) -> None:
    """As in a notebook: built, then called on a batch, without a step that anybody set."""
    task = tiny_task(name)
    batch = tiny_batch(task, pairs)
    with pytest.raises(UserError, match=r"call `task\.build\(\)` first"):
        task.generate(batch)
    assert "no networks yet" in repr(task)
    task.build()
    count = sum(parameter.numel() for parameter in task.generators.parameters())
    assert repr(task).startswith(f"<{name}: {type(task).__name__} with generators of {count:,} parameters")
    x = task.prepared(batch)
    outputs = task.generate(x)
    losses = task.d_losses(x, {key: image.detach() for key, image in outputs.items()}) | task.g_losses(x, outputs)
    assert losses and all(torch.isfinite(loss) for loss in losses.values())
    assert task.step.stage == task.stages(1)[-1] and task.step.index == 0
