"""What a loaded model takes in Python: arrays and PIL images; anything else is answered with what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.spec import InputSpec, ModelSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
PIXELS[0, :2] = (0, 0, 0), (255, 255, 255)
MASK = np.zeros((6, 9), np.bool_)
MASK[2:4, 3:6] = True
IMAGE = InputSpec("image", "image", 3, "any")


class Echo(Model):
    """A model that gives back its image, and makes a gray image of anything else."""

    title = "echo"

    def __init__(self, *inputs: InputSpec, use: Any = "translate", size: tuple[int, int] | None = None) -> None:
        self.spec = ModelSpec("toy", use, inputs, 3, output_size=size, receptive_field=0)
        self.inputs: tuple[FloatImages, ...] = ()

    def version(self) -> str:
        return self.title

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False

    def run(self, *inputs: FloatImages) -> FloatImages:
        self.inputs = inputs
        return inputs[0] if inputs[0].ndim == 4 else np.zeros((1, *self.spec.output_shape(0, 0)), np.float32)


def echo(image: Any) -> Any:
    return Predictor(Echo(IMAGE))(image)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "I;16"])
def test_pil_images_are_taken_in_every_mode(mode: str) -> None:
    image = Image.fromarray(PIXELS)
    given = Image.fromarray(np.full((6, 9), 40_000, np.uint16)) if mode == "I;16" else image.convert(mode)
    result = echo(given)
    assert isinstance(result, np.ndarray) and result.shape == (6, 9, 4 if mode.endswith("A") else 3)
    if mode == "I;16":
        assert result.dtype == np.uint16 and (result == 40_000).all()
    elif mode != "CMYK":
        assert np.array_equal(result[..., :3], np.asarray(given.convert("RGB")))


def test_the_orientation_of_a_pil_image_is_applied() -> None:
    image = Image.fromarray(PIXELS)
    image.getexif()[274] = 6
    assert np.array_equal(echo(image), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("photo.png", ("'photo.png' (str)", "PIL image", "images.read")),
        (Path("photo.png"), ("'photo.png' (PosixPath)", "images.read")),
        ([PIXELS], ("of the type list", "np.asarray")),
        (torch.zeros(3, 6, 9), ("of the type Tensor", "permute(1, 2, 0)")),
        (b"png", ("of the type bytes",)),
        (None, ("needs image",)),
        (PIXELS / 255, ("float64 of shape (6, 9, 3)", "values are 0 to 1", "np.rint(pixels * 255)")),
        (PIXELS / 127.5 - 1, ("values are -1 to 1", "(pixels + 1) * 127.5")),
        (PIXELS.astype(np.float32), ("float32", "np.rint(pixels).clip(0, 255)")),
        (np.full((6, 9, 3), np.nan), ("NaN",)),
        (PIXELS.astype(int), ("int64", "astype(np.uint8)")),
        (PIXELS > 9, ("bool", "pixels * np.uint8(255)")),
        (PIXELS.transpose(2, 0, 1), ("shape (3, 6, 9)", "looks like C×H×W", "transpose(1, 2, 0)")),
        (PIXELS[None], ("shape (1, 6, 9, 3)", "without a batch")),
        (PIXELS[..., 0], ("shape (6, 9)", "pixels[..., None]")),
        (PIXELS[0, 0], ("shape (3,)", "H×W×C")),
        (PIXELS[:0], ("shape (0, 9, 3)", "at least one")),
        (np.zeros((6, 9, 5), np.uint8), ("5 channels",)),
        (Image.new("F", (9, 6)), ("float pixels",)),
        (Image.new("I", (9, 6)), ("32-bit integer",)),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else type(value).__name__,
)
def test_what_is_no_image_is_answered_with_what_came_and_what_to_do(image: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as refused:
        echo(image)
    assert [word for word in words if word not in str(refused.value)] == []


def test_small_arrays_and_other_byte_orders_are_taken() -> None:
    assert np.array_equal(echo(PIXELS[:1, :1]), PIXELS[:1, :1])
    assert np.array_equal(echo(PIXELS[:3]), PIXELS[:3])
    big_endian = PIXELS.astype(">u2") * 257
    assert np.array_equal(echo(big_endian), big_endian) and echo(big_endian).dtype == np.uint16


@pytest.mark.parametrize("mask", [MASK, Image.fromarray(MASK), MASK[..., None] * np.uint8(255), MASK.astype(float)])
def test_masks_are_taken_as_bool_as_pixels_and_as_pil_images(mask: Any) -> None:
    model = Echo(IMAGE, InputSpec("mask", "mask"), use="inpaint")
    assert Predictor(model)(PIXELS, mask).shape == PIXELS.shape
    assert model.inputs[1].sum() == MASK.sum()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (MASK[:3], "mask is 3×9 pixels: expected 6×9"),
        (MASK[None, None], r"mask: .*shape \(1, 1, 6, 9\)"),
        (MASK.astype(int), "mask: .*int64"),
        ("mask.png", "'mask.png'"),
    ],
)
def test_what_is_no_mask_of_the_image_is_named(mask: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Predictor(Echo(IMAGE, InputSpec("mask", "mask"), use="inpaint"))(PIXELS, mask)


@pytest.mark.parametrize(
    ("latent", "words"),
    [
        ([0.0, 0.0], "of the type list: expected 2 numbers"),
        (7, "of the type int"),
        (np.zeros(3), r"shape \(3,\): expected 2"),
        (np.array([0, np.inf]), "finite"),
        (np.array(["a", "b"]), "finite numbers"),
        (Image.new("L", (2, 1)), "of the type Image"),
    ],
)
def test_what_is_no_latent_is_named(latent: Any, words: str) -> None:
    model = Echo(InputSpec("latent", "latent", 2, "none"), use="generate", size=(4, 4))
    assert Predictor(model)(np.array([1, 2])).shape == (4, 4, 3)
    with pytest.raises(UserError, match=words):
        Predictor(model)(latent)
