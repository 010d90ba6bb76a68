"""Initialising from another model: fitting weights are loaded, the others keep their random values, with a report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from random_vgg import shared_vgg16, write_vgg16
from safetensors.torch import load_file, save_file
from tiny import built, tiny_task, write_run
from torch import Tensor

from gan_tasks.apps.cli.commands.inspect import inspect
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.jy import write_jy
from gan_tasks.export.load import load
from gan_tasks.networks.stylization import Decoder, Encoder, Stylizer
from gan_tasks.networks.translation import resnet
from gan_tasks.pretrained.stylization.adain import DECODER_LAYERS, ENCODER_LAYERS, names_of
from gan_tasks.runs.checkpoint import list_checkpoints, load_checkpoint, load_part, save_checkpoint
from gan_tasks.runs.folder import load_trained
from gan_tasks.runs.journal import read_journal
from gan_tasks.tasks.base import Task
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.init_from import init_from_model, trained_with_of
from gan_tasks.training.loop import resume, train

CONFIG = TrainConfig(
    device="cpu",
    precision="fp32",
    workers=0,
    max_steps=1,
    sample_every_steps=0,
    evaluate_every_steps=0,
    checkpoint_every_steps=0,
    quiet=True,
)


def run_of(folder: Path, name: str, *options: str, seed: float = 0.5) -> tuple[Path, dict[str, Tensor]]:
    """Write a run whose generator tensors have constant values, from `seed` on; return the run and the tensors."""
    run = write_run(folder, tiny_task(name, *options))
    (checkpoint,) = list_checkpoints(run / "checkpoints")
    parts, state = load_checkpoint(checkpoint)
    for part in ("generators", "average"):
        for number, tensor in enumerate(parts.get(part, {}).values()):
            tensor.fill_(seed + number + (1000 if part == "average" else 0))
    shutil.rmtree(checkpoint)
    state.pop("parts")
    save_checkpoint(run / "checkpoints", 0, parts, state)
    return run, parts["average" if "average" in parts else "generators"]


def without(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def generator(task: Task[Any, Any], name: str) -> dict[str, Tensor]:
    return dict(task.generators[name].state_dict())


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_pix2pix_initialises_both_directions_of_a_cyclegan(tmp_path: Path) -> None:
    run, found = run_of(tmp_path / "run", "pix2pix", "--norm", "instance")
    task = built(tiny_task("cyclegan"))
    lines = init_from_model(task, run)
    for direction in ("a-to-b", "b-to-a"):
        assert same(generator(task, direction), without("g.", found))
    # Six blocks of two convolutions with weight and bias.
    assert [line.split(":")[0] for line in lines] == ["a-to-b", "b-to-a"]
    assert all("body 24 of 24 tensors" in line and "stem 2 of 2" in line for line in lines)


def test_a_cyclegan_initialises_a_pix2pix_with_its_default_direction(tmp_path: Path) -> None:
    for direction in ("a-to-b", "b-to-a"):
        run, found = run_of(tmp_path / direction, "cyclegan", "--direction", direction)
        task = built(tiny_task("pix2pix", "--norm", "instance"))
        init_from_model(task, run)
        assert same(generator(task, "g"), without(f"{direction}.", found))


def test_a_cyclegan_initialises_each_direction_of_another(tmp_path: Path) -> None:
    run, found = run_of(tmp_path / "run", "cyclegan", "--direction", "b-to-a")
    task = built(tiny_task("cyclegan"))
    init_from_model(task, run)
    for direction in ("a-to-b", "b-to-a"):
        assert same(generator(task, direction), without(f"{direction}.", found))


def test_layers_that_do_not_fit_keep_their_random_weights(tmp_path: Path) -> None:
    """With another number of input channels the stem keeps its bias, too: it belongs to the weight."""
    run, found = run_of(tmp_path / "run", "pix2pix", "--norm", "instance", "--source-channels", "1")
    task = built(tiny_task("pix2pix", "--norm", "instance"))
    before = {key: tensor.clone() for key, tensor in generator(task, "g").items()}
    (line,) = init_from_model(task, run)
    assert "stem 0 of 2 tensors (stem.1.weight: 4×1×7×7 → 4×3×7×7)" in line
    assert "body 24 of 24 tensors" in line and "head 2 of 2 tensors" in line
    for key, tensor in generator(task, "g").items():
        expected = before[key] if key.startswith("stem.") else found[f"g.{key}"]
        assert torch.equal(tensor, expected), key


def test_convolutions_are_loaded_between_different_norms(tmp_path: Path) -> None:
    """Convolutions before batch norm have no bias: only weights are loaded, and biases stay 0."""
    run, found = run_of(tmp_path / "run", "pix2pix", "--norm", "batch")
    task = built(tiny_task("cyclegan"))
    init_from_model(task, run)
    for key, tensor in generator(task, "a-to-b").items():
        if key.endswith(".weight") or key == "head.1.bias":
            assert torch.equal(tensor, found[f"g.{key}"]), key
        else:
            assert not tensor.any(), key


def test_the_average_of_the_weights_is_preferred(tmp_path: Path) -> None:
    run, average = run_of(tmp_path / "run", "pix2pix", "--norm", "instance", "--ema-halflife-images", "3")
    (checkpoint,) = list_checkpoints(run / "checkpoints")
    assert not same(load_part(checkpoint, "generators"), average)
    for source in (run, checkpoint):
        task = built(tiny_task("pix2pix", "--norm", "instance"))
        init_from_model(task, source)
        assert same(generator(task, "g"), without("g.", average))


def test_a_public_checkpoint_initialises_a_model(tmp_path: Path) -> None:
    network = resnet(3, 3, width=4, blocks=6)
    write_jy(tmp_path / "latest_net_G.pth", network)
    task = built(tiny_task("cyclegan"))
    init_from_model(task, tmp_path / "latest_net_G.pth")
    assert same(generator(task, "b-to-a"), dict(network.state_dict()))


def test_a_generator_from_noise_initialises_another(tmp_path: Path) -> None:
    network = ("--network", "pggan")
    run = write_run(tmp_path / "run", tiny_task("synthesis", *network, "--growth", "0.5"))
    with torch.no_grad():
        task = built(tiny_task("synthesis", *network))
        for weight in task.generators.parameters():
            weight.zero_()
    (line,) = init_from_model(task, run)
    assert "base 4 of 4 tensors" in line
    theirs = load_trained(run)[0].generators["g"].state_dict()
    assert all(torch.equal(theirs[name], weight) for name, weight in task.generators["g"].state_dict().items())


def test_an_error_gives_the_reason_if_nothing_fits(pairs: Path, tmp_path: Path) -> None:
    run, _ = run_of(tmp_path / "run", "pix2pix", "--width", "6")
    with pytest.raises(UserError, match=r"nothing of .*run fits.*4×3×7×7.*--width"):
        train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "out", config=CONFIG, init_from=run)
    with pytest.raises(UserError, match="is not a run folder"):
        train(tiny_task("pix2pix"), data=pairs, out=tmp_path / "out", config=CONFIG, init_from=tmp_path / "absent")
    assert not (tmp_path / "out").exists()


def test_training_starts_from_the_loaded_weights_and_logs_them(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a learning rate of 0 the weights and their average equal those of the source at the end."""
    source, found = run_of(tmp_path / "source", "pix2pix", "--norm", "instance", seed=0.001)
    still = tiny_task("cyclegan", "--lr", "0", "--ema-halflife-images", "3")
    run = train(still, data=pairs, out=tmp_path / "run", config=replace(CONFIG, quiet=False), init_from=source)
    parts, _ = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    for part in ("generators", "average"):
        assert same(without("b-to-a.", parts[part]), without("g.", found))
    assert f"from {source}: a-to-b: stem 2 of 2 tensors" in capsys.readouterr().err
    events = [line for line in read_journal(run / "journal.jsonl") if line.get("event") == "initialised"]
    assert [line["source"] for line in events] == [str(source)] * 2 and "body 24 of 24" in events[0]["taken"]
    assert json.loads((run / "config.json").read_text())["init_from"] == str(source)


