"""Fields of a page that are no file: what they send to the model."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("gradio")

from gan_tasks.apps.web.fields import LARGEST_RANDOM_SEED, Field, input_field, random_seed
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.spec import InputSpec


def field_of(given: InputSpec) -> Field:
    import gradio

    with gradio.Blocks():
        return input_field(given)


def test_a_latent_is_its_seed_until_a_slider_moves_it() -> None:
    field = field_of(InputSpec("latent", "latent", 12, "none"))
    seed, *sliders = field.components
    values = {seed: 7} | dict.fromkeys(sliders, 0)
    assert (field.source(values), field.title(values)) == (b"7", "seed-7")
    values[sliders[2]] = 1.5
    moved = field.source(values)
    assert isinstance(moved, bytes)
    change = np.float32(json.loads(moved)) - draw_latent(7, 12)
    np.testing.assert_allclose(change, 1.5 * np.eye(12)[2], atol=1e-6)
    with pytest.raises(UserError, match="There is no seed"):
        field.source(values | {seed: None})


def test_a_class_is_chosen_by_its_name() -> None:
    field = field_of(InputSpec("label", "label", 2, "none", names=("cat", "dog")))
    (choice,) = field.components
    assert choice.choices == [("cat", 0), ("dog", 1)]  # type: ignore[attr-defined]
    assert field.source({choice: 1}) == b"1"


def test_random_seeds_can_be_read_and_typed() -> None:
    assert all(0 <= random_seed() <= LARGEST_RANDOM_SEED for _ in range(100))
