"""Initialising from another model: fitting weights are loaded, the others keep their random values, with a report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import built, tiny_task, write_run
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.jy import write_jy
from gan_tasks.networks.translation import resnet
from gan_tasks.runs.checkpoint import list_checkpoints, load_checkpoint, load_part, save_checkpoint
from gan_tasks.runs.journal import read_journal
from gan_tasks.tasks.base import Task
from gan_tasks.training.config import TrainConfig
from gan_tasks.training.init_from import init_from_model
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