def test_a_run_without_a_checkpoint_is_initialised_again_when_it_is_resumed(pairs: Path, tmp_path: Path) -> None:
    source, _ = run_of(tmp_path / "source", "pix2pix", "--norm", "instance", seed=0.001)
    task = tiny_task("pix2pix", "--norm", "instance")
    whole, killed = (train(task, data=pairs, out=tmp_path / name, config=CONFIG, init_from=source) for name in "ab")
    shutil.rmtree(killed / "checkpoints")
    resume(killed)
    expected, parts = (load_checkpoint(list_checkpoints(run / "checkpoints")[-1])[0] for run in (whole, killed))
    assert all(same(parts[part], tensors) for part, tensors in expected.items())
    shutil.rmtree(source)
    resume(killed, max_steps=2)  # the run now has its own checkpoint and does not need the source


def test_a_residual_generator_does_not_load_the_head_of_another(tmp_path: Path) -> None:
    run, _ = run_of(tmp_path / "run", "cyclegan")
    task = built(tiny_task("cyclegan", "--residual"))
    lines = init_from_model(task, run)
    assert all("body 24 of 24 tensors" in line and "head 0 of 2 tensors" in line for line in lines)
    assert not any(tensor.any() for key, tensor in generator(task, "a-to-b").items() if key.startswith("head"))


