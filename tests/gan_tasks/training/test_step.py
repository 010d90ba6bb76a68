"""A training step that cannot be completed changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import adversarial_stage, built, tiny_batch, tiny_task
from torch import Tensor

from gan_tasks.runs.checkpoint import CheckpointError
from gan_tasks.tasks.base import NetworkRole
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import LARGEST_WEIGHT, Trainer

ORDERS: list[tuple[NetworkRole, NetworkRole]] = [("d", "g"), ("g", "d")]


def all_parts(trainer: Trainer) -> dict[str, Tensor]:
    return {f"{part}/{name}": t.clone() for part, each in trainer.parts().items() for name, t in each.items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("role", ["d", "g"])
@pytest.mark.parametrize("error", [None, MemoryError])
@pytest.mark.parametrize("before", [0, 2])
def test_a_step_that_fails_changes_nothing(
    pairs: Path,
    monkeypatch: pytest.MonkeyPatch,
    order: tuple[NetworkRole, NetworkRole],
    role: str,
    error: type[BaseException] | None,
    before: int,
) -> None:
    """The losses of one role are NaN, or raise. Steps after it are as if it had not been."""
    task = built(tiny_task("pix2pix", "--ema-halflife-images", "5"))
    losses = getattr(type(task), f"{role}_losses")

    def failed(*given: Any) -> Any:
        if error:
            raise error
        return {name: loss * torch.nan for name, loss in losses(*given).items()}

    batch = tiny_batch(task, pairs)
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, replace(adversarial_stage(task), update_order=order), runtime, seed=0)
        for index in range(before):
            trainer.step(batch, index=index)
        start = all_parts(trainer)
        with monkeypatch.context() as patch:
            patch.setattr(type(task), f"{role}_losses", failed)
            if error:
                with pytest.raises(error):
                    trainer.step(batch, index=before)
            else:
                assert trainer.step(batch, index=before)["skipped"]
        assert trainer.is_whole and equal(all_parts(trainer), start)
        assert not trainer.step(batch, index=before)["skipped"]
        assert not equal(all_parts(trainer), start)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state, name: state.pop(f"{name}/exp_avg"), "exp_avg is missing"),
        (lambda state, name: state.update({"x/step": state.pop(f"{name}/step")}), "step is missing"),
        (lambda state, name: state.update({"a/step": torch.tensor(1.0)}), "a/step is unknown"),
        (lambda state, name: state.update({f"{name}/exp_avg": torch.zeros(1)}), "instead of"),
        (lambda state, name: state.update({f"{name}/step": torch.tensor(-1.0)}), "steps of"),
    ],
)
def test_the_state_of_another_optimizer_is_refused(pairs: Path, change: Callable[..., object], named: str) -> None:
    task = built(tiny_task("pix2pix"))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        trainer.step(tiny_batch(task, pairs), index=0)
        parts = trainer.parts()
        trainer.load_parts(parts)
        change(parts["optimizer-g"], next(iter(parts["optimizer-g"])).rpartition("/")[0])
        with pytest.raises(CheckpointError, match=named):
            trainer.load_parts(parts)


def test_a_state_of_integers_becomes_one_of_floats(pairs: Path) -> None:
    task = built(tiny_task("pix2pix"))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
        batch = tiny_batch(task, pairs)
        trainer.step(batch, index=0)
        parts = trainer.parts()
        parts["optimizer-g"] = {name: tensor.to(torch.int64) for name, tensor in parts["optimizer-g"].items()}
        trainer.load_parts(parts)
        trainer.step(batch, index=1)
    assert trainer.is_well()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -2 * LARGEST_WEIGHT])
@pytest.mark.parametrize("part", ["generators", "discriminators", "average"])
def test_weights_out_of_range_are_noticed(value: float, part: str) -> None:
    task = built(tiny_task("pix2pix", "--ema-halflife-images", "5"))
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, adversarial_stage(task), runtime, seed=0)
    assert trainer.is_well()
    weight = next(iter(trainer.parts()[part].values()))
    weight.view(-1)[0] = value
    assert not trainer.is_well()
