"""The predictor: inputs by place and by name, inputs that are missing or unknown, and optional inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.spec import InputSpec, ModelSpec

IMAGE = InputSpec("image", "image", 3, "any")
PIXELS = np.full((4, 6, 3), 51, np.uint8)


class Recorded(Model):
    """A model that records its inputs, and makes a gray image."""

    title = "recorded"

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.inputs: tuple[FloatImages, ...] = ()

    def version(self) -> str:
        return self.title

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False

    def run(self, *inputs: FloatImages) -> FloatImages:
        self.inputs = inputs
        height, width = (0, 0) if self.spec.image is None else inputs[0].shape[-2:]
        return np.zeros((1, *self.spec.output_shape(height, width)), np.float32)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (InputSpec("style", "image", 3, "any", optional=True), (1, 3, 4, 6)),
        (InputSpec("sketch", "mask", optional=True), (1, 1, 4, 6)),
        (InputSpec("label", "label", 5, "none", optional=True), (1, 5)),
    ],
)
def test_zeros_replace_an_optional_input_of_an_image_model(given: InputSpec, shape: tuple[int, ...]) -> None:
    model = Recorded(ModelSpec("toy", "stylize", (IMAGE, given), 3))
    assert Predictor(model)(PIXELS).shape == (4, 6, 3)
    image, other = model.inputs
    np.testing.assert_allclose(image, 51 / 127.5 - 1, atol=1e-6)
    assert other.shape == shape and other.dtype == np.float32 and not other.any()


def test_zeros_replace_an_optional_label_of_a_generator() -> None:
    inputs = InputSpec("latent", "latent", 2, "none"), InputSpec("label", "label", 5, "none", optional=True)
    model = Recorded(ModelSpec("toy", "generate", inputs, 3, output_size=(8, 8)))
    assert Predictor(model)(np.array([1.0, 2.0], np.float32)).shape == (8, 8, 3)
    latent, label = model.inputs
    assert latent.tolist() == [[1, 2]] and label.shape == (1, 5) and not label.any()


@pytest.mark.parametrize(
    ("inputs", "named", "message"),
    [
        ((PIXELS, PIXELS, PIXELS), {}, "got 3 inputs: expected image and style"),
        ((PIXELS,), {}, "needs style too"),
        ((PIXELS,), {"style": PIXELS, "mask": PIXELS}, "does not take mask: it takes image and style"),
    ],
)
def test_missing_and_unknown_inputs_are_named(inputs: tuple[Any, ...], named: dict[str, Any], message: str) -> None:
    style = InputSpec("style", "image", 3, "any")
    with pytest.raises(UserError, match=message):
        Predictor(Recorded(ModelSpec("toy", "stylize", (IMAGE, style), 3)))(*inputs, **named)