@pytest.fixture
def stylization(tmp_path: Path) -> tuple[Path, Stylizer]:
    """A run of stylization, and its network."""
    task = built(tiny_task("stylization"))
    run = write_run(tmp_path / "stylization", task)
    network = task.generators["g"]
    assert isinstance(network, Stylizer)
    return run, network


def test_layers_that_are_not_trained_are_left_out(stylization: tuple[Path, Stylizer]) -> None:
    run, network = stylization
    torch.manual_seed(1)
    task = tiny_task("stylization")
    task.build(for_training=True)
    (line,) = init_from_model(task, run)
    trained = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert f"frame {len(trained)} of {len(trained)} tensors" in line
    own = generator(task, "g")
    assert all(torch.equal(own[name], tensor) for name, tensor in network.state_dict().items())


def test_a_decoder_of_another_encoder_is_refused(stylization: tuple[Path, Stylizer], tmp_path: Path) -> None:
    """Of the same architecture, too: the decoder would not know its features."""
    run, _ = stylization
    other = load_file(write_vgg16(tmp_path / "vgg.safetensors"))
    save_file({key: tensor.flip(0) for key, tensor in other.items()}, tmp_path / "vgg.safetensors")
    task = built(tiny_task("stylization", "--encoder-weights", str(tmp_path / "vgg.safetensors")))
    before = {key: tensor.clone() for key, tensor in generator(task, "g").items()}
    with pytest.raises(UserError, match=r"another pretrained network than this training.*start from a model"):
        init_from_model(task, run)
    assert same(generator(task, "g"), before)


def test_a_published_stylizer_gives_its_decoder(tmp_path: Path) -> None:
    """Its images are in [0, 1] and those of a training in [-1, 1]. The encoder's weights are its other file."""
    torch.manual_seed(2)
    folder = tmp_path / "adain"
    folder.mkdir()
    encoder, decoder = Encoder(), Decoder(widths=(2, 4, 8))
    for part, numbers, name in (
        (encoder, ENCODER_LAYERS, "vgg_normalised.pth"),
        (decoder, DECODER_LAYERS, "decoder.pth"),
    ):
        tensors = part.state_dict()
        torch.save({key: tensors[own] for own, key in published_keys(part, numbers).items()}, folder / name)
    task = built(
        tiny_task("stylization", "--encoder", "vgg19", "--encoder-weights", str(folder / "vgg_normalised.pth"))
    )
    init_from_model(task, folder)
    photo, style, full = torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 24), torch.ones(1, 1)
    expected = Stylizer(encoder, decoder)(photo, style, full) * 2 - 1
    torch.testing.assert_close(
        task.generators["g"](photo * 2 - 1, style * 2 - 1, full), expected, rtol=1e-3, atol=1e-3
    )
    assert trained_with_of(folder) == ("vgg19",)


def published_keys(part: torch.nn.Module, numbers: tuple[int, ...]) -> dict[str, str]:
    names = names_of(part, numbers)
    return {f"{own}.{kind}": f"{key}.{kind}" for own, key in names.items() for kind in ("weight", "bias")}


def test_the_pretrained_networks_of_the_source_are_named(pairs: Path, tmp_path: Path) -> None:
    """In the run folder, also of a run that starts from that run, and after it is resumed."""
    vgg = ("--perceptual", "1", "--perceptual-network", "vgg16", "--perceptual-weights", str(shared_vgg16()))
    source = write_run(tmp_path / "source", tiny_task("pix2pix", *vgg))
    plain = tiny_task("pix2pix")
    first = train(plain, data=pairs, out=tmp_path / "first", config=CONFIG, init_from=source)
    second = train(plain, data=pairs, out=tmp_path / "second", config=CONFIG, init_from=first)
    shutil.rmtree(source)
    resume(second, max_steps=2)
    (checkpoint,) = list_checkpoints(second / "checkpoints")[-1:]
    for model in (first, second, checkpoint):
        assert load(model, device="cpu").spec.trained_with == trained_with_of(model) == ("vgg16",)
    assert "trained with features of vgg16" in "\n".join(inspect(second))
