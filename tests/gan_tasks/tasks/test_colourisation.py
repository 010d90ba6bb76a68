"""Colourisation: its stages and losses, that it learns, and that results have the luma of their input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import built, photo, tiny_batch, tiny_task, write_run
from torch import Tensor, nn

import gan_tasks
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import fit_channels
from gan_tasks.metrics import features
from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0
from gan_tasks.tasks import colourisation
from gan_tasks.tasks.colourisation import Colourisation, ColourisationConfig, chroma_loss
from gan_tasks.training.runtime import start_runtime
from gan_tasks.training.step import Trainer


def test_chroma_comes_first_and_the_discriminator_later() -> None:
    reconstruction, adversarial = Colourisation(adversarial_epochs=3).stages(10)
    assert (reconstruction.update_order, reconstruction.best_by) == (("g",), "l1")
    assert (adversarial.update_order, adversarial.best_by, adversarial.images) == (("d", "g"), None, 30)
    task = built(tiny_task("colourisation", "--adversarial-epochs", "0"))
    assert len(task.stages(10)) == 1 and not task.discriminators


def colours(*rgb: tuple[int, int, int]) -> Tensor:
    return torch.tensor(rgb).float().T[None, :, None] / 127.5 - 1


def test_a_missed_strong_colour_costs_more_than_a_colour_in_the_place_of_gray() -> None:
    gray, red = colours((100, 100, 100)), colours((200, 57, 57))  # of equal luma
    assert chroma_loss(gray, gray, 2.0) == 0
    missed, invented = chroma_loss(gray, red, 2.0), chroma_loss(red, gray, 2.0)
    assert missed > 2 * invented
    torch.testing.assert_close(chroma_loss(gray, red, 0.0), invented)


def test_it_learns_which_gray_has_which_colour(pairs: Path) -> None:
    """Bright is blue and dark is red; the affine map from gray to chroma has to be found."""
    task = built(tiny_task("colourisation", "--adversarial-epochs", "0", "--lr", "0.01", "--width", "4"))
    batch = tiny_batch(task, pairs)
    source = batch.source.sign() * 0.4
    target = torch.where(source > 0, colours((150, 180, 255)), colours((120, 65, 60)))
    batch = type(batch)(source, target)
    with start_runtime("cpu", "fp32") as runtime:
        trainer = Trainer(task, task.stages(1)[0], runtime, seed=0)
        losses = [float(trainer.step(batch, index=index)["g/total"]) for index in range(25)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_encoder_is_pretrained_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    lite0 = EfficientNetLite0()
    monkeypatch.setattr(colourisation, "published_lite0", lambda **_: lite0)
    options = {"adversarial_epochs": 0, "width": 2}
    task = built(Colourisation(ColourisationConfig(**options)))  # type: ignore[arg-type]
    first = next(layer for layer in task.generators.modules() if isinstance(layer, nn.Conv2d))
    expected = lite0._conv_stem.weight.sum(dim=1, keepdim=True)
    ratios = first.weight / expected
    torch.testing.assert_close(ratios, ratios[:, :, :1, :1].expand_as(ratios), rtol=1e-3, atol=1e-3)
    assert not first.weight.requires_grad and task.spec().trained_with == ("efficientnet-lite0",)
    for_use = Colourisation(task.config)
    for_use.build(for_training=False)
    for_use.generators.load_state_dict(task.generators.state_dict())
    assert built(tiny_task("colourisation")).spec().trained_with == ()


def test_without_the_weights_of_the_encoder_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "has_lite0", lambda: False)
    with pytest.raises(
        UserError, match=r"pretrained encoder needs .* or choose --no-pretrained --discriminator patch"
    ):
        Colourisation().build()
    Colourisation(pretrained=False, discriminator="patch", width=2).build()


def test_a_colour_photograph_is_coloured_anew_with_its_own_luma_and_alpha(tmp_path: Path) -> None:
    model = gan_tasks.load(write_run(tmp_path / "run", tiny_task("colourisation")))
    pixels = np.dstack([photo(37, 50, seed=1), np.full((37, 50), 77, np.uint8)])
    output = model(pixels)
    assert output.shape == (37, 50, 4) and (output[..., 3] == 77).all()
    gray = fit_channels(pixels, 1)
    assert np.array_equal(output[..., :3], model(gray)), "the colours of the file have no effect"
    assert np.abs(fit_channels(output, 1).astype(int) - gray).max() <= 1
